"""Parts of films on their way into a new one: what is decoded, from when to when, and shown."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import Film
from mmrag_plugin.makers.base import Piece
from mmrag_plugin.makers.film_writing import FilmWriter
from mmrag_plugin.makers.fitting import Fit, shown_between
from mmrag_plugin.makers.sounds import RATE, silence, sound_between, sound_stream
from mmrag_plugin.motion_photos import FilmPart, motion_of
from mmrag_plugin.timecode import format_time

_BROKEN_OFF_S = 0.5  # what is missing at the end of a film and worth a word
_SLOWEST, _FASTEST = Fraction(1), Fraction(240)


@dataclass(frozen=True)
class Part:
    """What is shown of an open film: ``start_s``..``end_s``, within its length."""

    film: Film | Animation
    start_s: float
    end_s: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.end_s - self.start_s

    @property
    def speaks(self) -> bool:
        """Whether there is sound."""
        return sound_stream(self.film) is not None


def source_of(piece: Piece) -> Path | FilmPart:
    """What moves in a piece. Raises MediaError where nothing does."""
    if piece.kind == "video":
        return piece.path
    motion = motion_of(piece.path)
    if motion is None:
        raise MediaError(
            f"{piece.path} is a photo: nothing in it moves.",
            "Name a film, or make a sheet or a slideshow.",
            path=str(piece.path),
        )
    return motion


def part_of(film: Film | Animation, start_s: float | None, end_s: float | None) -> Part:
    """The part of an open film that two times mean, without what lies behind its end.

    Raises MediaError where nothing is left.
    """
    begin_s = start_s or 0.0
    until_s = math.inf if end_s is None else end_s
    length_s = film.duration_s or (film.measured_duration_s() if math.isinf(until_s) else None)
    if length_s and length_s + _BROKEN_OFF_S < until_s < math.inf and not _may_jump(film):
        length_s = max(length_s, film.measured_duration_s())  # some say that they are shorter
    if length_s:
        until_s = min(until_s, length_s)
    if until_s - begin_s <= 1e-3 or math.isinf(until_s):
        raise MediaError(
            f"{film.path} has nothing between {format_time(begin_s)} and its end.",
            "Name an earlier time.",
            path=str(film.path),
        )
    return Part(film, begin_s, until_s)


def _may_jump(film: Film | Animation) -> bool:
    return not isinstance(film, Animation) and film.clock_may_jump


def rate_of(film: Film | Animation, fastest: Fraction = _FASTEST) -> Fraction:
    """The frames a second of a film, on average."""
    rate = Fraction(1 / max(film.frame_s, 1e-4)).limit_denominator(1001)
    return min(max(rate, _SLOWEST), fastest)


def show_part(
    part: Part,
    writer: FilmWriter,
    fit: Fit,
    at_s: float,
    tell: Callable[[float], None],
    *,
    fastest: int | None = None,
) -> tuple[float, list[str]]:
    """Show a part in a film from ``at_s`` on; returns when it ends there, and what is to be said.

    ``tell`` hears how many seconds of it are done. With ``fastest`` frames are left out where there
    are more a second.
    """
    film = part.film
    if writer.speaks:
        count = math.ceil(part.length_s * RATE) + RATE
        spoken = sound_between(film.source, part.start_s, count) if part.speaks else silence(count)
        writer.listen(spoken)
    shown_s = last_s = own_s = 0.0
    first = True
    for time_s, frame in shown_between(film, part.start_s, part.end_s):
        own_s = _own_length_s(frame, film)
        last_s = time_s
        if first or fastest is None or time_s - shown_s >= 0.9 / fastest:
            writer.show(fit(frame), at_s + time_s, key=first)
            shown_s, first = time_s, False
        tell(time_s)
    said = []
    length_s = part.length_s
    if not isinstance(film, Animation) and last_s + 2 * own_s < length_s:
        length_s = last_s + own_s  # a film that ends before it says
        if part.length_s - length_s > _BROKEN_OFF_S:
            said.append(
                f"{film.path} breaks off at {format_time(part.start_s + length_s)}: "
                "what should come after that is left out."
            )
    if fit.hdr:
        said.append(f"{film.path} is an HDR film: its colours come out paler than they are.")
    writer.end_part(at_s + length_s)
    return at_s + length_s, said


def _own_length_s(frame: object, film: Film | Animation) -> float:
    duration, time_base = getattr(frame, "duration", 0), getattr(frame, "time_base", None)
    return max(float(duration * time_base) if duration and time_base else 0.0, film.frame_s)
