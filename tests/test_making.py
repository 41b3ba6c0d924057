"""New files out of found media: free names, nothing overwritten, whole or not there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import MMRAG, environment, mmrag_here, refused, told
from made_films import BLUE, GREEN, RED, write_film
from media_made import describe, end_owners, opened, picture
from mmrag_plugin import library_making
from mmrag_plugin.errors import MediaError, NotFound, StorageError, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_making import Target
from mmrag_plugin.makers import workshop
from mmrag_plugin.makers.base import (
    Broken,
    Made,
    MakeJob,
    Piece,
    Problem,
    Stopped,
    Told,
    Wish,
    each_of,
)
from mmrag_plugin.makers.clip import ClipMaker
from mmrag_plugin.makers.sheet import SheetMaker
from mmrag_plugin.makers.workshop import run
from mmrag_plugin.making import Place, file_name, joined, make, spread


def written(job: MakeJob) -> Made:
    """A maker that writes the same bytes at once."""
    job.wish.target.write_bytes(b"made")
    return Made(job.maker.what, job.wish.target, 4, 1, 1, pieces=job.wish.pieces)


def wish(folder: Path, *names: str) -> Wish:
    return Wish(tuple(Piece(folder / name, "video", name) for name in names), folder)


# -- names and places -----------------------------------------------------------------------------


def test_a_name_of_its_own_is_free_and_follows_the_words(tmp_path: Path) -> None:
    name = file_name("Red Cars / in… Łódź!", "clip")
    assert name == "red-cars-in-łódź-clip"
    made = [make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path), name, written).path.name]
    made += [make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path), name, written).path.name]
    assert made == [f"{name}.mp4", f"{name}-2.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(made)


@pytest.mark.parametrize(
    "words", ["../../etc/passwd", "a/b\\c", "\x00\x1b[2J", "..", "", "x" * 5000, "-rf *", "CON: |"]
)
def test_no_words_lead_out_of_the_folder(words: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    name = file_name(words, "sheet")
    made = make(SheetMaker(), wish(tmp_path, "a.mp4"), Place(inner), name, written)
    assert made.path.parent == inner
    assert made.path.name.removesuffix(".jpg").replace("-", "").replace("_", "").isalnum()
    assert not made.path.name.startswith("-")
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]


def test_a_file_that_is_there_is_only_replaced_by_force(tmp_path: Path) -> None:
    target = tmp_path / "mine.mp4"
    target.write_bytes(b"precious")
    with pytest.raises(UsageError, match="exists already"):
        make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path, target), "", written)
    assert target.read_bytes() == b"precious"
    made = make(
        ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path, target, force=True), "", written
    )
    assert made.path == target
    assert target.read_bytes() == b"made"


def test_the_source_is_never_replaced_not_even_by_force_or_through_a_link(tmp_path: Path) -> None:
    source, link = tmp_path / "a.mp4", tmp_path / "link.mp4"
    source.write_bytes(b"precious")
    link.symlink_to(source)
    for target in (source, link):
        place = Place(tmp_path, target, force=True)
        with pytest.raises(UsageError, match="one of the media"):
            make(ClipMaker(), wish(tmp_path, "a.mp4"), place, "", written)
    assert source.read_bytes() == b"precious"


def test_a_file_that_comes_meanwhile_stays(tmp_path: Path) -> None:
    def slow(job: MakeJob) -> Made:
        (tmp_path / "x.mp4").write_bytes(b"somebody else's")
        return written(job)

    target = Place(tmp_path, tmp_path / "x.mp4")
    with pytest.raises(UsageError, match="came while this was made"):
        make(ClipMaker(), wish(tmp_path, "a.mp4"), target, "", slow)
    (tmp_path / "x.mp4").unlink()
    made = make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path), "x", slow)
    assert made.path.name == "x-2.mp4"
    assert (tmp_path / "x.mp4").read_bytes() == b"somebody else's"


def test_a_file_system_without_links_is_good_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    made = make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path), "x", written)
    assert [path.name for path in tmp_path.iterdir()] == [made.path.name]


@pytest.mark.parametrize(
    ("output", "reason"),
    [("x.gif", "can't be written as .gif"), ("none/x.mp4", "no folder"), ("x", "written as x")],
)
def test_a_place_that_is_none_is_refused_before_anything_is_made(
    output: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        make(
            ClipMaker(),
            wish(tmp_path, "a.mp4"),
            Place(tmp_path, tmp_path / output),
            "",
            lambda job: pytest.fail("it was made"),
        )


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    def full(job: MakeJob) -> Made:
        job.wish.target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        make(ClipMaker(), wish(tmp_path, "a.mp4"), Place(tmp_path), "x", full)
    assert not list(tmp_path.iterdir())


def test_a_piece_that_breaks_the_process_is_left_out_and_the_rest_is_made(tmp_path: Path) -> None:
    begun = []

    def breaks(job: MakeJob) -> Made:
        begun.append(sorted(job.wish.left_out))
        for place in range(len(job.wish.pieces)):
            if place in (1, 3) and place not in job.wish.left_out:
                raise Broken("makes its decoder crash (SIGSEGV)", place)
        return replace(written(job), failed=tuple(job.wish.left_out.values()))

    made = make(
        SheetMaker(), wish(tmp_path, "a", "bad", "c", "worse"), Place(tmp_path), "x", breaks
    )
    assert begun == [[], [1], [1, 3]]
    assert [Path(problem.path).name for problem in made.failed] == ["bad", "worse"]

    def breaks_at_once(job: MakeJob) -> Made:
        raise Broken("makes its decoder crash", 0)

    with pytest.raises(MediaError, match="bad makes its decoder crash"):
        make(ClipMaker(), wish(tmp_path, "bad"), Place(tmp_path), "y", breaks_at_once)


class CrashingMaker(ClipMaker):
    """A maker whose process does not survive some pieces."""

    def make(self, wish: Wish, tell: Told) -> Made:
        failed: list[Problem] = []
        shown = []
        for _, piece in each_of(wish, tell, failed):
            if piece.path.name.startswith("bad"):
                os.kill(os.getpid(), signal.SIGSEGV)
            shown.append(piece)
        wish.target.write_bytes(b"made")
        return Made("clip", wish.target, 4, 1, 1, pieces=tuple(shown), failed=tuple(failed))


def test_a_real_crash_costs_its_piece_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    bootstrap = f"import sys; sys.path.insert(0, {here!r}); {workshop._BOOTSTRAP}"
    monkeypatch.setattr(workshop, "_BOOTSTRAP", bootstrap)
    made = make(
        CrashingMaker(), wish(tmp_path, "a", "bad 1", "b", "bad 2"), Place(tmp_path), "x", run
    )
    assert [piece.path.name for piece in made.pieces] == ["a", "b"]
    assert [Path(problem.path).name for problem in made.failed] == ["bad 1", "bad 2"]
    assert "makes its decoder crash (SIGSEGV)" in made.failed[0].reason
    with pytest.raises(MediaError, match="bad 3 makes its decoder crash"):
        make(CrashingMaker(), wish(tmp_path, "bad 3"), Place(tmp_path), "x", run)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


# -- pieces ---------------------------------------------------------------------------------------


def test_parts_that_overlap_become_one_and_single_frames_a_moment() -> None:
    film, other = Path("a.mp4"), Path("b.mp4")

    def part(path: Path, start_s: float | None, end_s: float | None) -> Piece:
        return Piece(path, "video", "", start_s, end_s)

    found = [part(film, 10, 14), part(other, 1, 1), part(film, 20, 25), part(film, 13, 21)]
    assert [(p.path.name, p.start_s, p.end_s) for p in joined(found)] == [
        ("a.mp4", 10, 25),
        ("b.mp4", 0.0, 2.0),
    ]
    photos = [Piece(Path("p.jpg"), "image")] * 2
    assert len(joined(photos)) == 1


def test_the_moments_of_a_sheet_are_spread_over_the_film_or_its_part() -> None:
    film = Piece(Path("a.mp4"), "video")
    assert [p.start_s for p in spread(film, 4, 8.0)] == [1.0, 3.0, 5.0, 7.0]
    part = replace(film, start_s=4.0, end_s=6.0)
    assert [(p.start_s, p.end_s) for p in spread(part, 2, 8.0)] == [(4.5, None), (5.5, None)]


# -- with a library -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of two films and three photos with words beside them."""
    home = tmp_path_factory.mktemp("home")
    photos = home / "photos"
    photos.mkdir()
    describe(write_film(photos / "one.mp4", [RED] * 20 + [GREEN] * 20), "the harbour at night")
    describe(write_film(photos / "two.mp4", [BLUE] * 30), "a harbour in the morning")
    for name, words in (("a", "harbour wall"), ("b", "harbour cat"), ("c", "a mountain")):
        path = photos / f"{name}.jpg"
        taken_at = "2024:05:01 10:00:00"
        describe(picture(path, "red", number=ord(name), taken_at=taken_at), words)
    with opened(home / "libraries") as library:
        library.index([photos])
    yield home
    end_owners(home / "libraries")


