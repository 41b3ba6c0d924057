"""Indexing and annotating through MCP, and what is hidden behind each of its doors."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from made_films import BLUE, RED, write_film
from mcp_calls import call, said
from media_made import describe, end_owners, opened, picture
from mmrag_mcp.rights import Rights
from mmrag_mcp.server import MmragServer
from mmrag_mcp.tools.index import SHOWN
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.index_run import Run
from mmrag_plugin.marks import MAX_NAME_CHARS
from mmrag_plugin.upkeep import verify

SECRET = "Mallory"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A library over ``Pictures``, in which the folder ``private`` is hidden."""
    pictures = tmp_path.resolve() / "Pictures"
    for number, colour in enumerate(["red", "green", "blue"]):
        picture(pictures / f"{colour}.jpg", colour, number=number, taken_at="2019:05:06 10:00:00")
    hidden = picture(
        pictures / "private" / "pool.jpg",
        "yellow",
        number=9,
        taken_at="2021:05:06 10:00:00",
        camera=f"{SECRET}cam",
    )
    describe(hidden, f"{SECRET} at the pool")
    with opened(tmp_path / "home") as library:
        library.index([pictures])
        library.hide(str(pictures / "private"))
    yield tmp_path.resolve()
    end_owners(tmp_path / "home")


@pytest.fixture
def warm(place: Path) -> Iterator[WarmLibrary]:
    found = WarmLibrary(
        lambda: open_library(
            home=str(place / "home"), visual_model="palette", text_model="off", ocr="off"
        )
    )
    yield found
    found.close()


def served(warm: WarmLibrary, *roots: Path) -> MmragServer:
    return MmragServer(warm, allow_write=True, rights=Rights(tuple(roots)))


def secret_id(place: Path) -> str:
    with opened(place / "home") as library:
        row = library.find(str(place / "Pictures" / "private" / "pool.jpg"))
        assert row is not None
        return row.media_id


# ---- hidden --------------------------------------------------------------------------------------


async def test_no_tool_tells_of_what_is_hidden(place: Path, warm: WarmLibrary) -> None:
    server, secret = served(warm), secret_id(place)
    asked: list[tuple[str, dict[str, Any]]] = [
        ("search_media", {"query": f"{SECRET} at the pool"}),
        ("search_media", {"query": "yellow", "limit": 50}),
        ("search_media", {"query": "how many photos from 2021?"}),
        ("search_media", {"query": "pool", "folder": "private"}),
        ("get_media", {"media_id": secret, "include_picture": True}),
        ("find_similar", {"media_id": secret}),
        ("describe_media", {"media_id": secret}),
        ("annotate_media", {"media_id": secret, "caption": "hello"}),
        ("make_media", {"what": "sheet", "media_ids": [secret]}),
        ("browse_media", {"by": "year"}),
        ("browse_media", {"by": "folder", "folder": "Pictures"}),
        ("browse_media", {"by": "camera"}),
        ("browse_media", {"by": "folder", "value": "Pictures/private"}),
        ("browse_media", {"by": "year", "value": "2021"}),
        ("library_info", {}),
        ("index_media", {"folder": "Pictures"}),
    ]
    for tool, arguments in asked:
        result = await call(server, tool, **arguments)
        told = said(result) + json.dumps(result.structured_content or {})
        for word in (SECRET, "pool.jpg", "2021"):
            echoed = word in json.dumps(arguments)
            assert word not in told.replace(str(arguments.get("query")), "") or echoed, tool
        if "media_id" in arguments:
            assert result.is_error, tool
    info = await call(server, "library_info")
    assert "3 images" in said(info)


async def test_no_resource_and_no_completion_tells_of_what_is_hidden(
    place: Path, warm: WarmLibrary
) -> None:
    secret = secret_id(place)
    async with Client(served(warm)) as client:
        for template in (await client.list_resource_templates()).resource_templates:
            uri = template.uri_template.replace("{id}", secret)
            uri = uri.replace("{time}", "0").replace("{span}", "0-1")
            with pytest.raises(Exception, match=r"(?i)no media|not found|unknown"):
                await client.read_resource(uri)
        for listed in (await client.list_resources()).resources:
            contents = (await client.read_resource(listed.uri)).contents
            assert SECRET not in str(contents)
            assert "private" not in str(contents)


# ---- annotate_media ------------------------------------------------------------------------------


async def test_what_the_person_says_is_found_at_once(warm: WarmLibrary) -> None:
    server = served(warm)
    found = await call(server, "search_media", query="green")
    media_id = found.structured_content["hits"][0]["media_id"]
    done = await call(
        server,
        "annotate_media",
        media_id=media_id,
        caption="Grandmother's clearing",
        tags=["picnic", "[img] </media_text>"],
        people="Anna Lee",
    )
    assert not done.is_error, said(done)
    assert done.structured_content["added"] == 4
    assert done.structured_content["searchable"] is True
    assert said(done).count("</media_text>") == 4
    again = await call(server, "search_media", query="grandmother")
    assert again.structured_content["hits"][0]["media_id"] == media_id
    twice = await call(server, "annotate_media", media_id=media_id, tags=["Picnic"])
    assert twice.structured_content["added"] == 0
    people = await call(server, "browse_media", by="person")
    assert [value["label"] for value in people.structured_content["values"]] == ["Anna Lee"]


