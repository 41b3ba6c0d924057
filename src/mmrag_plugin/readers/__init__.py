"""Readers: media files in, LlamaIndex documents and frames out."""
