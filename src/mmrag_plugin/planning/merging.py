"""Join a plan with what a later message asks for: its filters win, the rest is kept."""

from __future__ import annotations

import re
from dataclasses import fields, replace

from mmrag_plugin.filters import Filters
from mmrag_plugin.plan import Plan

_PLACE = re.compile(r"\s*\b(?:in|at|near|from|on) (?:the )?[\w' -]+$", re.IGNORECASE)


def narrowed(last: Plan, asked: Plan, message: str, *, part: str = "", swap: bool = False) -> Plan:
    """Ask for more of the same search: words are joined, filters that are set anew replace.

    ``part`` is the wording of a part of a sentence ("at night"), which is joined as it is; people
    after "with" come to those before. With ``swap`` it takes the place of such a part at the end
    of what was looked for.
    """
    if part.lower().startswith("with ") and asked.filters.people:
        people = dict.fromkeys((*last.filters.people, *asked.filters.people))
        asked = replace(asked, filters=replace(asked.filters, people=tuple(people)))
    visual = last.visual
    if swap and part:
        visual = _PLACE.sub("", visual) or visual
    wanted = part if part and asked.visual else asked.visual
    return _joined(last, asked, message, _words(visual, wanted), _words(last.text, asked.text))


def replaced(last: Plan, asked: Plan, message: str) -> Plan:
    """Look for something else under the same filters."""
    return _joined(last, asked, message, asked.visual, asked.text)


def merged_filters(last: Filters, asked: Filters) -> Filters:
    """The filters of a plan with those that are set anew in their place."""
    unset = Filters()
    anew = {
        field.name: getattr(asked, field.name)
        for field in fields(Filters)
        if getattr(asked, field.name) != getattr(unset, field.name)
    }
    if anew.keys() & {"since", "until"}:  # a new time takes the place of the old one
        anew = {"since": None, "until": None, **anew}
    if anew.keys() & {"near", "folder"}:  # and so does a new place
        anew = {"near": None, "folder": None, **anew}
    return replace(last, **anew)


def _joined(last: Plan, asked: Plan, message: str, visual: str, text: str) -> Plan:
    return replace(
        last,
        question=message,
        visual=visual,
        text=text,
        filters=merged_filters(last.filters, asked.filters),
        phrases=(*last.phrases, *(one for one in asked.phrases if one not in last.phrases)),
        without=(*last.without, *(one for one in asked.without if one not in last.without)),
        aim=asked.aim,
        one_each=asked.one_each or last.one_each,
        order=last.order if asked.order == "best" else asked.order,
        limit=asked.limit or last.limit,
        moment=asked.moment or last.moment,
        given=last.given | asked.given,
        warnings=asked.warnings,
    )


def _words(first: str, then: str) -> str:
    return " ".join(dict.fromkeys(part for part in (first, then) if part))
