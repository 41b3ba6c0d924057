"""Hear what is said in films: the seam, and what every recogniser's words go through."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmrag_plugin.signals.plain_text import plain_text

if TYPE_CHECKING:
    from mmrag_plugin.film_sound import Sound

SPEECH_VERSION = 1  # of how words of recognisers are dealt with; part of every stamp
MAX_REPEATED = 2  # times that one line is believed in a row: recognisers get caught in loops
_LONGEST_S = 60.0


@dataclass(frozen=True)
class SpokenSegment:
    """What is said from ``start_s`` to ``end_s`` of a film; ``language`` is like ``en``, or ""."""

    start_s: float
    end_s: float
    text: str
    language: str = ""


def nothing_between() -> None:
    """Do nothing while a recogniser is at work."""


class SpeechRecogniser(ABC):
    """Writes down what is said. It can be pickled before its first use, when it loads its model."""

    @property
    @abstractmethod
    def stamp(self) -> str:
        """Name the model, the language asked for and every parameter that changes the words.

        At most 200 characters.
        """

    @property
    def language(self) -> str:
        """The language that was asked for, like ``en``; empty where it is to be detected."""
        return ""

    @abstractmethod
    def recognise(
        self, sound: Sound, before: str = "", between: Callable[[], None] = nothing_between
    ) -> list[SpokenSegment]:
        """Write down what is said in a piece of a film, in order; nothing where nobody speaks.

        Times are the film's. ``before`` is the language of the piece before, for where this one
        does not tell. ``between`` is called now and then by those who wait, and may raise.
        Raises MediaError when it fails on this sound, ModelError when the model can't be used.
        """

    def close(self) -> None:
        """Give back what the model takes; the next piece loads it again."""
        return


def tidied(segments: Iterable[SpokenSegment], sound: Sound) -> list[SpokenSegment]:
    """Bring segments into order, inside the piece; what is empty or said over and over goes."""
    found: list[SpokenSegment] = []
    repeated = 0
    for segment in sorted(segments, key=lambda segment: (segment.start_s, segment.end_s)):
        start_s = min(max(segment.start_s, sound.start_s), sound.end_s)
        end_s = min(max(segment.end_s, start_s), sound.end_s, start_s + _LONGEST_S)
        text = " ".join(plain_text(segment.text).split())
        if not any(char.isalnum() for char in text):
            continue
        repeated = repeated + 1 if found and found[-1].text == text else 1
        if repeated <= MAX_REPEATED:
            times = round(start_s, 3), round(end_s, 3)
            found.append(replace(segment, start_s=times[0], end_s=times[1], text=text))
    return found


def language_of(segments: Sequence[SpokenSegment], otherwise: str = "") -> str:
    """The language in which most is said."""
    spoken: dict[str, int] = {}
    for segment in segments:
        spoken[segment.language] = spoken.get(segment.language, 0) + len(segment.text)
    return max(spoken, key=lambda language: spoken[language]) if spoken else otherwise
