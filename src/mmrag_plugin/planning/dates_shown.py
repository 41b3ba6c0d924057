"""Dates that are told from what is shown: older, newer, the year before, on the same day."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from datetime import date, timedelta

from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Hit
from mmrag_plugin.plan import Plan

_THINGS = r"(?: ones?| photos?| pictures?| images?| videos?| films?| shots?)?"
_LEAD = (
    r"(?:(?:and|but|now|any|some|something|anything|show|me|give|the|a|one|a bit|much|find|are|"
    r"there|only|from|those|ones|taken|what about|how about|please|is|was|i want|in|on|of|what|"
    r"happened) )*"
)
_REST = r"(?: (?:than|as) .*)?(?: please)?(?: instead)?"
_OLDER = re.compile(
    rf"{_LEAD}(?:older|earlier|before)(?:{_THINGS}{_REST}| (?:that|this|those|.*\d))"
)
_NEWER = re.compile(
    rf"{_LEAD}(?:newer|later|more recent|after)(?:{_THINGS}{_REST}| (?:that|this|those|.*\d))"
)
_OTHER = "(?P<other>year|month|week|day)"
_PERIOD = "(?P<period>year|month|week|day)"
_BEFORE = re.compile(
    rf"{_LEAD}(?:{_PERIOD} (?:before|earlier)|(?:previous|preceding) {_OTHER})"
    rf"{_REST}(?: that| this)?"
)
_AFTER = re.compile(
    rf"{_LEAD}(?:{_PERIOD} (?:after|later)|(?:next|following) {_OTHER}){_REST}(?: that| this)?"
)
_SAME = re.compile(
    rf"(?:.*\b)?(?:from |on |in |of |taken )*the same (?:{_PERIOD}|(?P<other>date))(?: as .*)?"
    r"(?: please)?"
)
_STEPS = ((_BEFORE, -1), (_AFTER, 1), (_SAME, 0))
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")

_YEARS = 1000, 9000  # what a file says beyond is no date, and steps from it would overflow


def shifted_dates(text: str, hits: Sequence[Hit], last: Plan) -> Plan | None:
    """What a message in lower case asks about time, told from hits: a plan of the new time alone.

    None where it asks nothing of the kind.
    """
    days = sorted(day for hit in hits if (day := _day(hit.taken_at)))
    for pattern, steps in _STEPS:
        if found := pattern.fullmatch(text):
            return _span(found["period"] or found["other"], steps, days, last)
    if _OLDER.fullmatch(text):
        return _older(days, last)
    return _newer(days, last) if _NEWER.fullmatch(text) else None


def _older(days: Sequence[date], plan: Plan) -> Plan:
    known = days[0] if days else _begins(plan.filters.since)
    if known is None:
        return Plan("", order="oldest")
    return Plan("", filters=Filters(until=f"{known - timedelta(days=1)}"))


def _newer(days: Sequence[date], plan: Plan) -> Plan:
    known = days[-1] if days else _ends(plan.filters.until)
    if known is None:
        return Plan("", order="newest")
    return Plan("", filters=Filters(since=f"{known + timedelta(days=1)}"))


def _span(period: str, steps: int, days: Sequence[date], plan: Plan) -> Plan:
    """The year, month, week or day so many steps from the one that was asked for or is shown."""
    asked = _begins(plan.filters.since)
    until = _ends(plan.filters.until)
    one = asked is not None and until is not None and _same_period(period, asked, until)
    base = asked if one else days[0] if days else asked or until
    if base is None:
        return Plan("", order="oldest" if steps < 0 else "newest")
    if period == "year":
        name = f"{base.year + steps:04}"
        return Plan("", filters=Filters(since=name, until=name))
    if period == "month":
        months = base.year * 12 + base.month - 1 + steps
        name = f"{months // 12:04}-{months % 12 + 1:02}"
        return Plan("", filters=Filters(since=name, until=name))
    if period in ("day", "date"):
        name = f"{base + timedelta(days=steps)}"
        return Plan("", filters=Filters(since=name, until=name))
    monday = base - timedelta(days=base.weekday()) + timedelta(weeks=steps)
    return Plan("", filters=Filters(since=f"{monday}", until=f"{monday + timedelta(days=6)}"))


def _same_period(period: str, first: date, last: date) -> bool:
    if period == "year":
        return first.year == last.year
    if period == "month":
        return (first.year, first.month) == (last.year, last.month)
    return first == last


def _day(taken_at: str | None) -> date | None:
    """The day of a date out of a file; None if it is none."""
    found = _ISO_DAY.match(taken_at or "")
    return _date(found[0]) if found else None


def _begins(written: str | None) -> date | None:
    parts = (written or "").strip().split("-")
    return _date("-".join([*parts, "01", "01"][:3]) if parts[0] else "")


def _ends(written: str | None) -> date | None:
    first = _begins(written)
    count = len((written or "").strip().split("-"))
    if first is None or count == 3:
        return first
    month = 12 if count == 1 else first.month
    return date(first.year, month, calendar.monthrange(first.year, month)[1])


def _date(iso: str) -> date | None:
    try:
        year, month, day = map(int, iso.split("-"))
        return date(year, month, day) if _YEARS[0] < year < _YEARS[1] else None
    except ValueError:
        return None
