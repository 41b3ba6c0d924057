"""Key frames: decode only what the encoder stored whole, and fill the long gaps between them.

Encoders put a key frame at most cuts, and decoding only these takes a tenth of the time. Where
they lie far apart, ordinary frames are decoded and taken when the picture changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.choice import Candidate, spaced, with_spans
from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart


class IFrameSelector(KeyframeSelector):
    """The default: key frames, without near-identical neighbours, at most ``max_gap_s`` apart.

    Frames closer than ``min_gap_s`` are thinned out. Only a picture that stays the same may stand
    for longer than ``max_gap_s``.
    """

    name = "iframes"

    def __init__(self, *, max_gap_s: float = 10.0, min_gap_s: float = 0.5) -> None:
        if not 0 <= min_gap_s < max_gap_s:
            raise UsageError(
                f"max_gap_s = {max_gap_s}, min_gap_s = {min_gap_s} can't both hold.",
                "Give a max_gap_s above min_gap_s, and neither below 0.",
            )
        self.max_gap_s = max_gap_s
        self.min_gap_s = min_gap_s

    @property
    def stamp(self) -> str:
        """Name the method, its version and its parameters."""
        return f"iframes-1(max_gap_s={self.max_gap_s:g},min_gap_s={self.min_gap_s:g})"

    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield frames lazily. Raises MediaError when the file holds no readable film."""
        with open_film(source) as film:
            yield from with_spans(film, spaced(self._candidates(film), self.min_gap_s))

    def _candidates(self, film: Film | Animation) -> Iterator[Candidate]:
        last: Candidate | None = None
        with ExitStack() as opened:
            # a second reader for the gaps: the first goes on with the key frames
            another = cache(lambda: opened.enter_context(open_film(film.source)))
            for time_s, frame in film.frames("keys"):
                key = Candidate(time_s, frame)
                if last is not None and time_s - last.time_s > self.max_gap_s:
                    yield from self._fill(another(), last, time_s)
                yield key
                last = key
            if last is None:  # no frame is marked as a key frame: rare, and then all are looked at
                yield from self._all(another())
                return
            end_s = film.duration_s or film.measured_duration_s()
            if end_s - last.time_s > self.max_gap_s:
                yield from self._fill(another(), last, end_s)

    def _fill(self, film: Film | Animation, key: Candidate, end_s: float) -> Iterator[Candidate]:
        """Decode the ordinary frames of one gap; take some for the time, some for the change."""
        gap_s = end_s - key.time_s
        step_s = gap_s / math.ceil(gap_s / self.max_gap_s)
        look_s = max(self.min_gap_s, self.max_gap_s / 5)
        last = key
        for time_s, frame in film.frames("references", from_s=key.time_s):
            if time_s >= end_s - self.min_gap_s:
                return
            if time_s - last.time_s < look_s:
                continue
            candidate = Candidate(time_s, frame)
            if time_s - last.time_s >= step_s or candidate.shows_another_scene_than(last):
                yield candidate
                last = candidate

    def _all(self, film: Film | Animation) -> Iterator[Candidate]:
        last_s = -math.inf
        for time_s, frame in film.frames():
            if time_s - last_s >= self.max_gap_s / 5:
                yield Candidate(time_s, frame)
                last_s = time_s
