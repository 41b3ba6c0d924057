"""Open a picture safely: upright, RGB, bounded, decoded no larger than it needs to be."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 250_000_000  # a 100-megapixel photo with room; more is a bomb or a map
JPEG_QUALITY = 85


def open_picture(
    source: str | Path | bytes | io.BytesIO, *, at_least_px: int | None = None
) -> Image:
    """Decode one picture as upright RGB, the first frame where there are several.

    With ``at_least_px`` a JPEG is decoded at the smallest DCT scale whose short side is at least
    that many pixels, which is several times faster and looks the same to a model that sees less.
    Raises MediaError with a remedy for anything that can't be decoded whole.
    """
    import PIL.Image
    import PIL.ImageOps

    _register_heif()
    name = str(source) if isinstance(source, (str, Path)) else "the picture"
    opened = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about EXIF oddities that do no harm
            with PIL.Image.open(opened) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise MediaError(
                        f"{name} has {image.width} x {image.height} pixels, more than "
                        f"{MAX_PIXELS:,}.",
                        "Scale it down if it should be in the library.",
                        path=name,
                    )
                if at_least_px is not None:
                    _draft(image, at_least_px)
                return to_rgb(PIL.ImageOps.exif_transpose(image))
    except MediaError:
        raise
    except FileNotFoundError:
        raise MediaError(f"{name} does not exist.", "Check the path.", path=name) from None
    except PermissionError:
        raise MediaError(
            f"{name} may not be read.", "Give yourself read permission.", path=name
        ) from None
    except Exception as error:  # decoders raise nearly anything on hostile bytes
        detail = str(error).replace(name, "it") or type(error).__name__
        raise MediaError(
            f"{name} is not a readable picture ({detail}).",
            "Open it in another program; restore it from a backup or remove it.",
            path=name,
        ) from error


def to_rgb(image: Image) -> Image:
    """Turn any Pillow mode into RGB the way a viewer shows it: alpha over white, 16 bit scaled."""
    import PIL.Image

    if image.mode == "RGB":
        image.load()
        return image
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        low, high = image.getextrema()
        if isinstance(low, (int, float)) and isinstance(high, (int, float)) and high > 255:
            full = 65535 if high > 4095 or low < 0 else high
            image = image.point(lambda value: value * (255 / full)).convert("L")
        return image.convert("L").convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = PIL.Image.new("RGBA", layered.size, "white")
        return PIL.Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def to_jpeg(image: Image, *, long_side_px: int | None = None) -> bytes:
    """Encode as JPEG without any metadata, scaled down so that its long side fits."""
    import PIL.Image

    if long_side_px is not None and max(image.size) > long_side_px:
        image = image.copy()
        image.thumbnail((long_side_px, long_side_px), PIL.Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def _draft(image: Image, at_least_px: int) -> None:
    short_px = min(image.size)
    if image.format in ("JPEG", "MPO") and short_px > at_least_px:
        scale = at_least_px / short_px
        # draft() picks the smallest DCT scale that is no smaller than what is asked for
        image.draft("RGB", (int(image.width * scale) + 1, int(image.height * scale) + 1))


def _register_heif() -> None:
    import PIL.Image

    PIL.Image.init()
    if "HEIF" not in PIL.Image.OPEN:
        from pillow_heif import register_heif_opener

        register_heif_opener()
