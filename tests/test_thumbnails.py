"""Thumbnails: upright, without metadata, made once, within bounds, never of an old content."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from made_films import BLUE, RED, write_film
from media_made import end_owners, opened, picture
from mmrag_plugin.errors import MediaError, NotFound, UsageError
from mmrag_plugin.kept_files import THUMBNAILS
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_thumbnails import Thumbnails
from mmrag_plugin.readers.decoding import DecodesHere
from mmrag_plugin.upkeep import forget


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return tmp_path.resolve() / "photos"


@pytest.fixture
def indexed(tmp_path: Path, photos: Path) -> Iterator[Callable[[], MediaLibrary]]:
    """Index what is in the folder by then, and give the library."""
    with opened(tmp_path / "home", visual_model="palette", text_model="off", ocr="off") as library:

        def index() -> MediaLibrary:
            library.index([photos])
            return library

        yield index
    end_owners(tmp_path / "home")


def id_of(library: MediaLibrary, path: Path) -> str:
    row = library.find(str(path))
    assert row is not None
    return row.media_id


def shown(jpeg: bytes) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    image.load()
    return image


def kept(library: MediaLibrary) -> list[Path]:
    return sorted((library.directory / THUMBNAILS).glob("*/*"))


def is_near(colour: Any, expected: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 40 for one, other in zip(colour, expected, strict=True))


def test_a_thumbnail_is_upright_small_and_tells_nothing_of_its_file(
    photos: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    photos.mkdir()
    image = PIL.Image.new("RGB", (1200, 800), (30, 50, 210))
    image.paste((210, 30, 30), (0, 0, 1200, 400))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right: red comes to the right
    exif[0x0110] = "Pinhole 3"
    exif.get_ifd(0x8825)[1] = "N"
    image.save(photos / "a.jpg", exif=exif)
    library = indexed()
    media_id = id_of(library, photos / "a.jpg")
    small = shown(library.thumbnail(media_id))
    assert small.size == (213, 320)
    assert is_near(small.getpixel((200, 160)), (210, 30, 30))
    assert is_near(small.getpixel((10, 160)), (30, 50, 210))
    assert not small.getexif()
    assert not {"exif", "icc_profile", "comment", "xmp"} & small.info.keys()
    assert b"Pinhole" not in library.thumbnail(media_id)
    assert shown(library.thumbnail(media_id, long_side_px=64)).size == (43, 64)


def test_a_film_is_shown_at_a_time(photos: Path, indexed: Callable[[], MediaLibrary]) -> None:
    photos.mkdir()
    write_film(photos / "a.mp4", [RED] * 20 + [BLUE] * 20, gop=20)
    library = indexed()
    media_id = id_of(library, photos / "a.mp4")
    assert is_near(shown(library.thumbnail(media_id, 0.5)).getpixel((50, 40)), RED)
    assert is_near(shown(library.thumbnail(media_id, 3.0)).getpixel((50, 40)), BLUE)
    assert is_near(shown(library.thumbnail(media_id)).getpixel((50, 40)), RED)  # after a third
    assert is_near(shown(library.thumbnail(media_id, 1e9)).getpixel((50, 40)), BLUE)
    with pytest.raises(UsageError, match="not a time"):
        library.thumbnail(media_id, float("nan"))


def test_it_is_decoded_once_and_again_when_the_file_was_edited(
    photos: Path, indexed: Callable[[], MediaLibrary], monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture(photos / "a.png", "red")
    library = indexed()
    media_id = id_of(library, photo)
    decoded: list[Path] = []
    decode = library._thumbnails._decoder.picture

    def counted(kind: Any, path: Path, *rest: Any, **more: Any) -> Any:
        decoded.append(path)
        return decode(kind, path, *rest, **more)

    monkeypatch.setattr(library._thumbnails._decoder, "picture", counted)
    first = library.thumbnail(media_id)
    assert library.thumbnail(media_id) == first
    assert len(decoded) == 1
    picture(photo, "blue")  # nobody has indexed it since
    edited = library.thumbnail(media_id)
    assert is_near(shown(edited).getpixel((20, 20)), (30, 50, 210))
    library.index([photos])
    assert library.thumbnail(media_id) == edited
    photo.rename(photos / "b.png")
    library.index([photos])
    count = len(decoded)
    assert library.thumbnail(media_id) == edited
    assert len(decoded) == count, "a renamed file keeps its thumbnail"


def test_a_damaged_or_unwritable_store_costs_time_only(
    photos: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    photo = picture(photos / "a.png", "red")
    library = indexed()
    media_id = id_of(library, photo)
    first = library.thumbnail(media_id)
    (place,) = kept(library)
    place.write_bytes(first[:100])
    assert library.thumbnail(media_id) == first
    assert place.read_bytes() == first
    place.unlink()
    place.parent.rmdir()
    (library.directory / THUMBNAILS).rmdir()
    (library.directory / THUMBNAILS).write_text("in the way")
    assert library.thumbnail(media_id) == first


def test_what_is_kept_stays_within_its_bound(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    photo = picture(tmp_path / "a.png", "red", size=(640, 480))
    one = len(Thumbnails(folder).of("image", photo, None, None, 320))
    old = next(folder.glob("*/*"))
    os.utime(old, (1, 1))
    bounded = Thumbnails(folder, kept_bytes=one + 200)
    bounded.of("image", photo, None, None, 319)
    (left,) = folder.glob("*/*")
    assert left != old, "what nobody has looked at for longest goes first"


def test_many_at_once_decode_a_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = picture(tmp_path / "a.png", "red", size=(64, 48))
    running, most, lock = 0, 0, threading.Lock()

    class Watched(DecodesHere):
        def picture(self, *given: Any, **more: Any) -> PIL.Image.Image:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            time.sleep(0.02)
            with lock:
                running -= 1
            return super().picture(*given, **more)

    thumbnails = Thumbnails(tmp_path / "kept")
    monkeypatch.setattr(thumbnails, "_decoder", Watched())
    with ThreadPoolExecutor(16) as pool:
        sides = list(range(16, 48))
        jpegs = list(pool.map(lambda side: thumbnails.of("image", photo, None, None, side), sides))
    assert [max(shown(jpeg).size) for jpeg in jpegs] == sides
    assert 1 < most <= 4
    assert not list((tmp_path / "kept").glob("*/*.part"))


def test_what_can_not_be_shown_says_why(photos: Path, indexed: Callable[[], MediaLibrary]) -> None:
    photo = picture(photos / "a.png", "red")
    library = indexed()
    media_id = id_of(library, photo)
    with pytest.raises(UsageError, match="16 to 2048"):
        library.thumbnail(media_id, long_side_px=100_000)
    with pytest.raises(NotFound, match="no media"):
        library.thumbnail("nobody")
    photo.write_bytes(photo.read_bytes()[:60])
    with pytest.raises(MediaError):
        library.thumbnail(media_id)
    photo.unlink()
    with pytest.raises(NotFound, match="not there any more"):
        library.thumbnail(media_id)


def test_what_is_forgotten_leaves_no_thumbnail(
    photos: Path, indexed: Callable[[], MediaLibrary]
) -> None:
    photo = picture(photos / "a.png", "red")
    library = indexed()
    library.thumbnail(id_of(library, photo))
    assert kept(library)
    forget(library, photos)
    assert not kept(library)
