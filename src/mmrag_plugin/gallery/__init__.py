"""The gallery: one page, shown by `mmrag browse` on this machine and by assistants as an MCP App."""
