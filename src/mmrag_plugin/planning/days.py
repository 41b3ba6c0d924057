"""Spans of days, written as a search takes them: ``2019``, ``2019-05`` or ``2019-05-20``."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

_WRITTEN = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")


@dataclass(frozen=True)
class Days:
    """Days from one to another, both inclusive; or from a day of each year to another (MM-DD)."""

    since: str | None = None
    until: str | None = None
    yearly: tuple[str, str] | None = None


def whole_year(year: int) -> Days:
    """A year."""
    return Days(f"{year:04}", f"{year:04}")


def whole_month(year: int, month: int) -> Days:
    """A month."""
    return Days(f"{year:04}-{month:02}", f"{year:04}-{month:02}")


def from_to(first: date, last: date) -> Days:
    """From a day to another."""
    return Days(first.isoformat(), last.isoformat())


def one_day(day: date) -> Days:
    """A day."""
    return from_to(day, day)


def monday_of(day: date) -> date:
    """The Monday of a day's week."""
    return day - timedelta(day.weekday())


def written_date(text: str) -> tuple[date, date] | None:
    """The first and last day of a date as it is written for a search; None when it is none."""
    match = _WRITTEN.fullmatch(text)
    if match is None:
        return None
    year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
    try:
        first = date(year, month, day)
    except ValueError:
        return None
    if match[3]:
        return first, first
    if match[2]:
        return first, date(year, month, calendar.monthrange(year, month)[1])
    return first, date(year, 12, 31)


def day_before(written: str) -> str | None:
    """The end of the time before a date, as exact as the date: 2019 gives 2018."""
    first, _ = written_date(written) or (date.min, date.min)
    if first == date.min:
        return None
    return _as_exact(first - timedelta(days=1), written)


def day_after(written: str) -> str | None:
    """The beginning of the time after a date, as exact as the date: 2019-12 gives 2020-01."""
    _, last = written_date(written) or (date.max, date.max)
    return None if last == date.max else _as_exact(last + timedelta(days=1), written)


def _as_exact(day: date, written: str) -> str:
    return day.isoformat()[: {0: 4, 1: 7}.get(written.count("-"), 10)]
