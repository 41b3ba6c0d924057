"""Photos that move are one media, and both parts of them are found."""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import av
import PIL.Image
import pillow_heif
import pytest

from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owners, milvus_rows, opened, picture
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.motion_photos import FilmPart, motion_of
from mmrag_plugin.readers.photo import PhotoReader

RED_THEN_GREEN = [RED] * 15 + [GREEN] * 15


def live_film(path: Path, colours: list[tuple[int, int, int]] | None = None) -> Path:
    """A film as iPhones write beside a photo, known by its identifier."""
    with av.open(
        str(path), "w", format="mov", options={"movflags": "use_metadata_tags"}
    ) as container:
        container.metadata["com.apple.quicktime.content.identifier"] = "4C1F7C0C-5E5E"
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 64, 48, "yuv420p", 15
        for number, colour in enumerate(colours or RED_THEN_GREEN):
            frame = av.VideoFrame.from_image(PIL.Image.new("RGB", (64, 48), colour))
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def still(colour: str, form: str, **options: object) -> bytes:
    pillow_heif.register_heif_opener()
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (640, 480), colour).save(buffer, form, **options)
    return buffer.getvalue()


def google(folder: Path, name: str) -> Path:
    film = write_film(folder / "part.mp4", RED_THEN_GREEN, gop=15)
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" GCamera:MotionPhoto="1"/>'
    path = folder / name
    path.write_bytes(still("blue", "JPEG", xmp=packet) + film.read_bytes())
    film.unlink()
    return path


def samsung(folder: Path, name: str) -> Path:
    film = write_film(folder / "part.mp4", RED_THEN_GREEN, gop=15)
    path = folder / name
    trailer = b"SEFH" + b"\0" * 20 + struct.pack("<I", 24) + b"SEFT"
    path.write_bytes(still("blue", "JPEG") + b"MotionPhoto_Data" + film.read_bytes() + trailer)
    film.unlink()
    return path


def boxed(folder: Path, name: str) -> Path:
    content = write_film(folder / "part.mp4", RED_THEN_GREEN, gop=15).read_bytes()
    path = folder / name
    box = struct.pack(">I", len(content) + 8) + b"mpvd"
    path.write_bytes(still("blue", "HEIF") + box + content)
    (folder / "part.mp4").unlink()
    return path


def apple(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(still("blue", "HEIF" if name.endswith("HEIC") else "JPEG"))
    live_film(path.with_suffix(".MOV"))
    return path


ALL = [(google, "PXL_1.MP.jpg"), (samsung, "2021.jpg"), (boxed, "MV.heic")]
ALL += [(apple, "IMG_1.HEIC"), (apple, "IMG_2.JPG")]


@pytest.mark.parametrize(("write", "name"), ALL)
def test_the_moving_part_is_found_and_read(tmp_path: Path, write: object, name: str) -> None:
    path = write(tmp_path, name)  # type: ignore[operator]
    assert motion_of(path) is not None
    facts = PhotoReader().facts(path)
    assert facts.duration_s == pytest.approx(3.0, abs=0.11)
    assert facts.width_px == 640
    first, *moving = PhotoReader().frames(path, at_least_px=100)
    assert first.time_s is None
    assert [frame.index for frame in moving] == [1, 2]
    assert [frame.time_s for frame in moving] == [0, 1.5]
    colours = [frame.picture.getpixel((40, 30)) for frame in (first, *moving)]
    assert [max(range(3), key=colour.__getitem__) for colour in colours] == [2, 0, 1]


def test_other_photos_have_none(tmp_path: Path, shared_data: Path) -> None:
    path = picture(tmp_path / "holiday.jpg")
    write_film(tmp_path / "holiday.mp4", [RED] * 5)
    write_film(tmp_path / "holiday.mov", [RED] * 5)
    assert motion_of(path) is None
    for path in (shared_data / "tricky").rglob("*.*"):
        if path.is_file():
            assert motion_of(path) is None, path


def test_a_broken_moving_part_does_not_harm_the_photo(tmp_path: Path) -> None:
    path = google(tmp_path, "a.jpg")
    content = path.read_bytes()
    at = content.rindex(b"ftyp") + 200
    path.write_bytes(content[:at] + b"\0" * (len(content) - at))
    assert isinstance(motion_of(path), FilmPart)
    assert PhotoReader().facts(path).duration_s is None
    assert len(list(PhotoReader().frames(path))) == 1


@pytest.fixture
def library(tmp_path: Path) -> Iterator[MediaLibrary]:
    with opened(tmp_path / "home") as found:
        yield found
    end_owners(tmp_path / "home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


def test_both_parts_are_one_media_and_are_found(library: MediaLibrary, photos: Path) -> None:
    for write, name in ALL:
        write(photos, name)
    report = library.index([photos])
    assert report.failed == []
    assert report.added == len(ALL)
    assert len(milvus_rows(library)["visual"]) == 3 * len(ALL)
    for word, start_s in [("blue", None), ("red", 0.0), ("green", 1.5)]:
        best = library.search(word).hits
        assert {Path(hit.path).name for hit in best} == {name for _, name in ALL}
        assert {hit.moment.start_s for hit in best} == {start_s}, word
        assert {hit.moment.kind for hit in best} == {"image"}
        for hit in best:
            seen = library.picture_of(hit)
            assert seen is not None
            channel = ["red", "green", "blue"].index(word)
            assert max(range(3), key=seen.getpixel((30, 20)).__getitem__) == channel
            [(at_s, _)] = library.moment_pictures(hit.moment)
            assert (at_s is None) == (start_s is None)
    assert library.index([]).as_dict()["stages"]["embed"]["done"] == 0


def test_the_film_of_a_photo_may_come_later_and_go(library: MediaLibrary, photos: Path) -> None:
    photo = apple(photos, "IMG_1.HEIC")
    film = photo.with_suffix(".MOV")
    away = film.rename(photos.parent / "away.mov")
    library.index([photos])
    assert len(milvus_rows(library)["visual"]) == 1
    away.rename(film)
    assert library.index([]).updated == 1
    assert len(milvus_rows(library)["visual"]) == 3
    [row] = library.ledger.media_rows().values()
    assert row.duration_s == pytest.approx(3.0)
    photo.unlink()
    report = library.index([])
    assert (report.added, report.removed) == (1, 1)
    [row] = library.ledger.media_rows().values()
    assert row.kind == "video", "a film whose photo is gone is a film"


def test_unchanged_photos_that_move_are_not_opened_again(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apple(photos, "IMG_1.HEIC")
    picture(photos / "b.jpg")
    write_film(photos / "b.mp4", [BLUE] * 5)
    assert library.index([photos]).added == 3

    def poison(path: object) -> bool:
        raise AssertionError(f"{path} was opened")

    monkeypatch.setattr("mmrag_plugin.pairing.is_live_film", poison)
    report = library.index([])
    assert (report.added, report.updated, report.removed, report.unchanged) == (0, 0, 0, 3)


def test_a_raw_file_and_its_jpeg_are_one_media(library: MediaLibrary, photos: Path) -> None:
    picture(photos / "DSC_1.JPG", "red")
    (photos / "DSC_1.NEF").write_bytes(b"II*\0" + os.urandom(500))
    (photos / "DSC_2.NEF").write_bytes(b"II*\0" + b"\0" * 99 + still("blue", "JPEG"))
    report = library.index([photos])
    assert report.failed == []
    assert report.added == 2
    assert {Path(row.path).name for row in library.ledger.media_rows().values()} == {
        "DSC_1.JPG", "DSC_2.NEF"
    }  # fmt: skip
