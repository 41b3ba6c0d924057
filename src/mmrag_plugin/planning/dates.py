"""Dates in words, as days: what "last summer", "May 3rd", "the 90s" or "vor zwei Jahren" is.

``days_of`` reads a text that is a date and nothing else; ``date_phrases`` finds dates in questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from mmrag_plugin.planning.date_library import parsed
from mmrag_plugin.planning.date_words import (
    AFTERWARDS,
    DAYS_AGO,
    HOLIDAY,
    HOLIDAY_DAYS,
    HOLIDAYS,
    LAST,
    MONTH,
    MONTHS,
    NUMBER,
    NUMBERS,
    SEASON,
    SEASON_BEGINS,
    SEASONS,
    THIS,
    UNIT,
    UNITS,
    WEEKDAY,
    WEEKDAYS,
    YEAR,
    one_of,
)
from mmrag_plugin.planning.days import (
    Days,
    from_to,
    monday_of,
    one_day,
    whole_month,
    whole_year,
    written_date,
)

RECENT_DAYS = 30


@dataclass(frozen=True)
class Said:
    """A date that was found in a text, up to ``end``.

    ``alone`` tells that it is a date whatever stands around it; without a ``year`` of its own it is
    the last one there was.
    """

    end: int
    days: Days
    alone: bool = True
    has_year: bool = True
    note: str = ""


Reader = Callable[[re.Match[str], date, "int | None"], "Days | None"]
_READERS: list[tuple[re.Pattern[str], Reader, bool]] = []


def _reads(pattern: str, *, alone: bool = True) -> Callable[[Reader], Reader]:
    compiled = re.compile(rf"(?:{pattern})(?![\w])", re.IGNORECASE)

    def enter(reader: Reader) -> Reader:
        _READERS.append((compiled, reader, alone))
        return reader

    return enter


def said_at(text: str, position: int, today: date, year: int | None = None) -> Said | None:
    """The longest date that begins at a position; ``year`` is for one that names none."""
    best: Said | None = None
    for pattern, reader, alone in _READERS:
        match = pattern.match(text, position)
        if match is None or (best is not None and match.end() <= best.end):
            continue
        try:
            days = reader(match, today, year)
        except (ValueError, OverflowError):  # no such day
            continue
        if days is not None:
            named = re.search(YEAR, match[0]) is not None
            note = _order_note(match) if "n1" in match.re.groupindex else ""
            best = Said(match.end(), days, alone, named or "rel" in match.re.groupindex, note)
    return best


def days_of(text: str, today: date) -> Days | None:
    """The days of a text that is a date and nothing else; None when it is none."""
    text = text.strip()
    said = said_at(text, 0, today)
    if said is not None and said.end == len(text):
        return said.days
    return parsed(text, today) if len(text) <= 60 else None


# ---- days of the calendar ------------------------------------------------------------------------


def season_days(season: str, year: int) -> Days:
    """A season of a year, by whole months; a winter ends in the next year."""
    month = SEASON_BEGINS[season]
    first = date(year, month, 1)
    last = _month_after(date(year + (month == 12), (month + 2 - 1) % 12 + 1, 1)) - timedelta(1)
    return from_to(first, last)


def holiday_days(name: str, year: int) -> Days:
    """A holiday of a year."""
    if name == "easter":
        from dateutil.easter import easter

        sunday = easter(year)
        return from_to(sunday - timedelta(2), sunday + timedelta(1))
    if name == "thanksgiving":  # the fourth Thursday of November
        first = date(year, 11, 1)
        return one_day(first + timedelta((3 - first.weekday()) % 7 + 21))
    first_day, last_day = HOLIDAY_DAYS[name]
    return Days(f"{year:04}-{first_day}", f"{year:04}-{last_day}")


def yearly_days(words: str) -> tuple[str, str] | None:
    """The days that a season, month or holiday has in every year; None for anything else."""
    name = words.casefold().strip()
    if name in SEASONS:
        month = SEASON_BEGINS[SEASONS[name]]
        return f"{month:02}-01", {3: "05-31", 6: "08-31", 9: "11-30", 12: "02-29"}[month]
    if name in MONTHS:
        return f"{MONTHS[name]:02}-01", _last_of_month(MONTHS[name])
    return HOLIDAY_DAYS.get(_holiday(name) or "")


def _last_of_month(month: int) -> str:
    return f"{_month_after(date(2000, month, 1)) - timedelta(1):%m-%d}"


def _month_after(first: date) -> date:
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)


def _month_before(day: date, months: int = 1) -> date:
    count = day.year * 12 + day.month - 1 - months
    return date(count // 12, count % 12 + 1, 1)


def _holiday(words: str) -> str | None:
    return next((name for name, pattern in HOLIDAYS if pattern.fullmatch(words)), None)


def _latest(make: Callable[[int], Days], today: date, *, over: bool = False) -> Days:
    """The last one of what comes every year: that has begun, or that is ``over``."""
    for year in range(today.year, today.year - 9, -1):
        try:
            days = make(year)
        except ValueError:  # 29 February
            continue
        first, _ = written_date(days.since or "") or (date.max, date.max)
        _, last = written_date(days.until or "") or (date.max, date.max)
        if (last < today) if over else (first <= today):
            return days
    raise ValueError("there was none")


# ---- what is a date whatever stands around it ----------------------------------------------------


@_reads(rf"(?P<y>{YEAR})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}})(?![-./]?\d)")
def _iso_day(match: re.Match[str], today: date, year: int | None) -> Days:
    return one_day(date(int(match["y"]), int(match["m"]), int(match["d"])))


@_reads(rf"(?P<y>{YEAR})-(?P<m>0[1-9]|1[0-2])(?!-?\d)")
def _iso_month(match: re.Match[str], today: date, year: int | None) -> Days:
    return whole_month(int(match["y"]), int(match["m"]))


@_reads(rf"(?P<n1>\d{{1,2}})(?P<sep>[./])(?P<n2>\d{{1,2}})(?P=sep)(?P<y>{YEAR})")
def _numeric_day(match: re.Match[str], today: date, year: int | None) -> Days:
    """Day first, as most of the world writes; month first only where nothing else is a date."""
    first, second = int(match["n1"]), int(match["n2"])
    day, month = (second, first) if second > 12 else (first, second)
    return one_day(date(int(match["y"]), month, day))


def _order_note(match: re.Match[str]) -> str:
    first, second = int(match["n1"]), int(match["n2"])
    if match["sep"] == "." or first == second or max(first, second) > 12:
        return ""
    other = f"{match['y']}-{first:02}-{second:02}"
    return f"{match[0]} was read day first; write {other} for the other day."


_DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th|er|\.|º)?"


@_reads(
    rf"(?:the |den |dem |le |el )?{_DAY}\s+(?:of |de |d')?(?P<m>{MONTH})\b\.?"
    rf"(?:,?\s+(?:of |de |del )?(?P<y>{YEAR}))?"
)
@_reads(rf"(?P<m>{MONTH})\.?\s+(?:the )?{_DAY}(?!\d)(?:,?\s+(?:of )?(?P<y>{YEAR}))?")
def _day_of_month(match: re.Match[str], today: date, year: int | None) -> Days:
    month, day = MONTHS[match["m"].lower()], int(match["d"])
    own = int(match["y"]) if match["y"] else year
    if own:
        return one_day(date(own, month, day))
    return _latest(lambda known: one_day(date(known, month, day)), today)


@_reads(
    rf"(?:the )?(?:(?P<part>early|mid|late|beginning of|middle of|end of|anfang|mitte|ende)[ -])?"
    rf"(?P<m>{MONTH})\.?,?\s+(?:of |de |del )?(?P<y>{YEAR})"
)
def _month_of_year(match: re.Match[str], today: date, year: int | None) -> Days:
    days = whole_month(int(match["y"]), MONTHS[match["m"].lower()])
    return _part_of(days, match["part"])


@_reads(rf"(?:the )?(?P<part>early|mid|late|beginning of|end of|anfang|ende)[ -](?P<y>{YEAR})")
def _part_of_year(match: re.Match[str], today: date, year: int | None) -> Days:
    return _part_of(whole_year(int(match["y"])), match["part"])


def _part_of(days: Days, part: str | None) -> Days:
    """The first, middle or last third of a month or a year."""
    if not part:
        return days
    first, last = written_date(days.since or "") or (date.min, date.min)
    third = {"e": 0, "b": 0, "a": 0, "m": 1}.get(part[0].lower(), 2)
    third = 2 if part.lower().startswith(("end", "late")) else third
    if (last - first).days > 31:
        begin = date(first.year, 4 * third + 1, 1)
        return from_to(begin, _month_after(date(first.year, 4 * third + 4, 1)) - timedelta(1))
    begin = first + timedelta(10 * third)
    return from_to(begin, last if third == 2 else begin + timedelta(9))


@_reads(
    rf"(?:the |l'|el |le )?(?P<s>{SEASON})\s+(?:of |de |del |d'|vacation )?"
    rf"(?P<y>{YEAR})(?:\s?[/-]\s?(?P<y2>{YEAR}|\d\d)(?!\d))?"
)
def _season_of_year(match: re.Match[str], today: date, year: int | None) -> Days:
    return season_days(SEASONS[match["s"].lower()], int(match["y"]))


@_reads(rf"(?:the )?(?P<h>{HOLIDAY})\s+(?:of |de )?(?P<y>{YEAR})")
def _holiday_of_year(match: re.Match[str], today: date, year: int | None) -> Days | None:
    name = _holiday(match["h"])
    return holiday_days(name, int(match["y"])) if name else None


@_reads(rf"(?P<rel>(?:the )?(?:{LAST}) (?P<what>{SEASON}|{HOLIDAY}|{MONTH}|{WEEKDAY}))")
@_reads(rf"(?P<rel>(?:l'|le |el |la )?(?P<what>{SEASON}|{HOLIDAY}) (?:{AFTERWARDS}))")
def _last_one(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return _yearly(match["what"].lower(), today, over=True)


@_reads(rf"(?P<rel>(?:{THIS}) (?P<what>{SEASON}|{HOLIDAY}|{MONTH}|{WEEKDAY}))")
def _this_one(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return _yearly(match["what"].lower(), today, over=False)


def _yearly(what: str, today: date, *, over: bool) -> Days | None:
    if what in SEASONS:
        return _latest(lambda year: season_days(SEASONS[what], year), today, over=over)
    if what in MONTHS:
        return _latest(lambda year: whole_month(year, MONTHS[what]), today, over=over)
    if what in WEEKDAYS:
        back = (today.weekday() - WEEKDAYS.index(what)) % 7
        return one_day(today - timedelta(back or (7 if over else 0)))
    name = _holiday(what)
    return _latest(lambda year: holiday_days(name, year), today, over=over) if name else None


@_reads(rf"(?P<rel>{one_of(DAYS_AGO)})")
def _days_ago(match: re.Match[str], today: date, year: int | None) -> Days:
    return one_day(today - timedelta(DAYS_AGO[match["rel"].lower()]))


_WEEKEND = "weekend|week-end|wochenende|fin de semana"


@_reads(rf"(?P<rel>(?:the )?(?:{LAST}) (?P<u>{UNIT}|{_WEEKEND}))")
@_reads(rf"(?P<rel>(?:la |le |l'|el )?(?P<u>{UNIT}|{_WEEKEND}) (?:{AFTERWARDS}))")
def _last_unit(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return _unit(match["u"], today, back=1)


@_reads(rf"(?P<rel>(?:{THIS}) (?P<u>{UNIT}|{_WEEKEND}))")
def _this_unit(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return _unit(match["u"], today, back=0)


def _unit(said: str, today: date, *, back: int) -> Days | None:
    monday = monday_of(today) - timedelta(7 * back)
    if re.fullmatch(_WEEKEND, said, re.IGNORECASE):
        return from_to(monday + timedelta(5), monday + timedelta(6))
    unit = _unit_name(said)
    if unit == "week":
        return from_to(monday, monday + timedelta(6))
    if unit == "month":
        first = _month_before(today, back)
        return whole_month(first.year, first.month)
    return whole_year(today.year - back) if unit == "year" else None


def _unit_name(said: str) -> str:
    return next(unit for unit, pattern in UNITS.items() if pattern.fullmatch(said))


@_reads(
    rf"(?P<rel>(?:the |in the |den |die |in den |les |los |las )?"
    rf"(?:{LAST}|derniers|dernières|últim[oa]s)\s+"
    rf"(?P<n>{NUMBER})\s+(?:of )?(?P<u>{UNIT}))"
)
def _last_units(match: re.Match[str], today: date, year: int | None) -> Days:
    count, unit = _number(match["n"]), _unit_name(match["u"])
    if unit in ("day", "week"):
        return from_to(today - timedelta(count * (7 if unit == "week" else 1)), today)
    first = _month_before(today, count * (12 if unit == "year" else 1))
    day = min(today.day, (_month_after(first) - timedelta(1)).day)
    return from_to(first.replace(day=day), today)


@_reads(r"(?P<rel>recently|lately|neulich|kürzlich|récemment|recientemente)")
def _recently(match: re.Match[str], today: date, year: int | None) -> Days:
    return from_to(today - timedelta(RECENT_DAYS), today)


@_reads(rf"(?P<rel>(?:about |around )?(?:a )?(?P<n>{NUMBER})\s+(?:of )?(?P<u>{UNIT}) ago)")
@_reads(rf"(?P<rel>vor (?P<n>{NUMBER})\s+(?P<u>{UNIT}))")
@_reads(rf"(?P<rel>il y a (?P<n>{NUMBER})\s+(?P<u>{UNIT}|an))")
@_reads(rf"(?P<rel>hace (?P<n>{NUMBER})\s+(?P<u>{UNIT}))")
def _ago(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return parsed(f"{_number(match['n'])} {_unit_name(match['u'])}s ago", today)


@_reads(rf"(?P<rel>(?P<n>{NUMBER})\s+(?P<s>summer|winter|spring|autumn|fall|christmase)s ago)")
def _seasons_ago(match: re.Match[str], today: date, year: int | None) -> Days | None:
    what = match["s"].lower().removesuffix("e")
    last = _yearly(what, today, over=True)
    first, _ = written_date((last.since if last else None) or "") or (today, today)
    ago = first.year - _number(match["n"]) + 1
    return season_days(SEASONS[what], ago) if what in SEASONS else holiday_days(what, ago)


def _number(said: str) -> int:
    return int(said) if said.isdecimal() else NUMBERS[said.lower()]


# ---- what is a date after "in", "since" and their like -------------------------------------------


@_reads(rf"(?P<y>{YEAR})(?![/.]?\d|-\d\d?(?!\d))", alone=False)
def _year(match: re.Match[str], today: date, year: int | None) -> Days | None:
    named = int(match["y"])
    return whole_year(named) if named <= today.year else None


@_reads(
    r"(?:the |den |les |los )?(?:early |mid |late )?'?(?:19|20)?(?P<t>\d)0'?(?:s|er|ern)",
    alone=False,
)
@_reads(
    r"the (?P<w>twenties|thirties|forties|fifties|sixties|seventies|eighties|nineties)", alone=False
)
def _decade(match: re.Match[str], today: date, year: int | None) -> Days:
    groups = match.groupdict()
    words = "twenties thirties forties fifties sixties seventies eighties nineties".split()
    tens = words.index(groups["w"].lower()) + 2 if groups.get("w") else int(groups["t"])
    century = re.search(r"(19|20)\d0", match[0])
    first = int(century[1]) * 100 if century else (1900 if 1900 + 10 * tens >= 1930 else 2000)
    return Days(str(first + 10 * tens), str(first + 10 * tens + 9))


@_reads(rf"(?:the )?(?P<m>{MONTH})", alone=False)
def _month(match: re.Match[str], today: date, year: int | None) -> Days:
    month = MONTHS[match["m"].lower()]
    if year is not None:
        return whole_month(year, month)
    return _latest(lambda known: whole_month(known, month), today)


@_reads(rf"(?P<h>{HOLIDAY})", alone=False)
def _holiday_alone(match: re.Match[str], today: date, year: int | None) -> Days | None:
    name = _holiday(match["h"])
    if name is None:
        return None
    if year is not None:
        return holiday_days(name, year)
    return _latest(lambda known: holiday_days(name, known), today)


@_reads(rf"(?P<rel>(?P<w>{WEEKDAY}))", alone=False)
def _weekday(match: re.Match[str], today: date, year: int | None) -> Days | None:
    return _yearly(match["w"].lower(), today, over=True)
