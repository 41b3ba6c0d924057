"""Whether the bytes of a picture may leave as they are: small, upright, and nothing but pixels."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.pictures import identified_picture

if TYPE_CHECKING:
    from PIL.Image import Image

_PNG = b"\x89PNG\r\n\x1a\n"
_PLAIN_CHUNKS = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"sRGB", b"gAMA", b"pHYs", b"sBIT"}
_MOST_SCANS = 12  # programs write about 10; many more take long to decode
_PLAIN_MARKERS = {"APP0", "APP14"}  # JFIF, and how Adobe's programs say which colours they mean


def is_clean(raw: bytes, *, long_side_px: int) -> bool:
    """Whether this is a whole RGB or grey JPEG or PNG without metadata, and no larger than that.

    EXIF (an orientation too), XMP, comments and colour profiles are metadata, and so is whatever
    follows the picture in its file.
    """
    try:
        with identified_picture(raw) as image:
            if max(image.size) > long_side_px or image.mode not in ("RGB", "L"):
                return False
            if not (_is_bare_png(raw) if image.format == "PNG" else _is_bare_jpeg(image, raw)):
                return False
            image.draft(image.mode, (1, 1))  # an eighth of the size shows as well if it is whole
            image.load()
            return True
    except (MediaError, MissingExtra):
        return False


def _is_bare_jpeg(image: Image, raw: bytes) -> bool:
    markers = {name for name, _ in getattr(image, "applist", [("", b"")])}
    # between the pixels of one picture no other can begin
    alone = raw.count(b"\xff\xd8\xff") == 1 and raw.endswith(b"\xff\xd9")
    brief = raw.count(b"\xff\xda") <= _MOST_SCANS
    return image.format == "JPEG" and markers <= _PLAIN_MARKERS and alone and brief


def _is_bare_png(raw: bytes) -> bool:
    names = list(_chunks(raw))
    return set(names) <= _PLAIN_CHUNKS and names[-1:] == [b"IEND"]


def _chunks(raw: bytes) -> Iterator[bytes]:
    """The names of a PNG's chunks; an unknown one for bytes that belong to none."""
    at = len(_PNG)
    while at < len(raw):
        if len(raw) < at + 12:
            yield b"????"
            return
        length, name = struct.unpack(">I4s", raw[at : at + 8])
        yield name
        at += 12 + length
        if name == b"IEND" and at != len(raw):
            yield b"????"
            return
