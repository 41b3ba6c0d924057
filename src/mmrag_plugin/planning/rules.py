"""A question in everyday language, understood by rules.

English well; dates in German, French and Spanish too. The rules are careful: what may as well say
what a picture shows stays in the query, and names count only if the library knows them.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.base import KnownNames
from mmrag_plugin.planning.date_phrases import find_dates
from mmrag_plugin.planning.days import Days, day_after, day_before, written_date
from mmrag_plugin.planning.following import take_following
from mmrag_plugin.planning.people_places import take_names
from mmrag_plugin.planning.reading import Reading, Sentence
from mmrag_plugin.planning.requests import (
    take_counting,
    take_kind,
    take_one_each,
    take_order,
    take_request,
)
from mmrag_plugin.planning.search_box import read_marked
from mmrag_plugin.planning.unwanted import take_unwanted
from mmrag_plugin.planning.words_wanted import take_quoted, take_text

MAX_CHARS = 1_000  # of a question in words; a longer one is a text to search with
_PLAIN_SIGNS = str.maketrans("\u2018\u2019\u201a\u2013\u2014", "'''--")  # quotes and dashes


_ANYTHING = frozenset("everything anything all what who where when which alles tout todo".split())


class Rules:
    """Reads the grammar of the search box, and what is left by rules."""

    def plan(self, question: str, *, today: date, known: KnownNames) -> Plan:
        """Say what a question asks for.

        Raises UsageError for what is written as a filter and is none.
        """
        boxed, left = read_marked(question, today)
        if not boxed.visual or len(boxed.visual) > MAX_CHARS:
            return boxed
        read = Reading(
            today,
            known,
            Sentence(left.translate(_PLAIN_SIGNS)),
            is_request=bool(boxed.given),
            phrases=list(boxed.phrases),
        )
        for take in _STEPS:
            take(read)
        return _joined(boxed, read)


def _take_dates(read: Reading) -> None:
    found = find_dates(read.sentence.text, read.today)
    together: Days | None = None
    for phrase in reversed(found):
        negated = read.sentence.negation_before(phrase.start)
        days = phrase.days if negated is None else _turned(phrase.days)
        start = phrase.start if negated is None else negated
        if days is None:
            said = read.sentence.text[start : phrase.end].strip(" ,;")
            read.warnings.append(f"A time can't be left out, so {said!r} was not used.")
            read.sentence.take(start, phrase.end)
            continue
        both = _both(days, together)
        if both is None:
            continue  # the later one is kept as words
        together = both
        read.sentence.take(start, phrase.end)
        read.warnings += [phrase.note] if phrase.note else []
    if together is not None:
        read.filters |= {name: value for name, value in vars(together).items() if value}


def _turned(days: Days) -> Days | None:
    """Days that are not those: ``not before 2019``; None where that is no single span."""
    if days.since and not days.until:
        until = day_before(days.since)
        return Days(until=until) if until else None
    since = day_after(days.until) if days.until and not days.since else None
    return Days(since=since) if since else None


def _both(one: Days, other: Days | None) -> Days | None:
    """Two dates at once: ``after 2015`` and ``before 2018``; None where they don't meet."""
    if other is None:
        return one
    since = max(filter(None, (one.since, other.since)), default=None, key=_first)
    until = min(filter(None, (one.until, other.until)), default=None, key=_last)
    if since and until and _first(since) > _last(until):
        return None
    return Days(since, until, one.yearly or other.yearly)


def _first(written: str) -> date:
    return (written_date(written) or (date.min, date.min))[0]


def _last(written: str) -> date:
    return (written_date(written) or (date.max, date.max))[1]


_STEPS = (
    take_quoted,
    take_following,
    take_counting,
    take_order,
    take_one_each,
    take_request,
    _take_dates,
    take_unwanted,
    take_names,
    take_text,
    take_kind,
)


def _joined(boxed: Plan, read: Reading) -> Plan:
    """The plan of the box and what the rules add to it; what is written in the box wins."""
    planned = {name: value for name, value in read.filters.items() if name not in boxed.given}
    if boxed.given & {"since", "until"}:
        planned = {n: v for n, v in planned.items() if n not in ("since", "until", "yearly")}
    if read.people and "people" not in boxed.given:
        planned["people"] = tuple(dict.fromkeys(read.people))
    fields = {name: value for name, value in read.fields.items() if name not in boxed.given}
    visual = boxed.visual if read.sentence.is_whole else read.sentence.rest()
    if not (visual or planned or fields or read.without or boxed.given):
        visual = boxed.visual  # "what happened?": nothing but words, so they are all there is
    elif visual.casefold() in _ANYTHING and (planned or fields or read.without):
        visual = ""
    by_rules = bool(planned or fields or read.without or visual != boxed.visual)
    return replace(
        boxed,
        visual=visual,
        filters=replace(boxed.filters, **planned) if planned else boxed.filters,
        phrases=tuple(read.phrases),
        given=boxed.given if read.phrases else boxed.given - {"phrases"},
        without=tuple(dict.fromkeys((*boxed.without, *read.without))),
        planned_by="rules" if by_rules else "given",
        warnings=tuple(read.warnings),
        **fields,
    )
