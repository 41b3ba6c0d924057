"""Join rows that were found, frames and words, into moments: whole images, or spans of films.

A moment that words lead to has their edges, one that is found by sight those of its shot, or of its
frames where nobody knows the shots. What else speaks of the same time, or shows the same shot,
counts for it and leaves its edges as they are. Of two moments of one film neither holds the middle
of the other.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmrag_plugin.media import Channel, Kind, Moment
from mmrag_plugin.metadata import COMBINED, FRAME, is_run

if TYPE_CHECKING:
    from mmrag_plugin.milvus_rows import FoundRow

JOIN_GAP_S = 1.0  # rows this close together show the same moment
MOMENT_S = 30.0  # the most that one moment grows to
SHOT_S = 120.0  # a longer shot is no moment: its frames lead to parts of it
_MUCH_WEAKER = 0.7  # of the best row's strength


@dataclass
class Candidate:
    """A moment with the best row that each channel found in it.

    ``by_words`` tells that words led to it, and not what is seen.
    """

    media_id: str
    kind: Kind
    start_s: float | None
    end_s: float | None
    by_words: bool = False
    best: dict[Channel, FoundRow] = field(default_factory=dict)
    piece: FoundRow | None = None  # the text channel's best row that is one piece of text

    @property
    def moment(self) -> Moment:
        """The moment itself."""
        return Moment(self.media_id, self.kind, self.start_s, self.end_s)

    @property
    def at_s(self) -> float | None:
        """The time of the frame that shows the moment best."""
        seen = self.best.get("visual")
        if self.start_s is None or self.end_s is None:
            return self.start_s if seen is None else seen.start_s
        if seen is None or seen.start_s is None:
            return (self.start_s + self.end_s) / 2
        return min(max(seen.start_s, self.start_s), self.end_s)  # a frame may stand for more

    def take(self, channel: Channel, row: FoundRow) -> None:
        """Let a row count for this moment if it is the channel's best so far."""
        known = self.best.get(channel)
        if known is None or row.score > known.score:
            self.best[channel] = row
        is_piece = channel == "text" and row.source != COMBINED
        if is_piece and (self.piece is None or row.score > self.piece.score):
            self.piece = row


def join(found: Mapping[Channel, Sequence[FoundRow]]) -> list[Candidate]:
    """Join the rows of all channels into moments, those of each media apart."""
    rows: dict[str, list[tuple[Channel, FoundRow]]] = {}
    for channel, channel_rows in found.items():
        for row in channel_rows:
            rows.setdefault(row.media_id, []).append((channel, row))
    strength = {channel: _scale(channel, channel_rows) for channel, channel_rows in found.items()}
    candidates: list[Candidate] = []
    for media_id, media_rows in rows.items():
        kind = media_rows[0][1].kind
        timed = [(channel, row) for channel, row in media_rows if row.start_s is not None]
        if timed and kind == "image" and not _moves_better(media_rows):
            timed = []  # the photo itself, of which all rows speak
        moments = _spans(media_id, kind, timed, strength) if timed else []
        moments = moments or [Candidate(media_id, kind, None, None)]
        if kind == "image":
            moments = moments[:1]  # one hit of a photo, even if it moves
        for channel, row in media_rows:
            if (
                row.start_s is None or not timed
            ):  # about the media as a whole: it lifts the best moment
                moments[0].take(channel, row)
        candidates += moments
    return candidates


def best_of_groups(
    ranked: Sequence[tuple[Candidate, float, dict[Channel, int]]], groups: Mapping[str, str]
) -> tuple[list[tuple[Candidate, float, dict[Channel, int]]], dict[str, list[str]]]:
    """Of each group of photos that are much alike, the best; and the others by its media id.

    ``groups``: the group of each media that has one.
    """
    best: dict[str, str] = {}
    kept: list[tuple[Candidate, float, dict[Channel, int]]] = []
    alike: dict[str, list[str]] = {}
    for item in ranked:
        media_id = item[0].media_id
        first = best.setdefault(groups.get(media_id, media_id), media_id)
        if first == media_id:
            kept.append(item)
        else:
            alike.setdefault(first, []).append(media_id)
    return kept, alike


def _moves_better(rows: Sequence[tuple[Channel, FoundRow]]) -> bool:
    """Whether a frame of a photo that moves is more like the query than the photo."""
    seen = [row for channel, row in rows if channel == "visual"]
    still = max((row.score for row in seen if row.start_s is None), default=None)
    moving = max((row.score for row in seen if row.start_s is not None), default=None)
    return moving is not None and (still is None or moving > still)


