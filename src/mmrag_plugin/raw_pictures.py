"""RAW files of cameras: the picture that the camera itself made of them, or one developed here.

Nearly every RAW file holds a JPEG of its full size or not much less. It is found by looking for
whole JPEGs in the file, whatever its format; only without a large one is the file developed, by
LibRaw (an extra).
"""

from __future__ import annotations

import io
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.media import RAW_SUFFIXES

if TYPE_CHECKING:
    from PIL.Image import Image

LARGE_PX = 600  # of the short side of a preview that will do
_MIN_PX = 100
_SOI = b"\xff\xd8\xff"
_MAX_CANDIDATES = 200
_MAX_SEGMENTS = 200
_MAX_PREVIEW_BYTES = 64 * 2**20
_FRAMES = (0xC0, 0xC1, 0xC2)  # lossless ones (0xC3) are the sensor's own data
_HEADS = (b"II*\0", b"MM\0*", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb")
_EXIF_IFD, _GPS_IFD, _MAKERS_OWN = 0x8769, 0x8825, 0x927C


@dataclass(frozen=True)
class Preview:
    """A JPEG inside a file: where it begins, and its size."""

    begin: int
    width_px: int
    height_px: int


def is_raw(path: Path) -> bool:
    """Whether a file is a RAW one: TIFF files are, too, and so only the name tells them apart."""
    if path.suffix.lower() not in RAW_SUFFIXES:
        return False
    with path.open("rb") as file:
        head = file.read(16)
    return head.startswith(_HEADS) or head[4:12] == b"ftypcrx "


def developed(path: Path) -> tuple[io.BytesIO | Image, bytes]:
    """Return what stands for a RAW file, a JPEG or a picture, and the EXIF of the file.

    Raises MediaError, and MissingExtra where there is no preview and LibRaw is not installed.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        exif = _exif_of(data)
        best = max(_previews(data), key=lambda found: found.width_px, default=None)
        short_px = min(best.width_px, best.height_px) if best else 0
        jpeg = data[best.begin : best.begin + _MAX_PREVIEW_BYTES] if best else b""
    if short_px < LARGE_PX and find_spec("rawpy"):
        try:
            return _develop(path), exif
        except MediaError:
            if short_px < _MIN_PX:
                raise
    if short_px >= _MIN_PX:
        return io.BytesIO(jpeg), exif
    raise MissingExtra(
        f"{path} is a RAW file without a preview, and has to be developed.",
        "Run `pip install 'mmrag-plugin[raw]'`, then mmrag index again.",
    )


def _develop(path: Path) -> Image:
    import PIL.Image
    import rawpy

    try:
        with rawpy.imread(str(path)) as raw:
            # half of its size: each of its pixels has seen all colours
            pixels = raw.postprocess(half_size=True, use_camera_wb=True, user_flip=0)
        return PIL.Image.fromarray(pixels)
    except (rawpy.LibRawError, ValueError, OSError) as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode(errors="replace") if isinstance(reason, bytes) else reason
        raise MediaError(
            f"{path} is not a readable RAW file ({reason}).",
            "Open it in another program; restore it from a backup or remove it.",
            path=str(path),
        ) from error


def _previews(data: Any) -> Iterator[Preview]:
    """Every JPEG in a file that a camera may have made for looking at."""
    at = 0
    for _ in range(_MAX_CANDIDATES):
        at = data.find(_SOI, at)
        if at < 0:
            return
        if size := _size_of_jpeg(data, at):
            yield Preview(at, *size)
        at += len(_SOI)


def _size_of_jpeg(data: Any, begin: int) -> tuple[int, int] | None:
    """Read the size out of a JPEG's header; None where it is none, or one without loss."""
    at = begin + 2
    for _ in range(_MAX_SEGMENTS):
        header = data[at : at + 4]
        if len(header) < 4 or header[0] != 0xFF:
            return None
        kind, length = header[1], struct.unpack(">H", header[2:4])[0]
        if kind in _FRAMES:
            frame = data[at + 4 : at + 10]
            if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3):
                return None
            height_px, width_px = struct.unpack(">HH", frame[1:5])
            return (width_px, height_px) if width_px and height_px else None
        if kind < 0xC0 or kind in (0xC3, 0xD8, 0xD9, 0xDA) or length < 2:
            return None
        at += 2 + length
    return None


def _exif_of(data: Any) -> bytes:
    """The EXIF of the file itself: its tags of a photo, without the pixels and maker's notes."""
    import PIL.Image

    exif, kept = PIL.Image.Exif(), PIL.Image.Exif()
    try:
        for begin, own_ifd in _tiff_headers(data):
            exif.load_from_fp(_Part(data, begin))
            if own_ifd:
                kept.get_ifd(own_ifd).update(_plain(exif))
                continue
            kept.update({tag: exif[tag] for tag in _KEPT if tag in exif})
            for ifd in (_EXIF_IFD, _GPS_IFD):
                kept.get_ifd(ifd).update(_plain(exif.get_ifd(ifd)))
        return kept.tobytes() if len(kept) or kept.get_ifd(_EXIF_IFD) else b""
    except Exception:  # a picture is not worse for broken EXIF
        return b""


# description, make, model, orientation, date, artist, copyright
_KEPT = (0x010E, 0x010F, 0x0110, 0x0112, 0x0132, 0x013B, 0x8298)


def _plain(tags: Any) -> dict[int, Any]:
    """Tags without what is the maker's own, and without those that lead elsewhere in the file."""
    return {tag: value for tag, value in tags.items() if tag not in (_MAKERS_OWN, 0xA005)}


def _tiff_headers(data: Any) -> Iterator[tuple[int, int]]:
    """Where TIFF structures begin, at the top or in the boxes of a CR3, and which IFD each is."""
    if data[4:12] == b"ftypcrx ":
        for name, ifd in ((b"CMT1", 0), (b"CMT2", _EXIF_IFD), (b"CMT4", _GPS_IFD)):
            at = data.find(name, 0, 2**20)
            if at >= 0:
                yield at + 4, ifd
    elif data[:2] in (b"II", b"MM"):
        yield 0, 0


class _Part(io.BytesIO):
    """The beginning of a file from some byte on, as a TIFF that Pillow knows."""

    def __init__(self, data: Any, begin: int) -> None:
        content = bytes(data[begin : begin + 2**20])
        if content[:2] in (b"II", b"MM"):  # Olympus and Panasonic have a mark of their own
            content = content[:2] + (b"*\0" if content[:2] == b"II" else b"\0*") + content[4:]
        super().__init__(content)
