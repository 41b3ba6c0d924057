"""What a picture says about itself: EXIF (CIPA DC-008), IPTC-IIM and XMP, without its pixels."""

from __future__ import annotations

import contextlib
import math
import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import MediaFacts, Signal
from mmrag_plugin.pictures import orientation_of
from mmrag_plugin.xmp import XmpFacts, clean_text, distinct, iso_date, parse_xmp

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

MAX_TEXT_CHARS = 8_000  # of one annotation; longer ones are dumps of programs

_DESCRIPTION, _MAKE, _MODEL, _DATE_TIME = 0x010E, 0x010F, 0x0110, 0x0132
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_ORIGINAL, _DATE_DIGITIZED = 0x9003, 0x9004
_OFFSET, _OFFSET_ORIGINAL, _OFFSET_DIGITIZED = 0x9010, 0x9011, 0x9012
_USER_COMMENT = 0x9286
_IPTC_TITLE, _IPTC_KEYWORDS, _IPTC_CAPTION = (2, 5), (2, 25), (2, 120)
_IPTC_DATE, _IPTC_TIME = (2, 55), (2, 60)

_PNG_FACTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_MAX_PNG_FACT_BYTES = 2 * 2**20
_MAX_PNG_CHUNKS = 100_000

# What cameras and programs write on their own into the fields meant for people.
_JUNK = re.compile(
    r"""
    ((olympus|sanyo|samsung|minolta|kodak|sony|epson|konica|nikon|casio|pentax|vivitar|traveler|hp)
     [\s_-]*)?(digital\s+(still\s*)?camera|dsc|dcim|dci|dsc\d+|digital\s*stillcamera|camera\s+pictures)
    | (exif_jpeg(_picture)?|jpeg|untitled|default|charset\s*=\s*ascii|binary\s+comment)
    | <\s*(untitled|digimax.*|kenox.*)\s*>
    | (user\s*comments?|image\s*description|description|ascii|unicode|comment|none|null|n/?a)
    | (cof|dav|hdr|rhdr|mde|sdr|oznor|rbt|cofmini|btfmdn|edf|ptr|burst|nor|jpn|smartcapture)(_.*)?
    | (created|made|edited|generated|converted|saved|optimi[sz]ed)\s+(with|by|using|in|on)\s
      (the\s|a\s)?(adobe|acdsee|affinity|camera\+|canva|capture\s?one|corel|darktable|digikam|ffmpeg
      |gimp|google|graphicsmagick|handbrake|imagemagick|imovie|inkscape|irfanview|lightroom|luminar
      |(microsoft|ms)\s|paint(\.net|\s?shop)|photo\s?(filtre|scape|shop)|picasa|picsart|pixlr|polarr
      |snapseed|vsco|windows|xnview|an?\s+evaluation|jpegmini|tinypng).{0,60}
    | (lead\s+technologies|intel\(r\)\s+jpeg|appleMark|file\s+written\s+by|kofax\s).*
    | creator\s*:\s*gd-jpeg.* | vid:[\w-]+ | (handler|video|sound|core\s+media).{0,12}handler
    | file?ter:\s.* | \{.*\} | [\W\d_]*
    """,
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)


def picture_facts(image: Image) -> MediaFacts:
    """Collect the facts of an opened, undecoded picture. Broken metadata is passed over."""
    _find_trailing_png_chunks(image)
    exif = _exif_of(image)
    details = _ifd(exif, _EXIF_IFD)
    iptc = _iptc_of(image)
    xmp = _xmp_of(image)
    sideways = orientation_of(image) >= 5
    width_px, height_px = image.size[::-1] if sideways else image.size
    camera = camera_name(_text(exif.get(_MAKE)), _text(exif.get(_MODEL)))
    latitude, longitude = _position(_ifd(exif, _GPS_IFD))
    titles = [_wide(exif.get(_XP_TITLE)), *_iptc_texts(iptc, _IPTC_TITLE), xmp.title]
    descriptions = [
        _text(exif.get(_DESCRIPTION)),
        _wide(exif.get(_XP_COMMENT)),
        _wide(exif.get(_XP_SUBJECT)),
        _user_comment(details.get(_USER_COMMENT), exif.endian),
        *_iptc_texts(iptc, _IPTC_CAPTION),
        *_png_texts(image),
        xmp.description,
    ]
    keywords = [
        *re.split(r"[;,]", _wide(exif.get(_XP_KEYWORDS))),
        *_iptc_texts(iptc, _IPTC_KEYWORDS),
        *xmp.keywords,
        *xmp.people,
        *xmp.places,
    ]
    maker_names = {camera.casefold(), _text(exif.get(_MAKE)).casefold()}
    return MediaFacts(
        width_px=width_px,
        height_px=height_px,
        taken_at=_taken_at(exif, details, iptc, xmp),
        camera=camera,
        latitude=latitude,
        longitude=longitude,
        signals=annotation_signals(
            [text for text in (*titles, *descriptions) if text.casefold() not in maker_names],
            keywords,
        ),
    )


