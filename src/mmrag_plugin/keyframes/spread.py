"""A few pictures that stand for a film or a part of it: one of each shot where there are so many.

Of the shots only key frames are decoded, which encoders put at most cuts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from mmrag_plugin.animations import Animation
from mmrag_plugin.film_frames import frame_at, shown_at
from mmrag_plugin.films import Film, open_film, unreadable
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.choice import Candidate
from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart

if TYPE_CHECKING:
    from PIL.Image import Image

_LOOKED_AT = 3  # so many key frames are looked at for each picture that is wanted
_THUMB_PX = 64

_T = TypeVar("_T")


@dataclass(frozen=True)
class Spread(KeyframeSelector):
    """Chooses up to ``count`` frames of ``start_s``..``end_s``: of its shots, else evenly."""

    start_s: float
    end_s: float
    count: int
    name: ClassVar[str] = "spread"

    @property
    def stamp(self) -> str:
        """The method and its parameters."""
        return f"{self.name}:{self.start_s}:{self.end_s}:{self.count}"

    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield the frames in order; each stands for its share of the time."""
        step_s = (self.end_s - self.start_s) / self.count
        times = [self.start_s + (number + 0.5) * step_s for number in range(self.count)]
        found: Iterable[tuple[float, Image]] = (
            shots(source, self.start_s, self.end_s, self.count) if self.count > 1 else []
        )
        found = found or ((time_s, frame_at(source, time_s)) for time_s in times)
        for number, (time_s, picture) in enumerate(found):
            yield Frame(number, picture, time_s, min(time_s + step_s, self.end_s))


def shots(
    source: Path | FilmPart, start_s: float, end_s: float, count: int
) -> list[tuple[float, Image]]:
    """Choose up to ``count`` key frames of ``start_s``..``end_s`` with their times, in order.

    There are fewer where more would look the same, and none at all where the part has fewer key
    frames than that. Raises MediaError.
    """
    with open_film(source) as film:
        keys = _key_frames(film, start_s, end_s, count * _LOOKED_AT)
        if len(keys) < count:
            return []
        chosen = _most_different(keys, count)
        return [(key.time_s, _picture(film, key)) for key in chosen]


def _key_frames(
    film: Film | Animation, start_s: float, end_s: float, slots: int
) -> list[Candidate]:
    """The last key frame of each of so many slots of time, small; none of a slot without one."""
    found = []
    slot_s = (end_s - start_s) / slots
    for number in range(slots):
        begins_s = start_s + number * slot_s
        for time_s, frame in film.frames("keys", from_s=begins_s + slot_s - 1e-3):
            if begins_s <= time_s < begins_s + slot_s:
                small = frame.reformat(_THUMB_PX, _THUMB_PX, "rgb24", interpolation="AREA")
                found.append(Candidate(time_s, small))
            break
    return found


def _most_different(keys: list[Candidate], count: int) -> list[Candidate]:
    """One of each shot, more of those in which much happens; shots are left out if there are more.

    Where a shot shows the same all along, one picture of it is enough.
    """
    by_shot: list[list[Candidate]] = []
    for key in keys:
        if not by_shot or key.shows_another_scene_than(by_shot[-1][-1]):
            by_shot.append([key])
        elif not key.looks_like(by_shot[-1][-1]):
            by_shot[-1].append(key)
    by_shot = _evenly(by_shot, count)
    shares = [1] * len(by_shot)
    for _ in range(count - len(by_shot)):
        left = [len(shot) / share for shot, share in zip(by_shot, shares, strict=True)]
        if max(left) > 1:
            shares[left.index(max(left))] += 1
    return [
        key for shot, share in zip(by_shot, shares, strict=True) for key in _evenly(shot, share)
    ]


def _evenly(items: list[_T], count: int) -> list[_T]:
    """So many of a list, or all of a shorter one, each from the middle of its part."""
    count = min(count, len(items))
    return [items[int((number + 0.5) * len(items) / count)] for number in range(count)]


def _picture(film: Film | Animation, key: Candidate) -> Image:
    """Decode a key frame again, in full: a dozen large ones would not fit into the memory."""
    frame = shown_at(film, key.time_s, "keys")
    if frame is None:
        raise unreadable(film.path, f"what it shows at {key.time_s:.1f} s can't be decoded twice")
    return film.picture(frame)
