"""A supercut: parts of films one after the other, with their sound."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial

from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import open_film
from mmrag_plugin.makers.base import (
    Made,
    Maker,
    Piece,
    Problem,
    Told,
    Wish,
    each_of,
    nothing_left,
    tags_of,
)
from mmrag_plugin.makers.film_parts import Part, part_of, rate_of, show_part, source_of
from mmrag_plugin.makers.film_writing import FilmWriter, Quality
from mmrag_plugin.makers.fitting import Fit, even, upright_size

LONG_SIDE_PX = 1920
_OPENED = 0.1  # of the work, to look at all films before the first is shown
_FASTEST = 60


@dataclass(frozen=True)
class _Look:
    """What was seen of a piece before anything is written."""

    place: int
    piece: Piece
    size: tuple[int, int]
    rate: Fraction
    speaks: bool
    start_s: float
    length_s: float


class SupercutMaker(Maker):
    """Joins parts of films.

    The frame has the size that most of them have; others are fitted in, with bars. Their frames
    keep their own times.
    """

    what = "supercut"
    suffixes = (".mp4", ".m4v")

    def make(self, wish: Wish, tell: Told) -> Made:
        """Look at all films, then write one part behind the other."""
        failed: list[Problem] = []
        seen = self._looked_at(wish, tell, failed)
        if not seen:
            raise nothing_left(failed)
        size = even(_most(seen), wish.long_side_px or LONG_SIDE_PX)
        total_s = sum(look.length_s for look in seen)
        said: list[str] = []
        shown: list[Piece] = []
        at_s = 0.0
        with FilmWriter(
            wish.target,
            size,
            Quality(),
            rate=max(look.rate for look in seen),
            speaks=any(look.speaks for look in seen),
            tags=tags_of(wish, self.what, tuple(look.piece for look in seen)),
        ) as writer:
            for look in seen:
                tell.begin(look.place)
                begins_s = at_s
                try:
                    with open_film(source_of(look.piece)) as film:
                        at_s, more = show_part(
                            Part(film, look.start_s, look.start_s + look.length_s),
                            writer,
                            Fit(film, size),
                            at_s,
                            partial(_tell, tell, begins_s, total_s),
                            fastest=_FASTEST,
                        )
                except MediaError as error:
                    failed.append(Problem.of(look.piece, error))
                    at_s = writer.broken_off(begins_s)
                    if at_s > begins_s:  # some of it is in the film by now
                        shown.append(look.piece)
                    continue
                said += more
                shown.append(look.piece)
            writer.end()
        if not shown:
            raise nothing_left(failed)
        return Made(
            self.what,
            wish.target,
            wish.target.stat().st_size,
            *size,
            duration_s=at_s,
            pieces=tuple(shown),
            failed=tuple(failed),
            warnings=tuple(dict.fromkeys(said)),
        )

    def _looked_at(self, wish: Wish, tell: Told, failed: list[Problem]) -> list[_Look]:
        seen = []
        for place, piece in each_of(wish, tell, failed):
            try:
                with open_film(source_of(piece)) as film:
                    part = part_of(film, piece.start_s, piece.end_s)
                    length_s = min(part.length_s, wish.each_s or part.length_s)
                    exact = replace(
                        piece, start_s=part.start_s, end_s=round(part.start_s + length_s, 3)
                    )
                    size = upright_size(film, part.start_s)
                    rate = rate_of(film, Fraction(_FASTEST))
                    seen.append(
                        _Look(place, exact, size, rate, part.speaks, part.start_s, length_s)
                    )
            except MediaError as error:
                failed.append(Problem.of(piece, error))
            tell(_OPENED * (place + 1) / len(wish.pieces))
        return seen


def _most(seen: list[_Look]) -> tuple[int, int]:
    """The size in which most of the time is; of two, the larger."""
    seconds: Counter[tuple[int, int]] = Counter()
    for look in seen:
        seconds[look.size] += round(look.length_s * 1000)
    return max(seconds, key=lambda size: (seconds[size], size))


def _tell(tell: Told, begins_s: float, total_s: float, done_s: float) -> None:
    tell(_OPENED + (1 - _OPENED) * (begins_s + done_s) / total_s)
