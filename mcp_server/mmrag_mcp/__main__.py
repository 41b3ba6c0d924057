"""``python -m mmrag_mcp`` starts the server."""

from mmrag_mcp.server import main

if __name__ == "__main__":
    main()
