"""docs/mcp.md shows what a real server process returned: it is written and compared here.

``MMRAG_WRITE_DOCS=1 pytest tests/test_mcp_transcripts.py`` writes it anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import PromptReference

from commands import mmrag_here
from ollama_double import Model, OllamaDouble
from served_library import demo_library, over_stdio
from written_docs import block, hold

PAGE = "mcp.md"
VLM = "gemma3:4b"


class Transcript:
    """Calls to a server, as the page shows them: with ids and places that are always the same."""

    def __init__(self, client: Client, place: Path) -> None:
        self._client, self._place = client, place
        self.ids: dict[str, str] = {}  # file name -> the id of this run

    async def learn_ids(self) -> None:
        """Ask for every media of the library once."""
        for kind in ("image", "video"):
            arguments = {"query": "red", "kind": kind, "limit": 50}  # by sight all are found
            result = await self._client.call_tool("search_media", arguments)
            for hit in result.structured_content["hits"]:
                self.ids[Path(hit["path"]).name] = hit["media_id"]

    async def call(self, tool: str, **arguments: Any) -> tuple[str, Any]:
        """What was sent and came back as text, and what came back as data."""
        result = await self._client.call_tool(tool, arguments)
        texts = [part.text for part in result.content if part.type == "text"]
        others = [
            f"({part.type}: {getattr(part, 'uri', '')})"
            for part in result.content
            if part.type != "text"
        ]
        sent = f"{tool} {json.dumps(arguments)}" if arguments else tool
        return self.always("\n".join([sent, "", *texts, *others])), result.structured_content

    def always(self, text: str) -> str:
        """The same text on every run and machine."""
        for name, media_id in self.ids.items():
            text = text.replace(media_id, hashlib.sha256(name.encode()).hexdigest()[:16])
        text = re.sub(r"(cursor=|_cursor\": \")[\w-]+", r"\1kQ2mX7ve", text)
        return text.replace(str(self._place), "/home/ann")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("transcripts")
    with demo_library(place):
        yield place


async def test_the_page_shows_what_each_tool_returns(place: Path) -> None:
    models = {VLM: Model()}
    with OllamaDouble(models) as ollama:
        process = over_stdio(place / "libraries", OLLAMA_HOST=ollama.url, MMRAG_VLM=VLM)
        async with Client(process) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
            transcript = Transcript(client, place)
            await transcript.learn_ids()
            film = transcript.ids["a_day_out.mp4"]
            calls: dict[str, list[dict[str, Any]]] = {
                "search_media": [{"query": "Biscuit in the meadow", "limit": 2}],
                "browse_media": [{"by": "folder"}],
                "find_similar": [{"media_id": film, "at": "0:04", "limit": 2}],
                "get_media": [{"media_id": film}],
                "describe_media": [{"media_id": film, "start": "0:03", "end": "0:06"}],
                "ask_media": [{"question": "What colour is the barn?", "limit": 1}],
                "library_info": [{}],
            }
            for tool in listed:
                shown = [(await transcript.call(tool, **sent))[0] for sent in calls[tool]]
                hold(PAGE, tool, block("\n\n".join(shown)))
            _, data = await transcript.call("search_media", query="red barn", limit=1)
            as_data = transcript.always(json.dumps(data, indent=2))
            hold(PAGE, "search_media as data", block(re.sub(r"\n\n+", "\n", as_data), "json"))
            mistake, _ = await transcript.call("search_media", query="barn", lmit=3)
            hold(PAGE, "a mistake", block(mistake))


async def test_the_page_shows_what_the_tools_that_write_return(place: Path) -> None:
    flags = ("--allow-write", "--output-folder", str(place / "Made"))
    process = over_stdio(place / "libraries", *flags, MMRAG_OCR="off")  # as it was indexed
    async with Client(process) as client:
        transcript = Transcript(client, place)
        await transcript.learn_ids()
        film = transcript.ids["a_day_out.mp4"]
        calls: dict[str, dict[str, Any]] = {
            "make_media": {"what": "clip", "media_ids": [film], "start": "0:03", "end": "0:05"},
            "annotate_media": {
                "media_id": film,
                "caption": "Biscuit runs to us",
                "people": ["Anna"],
                "start": "0:05",
                "end": "0:09",
            },
            "index_media": {"folder": "Pictures"},
        }
        listed = {tool.name for tool in (await client.list_tools()).tools}
        for tool, sent in calls.items():
            assert tool in listed
            hold(PAGE, tool, block((await transcript.call(tool, **sent))[0]))
    undone = mmrag_here(place / "libraries", "annotate", film, "--remove")
    assert undone.returncode == 0, undone.stderr


async def test_the_page_lists_resources_prompts_and_completions(place: Path) -> None:
    async with Client(over_stdio(place / "libraries")) as client:
        transcript = Transcript(client, place)
        await transcript.learn_ids()
        rows = ["| resource | what it is |", "|---|---|"]
        resources = (await client.list_resources()).resources
        rows += [f"| `{found.uri}` | {found.description} |" for found in resources]
        templates = (await client.list_resource_templates()).resource_templates
        rows += [f"| `{found.uri_template}` | {found.description} |" for found in templates]
        hold(PAGE, "resources", "\n".join(rows))

        library = await client.read_resource("mmrag://library")
        hold(PAGE, "mmrag://library", block(transcript.always(library.contents[0].text)))

        rows = ["| prompt | arguments | what it asks for |", "|---|---|---|"]
        for prompt in (await client.list_prompts()).prompts:
            names = ", ".join(f"`{argument.name}`" for argument in prompt.arguments or ())
            rows.append(f"| `{prompt.name}` | {names} | {prompt.description} |")
        hold(PAGE, "prompts", "\n".join(rows))

        about = PromptReference(name="find")
        found = await client.complete(about, {"name": "place", "value": "lis"})
        assert any("Lisbon" in value for value in found.completion.values)
        folders = await client.complete(about, {"name": "folder", "value": "fa"})
        shown = [f"place  lis  ->  {'; '.join(found.completion.values)}"]
        shown += [f"folder fa   ->  {'; '.join(folders.completion.values)}"]
        hold(PAGE, "completions", block("\n".join(shown)))
