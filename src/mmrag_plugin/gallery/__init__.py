"""The gallery: one page, for `mmrag browse` on this machine and for assistants as an MCP App."""
