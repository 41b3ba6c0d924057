"""The mmrag-mcp server."""
