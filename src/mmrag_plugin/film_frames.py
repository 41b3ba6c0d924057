"""The frame of a film at a time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import UsageError
from mmrag_plugin.films import Film, open_film, unreadable
from mmrag_plugin.motion_photos import FilmPart

if TYPE_CHECKING:
    from PIL.Image import Image

# Broadcast streams have no index: a seek may land behind its target, so the next starts earlier
_EXACT_S = 1e-3  # times that were rounded to milliseconds find their frame
_SEEK_BACK_S = (0.0, 10.0, 60.0, math.inf)


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
        shown = shown or shown_at(film, time_s)
        if shown is None:
            raise unreadable(film.path, "no frame of it can be decoded")
        return film.picture(shown)


def shown_at(
    film: Film | Animation, time_s: float, which: Literal["all", "references", "keys"] = "all"
) -> Any | None:
    """Decode the frame of a kind that is on the screen at a time; None where there is none."""
    shown = None
    for earlier_s in _SEEK_BACK_S:
        shown = shown or _last_frame_until(film, time_s, from_s=time_s - earlier_s, which=which)
    return shown or next((frame for _, frame in film.frames(from_s=0.0)), None)


def _last_frame_until(
    film: Film | Animation,
    time_s: float,
    from_s: float | None,
    which: Literal["all", "references", "keys"] = "all",
) -> Any | None:
    shown = None
    for shown_s, frame in film.frames(which, from_s=from_s):
        if shown_s > time_s + _EXACT_S:
            break
        shown = frame
        if shown_s >= time_s - _EXACT_S:
            break
    return shown
