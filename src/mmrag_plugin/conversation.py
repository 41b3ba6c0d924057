"""A conversation: what was asked and answered in it, and the sources under their numbers.

A moment keeps the number that it was first shown under, in every later turn, so that a person and
a model mean the same by "2". A turn that fails leaves the conversation that was there before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mmrag_plugin.media import Hit
from mmrag_plugin.plan import Plan


@dataclass(frozen=True)
class Turn:
    """A message and its answer.

    ``shown`` are the numbers of the sources that it was answered from, ``cited`` those that the
    answer names. ``plan`` is what was searched for, if anything was, and ``found`` how many hits of
    it were seen by then: the next page begins there.
    """

    message: str
    answer: str
    plan: Plan | None = None
    shown: tuple[int, ...] = ()
    cited: tuple[int, ...] = ()
    found: int = 0


@dataclass(frozen=True)
class Conversation:
    """The turns so far and their sources: ``sources[n - 1]`` is what [n] means."""

    turns: tuple[Turn, ...] = ()
    sources: tuple[Hit, ...] = ()

    def source(self, number: int) -> Hit | None:
        """The source of a number."""
        return self.sources[number - 1] if 1 <= number <= len(self.sources) else None

    @property
    def last_plan(self) -> Plan | None:
        """What was searched for last."""
        return next((turn.plan for turn in reversed(self.turns) if turn.plan), None)

    @property
    def found(self) -> int:
        """How many hits of the last plan were seen."""
        return next((turn.found for turn in reversed(self.turns) if turn.plan), 0)

    @property
    def page(self) -> tuple[int, ...]:
        """The numbers that were shown last, in their order."""
        return next((turn.shown for turn in reversed(self.turns) if turn.shown), ())

    def numbers_by_age(self) -> list[int]:
        """All numbers, those that were shown last first."""
        shown = [number for turn in reversed(self.turns) for number in turn.shown]
        return list(dict.fromkeys(shown))

    def with_hits(self, hits: Sequence[Hit]) -> tuple[Conversation, list[int]]:
        """Number some hits: moments that were shown before keep their number.

        What they are found for changes from turn to turn; their picture does not.
        """
        sources = list(self.sources)
        numbers: list[int] = []
        for hit in hits:
            known = next((n for n, other in enumerate(sources, 1) if _same(other, hit)), None)
            if known is None:
                sources.append(hit)
                known = len(sources)
            else:
                old = sources[known - 1]
                sources[known - 1] = replace(hit, moment=old.moment, at_s=old.at_s)
            numbers.append(known)
        return replace(self, sources=tuple(sources)), list(dict.fromkeys(numbers))

    def with_turn(self, turn: Turn) -> Conversation:
        """Add a turn at the end."""
        return replace(self, turns=(*self.turns, turn))

    def relocated(self, paths: Mapping[str, str]) -> Conversation:
        """Say where the media of its sources lie now."""
        sources = (
            replace(hit, path=paths.get(hit.moment.media_id, hit.path)) for hit in self.sources
        )
        return replace(self, sources=tuple(sources))


def _same(one: Hit, other: Hit) -> bool:
    """Whether two hits show the same: a photo, or a film around the same time."""
    if one.moment.media_id != other.moment.media_id:
        return False
    if other.at_s is None or one.moment.start_s is None or one.moment.end_s is None:
        return one.moment == other.moment
    return one.moment.start_s <= other.at_s <= one.moment.end_s
