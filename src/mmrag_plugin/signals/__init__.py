"""Signals: what is known about a media in words, one module per source."""
