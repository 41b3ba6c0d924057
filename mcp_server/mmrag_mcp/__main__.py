"""``python -m mmrag_mcp`` starts the server."""

from mmrag_mcp.server import main

main()
