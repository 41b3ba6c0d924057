"""A small film of a moment, for browsers and assistants: it begins to play at once and is short."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import open_film
from mmrag_plugin.makers.base import Tell
from mmrag_plugin.makers.film_writing import FilmWriter, Quality
from mmrag_plugin.makers.fitting import Fit, even, shown_between
from mmrag_plugin.makers.sounds import RATE, sound_between, sound_stream
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

    def run(self, tell: Tell) -> float:
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

    def _write(self, long_side_px: int, share: float, tell: Tell) -> float:
        asked_s = self.end_s - self.start_s
        room_bps = int(self.max_bytes * 8 * share / asked_s)
        with open_film(self.source) as film:
            frames = shown_between(film, self.start_s, self.end_s)
            _, first = next(frames)
            fit = Fit(film, even(film.upright_size(first), long_side_px))
            sound = None
            if sound_stream(film) is not None and room_bps > 2 * _SOUND_BPS:
                sound = sound_between(self.source, self.start_s, round(asked_s * RATE))
            pictures_bps = max(room_bps - (_SOUND_BPS if sound else 0), 10_000)
            quality = Quality(
                crf=27,
                preset="veryfast",
                most_bps=min(pictures_bps, _MOST_BPS),
                sound_bps=_SOUND_BPS,
            )
            rate = min(Fraction(1 / film.frame_s).limit_denominator(1001), Fraction(_MAX_RATE))
            film_ends_s = film.duration_s
            end_s = asked_s
            if film_ends_s is not None and film_ends_s > self.start_s:
                end_s = min(asked_s, film_ends_s - self.start_s)
            with FilmWriter(
                self.target, fit.size, quality, rate=max(rate, Fraction(1)), sound=sound
            ) as writer:
                writer.show(fit(first), 0.0)
                shown_s = 0.0
                for time_s, frame in frames:
                    if time_s - shown_s >= 0.9 / _MAX_RATE:
                        writer.show(fit(frame), time_s)
                        shown_s = time_s
                        tell(time_s / asked_s)
                writer.end(end_s)
        return end_s
