"""A small film of a moment, for browsers and assistants: it begins to play at once and is short."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import open_film
from mmrag_plugin.makers.base import Told
from mmrag_plugin.makers.film_parts import part_of, rate_of, show_part
from mmrag_plugin.makers.film_writing import FilmWriter, Quality
from mmrag_plugin.makers.fitting import Fit, even, upright_size
from mmrag_plugin.motion_photos import FilmPart

LONGEST_S = 30.0
_MAX_RATE = 30
_MOST_BPS = 1_200_000
_SOUND_BPS = 64_000
# Long sides, and what share of the room is planned for: the next where it did not do
_TRIES = ((640, 0.85), (480, 0.6), (320, 0.4), (240, 0.2))


@dataclass(frozen=True)
class PreviewJob:
    """Writes the preview of ``start_s``..``end_s`` of a film into a new file.

    Returns its length in seconds. Raises MediaError where it can't be read, or does not fit into
    ``max_bytes``.
    """

    source: Path | FilmPart
    start_s: float
    end_s: float
    target: Path
    max_bytes: int

    def run(self, tell: Told) -> float:
        """Write smaller and smaller ones until one fits."""
        for long_side_px, share in _TRIES:
            duration_s = self._write(long_side_px, share, tell)
            if self.target.stat().st_size <= self.max_bytes:
                return duration_s
            self.target.unlink()
        raise MediaError(
            f"A preview of {self.source} does not fit into {self.max_bytes:,} bytes.",
            "Ask for a shorter part, or for more bytes.",
        )

    def _write(self, long_side_px: int, share: float, tell: Told) -> float:
        with open_film(self.source) as film:
            part = part_of(film, self.start_s, self.end_s)
            size = even(upright_size(film, part.start_s), long_side_px)
            room_bps = int(self.max_bytes * 8 * share / part.length_s)
            speaks = part.speaks and room_bps > 2 * _SOUND_BPS
            pictures_bps = max(room_bps - (_SOUND_BPS if speaks else 0), 10_000)
            quality = Quality(
                crf=27,
                preset="veryfast",
                most_bps=min(pictures_bps, _MOST_BPS),
                sound_bps=_SOUND_BPS,
            )
            rate = rate_of(film, Fraction(_MAX_RATE))
            with FilmWriter(self.target, size, quality, rate=rate, speaks=speaks) as writer:
                end_s, _ = show_part(
                    part,
                    writer,
                    Fit(film, size),
                    0.0,
                    lambda done_s: tell(done_s / part.length_s),
                    fastest=_MAX_RATE,
                )
                writer.end()
        return end_s
