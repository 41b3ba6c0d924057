"""Measurements on real data; each prints a table, or JSON with ``--json``."""