def annotation_signals(texts: list[str], keywords: list[str]) -> tuple[Signal, ...]:
    """Make signals of titles and descriptions, one each, and of all keywords, one together.

    What cameras and programs write on their own ("OLYMPUS DIGITAL CAMERA") is left out.
    """
    kept = [text[:MAX_TEXT_CHARS] for text in distinct(texts) if not is_junk(text)]
    words = distinct(word for word in keywords if any(char.isalnum() for char in word))
    if words:
        kept.append(", ".join(words)[:MAX_TEXT_CHARS])
    return tuple(Signal("annotation", text) for text in distinct(kept))


def is_junk(text: str) -> bool:
    """Whether a text says nothing that a person meant: blank, binary or a camera's default."""
    readable = sum(char.isprintable() or char.isspace() for char in text)
    return readable < 0.9 * len(text) or bool(_JUNK.fullmatch(text[:200].strip()))


def camera_name(make: str, model: str) -> str:
    """Join make and model, without repeating a make that the model already names."""
    maker_words, model_words = make.casefold().split(), model.casefold().split()
    if not maker_words or (model_words and model_words[0] in maker_words):
        return model
    return f"{make} {model}".strip()


def _exif_of(image: Image) -> Exif:
    import PIL.Image

    try:
        # the base class: PngImageFile's own would decode the picture to look behind its pixels
        return PIL.Image.Image.getexif(image)
    except Exception:
        return PIL.Image.Exif()


def _ifd(exif: Exif, tag: int) -> dict[int, Any]:
    try:
        return exif.get_ifd(tag)
    except Exception:
        return {}


def _iptc_of(image: Any) -> dict[tuple[int, int], Any]:
    from PIL.IptcImagePlugin import getiptcinfo

    try:
        return getiptcinfo(image) or {}
    except Exception:
        return {}


def _xmp_of(image: Image) -> XmpFacts:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    try:
        return parse_xmp(packet) if isinstance(packet, (bytes, str)) else XmpFacts()
    except MediaError:
        return XmpFacts()


def _find_trailing_png_chunks(image: Any) -> None:
    """Have Pillow read the EXIF and texts that a PNG keeps behind its pixels, without those."""
    if image.format != "PNG" or image.png is None:
        return
    file, position, behind = image.fp, image.fp.tell(), False
    try:
        file.seek(8)
        for _ in range(_MAX_PNG_CHUNKS):
            header = file.read(8)
            if len(header) < 8:
                return
            size, kind = struct.unpack(">I4s", header)
            body = file.tell()
            behind = behind or kind == b"IDAT"
            if behind and kind in _PNG_FACTS and size <= _MAX_PNG_FACT_BYTES:
                with contextlib.suppress(Exception):  # a picture is not worse for broken texts
                    image.png.call(kind, body, size)
            file.seek(body + size + 4)
    finally:
        file.seek(position)


