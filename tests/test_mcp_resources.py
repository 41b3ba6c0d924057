"""What a client reads, completes and begins with: resources, completions and prompts."""

from __future__ import annotations

import base64
import io
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import av
import PIL.Image
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, PromptReference, ResourceTemplateReference

from made_films import BLUE, GREEN, write_film
from mcp_calls import ERAS, said
from mmrag_mcp.calls import THREADS
from mmrag_mcp.resources import CLIPS_AT_ONCE
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.errors import StorageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.makers.base import Stopped
from mmrag_plugin.settings import load_settings
from mmrag_plugin.vlm.fake import main_colour

SECRET = "Passwords.txt"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("resources")
    media = place / "Holiday"
    (media / "Lisbon trip").mkdir(parents=True)
    exif = PIL.Image.Exif()
    exif[0x0132] = "2019:05:20 12:00:00"
    picture = PIL.Image.new("RGB", (640, 480), "red")
    picture.save(media / "Lisbon trip" / "red car.jpg", exif=exif)
    PIL.Image.new("RGB", (64, 48), "yellow").save(media / "yellow <b>ball.png")
    write_film(media / "meadow.mp4", [GREEN] * 50 + [BLUE] * 50, gop=10)
    (place / SECRET).write_text("secret")
    chosen = load_settings(home=place / "home", visual_model="palette", text_model="off", ocr="off")
    with MediaLibrary.open(chosen, create=True) as library:
        assert library.index([media]).added == 3
    return place / "home"


@pytest.fixture(scope="module")
def warm(home: Path) -> Iterator[WarmLibrary]:
    opened = WarmLibrary(lambda: open_library(home=str(home), text_model="off"))
    opened.warm().result(60)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(warm: WarmLibrary) -> MmragServer:
    return MmragServer(warm)


@pytest.fixture(scope="module")
def ids(warm: WarmLibrary) -> dict[str, str]:
    rows = warm.open().ledger.media_rows()
    return {Path(row.path).name: media_id for media_id, row in rows.items()}


def pixels(content: Any) -> PIL.Image.Image:
    assert content.mime_type == "image/jpeg"
    return PIL.Image.open(io.BytesIO(base64.b64decode(content.blob)))


# ---- resources -------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_the_resources_are_listed_with_what_they_are(server: MmragServer, era: str) -> None:
    async with Client(server, mode=era) as client:
        (library,) = (await client.list_resources()).resources
        assert library.uri == "mmrag://library"
        templates = (await client.list_resource_templates()).resource_templates
        assert {template.uri_template: template.mime_type for template in templates} == {
            "mmrag://media/{id}": "text/plain",
            "mmrag://media/{id}/thumbnail": "image/jpeg",
            "mmrag://media/{id}/frame/{time}": "image/jpeg",
            "mmrag://media/{id}/clip/{span}": "video/mp4",
        }
        assert all(template.title and template.description for template in templates)


@pytest.mark.parametrize("era", ERAS)
async def test_the_librarys_facts_say_what_is_in_it_and_how_to_search(
    server: MmragServer, era: str
) -> None:
    async with Client(server, mode=era) as client:
        (content,) = (await client.read_resource("mmrag://library")).contents
        told = await client.call_tool("library_info", {})
    assert content.text == said(told)
    for fact in ("2 images, 1 video", "by year: 2019: 1", "folders:", "Holiday", "by colour"):
        assert fact in content.text
    assert told.structured_content["years"] == {"2019": 1}
    assert len(told.structured_content["how_to_search"]) > 2


@pytest.mark.parametrize("era", ERAS)
async def test_a_media_its_pictures_and_its_clips_can_be_read(
    server: MmragServer, ids: dict[str, str], era: str
) -> None:
    photo, film = (f"mmrag://media/{ids[name]}" for name in ("red car.jpg", "meadow.mp4"))
    async with Client(server, mode=era) as client:

        async def read(uri: str) -> Any:
            (content,) = (await client.read_resource(uri)).contents
            assert content.uri == uri
            return content

        details = await read(photo)
        assert "taken 2019-05-20" in details.text
        assert "<media_text>" in details.text
        small = pixels(await read(f"{photo}/thumbnail"))
        assert (main_colour(small), max(small.size)) == ("red", 320)
        assert not small.getexif()
        for time, colour in (("0:02", "green"), ("8.5", "blue"), ("0:06-0:09", "blue")):
            assert main_colour(pixels(await read(f"{film}/frame/{time}"))) == colour
        clip = await read(f"{film}/clip/0:06-0:08")
        assert clip.mime_type == "video/mp4"
        with av.open(io.BytesIO(base64.b64decode(clip.blob))) as opened:
            frames = [frame.to_image() for frame in opened.decode(video=0)]
        assert {main_colour(frame) for frame in frames} == {"blue"}


