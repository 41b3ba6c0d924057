"""Find the dates in a question: after "in", "since" or "before", as ranges, or by themselves.

It is careful: "may", "march", "spring flowers" and "a sunday dress" are no dates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

from mmrag_plugin.planning.date_words import HOLIDAY, OTHER_MEANINGS, YEAR
from mmrag_plugin.planning.dates import Said, said_at, yearly_days
from mmrag_plugin.planning.days import Days, day_after, day_before, written_date

_WORD_BEGINS = re.compile(r"(?<![\w'/.:-])(?=\w|'\d)")
_MAY_BE = re.compile(  # most questions hold nothing of the kind
    r"\d|day|night|week|month|year|noon|morning|evening|ago|recent|late|last|past|this|previous|jan"
    r"|feb|mar|apr|mai|may|jun|jul|aug|sep|okt|oct|nov|dec|dez|spring|summer|autumn|fall|winter"
    r"|easter|mas|hallow|thanks|twenties|ties|heute|gestern|letzt|sommer|herbst|fr[üu]h|jahr"
    r"|woche|monat|weihn|ostern|silvester|noël|noel|pâques|hier|d'hui|derni|été|automne|hiver"
    r"|printemps|hoy|ayer|pasad|verano|otoño|invierno|primavera|navidad|pascua|hace|il y a|vor "
    r"|neulich|kürzlich|récem|enero|ago|août|aout|déc|dic|jän|mär|heilig|noche",
    re.IGNORECASE,
)
_WITHIN = (
    "in|on|at|from|of|during|over|around|for|im|am|an|zu|von|vom|aus|en|au|aux|le|du|de|el|del|a"
)
_SINCE = "since|seit|depuis|desde"
_AFTER = "after|later than|newer than|nach|après|después de|despues de"
_BEFORE = "before|earlier than|older than|prior to|vor|avant|antes de"
_UNTIL = "until|till|up to|through|not later than|bis|bis zum|jusqu'en|jusqu'à|hasta"
_THE = r"(?:the |der |dem |den |la |l')?"


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?:{pattern})(?:\s+|(?<=')){_THE}", re.IGNORECASE)


_OPEN_RANGE = re.compile(r"(?:between|from|von|vom|zwischen|de|desde|entre|du)\s+", re.IGNORECASE)
_RANGE_GOES_ON = re.compile(
    r"\s*(?:-|(?<=\s)(?:to|until|till|through|and|bis|und|à|et|y|a|hasta|au)(?=\s))\s*",
    re.IGNORECASE,
)
_ONWARD = re.compile(r"\s+(?:onwards?|on|and later|or later|an|à partir)\b", re.IGNORECASE)
_CLAUSE_ENDS = re.compile(
    r"\s*(?:$|[,.;:!?)]|(?:and|with|at|in|on|of|near|by|from|to|without|but|not|no|taken|made|shot"
    r"|where|that|which|who|one|except|mit|bei|ohne|und|avec|sans|et|con|sin|y)\b)",
    re.IGNORECASE,
)
_VAGUE = re.compile("recently|lately", re.IGNORECASE)  # "a road that recently turned"
_NO_DATE_BEFORE = re.compile(r"(?:number|no\.?|says?|saying|reads?|#|room|route|the|a)\s*$", re.I)


@dataclass(frozen=True)
class DatePhrase:
    """A date in a question, from ``start`` to ``end``, with the word that goes before it."""

    start: int
    end: int
    days: Days
    note: str = ""


def find_dates(text: str, today: date) -> list[DatePhrase]:
    """The dates that a question names, in order."""
    if not _MAY_BE.search(text):
        return []
    found: list[DatePhrase] = []
    after = 0
    for start in (match.start() for match in _WORD_BEGINS.finditer(text)):
        if start < after:
            continue
        phrase = (
            _range(text, start, today)
            or _directed(text, start, today)
            or _by_itself(text, start, today)
        )
        if phrase is not None:
            found.append(phrase)
            after = phrase.end
    return found


def _range(text: str, start: int, today: date) -> DatePhrase | None:
    """``between June and August 2020``, ``from 2015 to 2018``, ``2015-2018``."""
    opened = _OPEN_RANGE.match(text, start)
    begin = opened.end() if opened else start
    first = said_at(text, begin, today)
    if first is None or not (opened or re.fullmatch(YEAR, text[begin : first.end])):
        return None
    goes_on = _RANGE_GOES_ON.match(text, first.end)
    if goes_on is None:
        return None
    last = said_at(text, goes_on.end(), today)
    if last is None or (not opened and not re.fullmatch(YEAR, text[goes_on.end() : last.end])):
        return None
    if not first.has_year:
        first = _in_the_year_of(text, begin, last, today) or first
    since, until = first.days.since, last.days.until
    if since is None or until is None or not _ordered(since, until):
        return None
    return DatePhrase(start, last.end, Days(since, until))


def _in_the_year_of(text: str, begin: int, last: Said, today: date) -> Said | None:
    """The beginning of a range that leaves the year to its end."""
    year = int((last.days.until or "0")[:4])
    for tried in (year, year - 1):
        first = said_at(text, begin, today, year=tried)
        if first and _ordered(first.days.since or "9999", last.days.until or ""):
            return first
    return None


def _ordered(since: str, until: str) -> bool:
    first, last = written_date(since), written_date(until)
    return first is not None and last is not None and first[0] <= last[1]


def _since(days: Days) -> Days | None:
    return Days(since=days.since)


def _after(days: Days) -> Days | None:
    since = day_after(days.until) if days.until else None
    return Days(since=since) if since else None


def _before(days: Days) -> Days | None:
    until = day_before(days.since) if days.since else None
    return Days(until=until) if until else None


def _until(days: Days) -> Days | None:
    return Days(until=days.until)


_DIRECTIONS: tuple[tuple[re.Pattern[str], Callable[[Days], Days | None]], ...] = (
    (_words(_SINCE), _since),
    (_words(_AFTER), _after),
    (_words(_BEFORE), _before),
    (_words(_UNTIL), _until),
    (_words(_WITHIN), lambda days: days),
)


def _directed(text: str, start: int, today: date) -> DatePhrase | None:
    """``in 2019``, ``since last Christmas``, ``before May 2020``, ``at Christmas`` of any year."""
    for pattern, turn in _DIRECTIONS:
        word = pattern.match(text, start)
        if word is None:
            continue
        # "in the 90s": the article may belong to the date, or not
        bare = start + len(word[0].split()[0]) + 1
        begin, said = next(
            ((at, said) for at in (word.end(), bare) if (said := said_at(text, at, today))),
            (0, None),
        )
        if said is None or not (said.alone or _is_meant(text, word[0], begin, said)):
            continue
        days, end = turn(said.days), said.end
        if word[0].lower().startswith("from") and (onward := _ONWARD.match(text, end)):
            days, end = _since(said.days), onward.end()
        elif not said.alone and days == said.days and re.fullmatch(HOLIDAY, text[begin:end], re.I):
            every_year = yearly_days(text[begin:end])
            days = Days(yearly=every_year) if every_year else days
        if days is not None:
            return DatePhrase(start, end, days, said.note)
    return None


def _is_meant(text: str, preposition: str, begin: int, said: Said) -> bool:
    """Whether a word that may be a date is one here."""
    words = text[begin : said.end]
    word = preposition.split(maxsplit=1)[0].lower()
    if re.fullmatch(rf"{YEAR}|.*\d.*", words):
        return word not in ("at", "a", "an")
    if not _CLAUSE_ENDS.match(text, said.end):
        return False
    if word in ("of", "a", "an", "for", "de"):
        return False
    return words.lower() not in OTHER_MEANINGS or words[:1].isupper()


def _by_itself(text: str, start: int, today: date) -> DatePhrase | None:
    said = said_at(text, start, today)
    if said is None:
        return None
    words = text[start : said.end]
    if said.alone:
        if _doubtful(words) or (_VAGUE.fullmatch(words) and not _CLAUSE_ENDS.match(text, said.end)):
            return None
        return DatePhrase(start, said.end, said.days, said.note)
    is_year = re.fullmatch(YEAR, words) is not None
    at_the_edge = not text[said.end :].strip(" ?.!") or not text[:start].strip()
    if is_year and at_the_edge and not _NO_DATE_BEFORE.search(text[:start]):
        return DatePhrase(start, said.end, said.days)
    return None


def _doubtful(words: str) -> bool:
    """``may 2`` and ``3 march`` in small letters may be anything."""
    named = re.search(r"[^\W\d]+", words)
    small = named is not None and named[0] in OTHER_MEANINGS
    return small and not re.search(rf"{YEAR}|\d(?:st|nd|rd|th)", words)
