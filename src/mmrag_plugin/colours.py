"""Turn pictures of any kind into sRGB, the way a viewer shows them.

Colour profiles are applied (ICC.1), 16-bit and float samples scaled, and what is see-through lies
on white, or on black where it would not be seen on white.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

COLOURS_VERSION = 2  # raised when the same picture comes out in other colours
_MAX_PROFILE_BYTES = 4 * 2**20
_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK", "LAB": "LAB"}  # of profiles, by Pillow's mode
_LIGHT = 235  # of 255: a drawing of nothing but lighter colours can't be seen on white
_SEE_THROUGH = ("RGBA", "LA", "PA", "La", "RGBa")
_SAMPLE_PX = 128


def to_rgb(image: Image) -> Image:
    """Turn any Pillow mode into sRGB, without profile and transparency."""
    return rgb_of(image)(image)


def rgb_of(whole: Image) -> Callable[[Image], Image]:
    """How a picture is turned into RGB; what it returns takes the picture or parts of it."""
    if whole.mode == "RGB" and not whole.info.keys() & {"icc_profile", "transparency"}:
        return _as_it_is
    if whole.mode.startswith("I;16") or whole.mode in ("I", "F"):
        factor = _eight_bits_by(whole)
        return lambda part: _scaled(part, factor).convert("RGB")
    see_through = whole.mode in _SEE_THROUGH or "transparency" in whole.info
    backdrop = _backdrop(whole) if see_through else ""
    straight = whole.mode in _SPACES and not see_through
    by_profile = _by_profile(whole.info.get("icc_profile"), whole.mode if straight else "RGB")

    def convert(part: Image) -> Image:
        if see_through:
            part = _on(backdrop, part)
        elif not straight:
            part = part.convert("RGB")
        flat = by_profile(part).convert("RGB")
        flat.info = {name: value for name, value in flat.info.items() if name not in _DONE_WITH}
        return flat

    return convert


_DONE_WITH = ("icc_profile", "transparency")


def _as_it_is(image: Image) -> Image:
    image.load()
    return image


def _eight_bits_by(image: Image) -> float:
    """By what to multiply samples of 16 or 32 bits, or floats; Pillow itself would cut them off."""
    low, high = image.getextrema()
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return 1.0
    if image.mode == "F" and 0 < high <= 1:
        return 255.0
    if high <= 255:
        return 1.0
    return 255 / (65535 if high > 4095 or low < 0 else high)


def _scaled(image: Image, factor: float) -> Image:
    if image.mode.startswith("I;16"):
        image = image.convert("I")
    return image.point(lambda value: value * factor).convert("L")


def _on(backdrop: str, image: Image) -> Image:
    import PIL.Image

    layered = image.convert("RGBA")
    behind = PIL.Image.new("RGBA", layered.size, backdrop)
    return PIL.Image.alpha_composite(behind, layered).convert("RGB")


def _backdrop(image: Image) -> str:
    """White, or black where all that is to be seen is nearly white itself."""
    import PIL.Image
    import PIL.ImageStat

    size = (min(image.width, _SAMPLE_PX), min(image.height, _SAMPLE_PX))
    sample = image.resize(size, PIL.Image.Resampling.NEAREST).convert("RGBA")
    alpha = sample.getchannel("A")
    seen = alpha.point(lambda value: 255 if value > 32 else 0)
    if seen.getbbox() is None or seen.getextrema()[0] == 255:  # nothing, or no part is see-through
        return "white"
    darkest, _ = PIL.ImageStat.Stat(sample.convert("L"), mask=seen).extrema[0]
    return "black" if darkest >= _LIGHT else "white"


def _by_profile(profile: object, mode: str) -> Callable[[Image], Image]:
    """Convert by an embedded colour profile; one that is broken or does not fit is passed over."""
    from PIL import ImageCms

    if not isinstance(profile, bytes) or not 128 <= len(profile) <= _MAX_PROFILE_BYTES:
        return lambda image: image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name = source.profile.profile_description or ""
        if source.profile.xcolor_space.strip() != _SPACES[mode] or (
            mode == "RGB" and "sRGB" in name
        ):
            return lambda image: image
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # littleCMS refuses broken profiles in many ways
        return lambda image: image
    return lambda image: ImageCms.applyTransform(image, transform) or image
