"""Embedding models: pictures and texts in, vectors out."""
