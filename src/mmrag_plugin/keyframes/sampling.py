"""Which frames of a shot stand for it: one at least, and more where it goes on and changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mmrag_plugin.keyframes.boundaries import Boundary
from mmrag_plugin.keyframes.samples import Sample
from mmrag_plugin.media import FilmShot

LONGEST_S = 120.0  # a longer shot is told in parts, so that nobody waits for its end
_EARLY_S = 3.0  # a key frame as early in a shot may show how it begins
_SETTLES_S = 0.5  # so long after its middle a dissolve is over
_MOVES = 0.85  # correlation of two pictures between which things have moved


@dataclass(frozen=True)
class Chosen:
    """A frame that stands for what follows ``time_s``; its picture is that of ``sample``."""

    time_s: float
    sample: Sample
    shot: FilmShot


@dataclass
class _Open:
    """A shot whose end is not known yet; ``gradual``: it begins with a dissolve or a fade."""

    number: int
    start_s: float
    gradual: bool = False
    samples: list[Sample] = field(default_factory=list)

    def ended(self, end_s: float) -> FilmShot:
        return FilmShot(self.number, self.start_s, end_s)


def chosen_frames(
    found: Iterable[Boundary | Sample],
    end_s: Callable[[float], float],
    *,
    min_gap_s: float,
    max_gap_s: float,
) -> Iterator[Chosen]:
    """Choose frames of each shot, in order, as soon as the shot has ended.

    ``found`` are samples and the boundaries between them; ``end_s`` says where a film ends whose
    last sample is at a time. Shots shorter than ``min_gap_s`` get no frame where one was taken just
    before.
    """
    shot: _Open | None = None
    last_s = float("-inf")

    def close(at_s: float) -> Iterator[Chosen]:
        nonlocal last_s
        assert shot is not None
        if at_s - shot.start_s < min_gap_s and shot.start_s - last_s < min_gap_s:
            return
        ended = shot.ended(at_s)
        for number, one in enumerate(sampled(_beginning(shot), at_s, min_gap_s, max_gap_s)):
            last_s = one.time_s if number else shot.start_s
            yield Chosen(last_s, one, ended)

    for one in found:
        if shot is None:
            shot = _Open(0, one.time_s)
        begins = isinstance(one, Boundary) and bool(shot.samples)
        if begins or one.time_s - shot.start_s > LONGEST_S:
            yield from close(one.time_s)
            gradual = isinstance(one, Boundary) and one.gradual
            shot = _Open(shot.number + 1, one.time_s, gradual)
        if isinstance(one, Sample):
            shot.samples.append(one)
    if shot is not None and shot.samples:
        yield from close(end_s(shot.samples[-1].time_s))


def _beginning(shot: _Open) -> list[Sample]:
    """The samples of a shot from that on which shows best what it begins with."""
    first = shot.samples[0]
    if shot.gradual:
        settled_s = shot.start_s + _SETTLES_S
        first = next((one for one in shot.samples if one.time_s >= settled_s), first)
    for one in shot.samples:
        early = first.time_s <= one.time_s <= shot.start_s + _EARLY_S
        if one.is_key and early and one.may_be_the_scene_of(first, _MOVES):
            first = one  # of which no other frames have to be decoded
            break
    return shot.samples[shot.samples.index(first) :]


def sampled(
    samples: Sequence[Sample], end_s: float, min_gap_s: float, max_gap_s: float
) -> list[Sample]:
    """Choose samples of one shot: the first, and more of what is not near-identical.

    Key frames are at least ``min_gap_s`` apart; other frames are taken where much has moved, or no
    key frame comes for long: only a picture that stays the same stands for longer than
    ``max_gap_s``. What is black is passed over if there is anything else.
    """
    seen = [one for one in samples if not one.is_black] or samples[:1]
    kept = list(seen[:1])
    for number, one in enumerate(seen[1:], start=1):
        last = kept[-1]
        gap_s = one.time_s - last.time_s
        if gap_s < min_gap_s or one.looks_like(last):
            continue
        following_s = seen[number + 1].time_s if number + 1 < len(seen) else end_s
        due = following_s - last.time_s > max_gap_s
        moved = gap_s >= max_gap_s / 5 and not one.may_be_the_scene_of(last, _MOVES)
        if one.is_key or due or moved:
            kept.append(one)
    return kept
