"""The gallery inside an assistant: an MCP App in a strict host, over streamable HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import pytest
from mcp import Client

from chromium import Chromium, Page, chromium
from made_films import BLUE, GREEN, RED, write_film
from mcp_app_host import APP_TYPE, AppHost, app_host
from media_made import describe, end_owners, opened, picture
from mmrag_mcp.app import GALLERY_URI
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import NotFound
from mmrag_plugin.gallery.document import document
from ollama_double import Model, OllamaDouble
from served_library import over_http

SHOWN = {"search_media", "find_similar", "ask_media"}
ALL = {"serverTools": {}, "serverResources": {}, "message": {"text": {}}}
Show = Callable[..., tuple[Page, str]]


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble({"eye:latest": Model()}) as double:
        yield double


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, ollama: OllamaDouble) -> Iterator[AppHost]:
    """A strict host, before a real server over a library of pictures and a film."""
    place = tmp_path_factory.mktemp("app")
    for number in range(14):
        picture(place / "media" / f"green {number}.png", "green", number=number, size=(240, 160))
    describe(picture(place / "media" / "barn.jpg", "red", size=(240, 160)), "<b>the old barn</b>")
    scenes = [RED] * 30 + [GREEN] * 30 + [BLUE] * 30
    film = write_film(place / "media" / "scenes.mp4", scenes, gop=10, size=(160, 120))
    film.with_suffix(".srt").write_text("1\n00:00:06,500 --> 00:00:08,000\nNow all is deep sea.\n")
    with opened(place / "home") as library:
        assert not library.index([place / "media"]).failed
    with (
        over_http(place / "home", OLLAMA_HOST=ollama.url, MMRAG_VLM="eye") as served,
        app_host(served.url) as started,
    ):
        yield started
    end_owners(place / "home")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    with chromium() as started:
        yield started


@pytest.fixture
def show(host: AppHost, browser: Chromium) -> Iterator[Show]:
    """Have an assistant call a tool, and give its window and the session of the page in it."""
    pages: list[Page] = []

    def shown(
        tool: str, arguments: dict[str, Any], capabilities: Any = ALL, query: str = ""
    ) -> tuple[Page, str]:
        page = Page(browser, browser.context(), width=800, height=900)
        pages.append(page)
        asked = {"tool": tool, "arguments": arguments, "capabilities": capabilities}
        page.goto(f"{host.base}/host{query}#{quote(json.dumps(asked))}")
        frame = page.frame_session()
        page.wait("document.querySelectorAll('.card').length", 60, session=frame)
        return page, frame

    yield shown
    for page in pages:
        page.close()
    assert [one for page in pages for one in page.complaints] == []
    asked_for = [url for page in pages for url in page.requests]
    assert not [url for url in asked_for if not url.startswith((host.base, "data:", "blob:"))]


def inside(page: Page, frame: str, expression: str) -> Any:
    return page.evaluate(expression, session=frame)


async def test_tools_name_the_page_and_results_stay_as_they_were_for_other_clients() -> None:
    def nobody() -> Any:
        raise NotFound("There is no library here.")

    for era in ("auto", "legacy"):
        warm = WarmLibrary(nobody)
        async with Client(MmragServer(warm), mode=era) as client:
            tools = (await client.list_tools()).tools
            named = {tool.name for tool in tools if (tool.meta or {}).get("ui")}
            assert named == SHOWN
            (content,) = (await client.read_resource(GALLERY_URI)).contents
            assert content.mime_type == APP_TYPE
            assert content.text == document().html  # type: ignore[union-attr]
            assert (content.meta or {})["ui"]["csp"] == {"resourceDomains": ["data:", "blob:"]}


@pytest.mark.slow
def test_what_was_found_is_shown_with_pictures_that_came_as_data(show: Show, host: AppHost) -> None:
    page, frame = show("search_media", {"query": "old barn"})
    assert page.evaluate("told.initialize.protocolVersion") == "2026-01-26"
    page.wait("document.querySelector('.card img')?.naturalWidth > 0", session=frame)
    assert inside(page, frame, "document.querySelector('.card img').src").startswith(
        "data:image/jpeg;base64,"
    )
    card = inside(page, frame, "document.querySelector('.card').innerText")
    assert "barn.jpg" in card
    assert "described as: '<b>the old barn</b>'" in card
    assert inside(page, frame, "document.querySelectorAll('.card b').length") == 0
    assert inside(page, frame, "document.documentElement.dataset.theme") == "dark"
    assert page.wait("told.sizes.length && told.sizes.at(-1).height > 100")
    assert inside(page, frame, "document.querySelector('#talk').hidden")
    assert ("resources/read") in {method for method, _ in host.calls}


@pytest.mark.slow
def test_a_moment_plays_at_its_second_in_the_frame(show: Show) -> None:
    page, frame = show("search_media", {"query": "deep sea"})
    inside(page, frame, "document.querySelector('.card').click()")
    page.wait("document.activeElement.className === 'play'", session=frame)
    inside(page, frame, "document.querySelector('.play').click()")
    page.wait("document.querySelector('video')?.currentTime > 0.2", 60, session=frame)
    video = "document.querySelector('video')"
    assert inside(page, frame, f"{video}.src").startswith("data:video/mp4;base64,")
    assert inside(page, frame, f"{video}.muted")
    assert inside(page, frame, f"{video}.readyState") >= 2
    assert 1 < inside(page, frame, f"{video}.duration") < 4  # the moment alone
    red, _, blue = inside(
        page,
        frame,
        """(() => {
          const canvas = document.createElement("canvas");
          canvas.width = canvas.height = 8;
          const context = canvas.getContext("2d");
          context.drawImage(document.querySelector("video"), 0, 0, 8, 8);
          return [...context.getImageData(6, 6, 1, 1).data].slice(0, 3);
        })()""",
    )
    assert blue > 150 > red


@pytest.mark.slow
def test_one_can_search_on_and_see_more_from_inside(show: Show, host: AppHost) -> None:
    page, frame = show("search_media", {"query": "green", "kind": "image", "limit": 5})
    assert inside(page, frame, "document.querySelectorAll('.card').length") == 5
    inside(page, frame, "document.querySelector('#more').click()")
    page.wait("document.querySelectorAll('.card').length === 10", session=frame)
    names = inside(
        page, frame, "[...document.querySelectorAll('.name')].map((one) => one.innerText)"
    )
    assert len(set(names)) == 10
    inside(
        page,
        frame,
        "document.querySelector('#query').value = 'barn',"
        "document.querySelector('.search-go').click()",
    )
    page.wait("document.querySelector('.name')?.innerText === 'barn.jpg'", 30, session=frame)
    called = [params for method, params in host.calls if method == "tools/call"]
    assert called[-1] == {"name": "search_media", "arguments": {"query": "barn"}}


@pytest.mark.slow
def test_asking_about_one_hands_the_question_to_the_assistant(show: Show) -> None:
    page, frame = show("search_media", {"query": "deep sea"})
    inside(page, frame, "document.querySelector('.card').click()")
    ask = (
        "document.querySelector('#about-question').value = 'What is this?',"
        "document.querySelector('.about-form [data-send]').click()"
    )
    page.wait("document.querySelector('#about-question')", session=frame)
    inside(page, frame, ask)
    message = page.wait("told.messages[0]")
    assert message["role"] == "user"
    text = message["content"][0]["text"]
    assert "video" in text
    assert "0:06" in text
    assert text.endswith("What is this?")
    page.wait(
        "document.querySelector('.about-answer').innerText.includes('assistant')", session=frame
    )


@pytest.mark.slow
def test_where_the_assistant_takes_no_messages_the_model_answers(
    show: Show, ollama: OllamaDouble
) -> None:
    page, frame = show("search_media", {"query": "old barn"}, {"serverTools": {}})
    assert inside(page, frame, "document.querySelector('.card .frame').dataset.shown") != "yes"
    inside(page, frame, "document.querySelector('.card').click()")
    page.wait("document.querySelector('#about-question')", session=frame)
    ollama.script("A barn, and red.")
    inside(page, frame, "document.querySelector('.about-form [data-send]').click()")
    page.wait(
        "document.querySelector('.about-answer').innerText === 'A barn, and red.'",
        60,
        session=frame,
    )


@pytest.mark.slow
def test_an_answer_is_shown_with_what_it_cites(show: Show, ollama: OllamaDouble) -> None:
    ollama.script("It is the sea [1].")
    page, frame = show("ask_media", {"question": "where is the deep sea?"})
    said = page.wait("document.querySelector('#answer')?.innerText", session=frame)
    assert said == "It is the sea [1]."
    inside(page, frame, "document.querySelector('#answer .cite').click()")
    page.wait("document.querySelector('#detail-title').innerText === 'scenes.mp4'", session=frame)


@pytest.mark.slow
def test_pictures_are_painted_where_a_host_allows_no_data(browser: Chromium, host: AppHost) -> None:
    page = Page(browser, browser.context(), width=800)
    asked = {"tool": "search_media", "arguments": {"query": "old barn"}, "capabilities": ALL}
    page.goto(f"{host.base}/host?nodata#{quote(json.dumps(asked))}")
    frame = page.frame_session()
    page.wait("document.querySelector('.card canvas')?.width === 240", 60, session=frame)
    page.close()
    assert all("img-src" in one or "data:" in one for one in page.complaints)
