"""Finding through MCP: pages of one ranking, what looks alike, and pictures that were pasted."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from made_films import BLUE, GREEN, write_film
from mcp_calls import ERAS, call, said
from mmrag_mcp.cursors import cursor_to, place_in
from mmrag_mcp.pasted import MAX_BYTES, bytes_of
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.errors import UsageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.plan import Plan
from mmrag_plugin.settings import load_settings

COLOURS = "red orange yellow green blue purple pink brown black white".split()
COUNT = 60
DATED = 24


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of many pictures of two colours each, and a film."""
    place = tmp_path_factory.mktemp("finding")
    media = place / "Pictures"
    media.mkdir()
    for number in range(COUNT):
        ground, spot = COLOURS[number % 10], COLOURS[number // 6]
        picture = PIL.Image.new("RGB", (64, 48), ground)
        PIL.ImageDraw.Draw(picture).rectangle((0, 0, 10 + number % 7, 40), fill=spot)
        exif = PIL.Image.Exif()
        if number < DATED:
            exif[0x0110] = "Pixel 8" if number % 2 else "Nokia <b>9</b>"
            exif[0x0132] = f"2019:{1 + number // 2:02}:10 12:00:00"
        folder = media / ("Even" if number % 2 == 0 else "Odd")
        folder.mkdir(exist_ok=True)
        picture.save(folder / f"{ground} card {number}.png", exif=exif)
    write_film(media / "meadow.mp4", [GREEN] * 50 + [BLUE] * 50, gop=10)
    chosen = load_settings(home=place / "home", visual_model="palette", text_model="off", ocr="off")
    with MediaLibrary.open(chosen, create=True) as library:
        assert library.index([media]).added == COUNT + 1
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
def real(
    shared_data: Path, minidual: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WarmLibrary]:
    """A library of a person's photos, seen by a real model."""
    place = tmp_path_factory.mktemp("real")
    chosen = load_settings(home=place, visual_model=str(minidual), text_model="visual", ocr="off")
    with MediaLibrary.open(chosen, create=True) as library:
        library.index([shared_data / "personal210"])
    opened = WarmLibrary(lambda: open_library(home=str(place)))
    opened.warm().result(100)
    yield opened
    opened.close()


def encoded(picture: PIL.Image.Image, kind: str = "PNG") -> str:
    raw = io.BytesIO()
    picture.save(raw, kind)
    return base64.b64encode(raw.getvalue()).decode()


def hits(result: Any) -> list[dict[str, Any]]:
    assert not result.is_error, said(result)
    found: list[dict[str, Any]] = result.structured_content["hits"]
    return found


async def pages(server: MmragServer, tool: str, sizes: list[int], **arguments: Any) -> list[Any]:
    """All hits of a call, page by page, in pages of these sizes and then of the last."""
    found: list[Any] = []
    cursor = None
    while True:
        limit = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        more = {"cursor": cursor} if cursor else {}
        result = await call(server, tool, limit=limit, **arguments, **more)
        page = hits(result)
        assert len(page) <= limit
        found += page
        cursor = result.structured_content.get("next_cursor")
        assert (cursor is None) == ("There is more" not in said(result))
        if cursor is None:
            return found
        assert len(page) == limit


# ---- pages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    [
        "red card",
        "blue",
        "the newest red cards",
        "green card without blue",
        '"purple card"',
        "how many yellow cards are there",
    ],
)
async def test_pages_of_any_size_are_one_ranking_without_gaps_or_doubles(
    server: MmragServer, warm: WarmLibrary, query: str
) -> None:
    by_ten = await pages(server, "search_media", [10], query=query)
    mixed = await pages(server, "search_media", [1, 7, 13], query=query)
    assert mixed == by_ten
    assert [hit["rank"] for hit in by_ten] == list(range(1, len(by_ten) + 1))
    moments = [(hit["media_id"], hit.get("start_s")) for hit in by_ten]
    assert len(set(moments)) == len(moments)

    whole = warm.open().search_question(query, limit=1000, offset=0)
    assert whole.next_offset is None
    expected = [hit.moment.media_id for hit in whole.hits]
    assert [hit["media_id"] for hit in by_ten] == expected
    assert len(by_ten) == len(expected) > 3


@pytest.mark.slow
@pytest.mark.parametrize("query", ["a dog on the beach", "people at a table", "invoice"])
async def test_pages_over_real_photos_are_one_ranking(real: WarmLibrary, query: str) -> None:
    found = await pages(MmragServer(real), "search_media", [10, 50], query=query)
    whole = real.open().search_question(query, limit=10_000, offset=0).hits
    assert [hit["media_id"] for hit in found] == [hit.moment.media_id for hit in whole]
    assert len(found) > 100
    plain = real.open().search_question(query, limit=10).hits
    assert plain == whole[:10]


async def test_the_first_page_is_what_a_search_without_pages_finds(
    server: MmragServer, warm: WarmLibrary
) -> None:
    first = hits(await call(server, "search_media", query="red card", limit=5))
    plain = warm.open().search_question("red card", limit=5)
    assert [hit["media_id"] for hit in first] == [hit.moment.media_id for hit in plain.hits]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cursor_is_refused_with_another_question_and_when_it_was_changed(
    server: MmragServer, era: str
) -> None:
    first = await call(server, "search_media", era, query="red card", limit=5)
    cursor = first.structured_content["next_cursor"]
    assert len(cursor) < 20
    for wrong in (
        {"query": "blue card", "cursor": cursor},
        {"query": "red card", "cursor": cursor, "kind": "image"},
        {"query": "red card", "cursor": cursor[:-1]},
        {"query": "red card", "cursor": "12"},
        {"query": "red card", "cursor": "ünïcödé"},
    ):
        result = await call(server, "search_media", era, **wrong)
        assert result.is_error
        assert "This cursor does not belong to this call. Repeat the call" in said(result)
    again = await call(server, "search_media", era, query="red card", limit=3, cursor=cursor)
    assert [hit["rank"] for hit in hits(again)] == [6, 7, 8]


async def test_a_cursor_works_in_another_process_of_the_same_library_only(
    home: Path, server: MmragServer
) -> None:
    first = await call(server, "search_media", query="red card", limit=5)
    cursor = first.structured_content["next_cursor"]
    other = WarmLibrary(lambda: open_library(home=str(home), text_model="off"))
    again = await call(MmragServer(other), "search_media", query="red card", cursor=cursor)
    assert hits(again)[0]["rank"] == 6
    other.close()
    with pytest.raises(UsageError):
        place_in(cursor, "another", {"tool": "search_media", "query": "red card"})


ASKED = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers() | st.text(max_size=20)
)


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=12), ASKED)
def test_a_cursor_gives_its_place_back(place: str, library: str, asked: dict[str, Any]) -> None:
    try:
        place.encode()
        library.encode()
    except UnicodeEncodeError:
        return
    assert place_in(cursor_to(place, library, asked), library, asked) == place


@given(st.text(max_size=80), ASKED, st.data())
def test_nothing_but_an_untouched_cursor_is_taken(
    noise: str, asked: dict[str, Any], data: st.DataObject
) -> None:
    cursor = cursor_to("10", "library", asked)
    for wrong in (
        noise,
        cursor + noise if noise else "",
        cursor[: data.draw(st.integers(0, len(cursor) - 1))],
        "".join(data.draw(st.permutations(cursor))),
    ):
        if wrong != cursor:
            with pytest.raises(UsageError, match="leave the cursor out"):
                place_in(wrong, "library", asked)
    with pytest.raises(UsageError):
        place_in(cursor, "library", {**asked, "one more": 1})


# ---- what looks alike ------------------------------------------------------------------------


async def test_what_looks_like_a_media_is_found_without_the_media_itself(
    server: MmragServer,
) -> None:
    (first,) = hits(await call(server, "search_media", query="pink card", limit=1))
    alike = await call(server, "find_similar", media_id=first["media_id"], limit=5)
    assert first["media_id"] not in {hit["media_id"] for hit in hits(alike)}
    assert Path(hits(alike)[0]["path"]).name.startswith("pink")
    link = next(part for part in alike.content if part.type == "resource_link")
    assert link.uri == f"mmrag://media/{hits(alike)[0]['media_id']}"


