"""Indexing: only what is new or changed is read, decoded and embedded; nothing bad vanishes."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from made_films import BLUE, GREEN, RED, write_film
from media_made import (
    describe,
    end_owner,
    milvus_rows,
    opened,
    picture,
    picture_with_text,
    shut,
)
from mmrag_plugin import index_pixels, index_words, indexing
from mmrag_plugin.errors import MissingExtra
from mmrag_plugin.filters import Filters
from mmrag_plugin.index_report import IndexReport, Progress
from mmrag_plugin.indexing import SidecarTree
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Moment, Stage
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_store import MediaVectorStore
from mmrag_plugin.readers.decoding import DecodesHere
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.signals.sidecars import FolderSidecars
from mmrag_plugin.upkeep import forget, relocate, status, verify


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for directory in (tmp_path / "home").iterdir():
        end_owner(directory, wait=False)


@pytest.fixture
def library(home: Path) -> Iterator[MediaLibrary]:
    with opened(home) as found:
        yield found


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = (tmp_path / "photos").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the readers were asked for, as ``what name``, in order."""
    done: list[str] = []

    def counting(reader: type, method: str) -> None:
        original = getattr(reader, method)

        def counted(self: Any, path: Path, *args: Any, **kwargs: Any) -> Any:
            done.append(f"{method} {path.name}")
            return original(self, path, *args, **kwargs)

        monkeypatch.setattr(reader, method, counted)

    for reader in (PhotoReader, VideoReader):
        for method in ("facts", "frames"):
            counting(reader, method)
    return done


def counts(report: IndexReport) -> dict[str, int]:
    every = {
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "moved": report.moved,
        "removed": report.removed,
        "failed": len(report.failed),
    }
    return {name: number for name, number in every.items() if number}


