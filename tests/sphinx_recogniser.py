"""A small real recogniser for tests: PocketSphinx, whose wheel holds a model of American English.

With the whole language it is slow and mostly wrong, and so mmrag has no use for it; within a few
sentences that are known beforehand it is quick and hears the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from tempfile import NamedTemporaryFile

import numpy as np

from mmrag_plugin.film_sound import RATE_HZ, WINDOW_S, Sound, levels_of
from mmrag_plugin.signals.speech import (
    SpeechRecogniser,
    SpokenSegment,
    nothing_between,
    tidied,
)

LOUD_DB = -40
PAUSE_S = 0.8


class SphinxRecogniser(SpeechRecogniser):
    """Hears which of some sentences is said."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._sentences = tuple(sentences)

    @property
    def stamp(self) -> str:
        return f"sphinx-{len(self._sentences)}"

    def recognise(
        self, sound: Sound, before: str = "", between: Callable[[], None] = nothing_between
    ) -> list[SpokenSegment]:
        return tidied(self._heard(sound), sound)

    def _heard(self, sound: Sound) -> Iterator[SpokenSegment]:
        from pocketsphinx import Decoder

        rules = f"#JSGF V1.0; grammar said; public <said> = {' | '.join(self._sentences)};"
        with NamedTemporaryFile("w", suffix=".jsgf") as grammar:
            grammar.write(rules)
            grammar.flush()
            decoder = Decoder(jsgf=grammar.name, loglevel="FATAL")
        for start_s, end_s in _loud(sound):
            begin = max(round((start_s - 0.3 - sound.start_s) * RATE_HZ), 0)
            end = round((end_s + 0.3 - sound.start_s) * RATE_HZ)
            samples = (sound.samples[begin:end] * 32767).astype(np.int16)
            decoder.start_utt()
            decoder.process_raw(samples.tobytes(), full_utt=True)
            decoder.end_utt()
            if (found := decoder.hyp()) is not None:
                yield SpokenSegment(start_s, end_s, found.hypstr, "en")


def _loud(sound: Sound) -> list[tuple[float, float]]:
    """The spans in which it is not quiet; short pauses are within."""
    first, levels = levels_of(sound)
    spans: list[tuple[float, float]] = []
    for number, level in enumerate(levels, start=first):
        start_s, end_s = number * WINDOW_S, (number + 1) * WINDOW_S
        if level > LOUD_DB:
            joined = bool(spans) and start_s - spans[-1][1] < PAUSE_S
            spans = [*spans[:-1], (spans[-1][0], end_s)] if joined else [*spans, (start_s, end_s)]
    return spans
