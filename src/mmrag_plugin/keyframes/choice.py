"""What the selectors share: how alike two frames look, how far apart they lie, their spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, unreadable
from mmrag_plugin.media import Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_THUMB_PX = 16
_ALIKE_MEAN = 0.02  # of the full range: compression noise and a slight shake stay below
_ALIKE_CELL = 0.12  # one cell of 16 x 16: a person who walks in is above
_CHANGED_MEAN = 0.08  # another shot, or the camera has turned
_FLAT_RANGE = 0.04  # a black, white or plain frame


@dataclass(frozen=True)
class Candidate:
    """A decoded frame that may be chosen; its picture is made only if it is."""

    time_s: float
    frame: Any  # av.VideoFrame

    @cached_property
    def thumb(self) -> NDArray[np.int16]:
        """A thumbnail [16, 16, 3], 0 to 255, to compare with others."""
        import numpy as np

        small = self.frame.reformat(_THUMB_PX, _THUMB_PX, "rgb24", interpolation="AREA")
        thumb: NDArray[np.int16] = small.to_ndarray().astype(np.int16)
        return thumb

    def looks_like(self, other: Candidate) -> bool:
        """Whether the two are near-identical; a plain (black) frame is never like a picture."""
        if self._is_flat != other._is_flat:
            return False
        difference = abs(self.thumb - other.thumb) / 255
        return bool(difference.mean() < _ALIKE_MEAN and difference.mean(axis=2).max() < _ALIKE_CELL)

    def shows_another_scene_than(self, other: Candidate) -> bool:
        """Whether so much has changed that a cut or a turn lies between the two."""
        return bool(abs(self.thumb - other.thumb).mean() / 255 > _CHANGED_MEAN)

    @cached_property
    def _is_flat(self) -> bool:
        return bool((self.thumb.max() - self.thumb.min()) / 255 < _FLAT_RANGE)


def spaced(candidates: Iterable[Candidate], min_gap_s: float) -> Iterator[Candidate]:
    """Leave out near-identical neighbours and all but the first and last of a quick burst.

    The last of a burst stays when nothing follows it for ``min_gap_s``: a key frame right behind a
    regular one is often the only one of a new shot.
    """
    kept: Candidate | None = None
    waiting: Candidate | None = None
    for candidate in candidates:
        lonely = waiting is not None and candidate.time_s - waiting.time_s >= min_gap_s
        if lonely and waiting and kept and not waiting.looks_like(kept):
            kept = waiting
            yield kept
        waiting = None
        if kept and candidate.time_s - kept.time_s < min_gap_s:
            waiting = candidate
        elif kept is None or not candidate.looks_like(kept):
            kept = candidate
            yield kept
    if waiting and kept and not waiting.looks_like(kept):
        yield waiting


def with_spans(film: Film | Animation, chosen: Iterable[Candidate]) -> Iterator[Frame]:
    """Turn chosen frames into Frames whose spans follow each other to the end of the film.

    Raises MediaError if there are none.
    """
    index = 0
    last: Candidate | None = None
    for candidate in chosen:
        if last is not None:
            yield Frame(index, film.picture(last.frame), last.time_s, candidate.time_s)
            index += 1
        last = candidate
    if last is None:
        raise unreadable(film.path, "no frame of it can be decoded")
    duration_s = film.duration_s
    picture = film.picture(last.frame)
    if duration_s is None or duration_s <= last.time_s:
        duration_s = film.measured_duration_s()
    yield Frame(index, picture, last.time_s, max(duration_s, last.time_s + film.frame_s))