UNREADABLE = (
    "mmrag://media/nothing",
    "mmrag://media/",
    "mmrag://media/..%2F..%2FPasswords.txt",
    "mmrag://media/../../Passwords.txt",
    "mmrag://media/%2Fetc%2Fpasswd",
    "mmrag://media/..",
    "mmrag://media/a'b",
    'mmrag://media/a"]%20or%20media_id%20in%20["b',
    "mmrag://media/[abc]",
    "mmrag://media/{id}",
    "mmrag://media/a%00b",
    "mmrag://media/ab\nc",
    "mmrag://media/" + "a" * 5000,
    "mmrag://media/ID/frame/noon",
    "mmrag://media/ID/frame/7:00",
    "mmrag://media/ID/frame/..%2Fx",
    "mmrag://media/ID/clip/0:09-0:05",
    "mmrag://media/ID/clip/x-y",
    "mmrag://media/ID/original",
    "mmrag://media/ID/clip/1-2/more",
    "mmrag://library/../media",
    "mmrag://other",
    "file:///etc/passwd",
    "https://example.org/",
)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("uri", UNREADABLE)
async def test_what_names_no_resource_is_not_found(
    server: MmragServer, ids: dict[str, str], era: str, uri: str
) -> None:
    uri = uri.replace("ID", ids["meadow.mp4"])
    async with Client(server, mode=era) as client:
        with pytest.raises(MCPError) as raised:
            await client.read_resource(uri)
    assert raised.value.code == INVALID_PARAMS
    assert "secret" not in str(raised.value)
    assert str(Path.home()) not in str(raised.value)


async def test_an_id_alone_is_not_enough_for_a_media_that_has_gone(
    server: MmragServer, warm: WarmLibrary, ids: dict[str, str]
) -> None:
    row = warm.open().ledger.media_rows([ids["yellow <b>ball.png"]])
    path = Path(next(iter(row.values())).path)
    away = path.rename(path.with_suffix(".away"))
    try:
        async with Client(server) as client:
            uri = f"mmrag://media/{ids['yellow <b>ball.png']}"
            assert (await client.read_resource(uri)).contents
            with pytest.raises(MCPError, match="is not there any more"):
                await client.read_resource(f"{uri}/frame/0")
    finally:
        away.rename(path)


