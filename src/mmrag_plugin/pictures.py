"""Open a picture safely: upright, RGB, bounded, decoded no larger than it needs to be."""

from __future__ import annotations

import importlib
import io
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mmrag_plugin.colours import rgb_of, to_rgb
from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.raw_pictures import developed, is_raw

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 250_000_000  # a 100-megapixel photo with room; more is a bomb or a map
MAX_PAGES = 20  # of a TIFF that are looked at
JPEG_QUALITY = 85
_KIND_OF_PAGE = 0x00FE  # TIFF's NewSubfileType

# A progressive JPEG shows the whole picture anew with each scan; programs write about 10. A few
# bytes repeat one, so that without a limit (libtiff has the same) a small file decodes for hours.
MAX_SCANS = 100
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")  # no restart, no byte among pixels
_MAX_JPEG_BYTES = 256 * 2**20

# Only formats that people keep pictures in, with decoders in C. Pillow's others are decoded in
# Python (a 4 kB DDS file can take minutes) or start other programs (EPS).
_FORMATS = "JPEG PNG WEBP GIF BMP TIFF HEIF AVIF JPEG2000 JXL PPM".split()
_SLOW_DECODERS = ("ppm", "ppm_plain")  # in Python after all, of rare kinds of PPM: 1 s a megapixel
_MAX_SLOW_PIXELS = 4_000_000
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")  # as codestream, and in a container
_BAND_PIXELS = 4_000_000  # of a large picture that are turned into RGB at once


def open_picture(
    source: str | Path | bytes | io.BytesIO,
    *,
    at_least_px: int | None = None,
    finely: bool = False,
) -> Image:
    """Decode one picture as upright RGB, the first frame where there are several.

    With ``at_least_px`` the picture is scaled down while its short side keeps that many pixels: it
    looks the same to a model that sees less, and many fit into the memory. A JPEG is decoded at the
    smallest DCT scale that will do, which is several times faster. What is averaged after decoding
    loses more than that to a model, so ``finely`` leaves twice as many pixels there. Raises
    MediaError with a remedy for anything that can't be decoded whole.
    """
    with identified_picture(source) as image:
        _refuse_what_takes_long(image, str(source) if isinstance(source, (str, Path)) else "")
        if at_least_px is not None:
            _draft(image, at_least_px)
            if finely:
                at_least_px = _without_rest(image.size, 2 * at_least_px)
        return upright_rgb(image, at_least_px=at_least_px)


def upright_rgb(image: Image, *, at_least_px: int | None = None) -> Image:
    """Decode the frame at which an opened picture stands, as upright RGB."""
    import PIL.Image

    image.load()
    orientation = orientation_of(image)
    factor = 1 if at_least_px is None else min(image.size) // at_least_px
    if image.mode.startswith("I;16"):  # in variants that Pillow neither crops nor turns
        image = image.convert("I")
    if factor >= 2:
        return _upright_in_bands(image, orientation, factor)
    turn = _upright_by(orientation)
    return to_rgb(image if turn is None else image.transpose(PIL.Image.Transpose(turn)))


def further_pages(path: Path, *, at_least_px: int | None = None) -> Iterator[Image]:
    """Decode the pages of a TIFF behind its first, up to ``MAX_PAGES`` in all.

    Smaller versions of a page are none. What breaks off, ends there.
    """
    with suppress(MediaError), identified_picture(path) as image:
        pages = getattr(image, "n_frames", 1) if image.format == "TIFF" else 1
        for number in range(1, min(pages, MAX_PAGES)):
            image.seek(number)
            is_smaller_version = image.tag_v2.get(_KIND_OF_PAGE, 0) & 1  # type: ignore[attr-defined]
            if not is_smaller_version and image.width * image.height <= MAX_PIXELS:
                yield upright_rgb(image, at_least_px=at_least_px)


