"""Where a media was taken, in degrees, out of the many ways to write it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

Position = tuple["float | None", "float | None"]

# 38.7169, -38.7169, 38,43.014N (XMP), 38,43,1N, 38 deg 43' 1.00" N
_PARTS = re.compile(
    r"([+-]?\d{1,3}(?:\.\d{1,12})?)"
    r"(?:(?:[,\s]|\s*(?:deg|°)\s*)(\d{1,2}(?:\.\d{1,12})?)'?)?"
    r"(?:[,\s]\s*(\d{1,2}(?:\.\d{1,12})?)\"?)?"
    r"\s*([NSEW])?",
    re.ASCII | re.IGNORECASE,
)
_DIGITS = 7  # a centimetre


@dataclass(frozen=True)
class PlaceName:
    """A place by its names; each is empty where there is none near enough."""

    city: str
    region: str
    country: str


def degrees(value: object, limit: int) -> float | None:
    """Read one coordinate, a number or a text; None for anything else, or beyond ``limit``."""
    if isinstance(value, str):
        match = _PARTS.fullmatch(value.strip())
        if not match:
            return None
        whole, minutes, seconds = (float(part or 0) for part in match.groups()[:3])
        found = math.copysign(abs(whole) + minutes / 60 + seconds / 3600, whole)
        if (match[4] or "").upper() in ("S", "W"):
            found = -abs(found)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        found = math.nan if abs(value) > limit else float(value)
    else:
        return None
    return round(found, _DIGITS) if math.isfinite(found) and abs(found) <= limit else None


def position(latitude: float | None, longitude: float | None) -> Position:
    """Both degrees or neither; 0, 0 is what a receiver without a fix writes, and exports too."""
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude
