"""Where the time went: spans summed up by what they are within.

Two times are told of each part. Its wall time is how long at least one of it was at work; its busy
time is the sum of all. They differ where threads work side by side, and the wall times of parts
that overlap add up to more than what they are within. ``alone`` is what no part of it accounts for.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmrag_plugin.tracing import Span

KEPT = 4_096  # durations of one part, out of which percentiles are told


@dataclass
class _Part:
    """All spans of one name within the same."""

    name: str
    within: _Part | None = None
    parts: dict[str, _Part] = field(default_factory=dict)
    count: int = 0
    busy_s: float = 0.0
    wall_s: float = 0.0
    covered_s: float = 0.0  # while a part of it was at work
    durations: list[float] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)
    at_work: dict[int, float] = field(default_factory=dict)  # when those began that go on
    parts_at_work: int = 0
    _began_s: float = 0.0
    _covered_from_s: float = 0.0

    def begin(self, key: int, now_s: float) -> None:
        if not self.at_work:
            self._began_s = now_s
            if self.within is not None:
                self.within._part_begins(now_s)
        self.at_work[key] = now_s

    def end(self, key: int, now_s: float, chance: random.Random) -> None:
        began_s = self.at_work.pop(key)
        self.count += 1
        self.busy_s += now_s - began_s
        if len(self.durations) < KEPT:
            self.durations.append(now_s - began_s)
        elif (place := chance.randrange(self.count)) < KEPT:
            self.durations[place] = now_s - began_s
        if not self.at_work:
            self.wall_s += now_s - self._began_s
            if self.within is not None:
                self.within._part_ends(now_s)

    def _part_begins(self, now_s: float) -> None:
        self.parts_at_work += 1
        if self.parts_at_work == 1:
            self._covered_from_s = now_s

    def _part_ends(self, now_s: float) -> None:
        self.parts_at_work -= 1
        if not self.parts_at_work:
            self.covered_s += now_s - self._covered_from_s

    def told(self, now_s: float) -> Timed:
        """What is known of it now, with what still goes on."""
        wall_s, busy_s, covered_s = self.wall_s, self.busy_s, self.covered_s
        if self.at_work:
            wall_s += now_s - self._began_s
            busy_s += sum(now_s - began_s for began_s in self.at_work.values())
        if self.parts_at_work:
            covered_s += now_s - self._covered_from_s
        within = [part.told(now_s) for part in self.parts.values()]
        return Timed(
            self.name,
            self.count + len(self.at_work),
            wall_s,
            busy_s,
            max(wall_s - covered_s, 0.0) if within else 0.0,
            _percentile(self.durations, 0.5),
            _percentile(self.durations, 0.95),
            dict(self.numbers),
            within,
        )


@dataclass(frozen=True)
class Timed:
    """What a part of the work took, in seconds; ``numbers`` are the sums of what its spans say."""

    name: str
    count: int
    wall_s: float
    busy_s: float
    alone_s: float
    p50_s: float
    p95_s: float
    numbers: dict[str, float]
    parts: list[Timed]

    def __iter__(self) -> Iterator[Timed]:
        return iter(self.parts)

    @property
    def overlaps(self) -> bool:
        """Whether several of it, or of its parts, were at work at the same time."""
        return self.busy_s > 1.05 * self.wall_s or sum(part.wall_s for part in self.parts) > (
            1.05 * self.wall_s
        )

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``--json`` prints."""
        shown: dict[str, Any] = {
            "name": self.name,
            "count": self.count,
            "wall_s": round(self.wall_s, 6),
            "busy_s": round(self.busy_s, 6),
            "alone_s": round(self.alone_s, 6),
            "p50_s": round(self.p50_s, 6),
            "p95_s": round(self.p95_s, 6),
        }
        if self.numbers:
            shown["numbers"] = self.numbers
        if self.parts:
            shown["parts"] = [part.as_dict() for part in self.parts]
        return shown


class Profile:
    """Listens to spans and sums them up; safe to use from several threads."""

    def __init__(self, name: str, began_s: float | None = None) -> None:
        """``began_s`` is on the clock of ``time.perf_counter``, if it began before now."""
        self._whole = _Part(name)
        self._chance = random.Random(0)  # noqa: S311  (which durations are kept)
        self._lock = threading.Lock()
        now_s = time.perf_counter()
        self._whole.begin(0, now_s if began_s is None else began_s)

    def begin(self, span: Span) -> None:
        """Find its part: of the name, within the part of the span that it is in."""
        with self._lock:
            above = span.parent.kept.get(self) if span.parent is not None else None
            within = above if above is not None else self._whole
            part = within.parts.get(span.name)
            if part is None:
                part = within.parts[span.name] = _Part(span.name, within)
            span.kept[self] = part
            part.begin(id(span), span.began_s)

    def enter(self, span: Span) -> None:
        """What is within it says so itself."""

    def leave(self, span: Span) -> None:
        """What is within it says so itself."""

    def end(self, span: Span) -> None:
        """Add it to its part, which stays known to spans that outlive it."""
        part: _Part = span.kept[self]
        with self._lock:
            part.end(id(span), span.ended_s, self._chance)
            for name, value in span.attributes.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    part.numbers[name] = part.numbers.get(name, 0) + value

    def add(self, name: str, began_s: float, ended_s: float) -> None:
        """Add something that was no span, such as the start of the program."""
        with self._lock:
            part = self._whole.parts.setdefault(name, _Part(name, self._whole))
            part.begin(0, began_s)
            part.end(0, ended_s, self._chance)

    def told(self) -> Timed:
        """All that is known until now."""
        with self._lock:
            return self._whole.told(time.perf_counter())


def _percentile(durations: list[float], share: float) -> float:
    """The duration that so many are not above; of none 0.

    >>> _percentile([3.0, 1.0, 2.0], 0.5)
    2.0
    """
    if not durations:
        return 0.0
    ordered = sorted(durations)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
