"""What a person hides from assistants leaves through no tool, resource, prompt or completion."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import PromptReference, ResourceTemplateReference

from mcp_calls import ERAS, said
from media_made import describe, end_owners, picture
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings
from ollama_double import OllamaDouble

SHOWN = ("red", "blue", "orange", "pink")
HIDDEN = ("green", "yellow", "purple")
TELLING = ("private", "Mallory", "SecretCam", "2021", *HIDDEN)


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Four photos, three in a folder ``private`` that is hidden, and a server's library of them."""
    place = tmp_path_factory.mktemp("hidden").resolve()
    for number, colour in enumerate((*SHOWN, *HIDDEN)):
        secret = colour in HIDDEN
        path = picture(
            place / "photos" / ("private" if secret else "open") / f"{colour}.jpg",
            colour,
            number=number,
            taken_at=f"20{21 if secret else 11}:05:0{number + 1} 10:00:00",
            camera="SecretCam" if secret else "OpenCam",
        )
        describe(path, f"a wall painted by {'Mallory' if secret else 'Anna'}")
    chosen = load_settings(home=place / "home", visual_model="palette", text_model="off", ocr="off")
    with MediaLibrary.open(chosen, create=True) as library:
        assert library.index([place / "photos"]).added == 7
        assert library.hide(str(place / "photos" / "private")) == 3
    yield place / "home"
    end_owners(place / "home")


@pytest.fixture(scope="module")
def hidden_ids(home: Path) -> list[str]:
    with MediaLibrary.open(load_settings(home=home)) as library:
        rows = library.ledger.media_rows().values()
        return [row.media_id for row in rows if "private" in row.path]


@pytest.fixture(scope="module")
def server(home: Path, ollama: OllamaDouble) -> Iterator[MmragServer]:
    warm = WarmLibrary(
        lambda: open_library(home=str(home), vlm="eye", ollama_host=ollama.url, text_model="off")
    )
    warm.warm().result(60)
    yield MmragServer(warm)
    warm.close()


def tells(text: str, hidden_ids: list[str]) -> list[str]:
    return [word for word in (*TELLING, *hidden_ids) if word in text]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("search_media", {"query": "a wall", "limit": 50}),
        ("search_media", {"query": "how many walls are there"}),
        ("search_media", {"query": "one:year wall"}),
        ("search_media", {"query": '"painted by"'}),
        ("browse_media", {"by": "month", "examples": 5}),
        ("browse_media", {"by": "year"}),
        ("browse_media", {"by": "folder", "folder": "photos"}),
        ("browse_media", {"by": "camera"}),
        ("browse_media", {"by": "kind", "value": "image", "limit": 100}),
        ("library_info", {}),
        ("ask_media", {"question": "what is on the walls?", "limit": 20}),
    ],
)
async def test_no_answer_tells_of_what_is_hidden(
    server: MmragServer, hidden_ids: list[str], tool: str, arguments: dict[str, Any], era: str
) -> None:
    async with Client(server, mode=era) as client:
        result = await client.call_tool(tool, arguments)
    assert not result.is_error, said(result)
    whole = json.dumps(result.model_dump(mode="json"))
    assert not tells(whole, hidden_ids)
    content = result.structured_content
    assert content.get("total", 4) == 4
    if tool == "library_info":
        assert content["media"] == {"image": 4}


async def test_pages_of_what_may_be_seen_have_no_gaps(server: MmragServer) -> None:
    found: list[int] = []
    cursor: dict[str, str] = {}
    async with Client(server) as client:
        while True:
            result = await client.call_tool("search_media", {"query": "wall", "limit": 3, **cursor})
            found += [hit["rank"] for hit in result.structured_content["hits"]]
            if "next_cursor" not in result.structured_content:
                break
            cursor = {"cursor": result.structured_content["next_cursor"]}
    assert found == [1, 2, 3, 4]


async def test_a_hidden_id_is_as_unknown_as_one_that_never_was(
    server: MmragServer, hidden_ids: list[str]
) -> None:
    async with Client(server) as client:
        for media_id in hidden_ids:
            for tool in ("get_media", "describe_media", "find_similar"):
                result = await client.call_tool(tool, {"media_id": media_id})
                assert result.is_error
                never = await client.call_tool(tool, {"media_id": "0" * 16})
                assert said(result) == said(never).replace("0" * 16, media_id)
            for more in ("", "/thumbnail", "/frame/0", "/clip/0-1"):
                with pytest.raises(MCPError, match="There is no media"):
                    await client.read_resource(f"mmrag://media/{media_id}{more}")


async def test_filters_do_not_know_what_is_hidden(server: MmragServer) -> None:
    async with Client(server) as client:
        for arguments in (
            {"query": "wall", "folder": "private"},
            {"query": "wall", "camera": "SecretCam"},
        ):
            result = await client.call_tool("search_media", arguments)
            assert result.is_error
        result = await client.call_tool("search_media", {"query": "wall", "since": 2020})
        assert result.structured_content["hits"] == []


@pytest.mark.parametrize("era", ERAS)
async def test_nothing_hidden_is_completed_or_read(
    server: MmragServer, hidden_ids: list[str], era: str
) -> None:
    media = ResourceTemplateReference(uri="mmrag://media/{id}")
    find = PromptReference(name="find")
    async with Client(server, mode=era) as client:
        (facts,) = (await client.read_resource("mmrag://library")).contents
        assert not tells(facts.text, hidden_ids)
        for ref, name, typed in (
            (media, "id", ""),
            *((media, "id", media_id[:6]) for media_id in hidden_ids),
            (media, "id", "Mallory"),
            (find, "folder", ""),
            (find, "folder", "priv"),
            (find, "when", ""),
            (PromptReference(name="tell_day"), "day", "2021"),
        ):
            found = await client.complete(ref, {"name": name, "value": typed})
            assert not tells(" ".join(found.completion.values), hidden_ids)
        everything = await client.complete(media, {"name": "id", "value": ""})
        assert len(everything.completion.values) == len(SHOWN)
