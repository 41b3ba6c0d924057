"""Say by a file's content whether it is a picture or a film, whatever it is called.

A few bytes at the beginning tell the format; of those that can move (GIF, PNG, WebP) the parts are
counted, without decoding any.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mmrag_plugin.media import Kind

_HEAD_BYTES = 600
_MAX_PARTS = 100_000
_MAX_GIF_BYTES = 256 * 2**20

_PICTURES = (
    b"\xff\xd8\xff",  # JPEG
    b"\xff\x0a",  # JPEG XL
    b"\xff\x4f\xff\x51",  # JPEG 2000
    b"II*\0",  # TIFF and most RAW formats
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"IIRO",  # Olympus
    b"IIRS",
    b"MMOR",
    b"IIU\0",  # Panasonic
    b"FUJIFILMCCD-RAW",
    b"FOVb",  # Sigma
    b"\0MRM",  # Minolta
)
_FILMS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF
    b"\0\0\x01\xba",  # MPEG program stream
    b"\0\0\x01\xb3",
    b"\x06\x0e\x2b\x34",  # MXF
)
_STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"crx ", b"jxl ")
_SOUND_BRANDS = (b"M4A ", b"M4B ", b"M4P ")
_QUICKTIME = (b"moov", b"mdat", b"wide", b"pnot", b"skip", b"free")
_STILL_BOXES = (b"jP  ", b"JXL ")
_GIF_EXTENSION, _GIF_IMAGE, _GIF_TIMES = 0x21, 0x2C, 0xF9
_DEFAULT_S = 0.1  # what browsers take where a delay is 0 or next to it
_SHORTEST_S = 0.011


def kind_by_content(path: str | Path) -> Kind | None:
    """Return the kind of a file by its content; None where its beginning does not tell.

    An animation is a video. Raises OSError.
    """
    with Path(path).open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if is_animatable(head):
            return "video" if len(delays_s(file)) > 1 else "image"
    return _kind_by_head(head)


def is_animatable(head: bytes) -> bool:
    """Whether a file that begins like this is of a picture format that can move."""
    return (
        head.startswith((b"GIF87a", b"GIF89a", b"\x89PNG\r\n\x1a\n"))
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] == b"avis")
    )


def delays_s(file: IO[bytes]) -> list[float]:
    """How long each picture of a GIF, PNG, WebP or AVIF is shown; one for a still picture."""
    file.seek(0)
    head = file.read(12)
    if head.startswith(b"GIF"):
        found = list(_gif_delays_s(file))
    elif head.startswith(b"\x89PNG"):
        found = list(_png_delays_s(file))
    elif head[8:12] == b"WEBP":
        found = list(_webp_delays_s(file))
    else:  # the times of an AVIF lie deep in its boxes; its brand says that it moves
        found = [_DEFAULT_S, _DEFAULT_S]
    return [delay_s if delay_s >= _SHORTEST_S else _DEFAULT_S for delay_s in found] or [_DEFAULT_S]


def _kind_by_head(head: bytes) -> Kind | None:
    box, brand = head[4:8], head[8:12]
    if box == b"ftyp":
        if brand in _SOUND_BRANDS:
            return None
        return "image" if brand in _STILL_BRANDS else "video"
    if box in _STILL_BOXES or head.startswith(_PICTURES) or _is_bitmap(head) or _is_anymap(head):
        return "image"
    is_avi = head[:4] == b"RIFF" and brand == b"AVI "
    is_film = is_avi or box in _QUICKTIME or head.startswith(_FILMS) or _is_transport_stream(head)
    return "video" if is_film else None


def _is_bitmap(head: bytes) -> bool:
    return head[:2] == b"BM" and head[14:18] in {
        struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)
    }


def _is_anymap(head: bytes) -> bool:
    return head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace()


def _is_transport_stream(head: bytes) -> bool:
    return any(
        len(head) > first + 2 * step and all(head[first + n * step] == 0x47 for n in range(3))
        for first, step in ((0, 188), (4, 192))
    )


def _gif_delays_s(file: IO[bytes]) -> Iterator[float]:
    file.seek(0)
    data = file.read(_MAX_GIF_BYTES)
    at = 13 + _table_bytes(data[10:11])
    delay_s = 0.0
    while at + 1 < len(data):
        if data[at] == _GIF_EXTENSION:
            if data[at + 1] == _GIF_TIMES:
                delay_s = int.from_bytes(data[at + 4 : at + 6], "little") / 100
            at += 2
        elif data[at] == _GIF_IMAGE:
            yield delay_s
            delay_s = 0.0
            at += 11 + _table_bytes(data[at + 9 : at + 10])
        else:  # the end, or damage
            return
        while at < len(data) and data[at]:  # the blocks of the image or extension
            at += 1 + data[at]
        at += 1


def _table_bytes(flags: bytes) -> int:
    """The size of a GIF's colour table, by the byte that says whether there is one."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def _png_delays_s(file: IO[bytes]) -> Iterator[float]:
    file.seek(8)
    moves = False
    for _ in range(_MAX_PARTS):
        header = file.read(8)
        if len(header) < 8:
            return
        size, name = struct.unpack(">I4s", header)
        if name == b"acTL":
            moves = True
        elif name == b"fcTL" and size == 26:
            body = file.read(26)
            if len(body) == 26:
                numerator, denominator = struct.unpack(">HH", body[20:24])
                yield numerator / (denominator or 100)
            file.seek(4, 1)
            continue
        elif name == b"IEND" or (name == b"IDAT" and not moves):
            return
        file.seek(size + 4, 1)


def _webp_delays_s(file: IO[bytes]) -> Iterator[float]:
    file.seek(12)
    for _ in range(_MAX_PARTS):
        header = file.read(8)
        if len(header) < 8:
            return
        name, size = struct.unpack("<4sI", header)
        if name in (b"VP8 ", b"VP8L"):
            return
        if name == b"ANMF" and size >= 16:
            yield int.from_bytes(file.read(16)[12:15], "little") / 1000
            file.seek(size - 16 + size % 2, 1)
        else:
            file.seek(size + size % 2, 1)
