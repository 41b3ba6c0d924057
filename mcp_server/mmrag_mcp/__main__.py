"""``python -m mmrag_mcp`` starts the server."""

from mmrag_mcp.command import main

if __name__ == "__main__":
    main()
