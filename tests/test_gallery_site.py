"""The gallery's site: what it tells its own page, and whom it refuses."""

from __future__ import annotations

import io
import json
import signal
import socket
import subprocess
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import anyio
import httpx
import PIL.Image
import pytest

from commands import MMRAG, environment, mmrag_here
from made_films import BLUE, GREEN, RED, write_film
from media_made import describe, end_owners, opened, picture
from mmrag_plugin.gallery.document import document
from mmrag_plugin.gallery.gate import Gate
from mmrag_plugin.gallery.site import THREADS, Site
from mmrag_plugin.library import MediaLibrary
from ollama_double import OllamaDouble

PORT = 8123
HERE = f"http://127.0.0.1:{PORT}"


@pytest.fixture(scope="module")
def ollama() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, ollama: OllamaDouble
) -> Iterator[MediaLibrary]:
    """A library of 30 pictures in two folders, a film, and a film that no browser plays."""
    place = tmp_path_factory.mktemp("site").resolve()
    for number in range(15):
        picture(place / "media" / "Red" / f"red {number}.png", "red", number=number)
        day = f"2024:05:{number + 1:02} 10:00:00"
        picture(
            place / "media" / "Blue" / f"blue {number}.jpg", "blue", number=number, taken_at=day
        )
    describe(place / "media" / "Red" / "red 3.png", "a letter box in Lisbon")
    write_film(place / "media" / "colours.mp4", [RED] * 20 + [GREEN] * 20 + [BLUE] * 20, gop=10)
    write_film(place / "media" / "old.avi", [RED] * 20 + [BLUE] * 20, gop=10)
    with opened(place / "home", vlm="eye", ollama_host=ollama.url) as found:
        assert found.index([place / "media"]).added == 32
        yield found
    end_owners(place / "home")


@pytest.fixture
def gate(library: MediaLibrary) -> Gate:
    return Gate(Site(library).app(), PORT)


@pytest.fixture
async def page(gate: Gate) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that has opened the address."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(gate), base_url=HERE, headers={"origin": HERE}
    ) as client:
        opened_page = await client.get(gate.address)
        assert opened_page.status_code == 200
        yield client


def id_of(library: MediaLibrary, name: str) -> str:
    (found,) = [row for row in library.ledger.media_rows().values() if row.path.endswith(name)]
    return found.media_id


# ---- whom it lets in ---------------------------------------------------------------------------


