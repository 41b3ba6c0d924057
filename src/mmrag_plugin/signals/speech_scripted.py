"""A recogniser without a model: it hears what a subtitle file says, where a film is not silent."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import NoSuchPath
from mmrag_plugin.media import Signal
from mmrag_plugin.signals.speech import (
    SPEECH_VERSION,
    SpeechRecogniser,
    SpokenSegment,
    nothing_between,
    tidied,
)
from mmrag_plugin.signals.subtitles import parse_subtitles

if TYPE_CHECKING:
    from mmrag_plugin.film_sound import Sound

SILENCE = 1e-4  # an amplitude: 80 dB below full scale


class ScriptedRecogniser(SpeechRecogniser):
    """Hears each cue of a .srt or .vtt file in the piece in which it begins. For tests.

    Raises NoSuchPath where there is no such file.
    """

    def __init__(self, script: Path, *, language: str = "") -> None:
        self._script, self._language = script.expanduser().absolute(), language
        if not self._script.is_file():
            raise NoSuchPath(f"{script} is not a file.", "Name a .srt or .vtt file.")

    @property
    def stamp(self) -> str:
        """Name the script by what it says."""
        digest = hashlib.blake2b(self._script.read_bytes(), digest_size=8).hexdigest()
        return f"script-{digest}/{self._language or 'auto'}/{SPEECH_VERSION}"

    @property
    def language(self) -> str:
        """The language that was asked for."""
        return self._language

    def recognise(
        self, sound: Sound, before: str = "", between: Callable[[], None] = nothing_between
    ) -> list[SpokenSegment]:
        """Say the cues that begin in the piece."""
        between()
        if not len(sound.samples) or float(abs(sound.samples).max()) < SILENCE:
            return []
        language = self._language or before or "en"
        return tidied(
            (
                SpokenSegment(cue.start_s, cue.end_s or cue.start_s, cue.text, language)
                for cue in self._cues
                if cue.start_s is not None and sound.start_s <= cue.start_s < sound.end_s
            ),
            sound,
        )

    @cached_property
    def _cues(self) -> list[Signal]:
        return parse_subtitles(self._script.read_text(encoding="utf-8", errors="replace"))