@contextmanager
def identified_picture(source: str | Path | bytes | io.BytesIO) -> Iterator[Image]:
    """Open a picture without decoding its pixels: size, format, EXIF and the like can be read.

    Raises MediaError, also for what goes wrong while the caller reads from the picture, and
    MissingExtra where the decoder of a format is not installed.
    """
    import PIL.Image

    _register_plugins()
    name = str(source) if isinstance(source, (str, Path)) else "the picture"
    opened: Any = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        if isinstance(opened, io.BytesIO):
            opened.seek(0)
        else:
            require_file(opened)
        formats = [name for name in _FORMATS if name in PIL.Image.OPEN]
        exif = b""
        if isinstance(opened, (str, Path)) and is_raw(Path(opened)):
            opened, exif = developed(Path(opened))
            if isinstance(opened, PIL.Image.Image):
                opened.info["exif"] = exif
                yield opened
                return
        with _pillow_guard, PIL.Image.open(opened, formats=formats) as image:
            if exif:  # of the RAW file around the picture
                image.info["exif"] = exif
            if image.width * image.height > MAX_PIXELS:
                raise _too_large(name, f"{image.width} x {image.height} pixels")
            yield image
    except (MediaError, MissingExtra):
        raise
    except PIL.Image.DecompressionBombError as error:
        raise _too_large(name, str(error)) from None
    except PIL.UnidentifiedImageError:
        if "JXL" not in PIL.Image.OPEN and _is_jpeg_xl(opened):
            raise MissingExtra(
                f"{name} is a JPEG XL picture, for which a decoder has to be installed.",
                "Run `pip install 'mmrag-plugin[jxl]'`, then mmrag index again.",
            ) from None
        raise _unreadable(name) from None
    except MemoryError:
        raise MediaError(
            f"{name} takes more memory to decode than there is.",
            "Save it smaller, or as JPEG, if it should be in the library.",
            path=name,
        ) from None
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        raise _unreadable(name, f" ({_told_by(error, name)})") from error


