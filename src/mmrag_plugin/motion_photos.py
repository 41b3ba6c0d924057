"""Photos that move: Live Photos (a film beside the photo) and motion photos (a film inside it).

Apple writes ``IMG_1.HEIC`` and ``IMG_1.MOV`` and marks both with one identifier. Google and Samsung
append an MP4 to the JPEG, or put it into a box of the HEIC.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

STILL_SUFFIXES = (".heic", ".heif", ".jpg", ".jpeg")
FILM_SUFFIXES = (".mov", ".mp4")
_LIVE = b"com.apple.quicktime.content.identifier"
_MARKS = (b"MotionPhoto", b"MicroVideo")  # in the XMP of Google's cameras, and of newer Samsungs
_SAMSUNG_END = b"SEFT"
_HEAD_BYTES = 2**17
_MAX_INDEX_BYTES = 16 * 2**20
_MAX_BOXES = 100
_MIN_FILM_BYTES = 1000


@dataclass(frozen=True)
class FilmPart:
    """A film inside another file, from one byte up to another."""

    path: Path
    begin: int
    end: int

    def __str__(self) -> str:
        return f"the moving part of {self.path}"


def motion_of(photo: Path) -> Path | FilmPart | None:
    """The film that belongs to a photo, inside it or beside it; None for most photos."""
    if photo.suffix.lower() not in STILL_SUFFIXES:
        return None
    try:
        return _inside(photo) or _beside(photo)
    except (OSError, ValueError):
        return None  # reading the photo says what is wrong


def is_live_film(path: Path | str) -> bool:
    """Whether a film is the moving part of a Live Photo, as it says itself."""
    try:
        with Path(path).open("rb") as file:
            for name, begin, end in _boxes(file):
                if name == b"moov":
                    file.seek(begin)
                    return _LIVE in file.read(min(end - begin, _MAX_INDEX_BYTES))
    except OSError:
        pass
    return False


def _beside(photo: Path) -> Path | None:
    for suffix in FILM_SUFFIXES:
        for name in (suffix, suffix.upper()):
            film = photo.with_suffix(name)
            if film.is_file() and is_live_film(film):
                return film
    return None


def _inside(photo: Path) -> FilmPart | None:
    size_bytes = photo.stat().st_size
    with photo.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[4:8] == b"ftyp":
            for name, begin, end in _boxes(file):
                if name == b"mpvd":
                    return FilmPart(photo, begin, end)
            return None
        file.seek(max(size_bytes - 4, 0))
        marked = file.read(4) == _SAMSUNG_END or any(mark in head for mark in _MARKS)
        if not (head.startswith(b"\xff\xd8\xff") and marked):
            return None
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            at = data.rfind(b"ftyp") - 4
            if at <= 0 or size_bytes - at < _MIN_FILM_BYTES:
                return None
            box_bytes = struct.unpack(">I", data[at : at + 4])[0]
    return FilmPart(photo, at, size_bytes) if 16 <= box_bytes <= 256 else None


def _boxes(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """The outermost boxes of a file (ISO 14496-12): name, and where the content begins and ends."""
    file.seek(0, 2)
    file_bytes, at = file.tell(), 0
    for _ in range(_MAX_BOXES):
        file.seek(at)
        header = file.read(16)
        if len(header) < 8:
            return
        size, name = struct.unpack(">I4s", header[:8])
        begin = at + 8
        if size == 1 and len(header) == 16:
            size, begin = struct.unpack(">Q", header[8:])[0], at + 16
        end = file_bytes if size == 0 else at + size
        if end <= at + 7 or end > file_bytes:
            return
        yield name, begin, end
        at = end
