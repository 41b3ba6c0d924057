"""Where one shot ends and another begins, found in samples of a film.

A cut is a step between two neighbouring samples that is far above those around it. Dissolves and
fades have no such step: there the pictures in between are mixtures of the first and the last. What
is black in between belongs to neither side, and a flash, after which all is as before, is none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from mmrag_plugin.keyframes.samples import Sample

NEAR_S = 0.35  # samples this close are neighbouring frames; others lie a key frame apart
_REGULAR_S = 2.5  # key frames as close as this show how much changes without a cut
CUT = 0.035  # the least step of a cut, of the full range
ABOVE_OTHERS = 2.5  # and so many times the steps around it
_BLACK_STEP = 0.012  # of a cut between black and a dark picture
_OTHER_PALETTE = 0.02  # things that move leave more of the palette
_OTHER_SCENE = 0.027  # between what violent motion changes of it (0.021) and the least cut (0.034)
_AT_LEAST = 1.1  # times what moves on one side of a cut, if the other is calm
_IN_MOTION = 1.3  # a cut amid motion: the picture changes more, and the palette as over a cut
CHANGED = 0.06  # another picture, for samples that lie far apart
ALIKE = 0.03  # the same picture, though things move in it
_SAME_SCENE = 0.9  # correlation over a change of light
_MIXED = 0.45  # what a mixture of two pictures leaves unexplained of their difference
_WINDOWS_S = (0.5, 1.0, 2.0)  # how long dissolves and fades take
FLASH_S = 0.4
APART_S = 0.25  # the shortest shot
BLACK_S = 1.0  # a black stretch as long as this is a shot of its own
_LOOK_BACK_S, _LOOK_AHEAD_S = 3.0, 2.5


@dataclass(frozen=True)
class Boundary:
    """A change of shot at ``time_s``, from what ``before`` shows to what ``after`` shows.

    A ``gradual`` one is the middle of a dissolve or a fade.
    """

    time_s: float
    before: Sample
    after: Sample
    gradual: bool = False


def streamed(samples: Iterable[Sample]) -> Iterator[Boundary | Sample]:
    """Yield the samples again, in order, and each boundary before the first sample behind it.

    Only some seconds of samples are held.
    """
    held: list[Sample] = []
    given_s = -math.inf  # so far all is given
    for sample in samples:
        held.append(sample)
        if sample.time_s - max(given_s, held[0].time_s) > _LOOK_AHEAD_S + 1.5:
            until_s = sample.time_s - _LOOK_AHEAD_S
            yield from _between(held, given_s, until_s)
            given_s = until_s
            keep = next(n for n, one in enumerate(held) if one.time_s > until_s - _LOOK_BACK_S)
            held = held[max(keep - 1, 0) :]
    yield from _between(held, given_s, math.inf)


def _between(
    samples: Sequence[Sample], from_s: float, until_s: float
) -> Iterator[Boundary | Sample]:
    found: list[Boundary | Sample] = [*boundaries(samples), *samples]
    found = [one for one in found if from_s < one.time_s <= until_s]
    yield from sorted(found, key=lambda one: one.time_s)  # stable: a boundary before its sample


def boundaries(samples: Sequence[Sample]) -> list[Boundary]:
    """Find the changes of shot in samples that are in order of time."""
    if len(samples) < 2:
        return []
    steps = [one.distance(other) for one, other in pairwise(samples)]
    cuts = [
        Boundary(_time_of(samples[n], samples[n + 1]), samples[n], samples[n + 1])
        for n in range(len(steps))
        if _is_cut(samples, steps, n)
    ]
    return joined([*cuts, *_gradual(samples, cuts)])


def _time_of(before: Sample, after: Sample) -> float:
    changed_s = after.changed_s
    inside = changed_s is not None and before.time_s < changed_s <= after.time_s
    return changed_s if inside and changed_s is not None else after.time_s


def _is_cut(samples: Sequence[Sample], steps: Sequence[float], n: int) -> bool:
    before, after, step = samples[n], samples[n + 1], steps[n]
    far = _far(before, after)
    to_black = before.is_black != after.is_black
    if after.is_cut or step < (_BLACK_STEP if to_black else CHANGED if far else CUT):
        return after.is_cut
    around = [
        m
        for m in range(max(n - 3, 0), min(n + 4, len(steps)))
        if m != n and _far(samples[m], samples[m + 1]) == far
    ]
    usual = _second(steps[m] for m in around)
    palette = before.palette_distance(after)
    if far and not to_black:
        regular = after.time_s - before.time_s < _REGULAR_S and len(around) > 1
        usual = median(steps[m] for m in around) if regular else 0.0
        alike = before.may_be_the_scene_of(after, 0.8) or (palette < CUT and step < 2 * CHANGED)
        return not alike and step > ABOVE_OTHERS * usual
    if before.is_flat == after.is_flat and before.may_be_the_scene_of(after, _SAME_SCENE):
        return False
    if step >= ABOVE_OTHERS * usual:
        return to_black or palette >= _OTHER_PALETTE or step >= 2 * ABOVE_OTHERS * usual
    if palette < _OTHER_SCENE:
        return False
    moving = _second(samples[m].palette_distance(samples[m + 1]) for m in around)
    sides = [max((steps[m] for m in around if (m < n) == early), default=0.0) for early in (0, 1)]
    one_calm = step >= ABOVE_OTHERS * min(sides) and step >= _AT_LEAST * max(sides)
    return one_calm or (step >= _IN_MOTION * usual and palette >= ABOVE_OTHERS * moving)


def _second(values: Iterable[float]) -> float:
    """The second largest: beside the largest, another cut may be near."""
    largest = sorted(values, reverse=True)
    return largest[1] if len(largest) > 1 else 0.0


def _far(before: Sample, after: Sample) -> bool:
    return after.time_s - before.time_s > NEAR_S


def _gradual(samples: Sequence[Sample], cuts: Sequence[Boundary]) -> list[Boundary]:
    """Dissolves and fades: of overlapping windows that show one, that with the most change."""
    found: list[tuple[float, float, float, Boundary]] = []
    for window_s in _WINDOWS_S:
        last = 0
        for first, begin in enumerate(samples):
            while last < len(samples) and samples[last].time_s < begin.time_s + window_s:
                last += 1
            if last == len(samples):
                break
            inside = samples[first : last + 1]
            change = begin.distance(inside[-1])
            if change < CHANGED or len(inside) < 5 or begin.palette_distance(inside[-1]) < CUT:
                continue
            if any(begin.time_s < cut.time_s <= inside[-1].time_s for cut in cuts):
                continue
            time_s = _mixture_s(inside)
            if time_s is not None:
                boundary = Boundary(time_s, begin, inside[-1], gradual=True)
                found.append((change, begin.time_s, inside[-1].time_s, boundary))
    best: list[tuple[float, float, float, Boundary]] = []
    for one in sorted(found, key=lambda item: -item[0]):
        if not any(one[1] < other[2] and other[1] < one[2] for other in best):
            best.append(one)
    return [boundary for *_, boundary in best]


def _mixture_s(samples: Sequence[Sample]) -> float | None:
    """When half is over of a dissolve from the first sample to the last; None for anything else."""
    first, last = samples[0], samples[-1]
    if samples[-1].time_s - samples[0].time_s > max(_WINDOWS_S) + NEAR_S:
        return None
    if not (first.is_flat or last.is_flat) and first.may_be_the_scene_of(last, 0.7):
        return None  # a change of light
    difference = (last.grid - first.grid).ravel()
    size = float(difference @ difference)
    shares, before = list[float](), 0.0
    for sample in samples[1:-1]:
        way = (sample.grid - first.grid).ravel()
        share = float(way @ difference) / size
        rest = way - min(max(share, 0.0), 1.0) * difference
        if float(rest @ rest) > _MIXED**2 * size or share < before - 0.08 or share - before > 0.5:
            return None
        before = max(share, before)
        shares.append(share)
    if sum(0.1 < share < 0.9 for share in shares) < 3:
        return None
    half = next((n for n, share in enumerate(shares, start=1) if share >= 0.5), len(shares) + 1)
    return samples[half].time_s


def _is_mixture(one: Boundary, other: Boundary) -> bool:
    """Whether a lone picture between two boundaries is what lies on both sides, mixed."""
    difference = (other.after.grid - one.before.grid).ravel()
    way = (one.after.grid - one.before.grid).ravel()
    size = float(difference @ difference) or 1.0
    share = float(way @ difference) / size
    rest = way - share * difference
    return 0.1 < share < 0.9 and float(rest @ rest) < _MIXED**2 * size


def joined(found: Iterable[Boundary]) -> list[Boundary]:
    """Join boundaries that are one change: in order, at least ``APART_S`` apart.

    Two around a flash are none, two around a short black stretch are one in its middle, and of a
    burst the first and the last picture count.
    """
    kept: list[Boundary] = []
    for one in sorted(found, key=lambda boundary: boundary.time_s):
        last = kept[-1] if kept else None
        if last is None:
            kept.append(one)
            continue
        gap_s = one.time_s - last.time_s
        if gap_s <= FLASH_S and last.before.distance(one.after) < CUT:
            kept.pop()
        elif (
            one.before.time_s - last.after.time_s < BLACK_S
            and last.after.is_black
            and one.before.is_black
        ):
            kept[-1] = Boundary((last.time_s + one.time_s) / 2, last.before, one.after)
        elif last.after is one.before and gap_s <= _WINDOWS_S[-1] and _is_mixture(last, one):
            kept[-1] = Boundary(last.after.time_s, last.before, one.after, gradual=True)
        elif gap_s < APART_S:
            kept[-1] = Boundary(last.time_s, last.before, one.after)
        else:
            kept.append(one)
    return kept
