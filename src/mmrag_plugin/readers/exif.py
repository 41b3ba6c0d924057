"""What a picture says about itself: EXIF (CIPA DC-008), IPTC and XMP, without its pixels."""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mmrag_plugin.dates import Dated, dated, iso_date, most_trusted
from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import MediaFacts, Signal
from mmrag_plugin.people import people_signals
from mmrag_plugin.pictures import orientation_of
from mmrag_plugin.places import Position, degrees, position
from mmrag_plugin.readers.iptc import IptcRecords
from mmrag_plugin.remarks import remark_signals
from mmrag_plugin.xmp import XmpFacts, clean_text, distinct, parse_xmp

if TYPE_CHECKING:
    from PIL.Image import Exif, Image

MAX_TEXT_CHARS = 8_000  # of one annotation; longer ones are dumps of programs

_DESCRIPTION, _MAKE, _MODEL, _DATE_TIME, _ARTIST = 0x010E, 0x010F, 0x0110, 0x0132, 0x013B
_RATING = 0x4746  # Windows: stars
_XP_TITLE, _XP_COMMENT, _XP_KEYWORDS, _XP_SUBJECT = 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F
_EXIF_IFD, _GPS_IFD = 0x8769, 0x8825
_DATE_ORIGINAL, _DATE_DIGITIZED = 0x9003, 0x9004
_OFFSET, _OFFSET_ORIGINAL, _OFFSET_DIGITIZED = 0x9010, 0x9011, 0x9012
_USER_COMMENT = 0x9286
_GPS_LATITUDE, _GPS_LONGITUDE, _GPS_TIME, _GPS_DATE = 2, 4, 7, 29


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
    iptc = IptcRecords(image)
    xmp = _xmp_of(image)
    gps = _ifd(exif, _GPS_IFD)
    sideways = orientation_of(image) >= 5
    width_px, height_px = image.size[::-1] if sideways else image.size
    make, model = _text(exif.get(_MAKE)), _text(exif.get(_MODEL))
    camera = camera_name(make, model)
    latitude, longitude = _position(gps)
    if latitude is None:
        latitude, longitude = xmp.latitude, xmp.longitude
    titles = [_wide(exif.get(_XP_TITLE)), *iptc.titles, xmp.title]
    descriptions = [
        _text(exif.get(_DESCRIPTION)),
        _wide(exif.get(_XP_COMMENT)),
        _wide(exif.get(_XP_SUBJECT)),
        _user_comment(details.get(_USER_COMMENT), exif.endian),
        *iptc.captions,
        *_png_texts(image),
        xmp.description,
    ]
    people = {name.casefold() for name in xmp.people}
    keywords = [
        *re.split(r"[;,]", _wide(exif.get(_XP_KEYWORDS))),
        *iptc.keywords,
        *xmp.keywords,
        *iptc.places,
        *xmp.places,
    ]
    maker_names = {camera.casefold(), make.casefold()}
    creator = _text(exif.get(_ARTIST)) or xmp.creator or iptc.creator
    dates = _dates(exif, details, iptc, xmp)
    taken = most_trusted(dates)
    return MediaFacts(
        width_px=width_px,
        height_px=height_px,
        taken_at=taken.taken_at if taken else None,
        dates=dates,
        camera=camera,
        latitude=latitude,
        longitude=longitude,
        signals=(
            *annotation_signals(
                [text for text in (*titles, *descriptions) if text.casefold() not in maker_names],
                [word for word in keywords if word.strip().casefold() not in people],
            ),
            *people_signals(xmp.people),
            *remark_signals("" if is_junk(creator) else creator, _stars(exif, xmp)),
        ),
    )


def annotation_signals(texts: list[str], keywords: list[str]) -> tuple[Signal, ...]:
    """Make signals of titles and descriptions, one each, and of all keywords, one together.

    What cameras and programs write on their own ("OLYMPUS DIGITAL CAMERA") is left out.
    """
    kept = distinct(text[:MAX_TEXT_CHARS] for text in texts if not is_junk(text))
    words = distinct(word for word in keywords if any(char.isalnum() for char in word))
    listed = ", ".join(words)[:MAX_TEXT_CHARS]
    signals = [Signal("annotation", text) for text in kept if text.casefold() != listed.casefold()]
    if words:
        signals.append(Signal("annotation", listed, tags=tuple(words)))
    return tuple(signals)


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


def _dates(
    exif: Exif, details: dict[int, Any], iptc: IptcRecords, xmp: XmpFacts
) -> tuple[Dated, ...]:
    """All dates, from the one closest to when the shutter opened to that of the file."""
    original = iso_date(_text(details.get(_DATE_ORIGINAL)), _text(details.get(_OFFSET_ORIGINAL)))
    digitized = iso_date(_text(details.get(_DATE_DIGITIZED)), _text(details.get(_OFFSET_DIGITIZED)))
    by_satellite = _gps_date(_ifd(exif, _GPS_IFD)) or xmp.satellite_at  # the former always in UTC
    changed = iso_date(_text(exif.get(_DATE_TIME)), _text(details.get(_OFFSET)))
    # a file that has not been edited since bears the time of the camera's clock
    unedited = by_satellite and changed and _within_a_day(by_satellite, changed)
    return (
        *dated(original, "exif"),
        *dated(xmp.taken_at, "xmp"),
        *dated(digitized, "digitized"),
        *dated(iptc.taken_at, "iptc"),
        *dated(by_satellite, "satellite"),
        *dated(changed, "digitized" if unedited else "edited"),
    )


def _within_a_day(first: str, second: str) -> bool:
    wall_clocks = (datetime.fromisoformat(date[:19]) for date in (first, second))
    return abs(next(wall_clocks) - next(wall_clocks)) < timedelta(hours=26)


def _gps_date(gps: dict[int, Any]) -> str | None:
    try:
        hour, minute, second = (int(float(part)) for part in gps[_GPS_TIME])
        return iso_date(f"{_text(gps[_GPS_DATE])} {hour:02}:{minute:02}:{second:02}", "+00:00")
    except Exception:
        return None


def _position(gps: dict[int, Any]) -> Position:
    return position(
        _degrees(gps.get(_GPS_LATITUDE), gps.get(_GPS_LATITUDE - 1), "S", 90),
        _degrees(gps.get(_GPS_LONGITUDE), gps.get(_GPS_LONGITUDE - 1), "W", 180),
    )


def _degrees(parts: Any, reference: Any, negative: str, limit: int) -> float | None:
    try:
        whole, minutes, seconds = ([float(part) for part in parts] + [0.0, 0.0])[:3]
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    value = degrees(whole + minutes / 60 + seconds / 3600, limit)
    if value is None or value < 0:
        return None
    return -value if _text(reference).upper().startswith(negative) else value


def _stars(exif: Exif, xmp: XmpFacts) -> int:
    rated = exif.get(_RATING)
    if xmp.rating is None and isinstance(rated, int) and 0 <= rated <= 5:
        return rated
    return xmp.rating or 0


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


def _png_texts(image: Image) -> Iterator[str]:
    if image.format == "PNG":
        for key in ("Title", "Description", "Comment"):
            if isinstance(value := image.info.get(key), str):
                yield clean_text(value)