@pytest.fixture(scope="module")
def long_film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that takes seconds to encode."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    return write_film(path, [RED, GREEN] * 300, size=(640, 480))


@pytest.fixture
def library(home: Path) -> Iterator[MediaLibrary]:
    with opened(home / "libraries") as library:
        yield library


def test_what_is_found_is_made_into_one_file(library: MediaLibrary, tmp_path: Path) -> None:
    cut = library.make("supercut", "harbour", folder=tmp_path, long_side_px=64)
    assert cut.path == tmp_path / "harbour-supercut.mp4"
    assert {piece.path.name for piece in cut.pieces} == {"one.mp4", "two.mp4"}
    sheet = library.make("sheet", "harbour", folder=tmp_path, filters=Filters(kind="image"))
    assert {piece.path.name for piece in sheet.pieces} == {"a.jpg", "b.jpg"}
    show = library.make("slideshow", "harbour", folder=tmp_path, each_s=1.0, long_side_px=64)
    assert len(show.pieces) == 4
    captions = {piece.path.name: piece.caption for piece in show.pieces}
    assert captions["b.jpg"] == "harbour cat · 2024-05-01"
    assert {path.name for path in tmp_path.iterdir()} == {
        "harbour-supercut.mp4",
        "harbour-sheet.jpg",
        "harbour-slideshow.mp4",
    }


