"""Small media made on the spot, shared by the tests of the core: pictures, sidecars, libraries."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pathlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import pytest

from mmrag_plugin import milvus_owner
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings

COLOURS = {
    "red": (210, 30, 30),
    "green": (30, 160, 50),
    "blue": (30, 50, 210),
    "yellow": (240, 220, 40),
    "orange": (245, 140, 20),
    "purple": (130, 40, 160),
    "pink": (250, 150, 190),
    "brown": (120, 75, 35),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}


def picture(
    path: Path,
    colour: str = "red",
    *,
    number: int = 0,
    size: tuple[int, int] = (48, 32),
    taken_at: str | None = None,
    camera: str | None = None,
) -> Path:
    """Write a plain picture; ``number`` makes its content one of its own."""
    image = PIL.Image.new("RGB", size, COLOURS[colour])
    pixels = image.load()
    assert pixels is not None
    for bit in range(16):  # a row of dots that spells the number
        if number >> bit & 1:
            pixels[bit * 2, 0] = (1, 2, 3)
    exif = PIL.Image.Exif()
    if taken_at:
        exif.get_ifd(0x8769)[0x9003] = taken_at  # DateTimeOriginal
    if camera:
        exif[0x0110] = camera
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), "PNG")
    image.save(path, format=form, exif=exif, quality=95)
    return path


def picture_with_text(path: Path, text: str) -> Path:
    """Write a picture with large dark letters on white."""
    image = PIL.Image.new("RGB", (640, 160), "white")
    draw = PIL.ImageDraw.Draw(image)
    draw.text((30, 40), text, fill="black", font_size=64)
    image.save(path)
    return path


def describe(media: Path, text: str) -> Path:
    """Put a description beside a picture, as a text file of the same name."""
    sidecar = media.with_suffix(".txt")
    sidecar.write_text(text)
    return sidecar


@contextlib.contextmanager
def shut(*places: Path) -> Iterator[None]:
    """Take the rights to files and folders away, for root too, whom no mode keeps out."""

    def refusing(module: Any, name: str) -> Any:
        original = getattr(module, name)

        def asked(place: Any = ".", *args: Any, **kwargs: Any) -> Any:
            path = Path() if isinstance(place, int) else Path(os.fsdecode(place))
            within = path.parents if name == "stat" else (path, *path.parents)
            if not set(places).isdisjoint(within):
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return original(place, *args, **kwargs)

        return asked

    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((os, "stat"), (os, "scandir"), (io, "open")):
            asked = refusing(module, name)
            patch.setattr(module, name, asked)
            if sys.version_info < (3, 11):  # whose paths keep their own
                patch.setattr(pathlib._NormalAccessor, name, staticmethod(asked))
        yield


@contextlib.contextmanager
def opened(home: Path, library: str = "default", **flags: Any) -> Iterator[MediaLibrary]:
    """Open a library with the fast model, without OCR and speech, unless told otherwise."""
    off = {"text_model": "off", "ocr": "off", "speech": "off"}
    flags = {"visual_model": "palette", **off, **flags}
    settings = load_settings(home=home, library=library, **flags)
    with MediaLibrary.open(settings, create=True) as found:
        yield found


def owner_pid(library: Path) -> int | None:
    """The process that holds a library's Milvus, if there is one."""
    try:
        return int(json.loads((library / "owner.json").read_text())["pid"])
    except (OSError, ValueError, KeyError):
        return None


def end_owner(library: Path, number: int = signal.SIGTERM, *, wait: bool = True) -> None:
    """End the process that holds a library's Milvus, by its pid."""
    pid = owner_pid(library)
    if pid is None or not milvus_owner._is_owned(library):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    deadline = time.monotonic() + 15
    while wait and milvus_owner._is_owned(library) and time.monotonic() < deadline:
        time.sleep(0.02)


def end_owners(home: Path) -> None:
    """End the owner processes of all libraries under a home."""
    for lock in home.glob("*/owner.lock"):
        end_owner(lock.parent)


def milvus_rows(library: MediaLibrary) -> dict[str, dict[str, str]]:
    """All rows in Milvus: collection's role -> row id -> media id."""
    return {name: dict(store.row_ids()) for name, store in library.stores().items()}
