"""A real library behind the real server: pictures, a film, Milvus Lite, Ollama on the wire."""

from __future__ import annotations

import base64
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import PIL.Image
import pytest
from mcp import Client, StdioServerParameters

from made_films import BLUE, GREEN, write_film
from mcp_calls import ERAS, call, said
from mmrag_mcp import calls
from mmrag_mcp.server import MmragServer
from mmrag_mcp.tools.get import MAX_PICTURE_BYTES
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings
from mmrag_plugin.vlm.fake import main_colour
from ollama_double import OllamaDouble

NO_OLLAMA = "http://127.0.0.1:9"  # the discard port: nobody listens


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a library lives that holds two pictures, one that has gone since, and a film."""
    place = tmp_path_factory.mktemp("mcp")
    media = place / "Holiday"
    media.mkdir()
    PIL.Image.new("RGB", (640, 480), "red").save(media / "red car.jpg")
    noise = np.random.default_rng(7).integers(0, 256, (1600, 2400, 3), np.uint8)
    PIL.Image.fromarray(noise).save(media / "noise.png")
    PIL.Image.new("RGB", (64, 48), "yellow").save(media / "gone.png")
    write_film(media / "meadow.mp4", [GREEN] * 50 + [BLUE] * 50, gop=10)
    settings = load_settings(
        home=place / "home", visual_model="palette", text_model="off", ocr="off"
    )
    with MediaLibrary.open(settings, create=True) as library:
        report = library.index([media])
        assert report.added == 4
        assert not report.failed
    (media / "gone.png").unlink()
    return place / "home"


@pytest.fixture(scope="module")
def warm(home: Path, ollama: OllamaDouble) -> Iterator[WarmLibrary]:
    opened = WarmLibrary(
        lambda: open_library(home=str(home), vlm="eye", ollama_host=ollama.url, text_model="off")
    )
    opened.warm().result(60)
    yield opened
    opened.close()


async def first_id(warm: WarmLibrary, query: str) -> str:
    result = await call(MmragServer(warm), "search_media", query=query)
    media_id: str = result.structured_content["hits"][0]["media_id"]
    return media_id


@pytest.mark.parametrize("era", ERAS)
async def test_a_search_returns_what_the_library_finds(warm: WarmLibrary, era: str) -> None:
    result = await call(MmragServer(warm), "search_media", era, query="red car", limit=2)
    assert not result.is_error
    found = warm.open().search("red car", limit=2)
    content = result.structured_content
    assert [hit["path"] for hit in content["hits"]] == [hit.path for hit in found.hits]
    assert [hit["reason"] for hit in content["hits"]] == [hit.reason for hit in found.hits]
    assert content["warnings"] == found.warnings
    assert Path(content["hits"][0]["path"]).name == "red car.jpg"
    assert "Holiday/red car.jpg" in said(result)
    assert [part.type for part in result.content] == ["text", "resource_link", "resource_link"]


async def test_a_moment_of_a_film_is_found_with_a_readable_time(warm: WarmLibrary) -> None:
    result = await call(MmragServer(warm), "search_media", query="blue", kind="video", limit=1)
    (hit,) = result.structured_content["hits"]
    assert 4 < hit["start_s"] < 6
    assert "at 0:05-0:" in said(result)


async def test_filters_reach_the_search(warm: WarmLibrary) -> None:
    server = MmragServer(warm)

    async def names(**filters: Any) -> set[str]:
        result = await call(server, "search_media", query="red", **filters)
        assert not result.is_error, said(result)
        return {Path(hit["path"]).name for hit in result.structured_content["hits"]}

    assert "meadow.mp4" not in await names(kind="image")
    assert await names(kind="video") == {"meadow.mp4"}
    assert await names(since=2031) == set()
    result = await call(server, "search_media", query="red", camera="Pixel")
    assert "No camera of this library has 'Pixel' in its name." in said(result)
    assert await names(has_text=True) == set()
    assert "red car.jpg" in await names(folder="Holiday")  # as library_info names it
    result = await call(server, "search_media", query="red", folder="Work")
    assert "No media of this library lies in the folder Work." in said(result)
    result = await call(server, "search_media", query="red", since="last May")
    assert "'last May' is not a date. Write 2019" in said(result)


async def test_get_media_knows_everything_and_shows_a_picture_only_when_asked(
    warm: WarmLibrary,
) -> None:
    media_id = await first_id(warm, "red car")
    plain = await call(MmragServer(warm), "get_media", media_id=media_id)
    assert [part.type for part in plain.content] == ["text", "resource_link"]
    assert plain.structured_content["width_px"] == 640
    assert plain.structured_content["signals"][0]["text"] == "red car"

    seen = await call(MmragServer(warm), "get_media", media_id=media_id, include_picture=True)
    text, picture, _ = seen.content
    assert picture.mime_type == "image/jpeg"
    opened = PIL.Image.open(io.BytesIO(base64.b64decode(picture.data)))
    assert main_colour(opened) == "red"
    assert not opened.getexif()
    assert picture.data[:100] not in text.text + str(seen.structured_content)
    assert seen.structured_content == plain.structured_content


async def test_a_picture_is_small_enough_whatever_it_shows(warm: WarmLibrary) -> None:
    media_id = await first_id(warm, "noise")
    result = await call(MmragServer(warm), "get_media", media_id=media_id, include_picture=True)
    jpeg = base64.b64decode(result.content[1].data)
    assert 20_000 < len(jpeg) <= MAX_PICTURE_BYTES
    assert max(PIL.Image.open(io.BytesIO(jpeg)).size) <= 1024


@pytest.mark.parametrize(("at", "colour"), [("0:02", "green"), (8.0, "blue")])
async def test_the_picture_of_a_film_is_of_the_time_that_was_asked_for(
    warm: WarmLibrary, at: Any, colour: str
) -> None:
    media_id = await first_id(warm, "meadow")
    result = await call(
        MmragServer(warm), "get_media", media_id=media_id, include_picture=True, at=at
    )
    assert main_colour(PIL.Image.open(io.BytesIO(base64.b64decode(result.content[1].data)))) == (
        colour
    )


async def test_times_that_make_no_sense_are_refused(warm: WarmLibrary) -> None:
    server, media_id = MmragServer(warm), await first_id(warm, "meadow")
    late = await call(server, "get_media", media_id=media_id, include_picture=True, at="5:00")
    assert "5:00 is after the end of this video. It is 0:10 long." in said(late)
    swapped = await call(server, "describe_media", media_id=media_id, start="0:05", end="0:01")
    assert "comes before the start" in said(swapped)
    wrong = await call(server, "describe_media", media_id=media_id, start="noon")
    assert "'noon' is not a time." in said(wrong)


async def test_a_file_that_has_gone_leaves_what_is_known(warm: WarmLibrary) -> None:
    media_id = await first_id(warm, "gone")
    result = await call(MmragServer(warm), "get_media", media_id=media_id, include_picture=True)
    assert not result.is_error
    assert "image" not in [part.type for part in result.content]
    assert "is not there any more" in result.structured_content["warnings"][0]


@pytest.mark.parametrize("tool", ["get_media", "describe_media"])
@pytest.mark.parametrize("media_id", ["/etc/passwd", "Holiday/red car.jpg", "../x", "nothing"])
async def test_only_ids_are_taken_never_paths(warm: WarmLibrary, tool: str, media_id: str) -> None:
    result = await call(MmragServer(warm), tool, media_id=media_id)
    assert result.is_error
    assert "There is no media" in said(result)


async def test_describe_media_sends_the_right_pictures_to_ollama(warm: WarmLibrary) -> None:
    photo = await call(
        MmragServer(warm), "describe_media", media_id=await first_id(warm, "red car")
    )
    assert photo.structured_content["answer"] == "I see 1 picture: [1] mostly red, 640x480."
    assert photo.structured_content["model"] == "eye"
    part = await call(
        MmragServer(warm),
        "describe_media",
        media_id=await first_id(warm, "meadow"),
        start="0:06",
        end=9,
    )
    assert "mostly blue" in said(part)
    assert "green" not in said(part)


async def test_ask_media_answers_with_sources(warm: WarmLibrary) -> None:
    result = await call(MmragServer(warm), "ask_media", question="the red car", limit=1)
    content = result.structured_content
    assert "mostly red" in content["answer"]
    assert Path(content["sources"][0]["path"]).name == "red car.jpg"
    assert content["model"] == "eye"
    assert "[1] image" in said(result)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("tool", ["ask_media", "describe_media"])
async def test_waiting_for_a_model_is_told_and_a_cancelled_call_leaves_it(
    warm: WarmLibrary, ollama: OllamaDouble, tool: str, era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PROGRESS_EVERY_S", 0.05)
    arguments: dict[str, Any] = {"question": "the red car"}
    if tool == "describe_media":
        arguments["media_id"] = await first_id(warm, "red car")
    waiting = anyio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        if "waiting for eye" in (message or ""):
            waiting.set()

    ollama.delay_s = 20
    try:
        async with (
            Client(MmragServer(warm), mode=era) as client,
            anyio.create_task_group() as tasks,
        ):
            began = time.monotonic()
            tasks.start_soon(
                lambda: client.call_tool(tool, arguments, progress_callback=on_progress)
            )
            await waiting.wait()
            await anyio.sleep(0.5)
            tasks.cancel_scope.cancel()
    finally:
        ollama.delay_s = 0
    assert await anyio.to_thread.run_sync(lambda: ollama.hang_ups.acquire(timeout=10))
    assert time.monotonic() - began < 10


async def test_a_question_is_put_to_one_media_or_a_part_of_it(
    warm: WarmLibrary, ollama: OllamaDouble
) -> None:
    film = await first_id(warm, "meadow")
    asked = {"media_id": film, "question": "Is it [img-1] blue?", "start": "0:06-0:09"}
    result = await call(MmragServer(warm), "describe_media", **asked)
    assert "mostly blue" in said(result)
    assert "green" not in said(result)
    system, person = ollama.chats[-1]["messages"]
    assert "You answer a question about one photo or film" in system["content"]
    assert person["content"].endswith("The question: Is it (img-1] blue?")
    assert "Describe" not in person["content"]


async def test_without_ollama_a_question_is_answered_with_what_to_do(home: Path) -> None:
    warm = WarmLibrary(lambda: open_library(home=str(home), ollama_host=NO_OLLAMA))
    for tool, arguments in (
        ("ask_media", {"question": "the red car"}),
        ("describe_media", {"media_id": await first_id(warm, "red car")}),
    ):
        result = await call(MmragServer(warm), tool, **arguments)
        assert result.is_error
        assert "ollama" in said(result).lower()
        assert NO_OLLAMA in said(result)
    warm.close()


async def test_library_info_counts_without_loading_anything(home: Path) -> None:
    warm = WarmLibrary(lambda: open_library(home=str(home), vlm="eye"))
    async with Client(MmragServer(warm)) as client:
        result = await client.call_tool("library_info", {})
    content = result.structured_content
    assert content["media"] == {"image": 3, "video": 1}
    assert content["folders"] == ["Holiday"]
    assert content["models"] == {"visual": "palette", "text": "off", "vlm": "eye"}
    assert content["search"] == "idle"
    assert str(home) not in said(result) + str(content)
    opened = warm.open()
    assert "connection" not in vars(opened)
    assert not opened.models.are_loaded
    warm.close()


# ---- over stdio ------------------------------------------------------------------------------


async def test_the_process_serves_a_real_client(home: Path) -> None:
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "mmrag_mcp", "--home", str(home)]
    )
    async with Client(process) as client:
        await client.list_tools()
        found = await client.call_tool("search_media", {"query": "red car"})
        assert Path(found.structured_content["hits"][0]["path"]).name == "red car.jpg"
        media_id = found.structured_content["hits"][0]["media_id"]
        shown = await client.call_tool("get_media", {"media_id": media_id, "include_picture": True})
        assert [part.type for part in shown.content] == ["text", "image", "resource_link"]


async def test_llama_index_uses_the_tools(home: Path) -> None:
    from llama_index.tools.mcp import BasicMCPClient, McpToolSpec

    client = BasicMCPClient(sys.executable, args=["-m", "mmrag_mcp", "--home", str(home)])
    tools = await McpToolSpec(client, allowed_tools=["search_media"]).to_tool_list_async()
    (search,) = tools
    assert "query" in search.metadata.get_parameters_dict()["properties"]
    output = await search.acall(query="red car", limit=1)
    assert "red car.jpg" in str(output)
