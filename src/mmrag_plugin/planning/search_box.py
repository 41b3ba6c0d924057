"""What may be written into the search box: ``kind:video after:2024-05 near:Lisbon "exact words"``.

Gmail's conventions hold: ``after:`` includes its date, ``before:`` does not. Everything that is not
written as ``key:value``, in double quotes or with a leading minus is plain words.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NoReturn

from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.base import KnownNames
from mmrag_plugin.planning.days import Days, day_before, written_date
from mmrag_plugin.timecode import parse_time

_OPEN, _CLOSE = '"\u201c\u201e\u201d\u00ab', '"\u201d\u201c\u00bb'
_QUOTED = rf"[{_OPEN}]([^{_OPEN}{_CLOSE}]*)[{_CLOSE}]"
_TOKEN = re.compile(
    rf"(?<!\S)(?:(?P<key>[A-Za-z]+):(?:{_QUOTED}|(?P<value>[^\s{_OPEN}]\S*))(?!\S)"
    rf"|(?P<minus>-(?=[^\W\d_]|[{_OPEN}]))?(?:{_QUOTED}|(?P<word>\S+)))"
    rf"|{_QUOTED}"
)
PHRASE = "\x1f"
_KINDS = {
    "image": "image photo picture photos pictures images",
    "video": "video film movie videos films movies clip clips",
}
_YES = {"yes": True, "true": True, "no": False, "false": False}
_PERIODS = ("year", "month", "day")
_SORTS = {
    "newest": "newest",
    "oldest": "oldest",
    "best": "best",
    "latest": "newest",
    "time": "time",
}


@dataclass
class _Read:
    """What has been read so far."""

    today: date
    words: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


class SearchBox:
    """Reads the grammar of the search box, and takes the rest as what the picture shows."""

    def plan(self, question: str, *, today: date, known: KnownNames) -> Plan:
        """Read a question.

        Raises UsageError for a value that its key can't have, and for a key that is almost one.
        """
        return read_box(question, today)


def read_box(question: str, today: date) -> Plan:
    """Read the grammar out of a question; what is left of it becomes ``visual``."""
    return read_marked(question, today)[0]


def read_marked(question: str, today: date) -> tuple[Plan, str]:
    """Read a question, and give what is left of it with a mark where a phrase stood."""
    read = _Read(today)
    for match in _TOKEN.finditer(question):
        key, value, word = match["key"], match["value"], match["word"]
        inside = next((text for text in (match[2], match[5], match[7]) if text is not None), None)
        if key is not None:
            _take(read, match[0], key, value if inside is None else inside)
        elif match["minus"]:
            unwanted = " ".join((word or inside or "").split())
            read.without += [unwanted] if unwanted else []
        elif inside is not None:
            phrase = " ".join(inside.split())
            if phrase:
                read.filters.setdefault("phrases", []).append(phrase)
                read.words.append(PHRASE)
        else:
            read.words.append(word)
    filters: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in read.filters.items()
    }
    given = {*filters, *read.fields, *(["without"] if read.without else [])}
    phrases = filters.pop("phrases", ())
    left = " ".join(read.words) if given else question.strip()
    plan = Plan(
        question,
        visual=" ".join(left.replace(PHRASE, " ").split()) if given else left,
        filters=Filters(**filters),
        phrases=phrases,
        without=tuple(dict.fromkeys(read.without)),
        planned_by="given",
        given=frozenset(given),
        **read.fields,
    )
    return plan, left


def box_of(plan: Plan) -> str:
    """Write a plan as one would into the search box."""
    return " ".join(_written(plan))


def _written(plan: Plan) -> Iterator[str]:
    filters = plan.filters
    if plan.visual:
        yield plan.visual
    yield from (f'"{phrase}"' for phrase in plan.phrases)
    yield from (f"-{_value(word)}" for word in plan.without)
    if plan.text:
        yield f'text:"{plan.text}"'
    if filters.has_text is not None:
        yield f"text:{'yes' if filters.has_text else 'no'}"
    pairs = {
        "kind": filters.kind,
        "since": filters.since,
        "until": filters.until,
        "yearly": "..".join(filters.yearly) if filters.yearly else None,
        "near": filters.near,
        "folder": filters.folder,
        "camera": filters.camera,
        "in": filters.inside,
        "one": plan.one_each,
        "sort": plan.order if plan.order != "best" else None,
        "limit": str(plan.limit) if plan.limit else None,
        "count": "yes" if plan.aim == "count" else None,
        "moment": plan.moment,
        "like": plan.like,
        "at": None if plan.like_at_s is None else str(plan.like_at_s),
    }
    yield from (f"person:{_value(name)}" for name in filters.people)
    yield from (f"{key}:{_value(value)}" for key, value in pairs.items() if value is not None)


def _value(text: str) -> str:
    plain = re.fullmatch(rf"[^\s{_OPEN}{_CLOSE}]+", text)
    return text if plain else '"' + re.sub(rf"[{_OPEN}{_CLOSE}]", "'", text) + '"'


# ---- keys ----------------------------------------------------------------------------------------


def _take(read: _Read, token: str, key: str, value: str) -> None:
    name = key.lower()
    reader = KEYS.get(name)
    if reader is None:
        close = difflib.get_close_matches(name, KEYS, 1, cutoff=0.8)
        close += [known for known in KEYS if sorted(known) == sorted(name)]
        if close and not value.startswith("//"):
            raise UsageError(
                f"There is no filter {key}:.",
                f"Write {close[0]}:{value}, or {key} {value} for plain words.",
            )
        read.words.append(token)
    elif value.strip():
        reader(read, " ".join(value.split()))
    else:
        read.words.append(key)


def _refuse(key: str, value: str, known: str) -> NoReturn:
    raise UsageError(f"{key}:{value} is not known.", f"{key}: takes {known}.")


def _kind(read: _Read, value: str) -> None:
    kinds = [kind for kind, names in _KINDS.items() if value.lower() in names.split()]
    read.filters["kind"] = kinds[0] if kinds else _refuse("kind", value, "image or video")


def _dates(read: _Read, value: str) -> Days:
    return Days(value, value) if written_date(value) else _in_words(read, value)


def _in_words(read: _Read, value: str) -> Days:
    from mmrag_plugin.planning.dates import days_of

    found = days_of(value, read.today)
    if found is None:
        raise UsageError(
            f"{value!r} is not a date.", "Write 2019, 2019-05, 2019-05-20, or last summer."
        )
    return found


def _since(read: _Read, value: str) -> None:
    read.filters["since"] = _dates(read, value).since


def _until(read: _Read, value: str) -> None:
    read.filters["until"] = _dates(read, value).until


def _before(read: _Read, value: str) -> None:
    since = _dates(read, value).since
    until = day_before(since) if since else None
    if until is None:
        raise UsageError(f"Nothing was taken before {value}.", "Name a later date.")
    read.filters["until"] = until


def _on(read: _Read, value: str) -> None:
    days = _dates(read, value)
    read.filters |= {"since": days.since, "until": days.until}


def _yearly(read: _Read, value: str) -> None:
    first, found, last = value.partition("..")
    read.filters["yearly"] = (first, last if found else first)


def _person(read: _Read, value: str) -> None:
    people = read.filters.setdefault("people", [])
    people += [name for name in (part.strip() for part in value.split(",")) if name]


def _text(read: _Read, value: str) -> None:
    if value.lower() in _YES:
        read.filters["has_text"] = _YES[value.lower()]
    else:
        before = read.fields.get("text")
        read.fields["text"] = f"{before} {value}" if before else value


def _without(read: _Read, value: str) -> None:
    read.without.append(value)


def _one(read: _Read, value: str) -> None:
    period = value.lower()
    if period not in _PERIODS:
        _refuse("one", value, "year, month or day")
    read.fields["one_each"] = period


def _sort(read: _Read, value: str) -> None:
    read.fields["order"] = _SORTS.get(value.lower()) or _refuse(
        "sort", value, "newest, oldest or time"
    )


def _limit(read: _Read, value: str) -> None:
    if not (value.isascii() and value.isdecimal() and 0 < int(value[:6]) <= 1000):
        _refuse("limit", value, "a number from 1 to 1000")
    read.fields["limit"] = int(value)


def _count(read: _Read, value: str) -> None:
    answer = _YES.get(value.lower())
    read.fields["aim"] = "count" if answer else "find"
    if answer is None:
        _refuse("count", value, "yes or no")


def _moment(read: _Read, value: str) -> None:
    beside = value.lower()
    if beside not in ("after", "before"):
        _refuse("moment", value, "after or before")
    read.fields["moment"] = beside


def _at(read: _Read, value: str) -> None:
    read.fields["like_at_s"] = parse_time(value)


def _filter(name: str) -> Callable[[_Read, str], None]:
    def take(read: _Read, value: str) -> None:
        read.filters[name] = value

    return take


def _like(read: _Read, value: str) -> None:
    read.fields["like"] = value


KEYS: dict[str, Callable[[_Read, str], None]] = {
    "kind": _kind,
    "after": _since,
    "since": _since,
    "before": _before,
    "until": _until,
    "on": _on,
    "yearly": _yearly,
    "near": _filter("near"),
    "person": _person,
    "camera": _filter("camera"),
    "in": _filter("inside"),
    "folder": _filter("folder"),
    "text": _text,
    "without": _without,
    "one": _one,
    "sort": _sort,
    "limit": _limit,
    "count": _count,
    "moment": _moment,
    "like": _like,
    "at": _at,
}