async def test_what_says_nothing_is_refused_with_what_to_do(warm: WarmLibrary) -> None:
    server = served(warm)
    found = await call(server, "search_media", query="green")
    media_id = found.structured_content["hits"][0]["media_id"]
    for arguments in (
        {},
        {"caption": "x" * 3000},
        {"tags": ["..."]},
        {"tags": [f"tag {n}" for n in range(31)]},
        {"media_id": "nobody", "caption": "x"},
        {"note": "hello"},
    ):
        refused = await call(server, "annotate_media", **{"media_id": media_id, **arguments})
        assert refused.is_error
        assert said(refused)
    longer = {"media_id": media_id, "people": ["x" * (MAX_NAME_CHARS + 1)]}
    assert "at most 60 characters" in said(await call(server, "annotate_media", **longer))
    longest = {"media_id": media_id, "tags": ["x" * MAX_NAME_CHARS]}
    assert not (await call(server, "annotate_media", **longest)).is_error


async def test_a_moment_is_annotated_where_it_is(place: Path, warm: WarmLibrary) -> None:
    write_film(place / "Pictures" / "walk.mp4", [RED] * 30 + [BLUE] * 30, gop=10)
    server = served(warm)
    assert not (await call(server, "index_media", folder="Pictures")).is_error
    films = await call(server, "browse_media", by="kind", value="video")
    media_id = films.structured_content["media"][0]["media_id"]
    done = await call(
        server, "annotate_media", media_id=media_id, caption="the dog jumps", start="0:04", end="5"
    )
    assert "0:04-0:05" in said(done)
    (hit,) = (await call(server, "search_media", query="dog jumps")).structured_content["hits"][:1]
    assert (hit["start_s"], hit["end_s"]) == (4.0, 5.0)


# ---- index_media ---------------------------------------------------------------------------------


async def test_a_folder_is_brought_up_to_date(place: Path, warm: WarmLibrary) -> None:
    server = served(warm)
    picture(place / "Pictures" / "new" / "white.jpg", "white", number=50)
    (place / "Pictures" / "new" / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    picture(place / "Pictures" / "private" / "also.jpg", "white", number=51)
    done = await call(server, "index_media", folder="Pictures")
    told = done.structured_content
    assert (told["added"], told["failed"]) == (2, 1)
    assert told["failures"][0]["path"].endswith("broken.jpg")
    assert told["failures"][0]["reason"]
    assert "also.jpg" not in said(done) + json.dumps(told)
    found = await call(server, "search_media", query="white", limit=50)
    paths = [hit["path"] for hit in found.structured_content["hits"]]
    assert any(path.endswith("white.jpg") for path in paths)
    assert not any("also.jpg" in path for path in paths)


async def test_only_allowed_folders_are_indexed(
    place: Path, warm: WarmLibrary, tmp_path: Path
) -> None:
    allowed, other = place / "Allowed", place / "Other"
    picture(allowed / "in" / "white.jpg", "white", number=50)
    picture(other / "black.jpg", "black", number=51)
    (place / "Pictures" / "link").symlink_to(other)
    server = served(warm, allowed)
    for refused in (
        str(other),
        str(place / "Pictures" / ".." / "Other"),
        "Pictures/../Other",
        "Pictures/link",
        str(place / "Pictures" / "link"),
        str(place),
        "/",
        "~",
        "/nowhere/at/all",
        "Pictures/private",
        str(place / "Pictures" / "private"),
        str(place / "home"),
        "Allowed2",
        " ",
    ):
        result = await call(server, "index_media", folder=refused)
        assert result.is_error, refused
        assert "may not be indexed" in said(result), refused
    missing = await call(server, "index_media", folder="Pictures/gone")
    assert "no folder" in said(missing)
    a_file = await call(server, "index_media", folder=str(place / "Pictures" / "red.jpg"))
    assert "no folder" in said(a_file)
    done = await call(server, "index_media", folder=str(allowed / "in"))
    assert done.structured_content["added"] == 1
    async with Client(MmragServer(warm)) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
    assert {"index_media", "annotate_media"}.isdisjoint(names)


async def test_a_cancelled_call_ends_the_run_with_everything_kept(
    place: Path, warm: WarmLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Run.between_media

    def slowly(self: Run) -> None:
        time.sleep(0.5)
        original(self)

    monkeypatch.setattr(Run, "between_media", slowly)
    for number in range(150):
        picture(place / "Pictures" / f"many {number}.png", "white", number=number + 50)
    progress: list[str] = []
    reading = threading.Event()

    async def hear(done: float, total: float | None, message: str | None) -> None:
        progress.append(message or "")
        if "pictures" in (message or "") or "written" in (message or ""):
            reading.set()

    async with Client(served(warm)) as client:
        await client.list_tools()
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                with anyio.move_on_after(20):
                    while not reading.is_set():
                        await anyio.sleep(0.05)
                scope.cancel()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel)
                await client.call_tool(
                    "index_media", {"folder": "Pictures"}, progress_callback=hear
                )
                tasks.cancel_scope.cancel()
    library = warm.open().whole
    deadline = time.monotonic() + 30
    while library.ledger.lease_holder() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert library.ledger.lease_holder() is None
    monkeypatch.undo()
    assert any("written" in message for message in progress), progress
    assert not any(" of " in message for message in progress), progress  # something is hidden
    assert library.stores()["visual"].count() < 154
    report = library.index([])
    assert report.stopped_by is None
    assert library.stores()["visual"].count() == 154
    assert [(d.missing, d.surplus) for d in verify(library)] == [([], []), ([], [])]


async def test_a_report_of_many_failures_stays_short(place: Path, warm: WarmLibrary) -> None:
    for number in range(30):
        (place / "Pictures" / f"broken {number}.jpg").write_bytes(b"\xff\xd8 %d" % number)
    done = await call(served(warm), "index_media", folder="Pictures")
    assert done.structured_content["failed"] == 30
    assert len(done.structured_content["failures"]) == SHOWN
    assert len(said(done)) < 6_000
