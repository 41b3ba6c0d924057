"""Evaluation: queries with what answers them, how well a search does by them, and what to learn."""
