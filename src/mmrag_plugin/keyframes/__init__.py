"""Keyframe selectors: which frames stand for a film."""