def _spans(
    media_id: str,
    kind: Kind,
    timed: Sequence[tuple[Channel, FoundRow]],
    strength: Mapping[Channel, tuple[float, float]],
) -> list[Candidate]:
    """Grow moments around the strongest rows of one film, strongest first."""

    def strong(channel: Channel, row: FoundRow) -> float:
        low, span = strength[channel]
        return (row.score - low) / span

    ranked = sorted(
        ((strong(channel, row), channel, row) for channel, row in timed),
        key=lambda item: (-item[0], _rank_of(item[2]), item[2].start_s or 0.0, item[2].row_id),
    )
    nearby = _Neighbours([row for _, _, row in ranked])
    spans = _Spans()
    taken: set[int] = set()
    for first, (best, seed_channel, seed) in enumerate(ranked):
        if first in taken:
            continue
        there = spans.overlapping(seed) if is_run(seed.row_id) else None
        if there is not None:  # its pieces lead to moments of their own
            there.take(seed_channel, seed)
            continue
        by_words = seed.source != FRAME
        moment = Candidate(media_id, kind, *span_of_row(seed), by_words)
        moment.take(seed_channel, seed)
        taken.add(first)
        left = [number for number in nearby.of(moment) if number not in taken]
        grown = True
        while grown:
            apart: list[int] = []
            for number in left:
                strength_here, channel, row = ranked[number]
                inside = _overlaps(moment, row)
                as_good = strength_here >= best * _MUCH_WEAKER and _widens(seed, row)
                if inside or (as_good and _touches(moment, row) and spans.leave_room(moment, row)):
                    moment.take(channel, row)
                    taken.add(number)
                    if not inside:
                        _grow(moment, row)
                else:
                    apart.append(number)
            grown, left = len(apart) < len(left), apart
        spans.add(moment)
    return spans.moments


class _Spans:
    """The moments of a film so far."""

    def __init__(self) -> None:
        self.moments: list[Candidate] = []
        self._middles: list[float] = []

    def add(self, moment: Candidate) -> None:
        """Enter a moment that grows no more."""
        self.moments.append(moment)
        insort(self._middles, ((moment.start_s or 0.0) + (moment.end_s or 0.0)) / 2)

    def overlapping(self, row: FoundRow) -> Candidate | None:
        """The strongest moment that shares some time with a row."""
        start_s, end_s = span_of_row(row)
        together = (
            moment
            for moment in self.moments
            if (moment.start_s or 0.0) <= end_s and (moment.end_s or 0.0) >= start_s
        )
        return next(together, None)

    def leave_room(self, moment: Candidate, row: FoundRow) -> bool:
        """Whether a moment may grow by a row without swallowing another."""
        (row_start_s, row_end_s) = span_of_row(row)
        start_s = min(moment.start_s or 0.0, row_start_s)
        end_s = max(moment.end_s or 0.0, row_end_s)
        return bisect_left(self._middles, start_s) == bisect_right(self._middles, end_s)


class _Neighbours:
    """Which rows of a film a moment may take in, without looking at all of them."""

    def __init__(self, rows: Sequence[FoundRow]) -> None:
        spans = [span_of_row(row) for row in rows]
        self._by_start = sorted((start_s, number) for number, (start_s, _) in enumerate(spans))
        self._longest_s = max((end_s - start_s for start_s, end_s in spans), default=0.0)

    def of(self, moment: Candidate) -> list[int]:
        """The numbers of the rows within reach of a moment that has not grown yet, in order."""
        reach_s = MOMENT_S + JOIN_GAP_S
        first_s = (moment.start_s or 0.0) - reach_s - self._longest_s
        first = bisect_left(self._by_start, (first_s, -1))
        after = bisect_right(self._by_start, ((moment.end_s or 0.0) + reach_s, len(self._by_start)))
        return sorted(number for _, number in self._by_start[first:after])


def _scale(channel: Channel, rows: Sequence[FoundRow]) -> tuple[float, float]:
    """What of a score counts for nothing, and how much more counts for all: the best has 1."""
    scores = [row.score for row in rows]
    high = max(scores, default=1.0)
    low = 0.0 if channel == "bm25" else min(scores, default=0.0)
    return (low, high - low) if high > low else (high - 1.0, 1.0)


def _rank_of(row: FoundRow) -> int:
    """Of rows that are equally strong what leads first: the sharper in time."""
    return 2 if row.source == FRAME else int(is_run(row.row_id))


def _widens(seed: FoundRow, row: FoundRow) -> bool:
    """Whether a moment gets the edges of a row, too: of its kind and its shot, and not of a run."""
    alike = (seed.source == FRAME) == (row.source == FRAME)
    return alike and seed.shot_start_s == row.shot_start_s and not is_run(row.row_id)


def span_of_row(row: FoundRow) -> tuple[float, float]:
    """From when to when a row is about its film: a frame stands for its shot."""
    start_s, end_s = row.shot_start_s, row.shot_end_s
    if start_s is not None and end_s is not None and end_s - start_s <= SHOT_S:
        return start_s, end_s
    start_s = row.start_s or 0.0
    return start_s, start_s if row.end_s is None else row.end_s


def _overlaps(moment: Candidate, row: FoundRow) -> bool:
    """Whether the middle of either lies in the other: they show the same."""
    start_s, end_s = span_of_row(row)
    moment_start_s, moment_end_s = moment.start_s or 0.0, moment.end_s or 0.0
    row_middle, middle = (start_s + end_s) / 2, (moment_start_s + moment_end_s) / 2
    return moment_start_s <= row_middle <= moment_end_s or start_s <= middle <= end_s


def _touches(moment: Candidate, row: FoundRow) -> bool:
    start_s, end_s = span_of_row(row)
    moment_start_s, moment_end_s = moment.start_s or 0.0, moment.end_s or 0.0
    together_s = max(end_s, moment_end_s) - min(start_s, moment_start_s)
    near = start_s <= moment_end_s + JOIN_GAP_S and end_s >= moment_start_s - JOIN_GAP_S
    return near and together_s <= MOMENT_S


def _grow(moment: Candidate, row: FoundRow) -> None:
    start_s, end_s = span_of_row(row)
    moment.start_s = min(moment.start_s or 0.0, start_s)
    moment.end_s = max(moment.end_s or 0.0, end_s)
