"""The formats of files with queries: one module each, behind ``base.SetFormat``."""
