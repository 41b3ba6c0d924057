"""Films."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from llama_index.core.schema import Document

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.films import Film, open_film, unreadable
from mmrag_plugin.media import Frame, MediaFacts
from mmrag_plugin.motion_photos import FilmPart
from mmrag_plugin.readers.base import MediaReader, caption, image_document
from mmrag_plugin.readers.decoding import HERE, Decoder

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.keyframes.base import KeyframeSelector

# Broadcast streams have no index: a seek may land behind its target, so the next starts earlier
_SEEK_BACK_S = (0.0, 10.0, 60.0, math.inf)


class VideoReader(MediaReader):
    """Reads films: the frames that a selector chooses, one document each.

    ``selector`` is ``IFrameSelector()`` unless given; ``decoder`` does the work that takes long.
    """

    kind = "video"

    def __init__(
        self, selector: KeyframeSelector | None = None, *, decoder: Decoder = HERE
    ) -> None:
        if selector is None:
            from mmrag_plugin.keyframes.iframes import IFrameSelector

            selector = IFrameSelector()
        self.selector = selector
        self.decoder = decoder

    def facts(self, path: Path) -> MediaFacts:
        """Collect size, length, date, camera, place, titles and embedded subtitles.

        Raises MediaError where there is nothing to see, such as in a sound file with a cover.
        """
        return self.decoder.facts("video", path)

    def frames(self, path: Path, *, at_least_px: int | None = None) -> Iterator[Frame]:
        """Yield the selector's frames; with ``at_least_px`` large ones come scaled down."""
        return self.decoder.frames("video", path, at_least_px=at_least_px, selector=self.selector)

    def _documents(
        self, path: Path, facts: MediaFacts, metadata: dict[str, Any], *, keep_path: bool
    ) -> Iterator[Document]:
        for frame in self.frames(path):
            assert frame.time_s is not None
            assert frame.end_s is not None
            times = {"time_s": round(frame.time_s, 3), "end_s": round(frame.end_s, 3)}
            text = caption(facts.signals, frame.time_s, frame.end_s)
            yield image_document(metadata | times, text, frame=frame)


def frame_at(source: Path | FilmPart, time_s: float) -> Image:
    """Decode the frame that is on the screen at a time: the last one at or before ``time_s``.

    Before the first frame that is the first, after the end the last. Raises MediaError, and
    UsageError for a time that is no number.
    """
    if not math.isfinite(time_s):
        raise UsageError(f"{time_s} is not a time.", "Give seconds, such as 83.5.")
    with open_film(source) as film:
        end_s = film.duration_s
        shown = None
        if end_s is not None and time_s > end_s:
            if film.clock_may_jump:
                shown = _last_frame_until(film, time_s, from_s=None, which="keys")
            time_s = end_s
        for earlier_s in _SEEK_BACK_S:
            shown = shown or _last_frame_until(film, time_s, from_s=time_s - earlier_s)
        if shown is None:
            shown = next((frame for _, frame in film.frames(from_s=0.0)), None)
        if shown is None:
            raise unreadable(film.path, "no frame of it can be decoded")
        return film.picture(shown)


def _last_frame_until(
    film: Film | Animation,
    time_s: float,
    from_s: float | None,
    which: Literal["all", "keys"] = "all",
) -> Any | None:
    shown = None
    for shown_s, frame in film.frames(which, from_s=from_s):
        if shown_s > time_s + 1e-3:  # times that were rounded to milliseconds find their frame
            break
        shown = frame
    return shown
