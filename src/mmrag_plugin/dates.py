"""When a media was taken: the dates that files write, and which of several is to be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Literal, get_args

# From the most to the least trusted, for what they are see docs/words.md. When a file came to lie
# on a disk says nothing: copying, syncing and unpacking set that anew.
DateSource = Literal[
    "exif",
    "xmp",
    "digitized",
    "iptc",
    "film",
    "satellite",
    "sidecar",
    "takeout",
    "icloud",
    "name",
    "edited",
]
_TRUST: tuple[DateSource, ...] = get_args(DateSource)
_INSTANTS: frozenset[DateSource] = frozenset(("satellite", "takeout", "icloud", "film"))
_LOCAL: frozenset[DateSource] = frozenset(("exif", "xmp", "digitized", "name"))

_HALF_HOUR = timedelta(minutes=30)
_WEST, _EAST = timedelta(hours=-12), timedelta(hours=14)
# Zones that lie off the half hour: Nepal, Eucla, the Chatham Islands in winter and in summer.
_QUARTERS = [timedelta(hours=h, minutes=45) for h in (5, 8, 12, 13)]
_DRIFT = timedelta(minutes=5)  # between a camera's clock and a satellite's, or the begin and end

_DATE = re.compile(
    r"(\d{4})[-:/.](\d{1,2})[-:/.](\d{1,2})"
    r"(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d*)?)?)?"
    r"\s*(Z|[+-]\d{2}:?\d{2})?\s*"
)
_COMPACT_DATE = re.compile(
    r"(\d{4})(\d{2})(\d{2})(?:[T ]?(\d{2})(\d{2})(\d{2})(?:[.,]\d*)?)?\s*(Z|[+-]\d{2}:?\d{2})?",
    re.ASCII,
)
_FIRST_PHOTOGRAPH = 1826


@dataclass(frozen=True)
class Dated:
    """A date as ISO 8601, and who says so; without an offset it is local to the camera."""

    taken_at: str
    source: DateSource


def dated(taken_at: str | None, source: DateSource) -> tuple[Dated, ...]:
    """The date that a source gives, if it gives one."""
    return (Dated(taken_at, source),) if taken_at else ()


def most_trusted(dates: Iterable[Dated]) -> Dated | None:
    """The date from the most trusted source, of one source the first; None without any.

    A wall clock without an offset gets the one that lies between it and the same moment in UTC,
    where a satellite, an export or a film names that; a moment in UTC becomes the wall clock that
    an equally good look at the clock (a name, say) shows for it.
    """
    known = sorted(dates, key=lambda date: _TRUST.index(date.source))
    if not known:
        return None
    best = known[0]
    moment = datetime.fromisoformat(best.taken_at)
    if moment.tzinfo is None:
        offset = _offset_of(moment, best, known)
        return best if offset is None else _with(moment, offset, best)
    if best.source in _INSTANTS and not moment.utcoffset():
        for other in known:
            local = datetime.fromisoformat(other.taken_at)
            if other.source in _LOCAL and local.tzinfo is None and not _is_midnight(local):
                offset = _between(local, moment)
                if offset is not None:
                    return _with(local, offset, best)
    return best


def iso_date(text: str, offset: str = "") -> str | None:
    """Turn the date of an EXIF, XMP, IPTC or film tag into ISO 8601; None where it is no date.

    ``offset`` (``+02:00``) counts where the text names none itself. Fractions of a second are
    dropped, and so are dates before the first photograph: those are clocks that were never set.
    """
    text = text.strip("\x00 \t\r\n")
    match = _DATE.fullmatch(text) or _COMPACT_DATE.fullmatch(text)
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    zone = (match[7] or offset.strip("\x00 ")).replace("Z", "+00:00")
    if zone and not re.fullmatch(r"[+-]\d{2}:?\d{2}", zone):
        zone = ""
    if len(zone) == 5:
        zone = f"{zone[:3]}:{zone[3:]}"
    try:
        iso = datetime(year, month, day, hour, minute, second).isoformat() + zone
        datetime.fromisoformat(iso)  # refuses offsets of a day and more
    except ValueError:
        return None
    if year < _FIRST_PHOTOGRAPH or iso.startswith(("1904-01-01T00:00:00", "1970-01-01T00:00:00")):
        return None
    return iso


def epoch_date(seconds: object) -> str | None:
    """Turn seconds since 1970 in UTC, a number or its digits, into ISO 8601; else None."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=int(str(seconds)))
    except (ValueError, OverflowError):
        return None
    return iso_date(moment.replace(tzinfo=None).isoformat(), "+00:00")


def _offset_of(local: datetime, best: Dated, known: Sequence[Dated]) -> timedelta | None:
    if _is_midnight(local):
        return None
    for other in known:
        moment = datetime.fromisoformat(other.taken_at)
        if other is best or other.source not in _INSTANTS or moment.tzinfo is None:
            continue
        offset = _between(local, moment)
        # exports write a local time as UTC where they do not know the zone
        if offset is not None and (offset or other.source == "satellite"):
            return offset
    return None


def _between(local: datetime, moment: datetime) -> timedelta | None:
    """The offset of a zone that lies between a wall clock and a moment; None if there is none."""
    apart = local - moment.astimezone(timezone.utc).replace(tzinfo=None)
    if not _WEST - _DRIFT <= apart <= _EAST + _DRIFT:
        return None
    nearest = min(
        [round(apart / _HALF_HOUR) * _HALF_HOUR, *_QUARTERS], key=lambda zone: abs(zone - apart)
    )
    return nearest if abs(nearest - apart) <= _DRIFT else None


def _with(local: datetime, offset: timedelta, best: Dated) -> Dated:
    return Dated(local.replace(tzinfo=timezone(offset)).isoformat(), best.source)


def _is_midnight(moment: datetime) -> bool:
    """Whether a date has no time of day: those are written as midnight."""
    return (moment.hour, moment.minute, moment.second) == (0, 0, 0)