async def test_the_time_says_which_picture_of_a_film_is_meant(server: MmragServer) -> None:
    (film,) = hits(await call(server, "search_media", query="meadow", kind="film", limit=1))
    for at, colour in (("0:02", "green"), (8, "blue"), ("0:06-0:09", "blue")):
        alike = await call(server, "find_similar", media_id=film["media_id"], at=at, kind="photos")
        assert Path(hits(alike)[0]["path"]).name.startswith(colour)
    late = await call(server, "find_similar", media_id=film["media_id"], at="7:00")
    assert "7:00 is after the end of this video" in said(late)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
async def test_a_pasted_picture_finds_its_like(server: MmragServer, kind: str) -> None:
    picture = encoded(PIL.Image.new("RGB", (300, 200), "orange"), kind)
    plain = await call(server, "find_similar", picture=picture, limit=3)
    assert Path(hits(plain)[0]["path"]).name.startswith("orange")
    uri = f"data:image/{kind.lower()};base64,{picture}"
    assert hits(await call(server, "find_similar", picture=uri, limit=3)) == hits(plain)


async def test_similar_media_come_in_pages_too(server: MmragServer) -> None:
    picture = encoded(PIL.Image.new("RGB", (300, 200), "orange"))
    found = await pages(server, "find_similar", [9], picture=picture)
    assert len(found) == len({(hit["media_id"], hit.get("start_s")) for hit in found}) > COUNT
    first = await call(server, "find_similar", picture=picture, limit=9)
    cursor = first.structured_content["next_cursor"]
    other = encoded(PIL.Image.new("RGB", (300, 200), "red"))
    result = await call(server, "find_similar", picture=other, cursor=cursor)
    assert "This cursor does not belong to this call." in said(result)


