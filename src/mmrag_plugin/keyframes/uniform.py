"""One frame every so many seconds, whatever the film shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.choice import Choice, held, with_spans
from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart


class UniformSelector(KeyframeSelector):
    """The first frame at or after each multiple of ``every_s``; the whole film is decoded."""

    name = "uniform"

    def __init__(self, *, every_s: float = 2.0) -> None:
        if not every_s > 0:
            raise UsageError(f"every_s = {every_s} is not above 0.", "Give seconds, such as 2.")
        self.every_s = every_s

    @property
    def stamp(self) -> str:
        """Name the method, its version and its parameter."""
        return f"uniform-1(every_s={self.every_s:g})"

    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield frames lazily. Raises MediaError when the file holds no readable film."""
        with open_film(source) as film:
            yield from with_spans(film, self._choices(film))

    def _choices(self, film: Film | Animation) -> Iterator[Choice]:
        due_s = 0.0
        for time_s, frame in film.frames():
            if time_s >= due_s:
                yield Choice(time_s, held(frame))
                due_s = (time_s // self.every_s + 1) * self.every_s