def require_file(path: str | Path) -> None:
    """Raise MediaError unless the path is a regular file with something in it.

    A directory, a pipe or a device has no place in a library, and opening a pipe may never return.
    """
    name = str(path)
    try:
        status = Path(path).stat()
        if stat.S_ISREG(status.st_mode) and status.st_size:
            with Path(path).open("rb"):
                return
    except FileNotFoundError:
        raise MediaError(f"{name} does not exist.", "Check the path.", path=name) from None
    except PermissionError:
        raise MediaError(
            f"{name} may not be read.", "Give yourself read permission.", path=name
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise MediaError(
            f"{name} can't be read ({reason}).", "Check the path.", path=name
        ) from None
    if stat.S_ISREG(status.st_mode):
        raise MediaError(
            f"{name} is empty.", "Restore it from a backup or remove it.", path=name
        ) from None
    raise MediaError(f"{name} is not a file.", "Give the path of a file.", path=name) from None


def orientation_of(image: Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or the EXIF is broken.

    Decodes nothing: EXIF that a PNG keeps behind its pixels counts once they are loaded.
    """
    import PIL.Image

    if image.format == "TIFF":
        return 1  # Pillow turns these itself, and gives their size as it will be
    try:
        # the base class: PngImageFile's own would decode the picture to look behind its pixels
        value = PIL.Image.Image.getexif(image).get(0x0112, 1)
    except Exception:  # a picture is not worse for broken EXIF
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def reduced(image: Image, at_least_px: int) -> Image:
    """Box-filter a much too large picture down, its short side still ``at_least_px`` or more."""
    factor = min(image.size) // at_least_px
    return image.reduce(factor) if factor >= 2 else image


def to_jpeg(image: Image, *, long_side_px: int | None = None) -> bytes:
    """Encode as JPEG without any metadata, scaled down so that its long side fits."""
    import PIL.Image

    if long_side_px is not None and max(image.size) > long_side_px:
        image = image.copy()
        image.thumbnail((long_side_px, long_side_px), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, "JPEG", quality=JPEG_QUALITY, comment=b"")
    return buffer.getvalue()


def _refuse_what_takes_long(image: Any, name: str) -> None:
    reason = ""
    if image.format == "PPM" and image.tile[0][0] in _SLOW_DECODERS:
        if image.width * image.height > _MAX_SLOW_PIXELS:
            reason = f"{image.width} x {image.height} pixels of a slow kind of {image.format}"
    elif image.format in ("JPEG", "MPO") and _scans_more_than(MAX_SCANS, image):
        reason = f"more than {MAX_SCANS} scans"
    if reason:
        raise MediaError(
            f"{name or 'The picture'} takes too long to decode ({reason}).",
            "Save it anew with another program, as PNG or JPEG, if it should be in the library.",
            path=name,
        )


def _scans_more_than(limit: int, image: Any) -> bool:
    """Whether a JPEG holds too many; it was opened up to its first one's pixels, MPO is rewound."""
    file: IO[bytes] = image.fp
    position, header_bytes = file.tell(), 6 + 2 * image.layers
    file.seek(max(position - header_bytes, 0))
    begin = file.read(3)
    file.seek(position)
    if "progressive" not in image.info and begin == bytes([0, header_bytes, image.layers]):
        return False  # all colours are in this scan, which is the picture; no other is decoded
    data = file.read(_MAX_JPEG_BYTES)
    file.seek(position)
    scans, at = 1, 0
    if data.count(_SCAN) < limit:  # cheap, and never too low
        return False
    while scans <= limit and (marker := _MARKER.search(data, at)):
        kind, at = marker[1][0], marker.end()
        if kind == 0xD9:  # the end; more pictures, or a film, may follow
            return False
        if kind not in (0x01, 0xD8):  # all others that may stand here have a length
            scans += kind == 0xDA
            at += max(int.from_bytes(data[at : at + 2], "big"), 2)
    return scans > limit


def _upright_in_bands(image: Image, orientation: int, factor: int) -> Image:
    """Turn a decoded picture upright and box-filter it down, a few rows at a time.

    The whole of it is in the memory once, and not three times on its way to RGB. The bands begin
    where the upright picture does, so that all orientations give the same pixels.
    """
    import PIL.Image

    turn, convert = _upright_by(orientation), rgb_of(image)
    sideways, from_behind = orientation >= 5, orientation in (3, 4, 6, 7)
    width_px, height_px = image.size[::-1] if sideways else image.size
    upright = PIL.Image.new("RGB", (-(-width_px // factor), -(-height_px // factor)))
    step_px = factor * max(_BAND_PIXELS // (image.width * factor), 1)
    for begin_px in range(0, image.height, step_px):
        end_px = min(begin_px + step_px, image.height)
        rows = (
            (image.height - end_px, image.height - begin_px) if from_behind else (begin_px, end_px)
        )
        band = image.crop((0, rows[0], image.width, rows[1]))
        if turn is not None:
            band = band.transpose(PIL.Image.Transpose(turn))
        place = (begin_px // factor, 0) if sideways else (0, begin_px // factor)
        upright.paste(convert(band).reduce(factor), place)
    return upright


def _without_rest(size: tuple[int, int], at_least_px: int) -> int:
    """Somewhat more than ``at_least_px``, where both sides can be divided down to that.

    A rest makes the last row and column stand for too much; scaled to a model's input the whole
    picture is shifted by up to half a pixel, which its vector tells.
    """
    for factor in range(min(size) // at_least_px, 1, -1):
        if not any(side_px % factor for side_px in size):
            return min(size) // factor
    return at_least_px


def _draft(image: Image, at_least_px: int) -> None:
    short_px = min(image.size)
    if image.format in ("JPEG", "MPO") and short_px > at_least_px:
        # draft() picks the smallest DCT scale that is no smaller than what is asked for
        width_px, height_px = (-(-side_px * at_least_px // short_px) for side_px in image.size)
        image.draft("RGB", (width_px, height_px))


def _upright_by(orientation: int) -> int | None:
    """Return the PIL.Image.Transpose that turns an EXIF orientation upright (EXIF 2.32, 4.6.4)."""
    from PIL.Image import Transpose

    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation)


def _too_large(name: str, size: str) -> MediaError:
    return MediaError(
        f"{name} is too large to decode ({size}; the limit is {MAX_PIXELS:,} pixels).",
        "Scale it down if it should be in the library.",
        path=name,
    )


def _told_by(error: Exception, name: str) -> str:
    """What a decoder says is wrong; some say a number only."""
    told = str(error).replace(repr(name), "it").replace(name, "it") or type(error).__name__
    return "its pixels can't be decoded" if told.startswith("decoder error") else told


def _unreadable(name: str, detail: str = "") -> MediaError:
    return MediaError(
        f"{name} is not a readable picture{detail}.",
        "Open it in another program; restore it from a backup or remove it.",
        path=name,
    )


def _register_plugins() -> None:
    """Have Pillow know HEIF, and JPEG XL where its decoder is installed: an extra."""
    import PIL.Image

    PIL.Image.init()
    if "HEIF" not in PIL.Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    if "JXL" not in PIL.Image.OPEN and find_spec("pillow_jxl"):
        importlib.import_module("pillow_jxl")


def _is_jpeg_xl(source: str | Path | io.BytesIO) -> bool:
    if isinstance(source, io.BytesIO):
        return source.getvalue()[:12].startswith(_JPEG_XL)
    with Path(source).open("rb") as file:
        return file.read(12).startswith(_JPEG_XL)


class _PillowGuard:
    """Holds Pillow to our pixel limit and silences its harmless warnings, while any thread decodes.

    Both are settings of the whole process, and ``warnings.catch_warnings`` used by several threads
    at once restores the wrong ones. Here the first in sets them and the last out restores.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._warnings = warnings.catch_warnings()
        self._max_pixels: int | None = None

    def __enter__(self) -> None:
        import PIL.Image

        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._max_pixels = PIL.Image.MAX_IMAGE_PIXELS
                PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses at twice its limit

    def __exit__(self, *_: object) -> None:
        import PIL.Image

        with self._lock:
            self._depth -= 1
            if self._depth == 0:
                PIL.Image.MAX_IMAGE_PIXELS = self._max_pixels
                self._warnings.__exit__(None, None, None)


_pillow_guard = _PillowGuard()