async def test_the_address_works_once_and_gives_a_cookie_that_scripts_and_other_sites_lack(
    gate: Gate,
) -> None:
    transport = httpx.ASGITransport(gate)
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as first:
        assert (await first.get("/")).status_code == 401
        assert (await first.get("/?token=")).status_code == 401
        assert (await first.get("/?token=" + "x" * 43)).status_code == 401
        assert (await first.get("/api/library")).status_code == 401
        opened_page = await first.get(gate.address)
        assert opened_page.status_code == 200
        cookie = opened_page.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert (await first.get("/")).status_code == 200
        assert (await first.get("/api/library")).status_code == 200
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as second:
        refused = await second.get(gate.address)
        assert refused.status_code == 401
        assert "mmrag browse" in refused.text
        assert "set-cookie" not in refused.headers
        name = opened_page.headers["set-cookie"].partition("=")[0]
        for value in ("", "x", "é"):
            headers = {"cookie": f"{name}={value}".encode()}
            assert (await second.get("/api/library", headers=headers)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1:1"}, 421),
        ({"host": f"127.0.0.1:{PORT}.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
    ],
)
async def test_other_sites_and_rebound_names_are_refused(
    page: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await page.get("/api/library", headers=headers)).status_code == status


async def test_nothing_can_be_sent_from_elsewhere(gate: Gate, page: httpx.AsyncClient) -> None:
    del page.headers["origin"]
    sent = await page.post("/api/talks/1", json={"message": "hello"})
    assert sent.status_code == 403
    assert (await page.put("/api/talks/1")).status_code == 405
    assert (await page.request("OPTIONS", "/api/library")).status_code == 405
    too_much = await page.post(
        "/api/talks/1", headers={"origin": HERE}, content=b'{"message": "' + b"x" * 100_000
    )
    assert too_much.status_code == 413
    for body in (
        b"",
        b"[]",
        b"{",
        b"[" * 60_000,
        b'{"message": 3}',
        b'{"message": "hi", "about": {}}',
    ):
        answer = await page.post("/api/talks/1", headers={"origin": HERE}, content=body)
        assert answer.status_code in (400, 404), body[:20]
        assert answer.json()["error"]["remedy"]


async def test_every_answer_says_how_little_it_may_do(page: httpx.AsyncClient) -> None:
    for path in ("/", "/api/library", "/api/media/nobody/picture", "/nowhere"):
        headers = (await page.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"


def test_the_page_holds_all_of_itself_and_nothing_of_a_library() -> None:
    html = document().html
    assert "<style></style>" not in html
    assert "<script></script>" not in html
    assert "innerHTML" not in html
    assert "eval(" not in html
    outside = [part for part in html.split('"') if part.startswith(("http:", "https:", "//"))]
    assert outside == ["http://www.w3.org/2000/svg"]  # a name, which nobody fetches


# ---- what it tells -----------------------------------------------------------------------------


async def test_without_words_the_newest_come_page_by_page(page: httpx.AsyncClient) -> None:
    first = (await page.get("/api/search")).json()
    assert len(first["hits"]) == 24
    assert first["hits"][0]["path"].endswith("blue 14.jpg")
    assert first["count"] == 32
    rest = (await page.get("/api/search", params={"after": first["next"]})).json()
    assert len(rest["hits"]) == 8
    assert rest["next"] is None
    ids = [hit["media_id"] for hit in first["hits"] + rest["hits"]]
    assert len(set(ids)) == 32
    bad = await page.get("/api/search", params={"after": "' OR 1=1"})
    assert bad.status_code == 400


async def test_a_search_says_why_and_comes_page_by_page(page: httpx.AsyncClient) -> None:
    found = (await page.get("/api/search", params={"q": "letter box"})).json()
    assert found["hits"][0]["path"].endswith("red 3.png")
    assert "a letter box in Lisbon" in found["hits"][0]["reason"]
    assert found["hits"][0]["confidence"] == "strong"
    first = (await page.get("/api/search", params={"q": "red"})).json()
    assert len(first["hits"]) == 24
    second = (await page.get("/api/search", params={"q": "red", "after": first["next"]})).json()
    shown = [(hit["media_id"], hit["start_s"]) for hit in first["hits"] + second["hits"]]
    assert len(set(shown)) == len(shown)
    assert [hit["rank"] for hit in first["hits"] + second["hits"]] == list(range(1, len(shown) + 1))


async def test_results_can_be_narrowed_by_what_there_is(page: httpx.AsyncClient) -> None:
    facets = (await page.get("/api/facets")).json()
    assert {one["value"]: one["count"] for one in facets["kind"]} == {"image": 30, "video": 2}
    assert facets["month"] == [{"value": "2024-05", "label": "2024-05", "count": 15}]
    folders = {one["label"]: one for one in facets["folder"]}
    red = next(one for label, one in folders.items() if label.endswith("Red"))
    assert red["count"] == 15
    inside = (await page.get("/api/search", params={"folder": red["value"]})).json()
    assert inside["count"] == 15
    month = {"since": "2024-05", "until": "2024-05", "q": "blue"}
    assert {
        hit["taken_at"][:7] for hit in (await page.get("/api/search", params=month)).json()["hits"]
    } == {"2024-05"}
    assert (await page.get("/api/search", params={"kind": "sound"})).status_code == 400
    assert (await page.get("/api/search", params={"since": "soon"})).status_code == 400
    assert (await page.get("/api/search", params={"q": "x" * 3000})).status_code == 400


async def test_a_media_is_told_in_full_with_what_looks_like_it(
    page: httpx.AsyncClient, library: MediaLibrary
) -> None:
    media_id = id_of(library, "red 3.png")
    told = (await page.get(f"/api/media/{media_id}")).json()
    assert told["paths"][0].endswith("Red/red 3.png")
    assert ("annotation", "a letter box in Lisbon") in {
        (signal["source"], signal["text"]) for signal in told["signals"]
    }
    alike = (await page.get(f"/api/media/{media_id}/similar")).json()["hits"]
    assert media_id not in {hit["media_id"] for hit in alike}
    assert "Red" in alike[0]["path"]


async def test_pictures_come_small_and_are_asked_for_again(
    page: httpx.AsyncClient, library: MediaLibrary
) -> None:
    media_id = id_of(library, "colours.mp4")
    answer = await page.get(f"/api/media/{media_id}/picture", params={"at": 3, "px": 64})
    assert answer.headers["content-type"] == "image/jpeg"
    image = PIL.Image.open(io.BytesIO(answer.content))
    assert image.size == (64, 48)
    red, green, _ = image.convert("RGB").getpixel((50, 40))  # type: ignore[misc]
    assert green > 150 > red
    again = await page.get(
        f"/api/media/{media_id}/picture",
        params={"at": 3, "px": 64},
        headers={"if-none-match": answer.headers["etag"]},
    )
    assert again.status_code == 304
    for params in ({"px": "9999"}, {"px": "x"}, {"at": "nan"}, {"at": "1e999"}):
        bad = await page.get(f"/api/media/{media_id}/picture", params=params)
        assert bad.status_code == 400, params


async def test_a_film_comes_in_parts_or_as_a_copy_that_plays(
    page: httpx.AsyncClient, library: MediaLibrary
) -> None:
    media_id = id_of(library, "colours.mp4")
    whole = Path(next(iter(library.paths_now([media_id]).values()))).read_bytes()
    part = await page.get(f"/api/media/{media_id}/film", headers={"range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == whole[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
    assert part.headers["content-type"] == "video/mp4"
    for headers, status in [({"range": "bytes=99999999-"}, 416), ({"range": "bytes=x"}, 400)]:
        assert (
            await page.get(f"/api/media/{media_id}/film", headers=headers)
        ).status_code == status
    old = id_of(library, "old.avi")
    assert (await page.get(f"/api/media/{old}/film")).status_code == 400
    clip = await page.get(f"/api/media/{old}/clip", params={"start": 1, "end": 3})
    assert clip.headers["content-type"] == "video/mp4"
    assert clip.content[4:8] == b"ftyp"
    assert len(clip.content) < 4_000_000
    assert (await page.get(f"/api/media/{id_of(library, 'red 3.png')}/film")).status_code == 400


async def test_clips_that_take_long_hold_up_no_pictures(
    page: httpx.AsyncClient, library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = threading.Event()
    monkeypatch.setattr(library, "preview", lambda *_, **__: made.wait(20) and b"", raising=False)
    clip, photo = f"/api/media/{id_of(library, 'old.avi')}/clip", id_of(library, "red 3.png")
    async with anyio.create_task_group() as tasks:
        for number in range(THREADS + 1):
            tasks.start_soon(partial(page.get, clip, params={"start": number / 10}))
        await anyio.sleep(0.1)
        with anyio.move_on_after(5):
            assert (await page.get(f"/api/media/{photo}/picture")).status_code == 200
            made.set()
        came = made.is_set()
        made.set()
    assert came


async def test_a_film_that_became_a_link_out_of_the_folders_is_not_shown(
    page: httpx.AsyncClient, library: MediaLibrary, tmp_path: Path
) -> None:
    media_id = id_of(library, "colours.mp4")
    place = Path(library.paths_now([media_id])[media_id])
    (tmp_path / "secret.mp4").write_bytes(place.read_bytes() + b"secret")
    beside = place.rename(place.with_name("aside"))
    place.symlink_to(tmp_path / "secret.mp4")
    try:
        for what in ("film", "picture", "clip"):
            answer = await page.get(f"/api/media/{media_id}/{what}")
            assert answer.status_code == 404, what
            assert "leads out" in answer.json()["error"]["message"]
    finally:
        place.unlink()
        beside.rename(place)


@pytest.mark.parametrize(
    "media_id",
    ["nobody", "..%2F..%2Fetc%2Fpasswd", "%22%5D", "' OR 1=1 --", "%00", "a" * 5000, "<img src=x>"],
)
async def test_an_id_that_is_none_opens_nothing(page: httpx.AsyncClient, media_id: str) -> None:
    for what in ("", "/picture", "/film", "/clip", "/similar"):
        answer = await page.get(f"/api/media/{media_id}{what}")
        assert answer.status_code == 404, what
        assert "root:" not in answer.text


async def test_a_picture_bomb_is_refused_and_the_rest_goes_on(
    page: httpx.AsyncClient, library: MediaLibrary
) -> None:
    media_id = id_of(library, "red 9.png")
    place = Path(library.paths_now([media_id])[media_id])
    kept = place.read_bytes()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    size = (60_000).to_bytes(4, "big") * 2
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size + bytes([8, 2, 0, 0, 0]))
    place.write_bytes(bomb + chunk(b"IDAT", zlib.compress(bytes(10_000_000))) + chunk(b"IEND", b""))
    try:
        answer = await page.get(f"/api/media/{media_id}/picture")
    finally:
        place.write_bytes(kept)
    assert answer.status_code == 422
    assert "60000" in answer.json()["error"]["message"]
    assert (await page.get("/api/library")).status_code == 200


# ---- asking ------------------------------------------------------------------------------------


async def said(page: httpx.AsyncClient, talk: str, message: str, **more: object) -> list[dict]:
    answer = await page.post(f"/api/talks/{talk}", json={"message": message, **more})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_an_answer_comes_in_pieces_with_sources_that_keep_their_numbers(
    page: httpx.AsyncClient, library: MediaLibrary, ollama: OllamaDouble
) -> None:
    ollama.script("A letter box [1].", "Still the same [1].")
    told = await said(page, "one", "Where is the letter box?")
    *pieces, end = told
    assert len(pieces) > 1
    assert "".join(piece["text"] for piece in pieces) == end["answer"] == "A letter box [1]."
    assert end["cited"] == [1]
    assert end["sources"][0]["number"] == 1
    assert end["sources"][0]["path"].endswith("red 3.png")
    again = (await said(page, "one", "what does 1 show?"))[-1]
    assert again["sources"][0]["media_id"] == end["sources"][0]["media_id"]
    kept = list((library.directory / "conversations").glob("*.json"))
    assert any("letter box" in path.read_text() for path in kept)


async def test_one_can_ask_about_what_one_points_at(
    page: httpx.AsyncClient, library: MediaLibrary, ollama: OllamaDouble
) -> None:
    media_id = id_of(library, "colours.mp4")
    about = {"media_id": media_id, "start_s": 4.0, "end_s": 6.0}
    ollama.script("It is blue [1].")
    end = (await said(page, "two", "What colour is this?", about=about))[-1]
    assert [source["media_id"] for source in end["sources"]] == [media_id]
    shown = ollama.pictures[-1][0].convert("RGB").getpixel((50, 40))
    assert shown[2] > 150 > shown[0]


async def test_without_a_model_the_pane_says_what_to_do(
    page: httpx.AsyncClient, library: MediaLibrary, ollama: OllamaDouble
) -> None:
    assert (await page.get("/api/answers")).json() == {"ready": True}
    models = dict(ollama.models)
    ollama.models.clear()
    try:
        told = (await page.get("/api/answers")).json()
        (line,) = await said(page, "three", "Where is the letter box?")
    finally:
        ollama.models.update(models)
    assert told["ready"] is False
    assert "ollama pull eye" in told["error"]["remedy"]
    assert line["type"] == "error"
    assert "ollama pull eye" in line["error"]["remedy"]
    (empty,) = await said(page, "three", "  ")
    assert empty["error"]["kind"] == "usage"


# ---- the command -------------------------------------------------------------------------------


def test_the_command_serves_this_machine_only_and_ends_cleanly_on_ctrl_c(
    library: MediaLibrary,
) -> None:
    process = subprocess.Popen(
        [*MMRAG, "browse", "--no-open"],
        env=environment(library.settings.home),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = httpx.URL(process.stdout.readline().strip())
        assert address.host == "127.0.0.1"
        assert httpx.get(address, timeout=30).status_code == 200
        with socket.socket() as other:
            assert other.connect_ex(("127.0.0.2", address.port or 0)) != 0
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert out == ""
    assert "Traceback" not in err


def test_a_port_that_is_taken_is_said(library: MediaLibrary) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = mmrag_here(library.settings.home, "browse", "--no-open", "--port", str(port))
    assert done.returncode == 2
    assert f"Port {port} can't be had" in done.stderr