@contextlib.contextmanager
def unlisted(folder: Path) -> Iterator[None]:
    """Take away the right to list a folder, but not the right to enter it."""
    original = os.scandir

    def refusing(place: Any = ".") -> Any:
        if place == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))
        return original(place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", refusing)
        yield


def media_id_of(library: MediaLibrary, path: Path) -> str:
    found = library.find(str(path))
    assert found is not None
    return found.media_id


def words_of(library: MediaLibrary, path: Path) -> str:
    found = library.find(str(path))
    assert found is not None
    return library.words_of(Moment(found.media_id, found.kind))


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


def test_the_life_of_a_folder(  # noqa: PLR0915  (one life, told in order)
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    """Added, unchanged, edited, moved, copied, described, removed: each does only its own work."""
    red = picture(photos / "Lisbon" / "red.jpg", "red", taken_at="2019:05:20 12:00:00")
    picture(photos / "green.png", "green")
    film = write_film(photos / "film.mp4", [RED] * 5 + [BLUE] * 5, gop=5)
    report = library.index([photos])
    assert counts(report) == {"added": 3}
    assert sorted(work) == sorted(
        f"{what} {name}"
        for what in ("facts", "frames")
        for name in ("red.jpg", "green.png", "film.mp4")
    )
    rows = milvus_rows(library)
    assert len(rows["visual"]) == 4, "two pictures, two key frames"
    assert_agrees(library)

    work.clear()
    assert counts(library.index([photos])) == {"unchanged": 3}
    assert counts(library.index([])) == {"unchanged": 3}, "known folders are found again"
    assert work == []
    assert milvus_rows(library) == rows

    media_id = media_id_of(library, red)
    picture(red, "purple", number=1)
    assert counts(library.index([])) == {"updated": 1, "unchanged": 2}
    seen = ["frames red.jpg"] * 2  # are the pixels the same? else they are embedded
    assert work == ["facts red.jpg", *seen]
    assert media_id_of(library, red) == media_id
    assert milvus_rows(library) == rows, "the same row ids"

    work.clear()
    red = red.rename(red.parent.parent / "Porto.jpg")
    assert counts(library.index([])) == {"moved": 1, "unchanged": 2}
    assert work == ["facts Porto.jpg"], "nothing is decoded or embedded again"
    assert media_id_of(library, red) == media_id
    assert "Porto" in words_of(library, red)
    assert "Lisbon" not in words_of(library, red)

    work.clear()
    sidecar = describe(red, "grandma's garden")
    assert counts(library.index([])) == {"updated": 1, "unchanged": 2}
    assert work == ["facts Porto.jpg"]
    assert "grandma" in words_of(library, red)
    sidecar.unlink()
    library.index([])
    assert "grandma" not in words_of(library, red)

    work.clear()
    copy = Path(shutil.copy(red, photos / "Best of.jpg"))
    assert counts(library.index([])) == {"unchanged": 3}
    assert "frames" not in " ".join(work)
    assert media_id_of(library, copy) == media_id
    assert {"Porto", "Best", "of"} <= set(words_of(library, red).split())
    red.unlink()
    assert counts(library.index([])) == {"unchanged": 3}
    assert media_id_of(library, copy) == media_id
    assert "Porto" not in words_of(library, copy)

    film_id = media_id_of(library, film)
    film.unlink()
    assert counts(library.index([])) == {"removed": 1, "unchanged": 2}
    left = milvus_rows(library)
    assert len(left["visual"]) == 2
    assert film_id not in {*left["visual"].values(), *left["words"].values()}
    assert library.ledger.media_rows([film_id]) == {}
    assert_agrees(library)


def test_an_unchanged_library_is_not_even_opened(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(photos / "a.jpg")
    library.index([photos])

    def poison(*_: Any, **__: Any) -> Any:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr(PhotoReader, "facts", poison)
    monkeypatch.setattr(PhotoReader, "frames", poison)
    assert counts(library.index([])) == {"unchanged": 1}


def date_packet(path: Path, date: str) -> None:
    path.write_text(
        '<x:xmpmeta xmlns:x="adobe:ns:meta/" xmlns:exif="http://ns.adobe.com/exif/1.0/"><rdf:RDF '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'exif:DateTimeOriginal="{date}"/></rdf:RDF></x:xmpmeta>'
    )


def frames_by_year(library: MediaLibrary, year: str) -> set[str]:
    """The rows of frames that Milvus itself gives to a year."""
    where = Filters(since=year, until=year).resolve(library.ledger)
    return {row_id for row_id, _ in library.stores()["visual"].row_ids(where)}


@pytest.fixture
def dated_folder(library: MediaLibrary, photos: Path) -> Path:
    """A picture and a film of four frames, both dated 2019 beside them."""
    picture(photos / "a.png", "red")
    write_film(photos / "film.mp4", [RED] * 5 + [BLUE] * 5 + [GREEN] * 5 + [RED] * 5, gop=5)
    for name in ("a.xmp", "film.xmp"):
        date_packet(photos / name, "2019-07-06T05:04:03")
    library.index([photos])
    assert len(frames_by_year(library, "2019")) == 5
    return photos


def test_another_date_beside_a_media_reaches_its_vectors_and_nothing_is_embedded_again(
    library: MediaLibrary, dated_folder: Path, work: list[str]
) -> None:
    store = library.stores()["visual"]
    before = store.vectors(row_id for row_id, _ in store.row_ids())
    work.clear()
    date_packet(dated_folder / "a.xmp", "2021-07-06T05:04:03")
    date_packet(dated_folder / "film.xmp", "2021-07-06T05:04:03")
    report = library.index([])
    assert counts(report) == {"updated": 2}
    assert sorted(work) == ["facts a.png", "facts film.mp4"]
    assert report.stages["embed"].done == 0
    assert frames_by_year(library, "2019") == set()
    assert frames_by_year(library, "2021") == before.keys()
    after = store.vectors(before)
    assert all((after[row_id] == vector).all() for row_id, vector in before.items())
    assert_agrees(library)
    work.clear()
    assert counts(library.index([])) == {"unchanged": 2}
    assert work == []


def test_a_run_that_ends_while_dates_are_rewritten_is_finished_by_the_next(
    library: MediaLibrary, dated_folder: Path, work: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise Killed

    date_packet(dated_folder / "film.xmp", "2021-07-06T05:04:03")
    for method in ("get_nodes", "flush"):  # before the first row is written, and after the last
        with monkeypatch.context() as patch:
            patch.setattr(MediaVectorStore, method, kill)
            if method == "flush":  # of the frames alone
                patch.setattr(index_words.WordsStage, "project", lambda self: None)
            with pytest.raises(Killed):
                library.index([])
    work.clear()
    library.index([])
    assert work == []
    assert len(frames_by_year(library, "2021")) == 4
    assert len(frames_by_year(library, "2019")) == 1
    assert_agrees(library)


def test_a_media_with_another_date_and_lost_rows_is_embedded_again(
    library: MediaLibrary, dated_folder: Path, work: list[str]
) -> None:
    store = library.stores()["visual"]
    lost = next(iter(frames_by_year(library, "2019")))
    store.delete_nodes([lost])
    store.flush()
    for name in ("a.xmp", "film.xmp"):
        date_packet(dated_folder / name, "2021-07-06T05:04:03")
    work.clear()
    library.index([])
    assert len([what for what in work if what.startswith("frames")]) == 1
    assert len(frames_by_year(library, "2021")) == 5
    assert_agrees(library)


def test_a_date_comes_from_the_photo_else_from_beside_it_else_from_its_name(
    library: MediaLibrary, photos: Path
) -> None:
    named = "IMG_20230115_101010"
    for number, folder in enumerate(("own", "beside", "named")):
        taken_at = "2011:01:01 12:00:00" if folder == "own" else None
        picture(photos / folder / f"{named}.jpg", "red", number=number, taken_at=taken_at)
        if folder != "named":
            date_packet(photos / folder / f"{named}.xmp", "2019-07-06T05:04:03")
    write_film(photos / "Screen Recording 2024-05-11 at 6.30.12 PM.mp4", [RED] * 5)
    library.index([photos])
    rows = library.ledger.media_rows().values()
    assert {Path(row.path).parent.name: row.taken_at for row in rows} == {
        "own": "2011-01-01T12:00:00",
        "beside": "2019-07-06T05:04:03",
        "named": "2023-01-15T10:10:10",
        "photos": "2024-05-11T18:30:12",
    }
    assert status(library)["taken_at"]["by"] == {"name": 2, "exif": 1, "sidecar": 1}
    assert "Sunday 15 January 2023" in words_of(library, photos / "named" / f"{named}.jpg")
    found = library.search("red", filters=Filters(since="2023", until="2023"))
    assert [Path(hit.path).parent.name for hit in found.hits] == ["named"]


def test_a_photo_that_gets_another_date_is_found_by_it(library: MediaLibrary, photos: Path) -> None:
    before = picture(photos / "2019-05-20 a.jpg", "red")
    library.index([photos])
    before.rename(photos / "2021-06-07 a.jpg")
    assert counts(library.index([])) == {"moved": 1}
    for year, number in (("2019", 0), ("2021", 1)):
        found = library.search("red", filters=Filters(since=year, until=year))
        assert len(found.hits) == number
    assert_agrees(library)


def test_sidecars_of_a_tree_deeper_than_the_stack_are_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(indexing, "list_folder", lambda folder, root: {})
    root = Path("/photos")
    deep = root.joinpath(*["a"] * 1200)
    tree = SidecarTree(FolderSidecars)
    assert tree.of(deep, root) is tree.of(deep, root)
    assert tree.problems() == []


def test_text_is_read_from_the_beginning_of_a_long_film_to_its_end(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def text_of(reader: object, frame: object) -> str:
        read.append(1)
        return f"Slide {len(read) // 10}"

    monkeypatch.setattr(RapidOcrReader, "read", text_of)
    colours = [(RED, GREEN, BLUE)[(number + number // 3) % 3] for number in range(150)]
    times_s = [2.0 * number for number in range(150)]
    film = write_film(photos / "talk.mp4", colours, times_s=times_s, gop=1)
    with opened(home, ocr="auto") as library:
        library.index([photos])
        signals = library.ledger.signals_of([media_id_of(library, film)])
    spans = [
        (signal.text, signal.start_s, signal.end_s)
        for stage, signal in next(iter(signals.values()))
        if stage == "ocr"
    ]
    assert len(read) == 50, "every third of 150 keyframes"
    assert len(spans) == 6
    assert spans[1] == ("Slide 1", 54.0, 110.0), "what stays on the screen is one signal"
    assert spans[-1] == ("Slide 5", 294.0, 296.0)


def known_by_path(library: MediaLibrary, root: Path) -> dict[str, Any]:
    """What a library knows, by path, for ids may differ."""
    rows = milvus_rows(library)
    known: dict[str, Any] = {}
    for media_id, row in library.ledger.media_rows().items():
        places = library.ledger.paths_of([media_id])[media_id]
        words = [signal for _, signal in library.ledger.signals_of([media_id])[media_id]]
        known[" + ".join(os.path.relpath(place, root) for place in places)] = (
            row.kind,
            row.taken_at,
            row.width_px,
            words,
            *(sum(found == media_id for found in of.values()) for of in rows.values()),
        )
    terms = sorted(
        {term for row in known.values() for s in row[3] for term in s.text.lower().split()}
    )
    return known | {"counts": library.ledger.document_counts(terms)}


def test_a_library_that_followed_a_folder_knows_what_a_new_one_would(
    library: MediaLibrary, photos: Path
) -> None:
    for number in range(12):
        picture(photos / f"trip {number % 3}" / f"{number}.jpg", "red", number=number)
    describe(photos / "trip 0" / "3.jpg", "on the ferry")
    library.index([photos / "trip 1"])
    library.index([photos])
    picture(photos / "trip 0" / "0.jpg", "green", size=(80, 20), taken_at="2020:02:02 02:02:02")
    (photos / "trip 0" / "6.jpg").rename(photos / "ferry.jpg")
    shutil.copy(photos / "trip 1" / "1.jpg", photos / "trip 2" / "copy.jpg")
    (photos / "trip 1" / "4.jpg").write_text("broken")
    (photos / "trip 1" / "7.jpg").unlink()
    (photos / "trip 2").rename(photos / "holidays")
    describe(photos / "trip 0" / "3.jpg", "on the train")
    describe(photos / "trip 0" / "9.jpg", "at the station")
    assert counts(library.index([])) == {
        "updated": 4,  # two pictures, one of them broken, and two descriptions
        "moved": 5,
        "removed": 1,
        "failed": 1,
        "unchanged": 2,
    }
    with opened(library.settings.home, "fresh") as fresh:
        fresh.index([photos])
        assert known_by_path(library, photos) == known_by_path(fresh, photos) | {
            # what was known of a file before it broke stays until it is mended or removed
            "trip 1/4.jpg": known_by_path(library, photos)["trip 1/4.jpg"]
        }
    assert known_by_path(library, photos)["trip 1/4.jpg"][3:] == ([], 0, 0)


def test_hostile_names_are_indexed_and_found(library: MediaLibrary, photos: Path) -> None:
    hostile = ['it\'s "here".png', "new\nline.png", "100%_[a].png", "🦊 東京.png", "\\.png"]
    for number, name in enumerate(hostile):
        picture(photos / "trees' \"%" / name, "green", number=number)
    assert library.index([photos]).failed == []
    found = library.search("green", limit=50).hits
    assert {Path(hit.path).name for hit in found} == set(hostile)
    assert Path(library.search("東京").hits[0].path).name == "🦊 東京.png"
    assert_agrees(library)


# ---- files that are not what they seem -------------------------------------------------------


def text_named_jpg(path: Path) -> None:
    path.write_text("this is a letter")


def truncated(path: Path) -> None:
    picture(path, size=(400, 300))
    path.write_bytes(path.read_bytes()[:600])


def not_a_film(path: Path) -> None:
    path.with_suffix(".mp4").write_bytes(struct.pack(">I", 24) + b"ftypisom" + b"\0" * 400)


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("spoil", [text_named_jpg, truncated, not_a_film, empty])
def test_a_bad_file_is_reported_every_time_and_stops_nothing(
    library: MediaLibrary, photos: Path, work: list[str], spoil: Callable[[Path], None]
) -> None:
    spoil(photos / "bad.jpg")
    [bad] = photos.iterdir()
    picture(photos / "good.jpg", "green")
    report = library.index([photos])
    [problem] = report.failed
    assert problem.path == str(bad)
    assert problem.reason
    assert problem.remedy
    assert {row for row in milvus_rows(library)["visual"].values()} == {
        media_id_of(library, photos / "good.jpg")
    }
    work.clear()
    report = library.index([])
    assert report.failed == [problem], "never forgotten while it is as it is"
    assert report.newly_failed == [], "and news only once"
    assert work == [], "and not decoded again"
    assert [failure["path"] for failure in status(library)["failures"]] == [str(bad)]

    library.ledger.retry_failed()
    report = library.index([])
    assert report.failed == report.newly_failed == [problem]
    assert (work != []) == (bad.stat().st_size > 0), "--retry tries again"

    bad.unlink()
    picture(bad.with_suffix(".jpg"), "blue")
    assert library.index([]).failed == []
    assert status(library)["failed"] == 0
    assert len(milvus_rows(library)["visual"]) == 2
    assert_agrees(library)


def test_a_picture_that_waits_for_a_decoder_is_taken_in_once_it_is_there(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = picture(photos / "a.png")

    def lacking(*_: Any, **__: Any) -> Any:
        raise MissingExtra(f"{path} needs a decoder.", "Run pip install decoder.")

    with monkeypatch.context() as patch:
        patch.setattr(PhotoReader, "facts", lacking)
        report = library.index([photos])
        assert [problem.remedy for problem in report.failed] == ["Run pip install decoder."]
        assert library.index([]).newly_failed == []
    assert library.index([]).failed == []
    assert len(milvus_rows(library)["visual"]) == 1


def test_what_could_not_be_taken_in_is_forgotten_with_its_folder(
    library: MediaLibrary, photos: Path
) -> None:
    picture(photos / "a.png")
    picture(photos / "trip" / "b.png", "blue")
    empty(photos / "trip" / "c.png")
    library.index([photos])
    assert status(library)["failed"] == 1
    forget(library, photos / "trip")
    assert status(library)["failed"] == 0
    assert library.index([]).failed == []


def test_a_file_that_breaks_in_place_is_no_longer_found_by_what_it_was(
    library: MediaLibrary, photos: Path
) -> None:
    for name in ("text", "half"):
        picture(photos / f"{name}.jpg", "red", size=(400, 300), number=len(name))
    picture(photos / "good.jpg", "green")
    library.index([photos])
    good = media_id_of(library, photos / "good.jpg")
    text_named_jpg(photos / "text.jpg")
    truncated(photos / "half.jpg")
    report = library.index([])
    assert {Path(problem.path).name for problem in report.failed} == {"text.jpg", "half.jpg"}
    assert set(milvus_rows(library)["visual"].values()) == {good}
    assert_agrees(library)
    picture(photos / "text.jpg", "red", number=9)
    assert [Path(p.path).name for p in library.index([]).failed] == ["half.jpg"]
    assert len(milvus_rows(library)["visual"]) == 2
    assert_agrees(library)


def test_a_decoder_that_breaks_in_an_unknown_way_breaks_one_file(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        picture(photos / f"{number}.png", number=number)
    original = PhotoReader.frames

    def breaks(self: Any, path: Path, **options: Any) -> Any:
        if path.name == "1.png":
            raise ZeroDivisionError("inside a decoder")
        return original(self, path, **options)

    monkeypatch.setattr(PhotoReader, "frames", breaks)
    [problem] = library.index([photos]).failed
    assert "ZeroDivisionError" in problem.reason
    assert len(milvus_rows(library)["visual"]) == 2


def test_a_picture_that_cannot_be_read_today_keeps_its_rows_and_is_read_tomorrow(
    library: MediaLibrary, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the rights are taken away in this process only
    monkeypatch.setattr("mmrag_plugin.readers.workers.DecodesInWorkers", DecodesHere)
    path = picture(photos / "a.png")
    describe(path, "lighthouse")
    picture(photos / "b.png", "blue")
    library.index([photos])
    rows = milvus_rows(library)
    describe(path, "lighthouse at night")
    with shut(path):
        for known in (False, True):
            report = library.index([])
            [problem] = report.failed
            assert problem.path == str(path)
            assert "permission" in problem.remedy
            assert report.newly_failed == ([] if known else [problem])
            assert report.stages["read"].pending == 1
            assert milvus_rows(library) == rows
        with opened(library.settings.home, visual_model=str(minidual)) as other:
            report = other.index([])
            assert [problem.path for problem in report.failed] == [str(path)]
            assert report.stages["embed"].pending == 1
            assert report.stages["embed"].done == 1
    report = library.index([])
    assert report.failed == []
    assert milvus_rows(library) == rows
    assert "night" in words_of(library, path)
    assert_agrees(library)


def test_a_bad_sidecar_is_reported_and_its_media_is_indexed(
    library: MediaLibrary, photos: Path
) -> None:
    picture(photos / "a.jpg")
    (photos / "a.jpg.json").write_text("{broken")
    report = library.index([photos])
    assert report.added == 1
    assert [problem.path for problem in report.failed] == [str(photos / "a.jpg.json")]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
@pytest.mark.parametrize("content", ["{broken\n", '{"file": "a.png", "caption": "lighthouse"}\n'])
def test_a_list_whose_name_is_no_text_is_reported_in_every_run_and_stops_none(
    library: MediaLibrary, photos: Path, content: str
) -> None:
    picture(photos / "a.png")
    (photos / os.fsdecode(b"caf\xe9.jsonl")).write_text(content)
    (photos / os.fsdecode(b"caf\xe9.doc")).write_text("about nothing")
    for _ in range(2):
        report = library.index([photos])
        [problem] = report.failed
        assert problem.path == str(photos / r"caf\udce9.jsonl")
        assert problem.remedy == "Rename the file."
    assert counts(report) == {"unchanged": 1, "failed": 1}


@pytest.mark.parametrize("name", ["a.png.json", "captions.json"])
def test_a_bad_sidecar_is_reported_until_it_is_mended_and_its_media_are_not_read_for_that(
    library: MediaLibrary, photos: Path, work: list[str], name: str
) -> None:
    path = picture(photos / "a.png")
    picture(photos / "b.png", "blue")
    sidecar = photos / name
    sidecar.write_text("{broken")
    [problem] = library.index([photos]).failed
    work.clear()
    assert library.index([]).failed == [problem]
    assert work == []
    library.ledger.retry_failed()
    assert library.index([]).failed == [problem]
    assert "facts a.png" in work
    assert status(library)["failed"] == 1
    said = '{"caption": "lighthouse"}' if name == "a.png.json" else '{"a.png": "lighthouse"}'
    sidecar.write_text(said)
    assert library.index([]).failed == []
    assert "lighthouse" in words_of(library, path)
    sidecar.write_text("{broken again")
    assert [bad.path for bad in library.index([]).failed] == [str(sidecar)]
    sidecar.unlink()
    assert library.index([]).failed == []
    assert status(library)["failed"] == 0


def test_a_sidecar_that_may_not_be_read_is_read_once_it_may(
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    path = picture(photos / "a.png")
    sidecar = describe(path, "lighthouse")
    with shut(sidecar):
        for _ in range(2):
            work.clear()
            assert [bad.path for bad in library.index([photos]).failed] == [str(sidecar)]
        assert work == []
    assert counts(library.index([])) == {"unchanged": 1}
    assert "lighthouse" in words_of(library, path)


def test_a_bad_sidecar_that_is_mended_has_only_its_own_media_read_again(
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    sidecar = describe(picture(photos / "a.png"), "lighthouse")
    picture(photos / "b.png", "blue")
    picture(photos / "trip" / "c.png", "green")
    with shut(sidecar):
        library.index([photos])
    work.clear()
    assert counts(library.index([])) == {"unchanged": 3}
    assert work == ["facts a.png"]


def test_bad_sidecars_that_are_as_they_were_cost_no_query_each(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        picture(photos / f"{name}.png", number=ord(name))
        (photos / f"{name}.png.json").write_text("{broken")
    library.index([photos])

    def asked(*_: Any) -> frozenset[str]:
        raise AssertionError("the ledger was searched for the media of a sidecar")

    monkeypatch.setattr(Ledger, "media_ids_under", asked)
    assert len(library.index([]).failed) == 2


def test_a_bad_sidecar_on_a_drive_that_was_away_is_reported_again_when_it_is_back(
    library: MediaLibrary, photos: Path
) -> None:
    picture(photos / "b.png", "blue")
    drive = photos / "usb"
    sidecar = picture(drive / "a.png").with_name("a.png.json")
    sidecar.write_text("{broken")
    library.index([photos])
    away = drive.rename(photos.parent / "away")
    drive.mkdir()
    library.index([])
    drive.rmdir()
    away.rename(drive)
    for _ in range(2):
        assert [bad.path for bad in library.index([]).failed] == [str(sidecar)]
    sidecar.unlink()
    assert library.index([]).failed == []


def test_a_bad_sidecar_moves_with_its_folder_and_goes_with_its_media(
    library: MediaLibrary, photos: Path
) -> None:
    picture(photos / "trip" / "a.png")
    picture(photos / "trip" / "b.png", "blue")
    (photos / "trip" / "a.png.json").write_text("{broken")
    library.index([photos])
    new = photos.rename(photos.parent / "elsewhere")
    relocate(library, str(photos), new)
    bad = new / "trip" / "a.png.json"
    assert [problem.path for problem in library.index([]).failed] == [str(bad)]
    (new / "trip" / "a.png").unlink()
    assert library.index([]).failed == [], "it speaks about nothing any more"


def test_the_reason_of_a_failure_names_a_path_that_is_there(
    library: MediaLibrary, photos: Path
) -> None:
    whole = picture(photos / "a.png", size=(64, 64)).read_bytes()
    first, copy = photos / "a.png", photos / "copy.png"
    for path in (first, copy):
        path.write_bytes(whole[: len(whole) // 2])  # its pixels can't be decoded, its facts can
    assert str(first) in library.index([photos]).failed[0].reason
    first.unlink()
    assert [str(copy) in bad.reason for bad in library.index([]).failed] == [True]
    copy.rename(photos / "moved.png")
    (failed,) = library.index([]).failed
    assert str(photos / "moved.png") in failed.reason


# ---- drives that come and go -----------------------------------------------------------------


def test_media_on_a_missing_drive_wait_and_are_no_failures(
    library: MediaLibrary, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = tmp_path / "drive"
    for number in range(3):
        picture(drive / f"{number}.png", number=number)
    picture(photos / "here.png", "blue")
    original = PhotoReader.frames

    def killed(self: Any, path: Path, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(PhotoReader, "frames", killed)
    with pytest.raises(KeyboardInterrupt):
        library.index([photos, drive])
    monkeypatch.setattr(PhotoReader, "frames", original)
    drive.rename(tmp_path / "unplugged")

    report = library.index([])
    assert report.failed == []
    assert report.stages["embed"].pending == 3
    assert any("not there now" in warning for warning in report.warnings)
    assert any("3 media are not where they were" in warning for warning in report.warnings)
    assert len(milvus_rows(library)["visual"]) == 1

    (tmp_path / "unplugged").rename(drive)
    report = library.index([])
    assert (report.failed, report.warnings) == ([], [])
    assert len(milvus_rows(library)["visual"]) == 4
    assert_agrees(library)


def test_a_media_is_read_from_its_copy_when_its_first_path_is_away(
    library: MediaLibrary, tmp_path: Path, photos: Path
) -> None:
    drive = tmp_path / "drive"
    picture(drive / "a.png", "red")
    photos_copy = Path(shutil.copy(drive / "a.png", photos / "a.png"))
    library.index([drive, photos])
    drive.rename(tmp_path / "unplugged")
    describe(photos_copy, "a red wall")
    report = library.index([])
    assert report.failed == []
    assert report.updated == 1
    assert "a red wall" in words_of(library, photos_copy)


def test_what_is_said_beside_a_copy_that_was_away_is_found_again_when_it_is_back(
    library: MediaLibrary, tmp_path: Path, photos: Path
) -> None:
    drive = tmp_path / "usb"
    copy = picture(drive / "a.png")
    path = Path(shutil.copy(copy, photos / "a.png"))
    describe(copy, "grandmother")
    library.index([photos, drive])
    away = drive.rename(tmp_path / "unplugged")
    path = path.rename(photos / "b.png")
    assert library.index([]).moved == 1
    away.rename(drive)
    library.index([])
    assert "grandmother" in words_of(library, path)
    assert counts(library.index([])) == {"unchanged": 1}


def test_a_folder_that_lost_all_its_files_loses_nothing(
    library: MediaLibrary, photos: Path
) -> None:
    path = picture(photos / "a.png")
    library.index([photos])
    rows = milvus_rows(library)
    path.unlink()
    report = library.index([photos])
    assert counts(report) == {"unchanged": 1}
    assert "forget" in report.warnings[0]
    assert milvus_rows(library) == rows


def test_a_folder_that_may_not_be_entered_is_reported_and_stops_nothing(
    library: MediaLibrary, photos: Path
) -> None:
    picture(photos / "a.png")
    picture(photos / "inside" / "b.png", "blue")
    library.index([photos])
    rows = milvus_rows(library)
    library.ledger.redo("read", library.ledger.media_rows())
    library.ledger.redo("embed", library.ledger.media_rows())
    with shut(photos / "inside"):
        report = library.index([])
        assert [problem.path for problem in report.failed] == [str(photos / "inside")]
        assert report.stages["read"].done == 1
        found = library.find(str(photos / "inside" / "b.png"))
        assert found is not None
        assert library.picture_of(library.search("blue").hits[0]) is None
    assert library.index([]).failed == []
    assert milvus_rows(library) == rows
    assert_agrees(library)


def test_a_part_of_a_folder_that_may_not_be_listed_is_taken_in_without_the_lists_above(
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    path = picture(photos / "trip" / "a.png")
    describe(path, "lighthouse")
    (photos / "captions.json").write_text('{"trip/a.png": "grandmother"}')
    picture(photos / "b.png", "blue")
    library.index([photos])
    picture(path.with_name("c.png"), "green")
    with unlisted(photos):
        report = library.index([path.parent])
        assert (report.added, report.failed) == (1, [])
        assert any(f"{photos} can't be listed" in warning for warning in report.warnings)
        assert "lighthouse" in words_of(library, path)
        path.with_name("c.png").unlink()
        assert counts(library.index([path.parent])) == {"removed": 1, "unchanged": 2}
    library.index([])
    assert "grandmother" in words_of(library, path)


# ---- stages ----------------------------------------------------------------------------------


def test_other_keyframes_are_embedded_again_and_nothing_else(
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    write_film(photos / "film.mp4", [RED] * 10 + [BLUE] * 10 + [GREEN] * 10, gop=5)
    picture(photos / "a.png")
    library.index([photos])
    before = milvus_rows(library)["visual"]
    work.clear()
    with opened(library.settings.home, library.settings.library, keyframes="uniform") as other:
        assert counts(other.index([])) == {"unchanged": 2}
        assert work == ["frames film.mp4"]
        after = milvus_rows(other)["visual"]
        assert len(after) != len(before)
        assert_agrees(other)
    work.clear()
    with opened(library.settings.home, library.settings.library) as plain:
        plain.index([])
        assert work == [], "the library remembers how its keyframes are chosen"
        assert milvus_rows(plain)["visual"] == after


def test_rows_are_on_disk_before_the_ledger_says_that_they_are_there(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def recorded(owner: type, method: str, name: str) -> None:
        original = getattr(owner, method)

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            done = original(self, *args, **kwargs)
            if name or args[0] in ("upsert", "delete", "flush"):
                order.append(name or args[0])
            return done

        monkeypatch.setattr(owner, method, call)

    recorded(MilvusConnection, "call", "")
    for method in ("begin", "begin_words", "done", "put_words", "drop_media"):
        recorded(Ledger, method, method)
    path = picture(photos / "a.png")
    picture(photos / "b.png", "blue")
    library.index([photos])
    words = ["begin_words", "upsert", "flush", "put_words"]
    frames = ["begin", "upsert", "flush", "done"]
    read = ["done"]  # has no rows
    assert order == [*read, *words, *frames]
    order.clear()
    picture(path, "green")
    library.index([])
    assert order == [*read, *words, *frames]  # rows keep their ids and are overwritten
    order.clear()
    path.unlink()
    library.index([])
    assert order == ["delete", "flush", "delete", "flush", "drop_media"]
    order.clear()
    text_named_jpg(photos / "b.png")
    picture(photos / "c.png")
    library.index([])
    lost = ["begin", "delete", "flush", "begin_words", "delete", "flush", "put_words"]
    assert order[: len(lost)] == lost


class Steps(Progress):
    """What a run says of how far it is."""

    def __init__(self) -> None:
        self.heard: list[tuple[Stage, int]] = []

    def advance(self, stage: Stage, count: int) -> None:
        self.heard.append((stage, count))


def test_films_are_kept_and_counted_one_by_one(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        write_film(photos / f"{number}.mp4", [RED] * (4 + number) + [GREEN] * 4, gop=4)
    original = VideoReader.frames

    def breaks(self: Any, path: Path, **options: Any) -> Any:
        if path.name == "3.mp4":
            raise KeyboardInterrupt
        return original(self, path, **options)

    monkeypatch.setattr(index_pixels, "COMMIT_S", 0.0)
    monkeypatch.setattr(VideoReader, "frames", breaks)
    steps = Steps()
    with pytest.raises(KeyboardInterrupt):
        library.index([photos], steps)
    assert library.ledger.counts()["stages"]["embed:done"] == 3
    assert [step for step in steps.heard if step[0] == "embed"] == [("embed", 1)] * 3


def test_words_are_kept_once_there_are_many_rows_of_them(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_words, "_EMBED_ROWS", 1)
    monkeypatch.setattr(index_words, "_COMMIT_ROWS", 6)
    for number in range(5):  # each a combined row and two of its subtitles
        write_film(photos / f"{number}.mp4", [RED] * (4 + number), gop=4)
        (photos / f"{number}.srt").write_text(
            "1\n00:00:01,000 --> 00:00:02,000\none\n\n2\n00:00:09,000 --> 00:00:10,000\ntwo\n"
        )
    kept: list[int] = []
    original = Ledger.put_words

    def counted(self: Any, stamp: str, written: Any, *marks: Any) -> None:
        kept.append(len(written))
        original(self, stamp, written, *marks)

    monkeypatch.setattr(Ledger, "put_words", counted)
    library.index([photos])
    assert kept == [2, 2, 1]
    assert_agrees(library)


def test_text_in_pictures_is_read_once_and_found_in_the_words(
    library: MediaLibrary, photos: Path, work: list[str]
) -> None:
    path = picture_with_text(photos / "gate.png", "GATE B42")
    library.index([photos])
    assert "B42" not in words_of(library, path)
    with opened(library.settings.home, library.settings.library, ocr="auto") as reading:
        work.clear()
        report = reading.index([])
        assert report.stages["ocr"].done == 1
        assert work == ["frames gate.png"], "the pictures are not embedded again"
        assert "B42" in words_of(reading, path)
        assert reading.index([]).stages["ocr"].done == 0
        assert_agrees(reading)
        picture(path, "green")
        reading.index([])
        assert "B42" not in words_of(reading, path), "what the old picture said is gone"
    work.clear()
    library.index([])
    assert work == []


def test_pictures_on_a_missing_drive_wait_for_their_text_to_be_read(
    library: MediaLibrary, photos: Path, tmp_path: Path
) -> None:
    picture(photos / "a.png")
    away = picture(tmp_path / "drive" / "b.png", "blue").parent
    library.index([photos, away])
    away.rename(tmp_path / "unplugged")
    with opened(library.settings.home, ocr="auto") as reading:
        report = reading.index([])
    assert (report.stages["ocr"].done, report.stages["ocr"].pending) == (1, 1)


def test_text_of_an_old_picture_is_gone_although_nobody_reads_the_new_one(
    home: Path, photos: Path
) -> None:
    path = picture_with_text(photos / "gate.png", "GATE B42")
    with opened(home, "stale", ocr="auto") as reading:
        reading.index([photos])
        assert "B42" in words_of(reading, path)
    picture(path, "green")
    with opened(home, "stale") as library:
        library.index([])
        assert "B42" not in words_of(library, path)
        assert_agrees(library)


def test_a_picture_that_breaks_the_model_fails_alone(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmrag_plugin.embeddings.palette import Palette

    original = Palette.embed_pictures

    def picky(self: Any, pictures: Any) -> Any:
        if any(picture.getpixel((20, 20))[2] > 200 for picture in pictures):
            raise ValueError("no blue, please")
        return original(self, pictures)

    picture(photos / "odd.png", "blue")
    picture(photos / "even.png", "red")
    monkeypatch.setattr(Palette, "embed_pictures", picky)
    with opened(tmp_path / "home") as library:
        report = library.index([photos])
        [problem] = report.failed
        assert problem.path == str(photos / "odd.png")
        assert "no blue, please" in problem.reason
        assert report.stages["embed"].done == 1
        assert_agrees(library)


def test_other_keyframes_leave_a_film_on_a_missing_drive_findable(
    tmp_path: Path, photos: Path
) -> None:
    picture(photos / "a.png")
    drive = photos.parent / "drive"
    drive.mkdir()
    write_film(drive / "film.mp4", [RED] * 20 + [BLUE] * 20, rate=10, gop=10)
    with opened(tmp_path / "home") as library:
        library.index([photos, drive])
        before = len(milvus_rows(library)["visual"])
    away = drive.rename(drive.with_name("away"))
    with opened(tmp_path / "home", keyframes="uniform") as library:
        library.index([])
        assert_agrees(library)
        assert len(milvus_rows(library)["visual"]) == before
        away.rename(drive)
        assert library.index([]).stages["embed"].done == 1
        assert_agrees(library)


def test_a_picture_that_broke_while_a_switch_was_broken_off_is_found_nowhere(
    tmp_path: Path, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = picture(photos / "a.png")
    picture(photos / "b.png", "blue")
    with opened(tmp_path / "home") as library:
        library.index([photos])
        broken.write_text("no picture")
    with opened(tmp_path / "home", visual_model=str(minidual)) as library:

        def stop(self: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(index_pixels.PixelStages, "embed", stop)
            with pytest.raises(KeyboardInterrupt):
                library.index([])
    with opened(tmp_path / "home", visual_model="palette") as library:
        assert [problem.path for problem in library.index([]).failed] == [str(broken)]
        assert_agrees(library)