def bomb() -> str:
    """A PNG of 40,000 x 40,000 white pixels in a few thousand bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 5_001 * 2_000, 9)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", rows), chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(parts)).decode()


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("/etc/passwd", "addresses and paths are not opened."),
        ("https://example.org/cat.jpg", "addresses and paths are not opened."),
        ("data:text/html;base64,PGI+", "The picture is not base64."),
        ("!!!!", "The picture is not base64."),
        (base64.b64encode(b"no picture at all").decode(), "Pass the bytes of a JPEG"),
        (bomb(), "too large to decode"),
    ],
)
async def test_what_is_no_picture_is_refused_with_a_sentence(
    server: MmragServer, picture: str, expected: str
) -> None:
    result = await call(server, "find_similar", picture=picture)
    assert result.is_error
    assert expected in said(result)
    assert "/tmp" not in said(result)
    assert len(said(result)) < 400


async def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded(
    server: MmragServer,
) -> None:
    with pytest.raises(UsageError, match="larger than 3 MB"):
        bytes_of("A" * (4 * MAX_BYTES // 3 + 1000))
    result = await call(server, "find_similar", picture="A" * (4 * MAX_BYTES // 3 + 1000))
    assert "larger than 3 MB. Scale it down" in said(result)
    assert len(bytes_of(base64.b64encode(bytes(MAX_BYTES)).decode())) == MAX_BYTES


async def test_one_of_a_media_and_a_picture_is_wanted(server: MmragServer) -> None:
    assert "nothing to compare with" in said(await call(server, "find_similar"))
    picture = encoded(PIL.Image.new("RGB", (30, 20), "orange"))
    both = await call(server, "find_similar", media_id="abc", picture=picture)
    assert "Give one of them." in said(both)
    unknown = await call(server, "find_similar", media_id="../../etc/passwd")
    assert "There is no media" in said(unknown)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["", "data:image/png;base64,"]), st.booleans())
def test_base64_arrives_as_it_was_however_it_was_written(
    raw: bytes, prefix: str, url_safe: bool
) -> None:
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    text = encode(raw).decode()
    wrapped = "\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    for written in (text, text.rstrip("="), wrapped):
        if raw:
            assert bytes_of(prefix + written) == raw
        else:
            with pytest.raises(UsageError):
                bytes_of(prefix + written)


# ---- looking through -------------------------------------------------------------------------


async def test_media_are_counted_by_what_was_asked_for(server: MmragServer) -> None:
    async def counts(**arguments: Any) -> dict[str, int]:
        result = await call(server, "browse_media", **arguments)
        assert not result.is_error, said(result)
        return {value["label"]: value["count"] for value in result.structured_content["values"]}

    assert await counts(by="kind") == {"image": COUNT, "video": 1}
    assert await counts(by="year") == {"2019": DATED}
    months = await counts(by="month", limit=100)
    assert list(months) == [f"2019-{month:02}" for month in range(12, 0, -1)]
    assert set(months.values()) == {2}
    assert set((await counts(by="folder")).values()) == {COUNT + 1}
    inside = await counts(by="folder", folder="Pictures")
    assert sorted(inside.values()) == [1, 30, 30]  # the film lies in none of them
    assert await counts(by="month", since="Nov 2019") == {"2019-11": 2, "2019-12": 2}
    assert await counts(by="kind", folder="Odd") == {"image": 30}
    assert (await counts(by="camera"))["Pixel 8"] == DATED // 2


async def test_labels_out_of_files_are_fenced_and_the_rest_is_counted(server: MmragServer) -> None:
    result = await call(server, "browse_media", by="camera")
    assert "37 of them without a camera" in said(result)
    body = said(result).partition("\n")[2]
    assert body.startswith("<media_text>12  ")
    assert body.count("<") == 2
    assert "<b>" not in said(result)


async def test_the_media_of_a_value_come_newest_first_in_pages(server: MmragServer) -> None:
    async def listed(**arguments: Any) -> list[str]:
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            result = await call(server, "browse_media", **arguments, **cursor)
            assert not result.is_error, said(result)
            content = result.structured_content
            found += [media["media_id"] for media in content["media"]]
            if "next_cursor" not in content:
                assert len(found) == content["total"] == len(set(found))
                return found
            cursor = {"cursor": content["next_cursor"]}

    year = await listed(by="year", value=2019, limit=7)
    assert len(year) == DATED
    assert await listed(by="year", value="2019", limit=100) == year
    assert await listed(by="month", value="December 2019") == year[:2]
    assert len(await listed(by="kind", value="photos", limit=17)) == COUNT
    assert len(await listed(by="folder", value="Pictures/Odd", limit=11)) == 30


async def test_counts_come_in_pages_and_with_examples(server: MmragServer) -> None:
    first = await call(server, "browse_media", by="month", limit=8, examples=2)
    values = first.structured_content["values"]
    assert all(len(value["media_ids"]) == 2 for value in values)
    assert values[0]["media_ids"][0] in said(first)
    cursor = first.structured_content["next_cursor"]
    second = await call(server, "browse_media", by="month", limit=8, cursor=cursor)
    assert [value["label"] for value in second.structured_content["values"]] == [
        "2019-04",
        "2019-03",
        "2019-02",
        "2019-01",
    ]
    assert "next_cursor" not in second.structured_content
    wrong = await call(server, "browse_media", by="day", cursor=cursor)
    assert "This cursor does not belong to this call." in said(wrong)


async def test_where_nothing_has_a_value_the_list_is_empty_and_there(server: MmragServer) -> None:
    people = await call(server, "browse_media", by="person")
    assert people.structured_content["values"] == []
    assert people.structured_content["without"] == people.structured_content["total"] == COUNT + 1
    none = await call(server, "browse_media", by="kind", value="video", since=2031)
    assert none.structured_content["media"] == []
    assert "values" not in none.structured_content


async def test_a_value_that_is_none_is_answered_with_those_there_are(server: MmragServer) -> None:
    result = await call(server, "browse_media", by="camera", value="Kodak")
    assert result.is_error
    assert "No media of this library has the camera 'Kodak'" in said(result)
    assert "Pixel 8" in said(result)
    for value in ("../../etc", "x' OR '1'='1", 'a"] or media_id in ["b'):
        result = await call(server, "browse_media", by="folder", value=value)
        assert result.is_error or result.structured_content["total"] == 0


def test_a_plan_that_asks_for_a_number_bounds_its_pages(warm: WarmLibrary) -> None:
    library = warm.open()
    plan = Plan("seven red cards", visual="red card", limit=7)
    first = library.search_plan(plan, limit=5, offset=0)
    assert (len(first.hits), first.next_offset) == (7, None)
    many = Plan("all of 55 cards", visual="red card", limit=55)
    first = library.search_plan(many, limit=5, offset=0)
    assert (len(first.hits), first.next_offset) == (50, 50)
    last = library.search_plan(many, limit=5, offset=50)
    assert ([hit.rank for hit in last.hits], last.next_offset) == ([51, 52, 53, 54, 55], None)
