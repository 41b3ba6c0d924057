"""What moments of films say of a query: their edges narrowed to it, and the word for word first."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from mmrag_plugin.media import Channel, Signal
from mmrag_plugin.moments import Candidate, span_of_row
from mmrag_plugin.pieces import lanes_of, pieces_of, said_there, says_just, span_of
from mmrag_plugin.reasons import coverage
from mmrag_plugin.terms import words_of

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

Ranked: TypeAlias = tuple[Candidate, float, dict[Channel, int]]  # with score and rank by channel

_SAID_WORDS = 3  # a shorter question means what it asks for
_MUCH = 0.6  # of a query's words: that says it
_LOOKED_AT = 20  # moments of a channel among which one may say just the query


class _Pieces:
    """The pieces of a film, looked up by time."""

    def __init__(self, timed: Sequence[Signal]) -> None:
        self._pieces = pieces_of(timed)
        spans = [span_of(piece) for piece in self._pieces]
        self._starts = [start_s for start_s, _ in spans]
        self._longest_s = max((end_s - start_s for start_s, end_s in spans), default=0.0)

    def inside(self, start_s: float, end_s: float) -> list[Signal]:
        """Those whose middle lies between two times, in order."""
        first = bisect_left(self._starts, start_s - self._longest_s)
        last = bisect_right(self._starts, end_s)
        return [
            piece
            for piece in self._pieces[first:last]
            if start_s <= sum(span_of(piece)) / 2 <= end_s
        ]


class Telling:
    """Looks at the words of films for one query; those of each media are looked up once."""

    def __init__(
        self, query: str, signals_of: Callable[[Sequence[str]], Mapping[str, Sequence[Signal]]]
    ) -> None:
        self._query, self._signals_of = query, signals_of
        self._pieces: dict[str, _Pieces] = {}

    def in_order(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Put first what says just the query; among films alone if that is one word."""
        near = [item for item in ranked if _is_near(item)]
        self._look_up([candidate for candidate, _, _ in near])
        said = [(item, self._said_in(item[0])) for item in near]
        exact = [
            item
            for item, pieces in sorted(said, key=lambda one: len(one[1]))
            if says_just(self._query, pieces)
        ]
        if not exact:
            return list(ranked)
        place = 0
        if len(words_of(self._query)) < 2:
            place = next((n for n, item in enumerate(ranked) if item[0].kind == "video"), 0)
        ahead = [item for item in ranked[:place] if item not in exact]
        rest = [item for item in ranked[place:] if item not in exact]
        least = rest[0][1] if rest else 0.0
        lifted = [(candidate, max(score, least), why) for candidate, score, why in exact]
        return [*ahead, *lifted, *rest]

    def narrowed(self, ranked: Sequence[Ranked]) -> list[Ranked]:
        """Give moments that words led to the edges of what says them.

        Where that is little of the query, and the moment looks as much like it, those of its shot.
        """
        self._look_up([candidate for candidate, _, _ in ranked])
        return [(self._narrow(candidate, why), score, why) for candidate, score, why in ranked]

    def _narrow(self, candidate: Candidate, why: Mapping[Channel, int]) -> Candidate:
        said = self._said_in(candidate)
        if not said:
            return candidate
        seen = candidate.best.get("visual")
        told = min((rank for channel, rank in why.items() if channel != "visual"), default=1)
        as_seen = seen is not None and why.get("visual", told + 1) <= told
        if seen and as_seen and coverage(self._query, said) < _MUCH:
            start_s, end_s = span_of_row(seen)
            return replace(candidate, start_s=start_s, end_s=end_s, by_words=False)
        return replace(
            candidate,
            start_s=min(span_of(piece)[0] for piece in said),
            end_s=max(span_of(piece)[1] for piece in said),
        )

    def _said_in(self, candidate: Candidate) -> list[Signal]:
        """The pieces of a moment that hold the query's words; none of what was found by sight."""
        if not candidate.by_words or candidate.start_s is None or candidate.end_s is None:
            return []
        inside = self._pieces[candidate.media_id].inside(candidate.start_s, candidate.end_s)
        found: list[Signal] = []
        for lane in lanes_of(inside):
            said = said_there(self._query, lane)
            if _holds(self._query, said) > _holds(self._query, found):
                found = said
        return found

    def _look_up(self, candidates: Sequence[Candidate]) -> None:
        wanted = dict.fromkeys(found.media_id for found in candidates if found.by_words)
        missing = [media_id for media_id in wanted if media_id not in self._pieces]
        for media_id, signals in self._signals_of(missing).items() if missing else ():
            timed = [one for one in signals if one.start_s is not None and not one.doubtful]
            self._pieces[media_id] = _Pieces(timed)


def said_in_a_film(question: str, ledger: Ledger) -> bool:
    """Whether a film says a question word for word: somebody may look for just that."""
    if len(words_of(question)) < _SAID_WORDS:
        return False
    quoting = ledger.media_ids_quoting(question)
    films = [
        row.media_id for row in ledger.media_rows(list(quoting)).values() if row.kind == "video"
    ]
    for signals in ledger.signals_of(films).values():
        timed = [one for _, one in signals if one.start_s is not None]
        if any(says_just(question, [piece]) for piece in pieces_of(timed)):
            return True
    return False


def _is_near(item: Ranked) -> bool:
    candidate, _, why = item
    ranks = [why[channel] for channel in ("text", "bm25") if channel in why]
    return candidate.by_words and min(ranks, default=_LOOKED_AT + 1) <= _LOOKED_AT


def _holds(query: str, said: Sequence[Signal]) -> tuple[bool, int]:
    """How much of a query some pieces hold: all of it and nothing else, else so many words."""
    words = {word for piece in said for word in words_of(piece.text)}
    return says_just(query, said), len(words.intersection(words_of(query)))
