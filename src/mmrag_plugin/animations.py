"""Animated pictures (GIF, PNG, WebP, AVIF) as short films, each frame as viewers show it.

Pillow puts the frames together, with what is see-through and how each goes away before the next.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrag_plugin.content_kind import delays_s
from mmrag_plugin.pictures import identified_picture, upright_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

_AVIF_FRAMES = 1000  # of which the times are looked up; more are no picture


class Animation:
    """An animated picture, with what the selectors ask of a film."""

    clock_may_jump = False

    def __init__(self, path: Path, image: Any) -> None:
        self.path = self.source = path
        self.image = image

    @cached_property
    def _delays_s(self) -> list[float]:
        if self.image.format != "AVIF":
            with self.path.open("rb") as file:
                return delays_s(file)
        found = []
        for number in range(min(self.image.n_frames, _AVIF_FRAMES)):
            self.image.seek(number)
            self.image.load()
            found.append(max(float(self.image.info.get("duration", 100)) / 1000, 0.011))
        return found

    @property
    def duration_s(self) -> float:
        """How long it takes to show all frames once."""
        return sum(self._delays_s)

    @property
    def frame_s(self) -> float:
        """How long one frame is shown on average."""
        return self.duration_s / len(self._delays_s)

    def measured_duration_s(self) -> float:
        """The same as ``duration_s``, which is measured."""
        return self.duration_s

    def frames(
        self, which: Literal["all", "references", "keys"] = "all", *, from_s: float | None = None
    ) -> Iterator[tuple[float, Any]]:
        """Yield ``(time_s, av.VideoFrame)`` in order of time, from the frame shown at ``from_s``.

        Each frame is whole, so all of them are key frames. An animation that breaks off ends there.
        """
        import av

        time_s = 0.0
        first = 1 if self.image.info.get("default_image") else 0  # shown where nothing moves
        for number, delay_s in enumerate(self._delays_s):
            try:
                self.image.seek(number + first)
                picture = upright_rgb(self.image)
            except Exception:  # the end, or damage: Pillow raises nearly anything
                if number == 0:
                    raise
                return
            if from_s is None or time_s + delay_s > from_s:
                yield time_s, av.VideoFrame.from_image(picture)
            time_s += delay_s

    def picture(self, frame: Any) -> Image:
        """Turn a frame into an RGB picture."""
        picture: Image = frame.to_image()
        return picture

    def upright_size(self, frame: Any) -> tuple[int, int]:
        """Return the width and height in pixels of ``picture(frame)``."""
        return frame.width, frame.height

    def turn_of(self, frame: Any) -> None:
        """No turn: the frames are upright."""


@contextmanager
def open_animation(path: Path) -> Iterator[Animation]:
    """Open an animated picture for reading. Raises MediaError."""
    with identified_picture(path) as image:
        yield Animation(path, image)