def test_times_are_those_that_were_asked_for(library: MediaLibrary, tmp_path: Path) -> None:
    row = library.find(str(next(path for path in library.ledger.roots())) + "/one.mp4")
    assert row is not None
    target = [Target(row.media_id, 1.0, 3.0)]
    made = library.make("clip", targets=target, folder=tmp_path)
    assert made.duration_s == pytest.approx(2.0, abs=0.1)
    assert (made.pieces[0].start_s, made.pieces[0].end_s) == (1.0, 3.0)
    assert made.path.name == "one-clip.mp4"
    sheet = library.make("sheet", targets=[Target(row.media_id)], limit=4, folder=tmp_path)
    assert [piece.caption for piece in sheet.pieces] == ["0:00", "0:01", "0:02", "0:03"]
    with pytest.raises(UsageError, match="after the end"):
        library.make("clip", targets=[Target(row.media_id, 9.0, 10.0)], folder=tmp_path)


def test_nothing_found_makes_nothing(library: MediaLibrary, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Nothing was found for 'zebra'"):
        library.make("supercut", "zebra", folder=tmp_path)
    for wrong in ({"query": ""}, {"query": "x", "targets": [Target("y")]}):
        with pytest.raises(UsageError, match="either words or media"):
            library.make("sheet", folder=tmp_path, **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_what_is_gone_or_a_link_out_of_the_folders_by_now_is_left_out_and_reported(
    library: MediaLibrary, home: Path, tmp_path: Path
) -> None:
    photo, elsewhere = home / "photos" / "b.jpg", picture(tmp_path / "elsewhere.jpg", "white")
    row = library.find(str(photo))
    assert row is not None
    asked: tuple[dict[str, Any], ...] = (
        {"query": "harbour", "filters": Filters(kind="image")},
        {"targets": [Target(str(photo)), Target(str(home / "photos" / "a.jpg"))]},
    )
    photo.rename(tmp_path / "b.jpg")
    try:
        for reason in ("is not there any more", "leads out of the library's folders"):
            for options in asked:
                made = library.make("sheet", folder=tmp_path, **options)
                assert [piece.path.name for piece in made.pieces] == ["a.jpg"]
                assert [problem.path for problem in made.failed] == [str(photo)]
                assert reason in made.failed[0].reason
            with pytest.raises(NotFound, match=reason):
                library.make("slideshow", targets=[Target(row.media_id)], folder=tmp_path)
            if not photo.is_symlink():
                photo.symlink_to(elsewhere)
    finally:
        photo.unlink()
        (tmp_path / "b.jpg").rename(photo)


def test_a_limit_that_is_given_holds_whatever_number_the_words_name(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(library.ingredients("sheet", "limit:3 harbour").pieces) == 3
    assert len(library.ingredients("sheet", "limit:3 harbour", limit=2).pieces) == 2
    monkeypatch.setattr(library_making, "MOST", 1)
    assert len(library.ingredients("sheet", "limit:1000 harbour").pieces) == 1


def test_places_and_dates_stay_out_unless_asked_for(
    library: MediaLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wishes: list[Wish] = []
    monkeypatch.setattr(
        "mmrag_plugin.makers.workshop.run", lambda job, **_: wishes.append(job.wish) or written(job)
    )
    library.make("sheet", "harbour cat", folder=tmp_path)
    library.make("sheet", "harbour cat", folder=tmp_path, with_location=True)
    dates = [[piece.taken_at for piece in wish.pieces] for wish in wishes]
    assert not any(dates[0])
    assert "2024-05-01T10:00:00" in dates[1]


async def test_a_cancelled_call_ends_the_process_and_leaves_no_file(
    library: MediaLibrary, long_film: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    heard: list[float] = []
    making_it = asyncio.create_task(
        library.amake(
            "clip",
            targets=[Target(str(long_film), 0.3, 55.0)],
            folder=out,
            tell=heard.append,
            encode=True,
        )
    )
    while not heard:
        await asyncio.sleep(0.02)
    making_it.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making_it
    for _ in range(200):
        if not list(out.iterdir()):
            break
        await asyncio.sleep(0.05)
    assert not list(out.iterdir())


def test_stopping_leaves_no_file(long_film: Path, tmp_path: Path) -> None:
    pieces = (Piece(long_film, "video", "", 0.3, 55.0),)
    out = tmp_path / "out"
    out.mkdir()
    heard: list[float] = []
    with pytest.raises(Stopped):
        make(
            ClipMaker(),
            Wish(pieces, out),
            Place(out),
            "x",
            lambda job: run(job, tell=heard.append, stopped=lambda: bool(heard)),
        )
    assert not list(out.iterdir())


# -- the commands ---------------------------------------------------------------------------------


def test_the_commands_make_files_and_say_which(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    libraries = home / "libraries"
    done = mmrag_here(libraries, "supercut", "harbour", "--long-side", "64")
    assert done.returncode == 0, done.stderr
    assert "Making a supercut of:" in done.stdout
    assert done.stdout.index("photos/one.mp4") < done.stdout.index("harbour-supercut.mp4")
    made = told(mmrag_here(libraries, "sheet", "harbour", "--json"), 0)
    assert made["what"] == "sheet"
    assert Path(made["path"]).name == "harbour-sheet.jpg"
    assert len(made["pieces"]) == 4
    film = home / "photos" / "one.mp4"
    cut = ("clip", film, "--from", "0:01", "--to", "3", "--json")
    made = told(mmrag_here(libraries, *cut, "-o", tmp_path / "cut.mp4"), 0)
    assert made["duration_s"] == pytest.approx(2.0, abs=0.1)
    kind, _, remedy = refused(mmrag_here(libraries, *cut, "-o", tmp_path / "cut.mp4"), 2)
    assert (kind, remedy) == ("usage", "Name a new file, or add --force.")
    told(mmrag_here(libraries, *cut, "-o", tmp_path / "cut.mp4", "--force"), 0)
    made = told(mmrag_here(libraries, *cut, "--gif"), 0)
    assert Path(made["path"]).name == "one.gif"
    made = told(mmrag_here(libraries, "sheet", film, "-n", "3", "--json"), 0)
    assert [piece["start_s"] for piece in made["pieces"]] == [0.667, 2.0, 3.333]


def test_a_hit_that_was_shown_is_a_part_already(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    libraries = home / "libraries"
    hits = told(mmrag_here(libraries, "search", "harbour", "--kind", "video", "--json"), 0)["hits"]
    made = told(mmrag_here(libraries, "clip", "1", "--json"), 0)
    assert made["pieces"][0]["media_id"] == hits[0]["media_id"]
    kind, *_ = refused(mmrag_here(libraries, "clip", "77", "--json"), 1)
    assert kind == "not_found"


def test_nothing_found_is_one_sentence_and_exit_1(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    done = mmrag_here(home / "libraries", "slideshow", "zebra")
    assert done.returncode == 1
    assert "Nothing was found for 'zebra'" in done.stderr
    for times in (("--from", "3", "--to", "1"), ("--from", "x")):
        film = home / "photos" / "one.mp4"
        assert mmrag_here(home / "libraries", "clip", film, *times).returncode == 2
    assert not list(tmp_path.iterdir())


def test_a_piece_that_is_left_out_shows_in_the_exit_code(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    photo = home / "photos" / "b.jpg"
    whole = photo.read_bytes()
    photo.write_bytes(whole[:50])
    try:
        done = mmrag_here(home / "libraries", "sheet", "harbour")
    finally:
        photo.write_bytes(whole)
    assert done.returncode == 1
    assert "1 left out:" in done.stdout
    assert (tmp_path / "harbour-sheet.jpg").is_file()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_killed_leaves_nothing_under_the_name(
    number: int, home: Path, long_film: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        [*MMRAG, "clip", str(long_film), "--from", "0.3", "--encode", "--library", "default"],
        env=environment(home / "libraries"),
        cwd=out,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while not list(out.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert list(out.iterdir()), "nothing was begun"
    process.send_signal(number)
    assert process.wait(30) != 0
    while list(out.iterdir()) and time.monotonic() < deadline:  # its worker notices
        time.sleep(0.05)
    assert not list(out.iterdir())


def test_making_loads_nothing_heavy_before_it_is_needed() -> None:
    program = (
        "import sys, mmrag_plugin.making, mmrag_plugin.makers.base;"
        "print([n for n in ('av', 'numpy', 'PIL', 'moviepy', 'torch') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
