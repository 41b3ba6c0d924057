"""VLMs: models that look at pictures and answer."""
