"""What the selectors share: how alike two frames look, how far apart they lie, their spans."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, unreadable
from mmrag_plugin.keyframes.sampling import LONGEST_S
from mmrag_plugin.media import FilmShot, Frame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_THUMB_PX = 16
_ALIKE_MEAN = 0.02  # of the full range: compression noise and a slight shake stay below
_ALIKE_CELL = 0.12  # one cell of 16 x 16: a person who walks in is above
_CHANGED_MEAN = 0.08  # another shot, or the camera has turned
_FLAT_RANGE = 0.04  # a black, white or plain frame
_SURE_S = 30.0  # a container that says the film goes on for longer is not believed


@dataclass(frozen=True)
class Candidate:
    """A decoded frame that may be chosen; its picture is made only if it is."""

    time_s: float
    frame: Any  # av.VideoFrame
    begins_shot: bool = False

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


@dataclass(frozen=True)
class Choice:
    """A frame that was chosen: ``decoded`` gives the av.VideoFrame that shows it, if it can."""

    time_s: float
    decoded: Callable[[], Any | None]
    shot: FilmShot | None = None


def held(frame: Any) -> Callable[[], Any]:
    """What a Choice of a frame that is decoded already gives."""
    return lambda: frame


def in_shots(film: Film | Animation, candidates: Iterable[Candidate]) -> Iterator[Choice]:
    """Give candidates their shots, each as soon as its shot has ended."""
    waiting: list[Candidate] = []
    number, start_s = 0, 0.0
    for candidate in candidates:
        too_long = candidate.time_s - start_s > LONGEST_S
        if waiting and (candidate.begins_shot or too_long):
            shot = FilmShot(number, start_s, candidate.time_s)
            yield from (Choice(one.time_s, held(one.frame), shot) for one in waiting)
            number, waiting = number + 1, []
        if not waiting:
            start_s = candidate.time_s
        waiting.append(candidate)
    if waiting:
        shot = FilmShot(number, start_s, end_of(film, waiting[-1].time_s))
        yield from (Choice(one.time_s, held(one.frame), shot) for one in waiting)


def with_spans(film: Film | Animation, chosen: Iterable[Choice]) -> Iterator[Frame]:
    """Turn choices into Frames whose spans follow each other to the end of the film.

    One that can't be decoded is left out. Raises MediaError if there are none.
    """
    index = 0
    last: tuple[Choice, Image] | None = None
    for choice in chosen:
        frame = choice.decoded()
        if frame is None:
            continue
        if last is not None:
            yield Frame(index, last[1], last[0].time_s, choice.time_s, last[0].shot)
            index += 1
        last = choice, film.picture(frame)
    if last is None:
        raise unreadable(film.path, "no frame of it can be decoded")
    choice, picture = last
    end_s = choice.shot.end_s if choice.shot else end_of(film, choice.time_s)
    yield Frame(index, picture, choice.time_s, end_s, choice.shot)


def end_of(film: Film | Animation, last_s: float) -> float:
    """Where a film ends whose last frame is shown at ``last_s``, even if its container errs."""
    end_s = film.duration_s
    if end_s is None or not last_s < end_s <= last_s + _SURE_S:
        end_s = film.measured_duration_s()
    return max(end_s, last_s + film.frame_s)