@pytest.mark.parametrize("era", ERAS)
async def test_a_clip_that_takes_long_can_be_cancelled(
    server: MmragServer,
    warm: WarmLibrary,
    ids: dict[str, str],
    era: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    monkeypatch.setattr(
        warm.open(), "preview", lambda *_, **__: release.wait(20) and b"", raising=False
    )
    uri = f"mmrag://media/{ids['meadow.mp4']}/clip/1-2"

    async with Client(server, mode=era) as client:
        began = time.monotonic()
        with anyio.move_on_after(0.5) as scope:
            await client.read_resource(uri)
        assert scope.cancelled_caught
        assert time.monotonic() - began < 3
        assert (await client.read_resource("mmrag://library")).contents
    release.set()


async def test_clips_that_wait_for_others_hold_up_nothing_else_and_end_when_they_are_cancelled(
    server: MmragServer, warm: WarmLibrary, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, ended = threading.Semaphore(0), threading.Semaphore(0)

    def preview(*_: Any, stopped: Callable[[], bool], **__: Any) -> bytes:
        begun.release()
        while not stopped():
            time.sleep(0.01)
        ended.release()
        raise Stopped("stopped")

    monkeypatch.setattr(warm.open(), "preview", preview, raising=False)
    async with Client(server) as client, anyio.create_task_group() as tasks:
        for number in range(2 * THREADS):
            span = f"mmrag://media/{ids['meadow.mp4']}/clip/1-{2 + number / 10}"
            tasks.start_soon(client.read_resource, span)
        with anyio.fail_after(10):
            for _ in range(CLIPS_AT_ONCE):
                while not begun.acquire(blocking=False):
                    await anyio.sleep(0.01)
            picture = await client.read_resource(
                f"mmrag://media/{ids['yellow <b>ball.png']}/thumbnail"
            )
        assert picture.contents
        assert not begun.acquire(blocking=False)
        tasks.cancel_scope.cancel()
    assert all(ended.acquire(timeout=5) for _ in range(CLIPS_AT_ONCE))


async def test_what_is_wrong_with_the_facts_names_nothing_of_this_machine(
    server: MmragServer, warm: WarmLibrary, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def counts() -> dict[str, Any]:
        raise StorageError(f"{home}/libraries/default/ledger.db can't be read.")

    monkeypatch.setattr(warm.open().ledger, "counts", counts)
    async with Client(server) as client:
        with pytest.raises(MCPError, match="can't be read") as failed:
            await client.read_resource("mmrag://library")
    assert str(home) not in str(failed.value)


async def test_without_a_library_the_resource_says_what_to_do(tmp_path: Path) -> None:
    empty = WarmLibrary(lambda: open_library(home=str(tmp_path)))
    async with Client(MmragServer(empty)) as client:
        with pytest.raises(MCPError, match="mmrag index FOLDER"):
            await client.read_resource("mmrag://library")
        found = await client.complete(PromptReference(name="find"), {"name": "folder", "value": ""})
        assert found.completion.values == []


# ---- prompts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_prompts_name_tools_that_are_there_and_what_was_asked(
    server: MmragServer, era: str
) -> None:
    asked = {
        "find": {"what": "a red car", "place": "Lisbon", "when": "2019", "folder": "Holiday"},
        "compare": {"first": "abc", "second": "a yellow ball"},
        "make_album": {"about": "our summer", "count": "5"},
        "tell_day": {"day": "2019-05-20"},
    }
    async with Client(server, mode=era) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools} | {"make_media"}
        prompts = {prompt.name: prompt for prompt in (await client.list_prompts()).prompts}
        assert prompts.keys() == asked.keys()
        for name, arguments in asked.items():
            assert prompts[name].title
            assert prompts[name].description
            assert all(argument.description for argument in prompts[name].arguments or ())
            (message,) = (await client.get_prompt(name, arguments)).messages
            text = message.content.text
            assert all(value in text for value in arguments.values())
            words = text.replace("(", " ").replace(",", " ").replace(".", " ").split()
            named = {word for word in words if "_media" in word or word == "find_similar"}
            assert named
            assert named <= tools


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("find", {}, "find needs the argument 'what': What to look for, in plain words."),
        ("find", {"what": "  "}, "find needs the argument 'what'"),
        ("compare", {"first": "abc"}, "compare needs the argument 'second'"),
        ("find", {"what": "x", "wen": "2019"}, "has no argument 'wen'; did you mean 'when'?"),
        ("fnd", {"what": "x"}, "There is no prompt 'fnd'; did you mean 'find'?"),
    ],
)
async def test_a_wrong_prompt_is_answered_with_a_sentence(
    server: MmragServer, era: str, name: str, arguments: dict[str, str], expected: str
) -> None:
    async with Client(server, mode=era) as client:
        with pytest.raises(MCPError) as raised:
            await client.get_prompt(name, arguments)
    assert raised.value.code == INVALID_PARAMS
    assert expected in str(raised.value)


async def test_what_is_typed_into_a_prompt_stays_one_bounded_line(server: MmragServer) -> None:
    typed = "a\nb\u202ec\x00" + "x" * 10_000
    async with Client(server) as client:
        (message,) = (await client.get_prompt("find", {"what": typed})).messages
    first = message.content.text.splitlines()[0]
    assert first.startswith("Find in my photos and videos: a bcx")
    assert len(first) < 600


# ---- completions -----------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_what_is_begun_is_completed(
    server: MmragServer, ids: dict[str, str], era: str
) -> None:
    async with Client(server, mode=era) as client:

        async def completed(ref: Any, name: str, value: str) -> list[str]:
            found = await client.complete(ref, {"name": name, "value": value})
            return list(found.completion.values)

        media = ResourceTemplateReference(uri="mmrag://media/{id}/thumbnail")
        car = ids["red car.jpg"]
        assert await completed(media, "id", car[:5]) == [car]
        assert set(await completed(media, "id", "")) == set(ids.values())
        assert await completed(media, "id", "meadow") == [ids["meadow.mp4"]]
        assert await completed(media, "id", "' OR 1=1 --") == []
        assert await completed(media, "id", "%") == []
        find = PromptReference(name="find")
        assert await completed(find, "folder", "lis") == ["Lisbon trip"]
        assert await completed(find, "folder", "") == ["Holiday", "Lisbon trip"]
        assert await completed(find, "when", "2019") == ["2019-05"]
        assert await completed(PromptReference(name="tell_day"), "day", "") == ["2019-05-20"]
        assert await completed(find, "place", "atlan") == []
        assert await completed(find, "what", "red") == []
        compare = PromptReference(name="compare")
        assert await completed(compare, "second", car[:6]) == [car]
