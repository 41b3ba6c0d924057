"""Calls of MCP tools as a client makes them, in memory."""

from __future__ import annotations

from typing import Any

from mcp import Client

ERAS = ("auto", "legacy")  # of the protocol: 2026-07-28, and 2025-11-25


async def call(server: Any, tool: str, era: str = "auto", /, **arguments: Any) -> Any:
    """Call a tool of a server; the client checks structured content against the schemas."""
    async with Client(server, mode=era) as client:
        await client.list_tools()
        return await client.call_tool(tool, arguments)


def said(result: Any) -> str:
    """The text of a result."""
    return "\n".join(part.text for part in result.content if part.type == "text")
