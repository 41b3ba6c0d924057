"""Shots from key frames: decode only what the encoder stored whole, and the gaps where it matters.

Encoders put a key frame at most cuts, and decoding only these takes a tenth of the time. Where the
picture changes between two of them, or they lie far apart, ordinary frames are decoded, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.film_frames import shown_at
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.boundaries import streamed
from mmrag_plugin.keyframes.choice import Choice, with_spans
from mmrag_plugin.keyframes.samples import Sample, sample_of
from mmrag_plugin.keyframes.sampling import chosen_frames
from mmrag_plugin.keyframes.shots import Looker
from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart

_STEP_S = 0.1  # of a film without key frames no more are looked at


class IFrameSelector(KeyframeSelector):
    """The default: frames of each shot, without near-identical neighbours.

    Frames closer than ``min_gap_s`` are thinned out. Only a picture that stays the same may stand
    for longer than ``max_gap_s``. With ``refine`` cuts are also looked for between key frames;
    without, a shot begins at the key frame behind its cut, and some cuts are missed.
    """

    name = "iframes"

    def __init__(
        self, *, max_gap_s: float = 10.0, min_gap_s: float = 0.5, refine: bool = True
    ) -> None:
        if not 0 <= min_gap_s < max_gap_s:
            raise UsageError(
                f"max_gap_s = {max_gap_s}, min_gap_s = {min_gap_s} can't both hold.",
                "Give a max_gap_s above min_gap_s, and neither below 0.",
            )
        self.max_gap_s = max_gap_s
        self.min_gap_s = min_gap_s
        self.refine = refine

    @property
    def stamp(self) -> str:
        """Name the method, its version and its parameters."""
        refined = "" if self.refine else ",refine=no"
        return f"iframes-2(max_gap_s={self.max_gap_s:g},min_gap_s={self.min_gap_s:g}{refined})"

    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield frames lazily. Raises MediaError when the file holds no readable film."""
        with ExitStack() as opened:
            film = opened.enter_context(open_film(source))
            looker = Looker(film, opened, refine=self.refine, far_s=self.max_gap_s)
            found = chosen_frames(
                streamed(_or_all(looker, film, opened)),
                lambda last_s: max(looker.end_s, last_s + film.frame_s),
                min_gap_s=self.min_gap_s,
                max_gap_s=self.max_gap_s,
            )
            pictures = _Pictures(source, opened)
            choices = (
                Choice(one.time_s, partial(pictures.frame, one.sample), one.shot) for one in found
            )
            yield from with_spans(film, choices)


def _or_all(looker: Looker, film: Film | Animation, opened: ExitStack) -> Iterator[Sample]:
    """The looker's samples; of all frames where none is marked as a key frame, which is rare."""
    empty = True
    for sample in looker.samples():
        empty = False
        yield sample
    if empty:
        another = opened.enter_context(open_film(film.source))
        last_s = -math.inf
        for time_s, frame in another.frames():
            if time_s - last_s >= _STEP_S:
                yield sample_of(time_s, frame)
                last_s = time_s


class _Pictures:
    """Decodes the frames that were chosen, in readers of its own: none is held meanwhile."""

    def __init__(self, source: Path | FilmPart, opened: ExitStack) -> None:
        another = cache(lambda _: opened.enter_context(open_film(source)))
        self._seeking, self._reading = partial(another, "seeking"), partial(another, "reading")
        self._keys: Iterator[tuple[float, Any]] | None = None

    def frame(self, sample: Sample) -> Any | None:
        """Decode the frame of a sample; None where that does not work twice."""
        film = self._seeking()
        if not (sample.is_key and film.clock_may_jump):
            return shown_at(film, sample.time_s, "keys" if sample.is_key else "all")
        if self._keys is None:
            self._keys = self._reading().frames("keys")
        for shown_s, frame in self._keys:  # seeking would lose the time
            if shown_s >= sample.time_s - 1e-3:
                return frame
        return None
