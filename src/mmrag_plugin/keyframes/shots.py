"""The samples of a film in which its shots are found: key frames, and frames between them.

Encoders put a key frame at most cuts, or one every so often. Where two neighbouring key frames look
alike, and no packet between them is far larger than those before it, nothing is looked at between
them. Elsewhere, if that is wanted, the frames that others build on are decoded, and around a packet
that stands out all of them. Where key frames lie far apart that is done in any case.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.boundaries import ALIKE, Boundary, streamed
from mmrag_plugin.keyframes.groups import Group, Groups
from mmrag_plugin.keyframes.samples import Sample, sample_of
from mmrag_plugin.motion_photos import FilmPart

FAR_S = 10.0  # key frames that lie farther apart say too little
STEP_S = 0.06  # of the frames between key frames no more are looked at
_STANDS_OUT, _MAY_STAND_OUT = 2.5, 1.6  # a packet so many times as large as those before it
_OF_KEY = 0.08  # and this large, of the key frame
_FROM_STILL = 6.0  # or so many times as large, where hardly anything moves
_USUAL = 16  # packets
_STRETCH, _FALLS_OFF = 8, 5  # packets; where they get so many times smaller, it may be black
_BEGINS_ANEW, _UNLIKE = 0.06, 0.4  # distance and correlation over a cut that needs no second look
_SAME = 0.85  # correlation of two key frames of one shot
_REGULAR = 0.95  # of the longest group so far: the encoder was due for a key frame
_AROUND_S = (0.4, 0.1)  # before and after a packet that stands out all frames are looked at
_CONTINUES_S = 1.0  # decoding goes on where it ended if that is no farther


def shot_boundaries(source: Path | FilmPart, *, refine: bool = True) -> Iterator[Boundary]:
    """Yield the changes of shot of a film in order.

    With ``refine`` frames between key frames are decoded where something happens. Raises MediaError
    when the file holds no readable film.
    """
    with ExitStack() as opened:
        film = opened.enter_context(open_film(source))
        for one in streamed(Looker(film, opened, refine=refine).samples()):
            if isinstance(one, Boundary):
                yield one


class Looker:
    """Looks through a film once; ``opened`` closes the second reader, which looks into gaps."""

    def __init__(
        self, film: Film | Animation, opened: ExitStack, *, refine: bool, far_s: float = FAR_S
    ) -> None:
        self.film = film
        self.refine = refine
        self.far_s = far_s
        self._groups = Groups(film, at_most_s=far_s)
        self._between = _Between(film.source, opened)
        self._longest = 0  # group, in packets

    @property
    def end_s(self) -> float:
        """Where the film ends, as far as it was read, whatever the container says."""
        return self._groups.end_s

    def samples(self) -> Iterator[Sample]:
        """Yield samples in order of time. Some are close to each other."""
        before: Group | None = None
        known: Sample | None = None  # what the group before begins with
        last_s = -math.inf
        for group in self._groups:
            key = (
                sample_of(group.time_s, group.frame, is_key=True)
                if group.frame is not None
                else None
            )
            if before is not None:
                for sample in self._within(before, known, group.time_s, key):
                    if sample.time_s > last_s:
                        yield sample
                        last_s = sample.time_s
            elif key is not None:
                yield key
                last_s = key.time_s
            before, known = group, key
        if before is not None:
            for sample in self._within(before, known, math.inf, None):
                if sample.time_s > last_s:
                    yield sample
                    last_s = sample.time_s

    def _within(
        self, group: Group, known: Sample | None, end_s: float, key: Sample | None
    ) -> Iterator[Sample]:
        """What is looked at behind the beginning of a group, with the key frame that ends it."""
        large = _standing_out(group)
        spikes = [time_s for time_s, times in large if times >= _MAY_STAND_OUT]
        if known is None or key is None:  # a part of a long group, a damaged key frame, or the end
            length_s = (end_s if end_s < math.inf else _last_s(group)) - group.time_s
            far = group.goes_on or length_s > self.far_s
            if group.packets and (self.refine or far):
                yield from self._between.samples(group.time_s, end_s, spikes, key)
            if key is not None:
                yield key
            return
        length = len(group.packets) + 1
        distance = known.distance(key)
        due = length >= _REGULAR * self._longest
        self._longest = max(self._longest, length)
        unlike = (
            distance >= _BEGINS_ANEW
            and known.palette_distance(key) >= ALIKE
            and not (known.is_flat or key.is_flat or known.may_be_the_scene_of(key, _UNLIKE))
        )
        is_cut = unlike and not due and _is_even(group, large)
        same = distance < ALIKE or known.may_be_the_scene_of(key, _SAME)
        same = same and known.is_black == key.is_black
        if self.refine and group.packets and not is_cut and (spikes or not same):
            yield from self._between.samples(group.time_s, end_s, spikes, key)
        changed_s, times = max(large, key=lambda one: one[1], default=(None, 0.0))
        if is_cut or times < _STANDS_OUT:
            changed_s = None
        yield replace(key, changed_s=changed_s, is_cut=is_cut)


def _last_s(group: Group) -> float:
    return max((time_s for time_s, _ in group.packets), default=group.time_s)


def _standing_out(group: Group) -> list[tuple[float, float]]:
    """Times of packets, and how many times as large as those before each is."""
    found = []
    sizes = [size for _, size in group.packets]
    for number, (time_s, size) in enumerate(group.packets):
        before = sorted(sizes[max(number - _USUAL, 0) : number])
        usual = before[-2] if len(before) > 3 else group.key_bytes  # one of the large, regular ones
        times = size / max(usual, 1)
        if size >= _OF_KEY * group.key_bytes or times >= _FROM_STILL:
            found.append((time_s, times))
    return found


def _is_even(group: Group, large: Sequence[tuple[float, float]]) -> bool:
    """Whether a group goes on as it began: no packet stands out, and no stretch is all small."""
    sizes = [size for _, size in group.packets]
    stretches = [median(sizes[n : n + _STRETCH]) for n in range(0, len(sizes), _STRETCH)]
    falls_off = len(stretches) > 1 and min(stretches) * _FALLS_OFF < max(stretches)
    return not falls_off and all(times < _STANDS_OUT for _, times in large)


class _Between:
    """A second reader of the film, for what lies between key frames."""

    def __init__(self, source: Path | FilmPart, opened: ExitStack) -> None:
        self._source, self._opened = source, opened
        self._film: Film | Animation | None = None
        self._frames: Iterator[tuple[float, Any]] = iter(())
        self._at_s = math.inf  # how far it has read

    def samples(
        self,
        from_s: float,
        end_s: float,
        spikes: Sequence[float],
        last: Sample | None,
    ) -> Iterator[Sample]:
        """Yield samples between two times; fewer if they have come to look like the ``last``."""
        if self._film is None:
            self._film = self._opened.enter_context(open_film(self._source))
            if isinstance(
                self._film, Film
            ):  # nobody sees these frames: what smooths them is left out
                context = self._film.stream.codec_context
                context.options = {**context.options, "skip_loop_filter": "all"}
        if not self._at_s <= from_s + 1e-3 <= self._at_s + _CONTINUES_S:
            self._frames = self._film.frames("references", from_s=from_s)
        looked_s = from_s
        calm_s = max(spikes, default=from_s) + _AROUND_S[1]
        exact = [(s - _AROUND_S[0], s + _AROUND_S[1]) for s in spikes]
        for time_s, frame in self._frames:
            self._at_s = time_s
            if time_s >= end_s - 1e-3:
                return
            close = any(begin <= time_s <= end for begin, end in exact)
            self._look_at_all(close)
            if time_s <= from_s + 1e-3 or not (close or time_s - looked_s >= STEP_S):
                continue
            sample = sample_of(time_s, frame)
            yield sample
            looked_s = time_s
            if last is not None and time_s > calm_s and sample.may_be_the_scene_of(last, _SAME):
                return
        self._at_s = math.inf

    def _look_at_all(self, wanted: bool) -> None:
        if isinstance(self._film, Film):
            context = self._film.stream.codec_context
            skipped = "DEFAULT" if wanted else "NONREF"
            if str(context.skip_frame) != skipped:
                context.skip_frame = skipped