def _taken_at(
    exif: Exif, details: dict[int, Any], iptc: dict[tuple[int, int], Any], xmp: XmpFacts
) -> str | None:
    """When the shutter opened, from the field closest to it; the file's date comes last."""
    gps = _ifd(exif, _GPS_IFD)
    original = iso_date(_text(details.get(_DATE_ORIGINAL)), _text(details.get(_OFFSET_ORIGINAL)))
    digitized = iso_date(_text(details.get(_DATE_DIGITIZED)), _text(details.get(_OFFSET_DIGITIZED)))
    by_satellite = _gps_date(gps)  # always UTC
    changed = iso_date(_text(exif.get(_DATE_TIME)), _text(details.get(_OFFSET)))
    if by_satellite and changed and _within_a_day(by_satellite, changed):
        by_satellite = None  # the file has not been edited since, and its clock is the camera's
    return original or xmp.taken_at or digitized or _iptc_date(iptc) or by_satellite or changed


def _within_a_day(first: str, second: str) -> bool:
    wall_clocks = (datetime.fromisoformat(date[:19]) for date in (first, second))
    return abs(next(wall_clocks) - next(wall_clocks)) < timedelta(hours=26)


def _iptc_date(iptc: dict[tuple[int, int], Any]) -> str | None:
    date = next(iter(_iptc_texts(iptc, _IPTC_DATE)), "")
    time = next(iter(_iptc_texts(iptc, _IPTC_TIME)), "")
    # the offset is dropped: most programs write +0000 or their own, not the camera's
    return iso_date(date + time[:6]) or iso_date(date)


def _gps_date(gps: dict[int, Any]) -> str | None:
    try:
        hour, minute, second = (int(float(part)) for part in gps[7])
        return iso_date(f"{_text(gps[29])} {hour:02}:{minute:02}:{second:02}", "+00:00")
    except Exception:
        return None


def _position(gps: dict[int, Any]) -> tuple[float | None, float | None]:
    latitude = _degrees(gps.get(2), gps.get(1), "S", 90)
    longitude = _degrees(gps.get(4), gps.get(3), "W", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None  # 0, 0 is what a receiver without a fix writes
    return latitude, longitude


def _degrees(parts: Any, reference: Any, negative: str, limit: int) -> float | None:
    try:
        degrees, minutes, seconds = ([float(part) for part in parts] + [0.0, 0.0])[:3]
        value = degrees + minutes / 60 + seconds / 3600
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not math.isfinite(value) or not 0 <= value <= limit:
        return None
    return round(-value if _text(reference).upper().startswith(negative) else value, 7)


def _text(value: Any) -> str:
    """Read an EXIF string up to a null; UTF-8 where that is valid (Pillow took it as Latin-1)."""
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")
        except UnicodeEncodeError:
            return clean_text(value.split("\x00")[0])
    if not isinstance(value, bytes):
        return ""
    value = value.split(b"\x00")[0]
    try:
        return clean_text(value.decode("utf-8"))
    except UnicodeDecodeError:
        return clean_text(value.decode("latin-1"))


def _wide(value: Any) -> str:
    """Read one of Windows' XP tags: UTF-16, little-endian."""
    if isinstance(value, tuple):
        value = bytes(part for part in value if isinstance(part, int) and 0 <= part < 256)
    if not isinstance(value, bytes):
        return ""
    return clean_text(value.decode("utf-16-le", errors="ignore").split("\x00")[0])


def _user_comment(value: Any, endian: str | None) -> str:
    if isinstance(value, str):
        return _text(value)
    if not isinstance(value, bytes):
        return ""
    code, body = value[:8], value[8:]
    if code.startswith(b"UNICODE"):
        little, big = body[1::2].count(0), body[0::2].count(0)  # Latin letters tell the byte order
        codec = "utf-16-le" if little > big or (little == big and endian == "<") else "utf-16-be"
        return clean_text(body.decode(codec, errors="ignore").split("\x00")[0])
    if code.startswith(b"JIS"):
        return clean_text(body.decode("iso2022_jp", errors="ignore"))
    return _text(body if code.startswith(b"ASCII") or not code.strip(b"\x00") else value)


def _iptc_texts(iptc: dict[tuple[int, int], Any], tag: tuple[int, int]) -> list[str]:
    values = iptc.get(tag, [])
    return [_text(value) for value in (values if isinstance(values, list) else [values])]


def _png_texts(image: Image) -> Iterator[str]:
    if image.format == "PNG":
        for key in ("Title", "Description", "Comment"):
            if isinstance(value := image.info.get(key), str):
                yield clean_text(value)
