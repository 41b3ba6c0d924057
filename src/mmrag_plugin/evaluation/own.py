"""A set of queries out of a library's own annotations, and what has to be covered up for it.

Each caption, tag and name of a person that is written about media asks for them. These words are
indexed too, so a search that may read them finds its own question. Two honest ways are left: by
sight alone, and with the words of the media that answer except those that say what is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.formats.base import MAX_QUERY_CHARS, Query, Wanted
from mmrag_plugin.evaluation.sets import OWN, AskedSet, asked_of, queries_once
from mmrag_plugin.marks import marks_of
from mmrag_plugin.media import Signal
from mmrag_plugin.people import people_in

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

COMMON = 50  # media: what more of them share is a heading, and no question

HONESTY = (
    "Made of this library's own annotations: what is asked is covered up in the media that answer "
    "it, also where it stands in other words about them; what says the same in other words is not. "
    "What mmrag learn learned from these words is left out: it says itself what that is worth. "
    "Photos that nobody annotated count as wrong even where they fit, so figures are too low "
    "rather than too high, and they are about things that somebody found worth a word."
)


def own_set(ledger: Ledger) -> AskedSet:
    """The queries that a library's annotations make. Raises UsageError where there are too few."""
    media_ids = list(ledger.media_rows())
    signals = {
        media_id: [signal for _, signal in pairs if signal.source == "annotation"]
        for media_id, pairs in ledger.signals_of(media_ids).items()
    }
    queries = [
        Query(text, (Wanted(media_id, *_span(signal)),))
        for media_id, said in signals.items()
        for signal in said
        for text in _texts(signal)
        if text.strip() and len(text) <= MAX_QUERY_CHARS
    ]
    if not queries:
        raise UsageError(
            "Nothing in this library is annotated.",
            "Write about some photos first: mmrag annotate ID --caption TEXT",
        )
    whole = asked_of(ledger, queries_once("own annotations", OWN, queries))
    rare = tuple(query for query in whole.queries if len(query.relevant) <= COMMON)
    notes = [*whole.notes, HONESTY]
    if len(rare) < len(whole.queries):
        notes.append(
            f"{len(whole.queries) - len(rare)} words that more than {COMMON} media share were "
            "left out."
        )
    if not rare:
        raise UsageError(
            f"All annotations of this library are shared by more than {COMMON} media.",
            "Write about some photos what holds for them alone.",
        )
    return AskedSet(whole.name, whole.format, rare, tuple(notes))


def says(signal: Signal, query: str) -> bool:
    """Whether a signal holds what is asked, word for word."""
    return _padded(query) in _padded(signal.text)


def _texts(signal: Signal) -> Sequence[str]:
    if people := people_in([signal]):
        return people
    names = [mark.name for mark in marks_of([signal]) if mark.kind != "part"]
    return names if len(names) > 1 else [" ".join(signal.text.split())]


def _span(signal: Signal) -> tuple[float, float] | tuple[()]:
    if signal.start_s is None or signal.end_s is None or not signal.start_s < signal.end_s:
        return ()
    return signal.start_s, signal.end_s


def _padded(text: str) -> str:
    """A text as words between single spaces, so that one word isn't found inside another."""
    words = "".join(char if char.isalnum() else " " for char in text.casefold()).split()
    return f" {' '.join(words)} "
