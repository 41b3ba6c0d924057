"""The speech stage: what is said in films without subtitles, written down by a recogniser.

It comes after the stages by which pictures are found by their looks and by what is written in them,
and before captions. What is heard is kept piece by piece, by the content of the file, so that a run
which is killed goes on behind the last piece and nothing is listened to twice, whatever becomes of
the file's name or its encoding.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmrag_plugin.errors import MediaError, ModelError
from mmrag_plugin.film_sound import FLOOR_DB, Sound, levels_of, sounds_alike
from mmrag_plugin.index_run import COMMIT_S, Run
from mmrag_plugin.index_words import WordsStage
from mmrag_plugin.ledger import HeardPiece, MediaRow
from mmrag_plugin.media import Signal
from mmrag_plugin.timecode import format_time
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from mmrag_plugin.signals.speech import SpeechRecogniser, SpokenSegment

SILENT_DB = -70  # where no window is louder nobody speaks, and no recogniser needs to be asked
_SAME_LENGTH_S = 1.0


class Sounds(Protocol):
    """Where the sound of films comes from."""

    def __call__(self, path: Path, *, from_s: float = 0.0, language: str = "") -> Iterator[Sound]:
        """Yield the sound of a film from a time on."""


@dataclass(frozen=True)
class SpeechWork:
    """What the stage works with, built by the library; without a recogniser nothing is heard."""

    recogniser: SpeechRecogniser | None = None
    sounds: Sounds | None = None


class SpeechStage:
    """Listens to films in one run."""

    def __init__(self, run: Run, words: WordsStage, work: SpeechWork) -> None:
        self.run, self.ledger = run, run.ledger
        self._words, self._work = words, work
        self._published = time.monotonic()

    def listen(self) -> None:
        """Hear what is to be heard; what stops the stage is reported, not raised."""
        self.ledger.drop_speech_of_subtitled()
        recogniser, sounds = self._work.recogniser, self._work.sounds
        if recogniser is not None and sounds is not None:
            pending = self.ledger.to_hear(self.run.parts.stamps.speech)
            with self.run.timed("speech", len(pending)):
                try:
                    for media in self.run.rows(pending):
                        self.run.between_media()
                        self._hear(media, recogniser, sounds)
                        self.run.progress.advance("speech", 1)
                        self._publish_in_time()
                except ModelError as error:
                    self._report_stop(error)
                finally:
                    recogniser.close()
                    self.run.enter_failures()
        self._words.project()

    def _hear(self, media: MediaRow, recogniser: SpeechRecogniser, sounds: Sounds) -> None:
        stamp = self.run.parts.stamps.speech
        with self.run.failing("speech", media):
            content = self.ledger.content_of(media.media_id)
            if not self.ledger.is_heard_out(content, stamp):
                self._hear_out(_Listening(self.run, media, recogniser, sounds, content, stamp))
                self.ledger.put_heard_out(content, stamp, media.duration_s or 0.0)
            said = [
                Signal("speech", text, start_s, end_s)
                for piece in self.ledger.heard(content, stamp)
                for start_s, end_s, text, _ in piece.segments
            ]
            self.ledger.put_signals("speech", stamp, {media.media_id: said})
            self.run.report.stages["speech"].done += 1
        self.run.enter_failures()

    def _hear_out(self, listening: _Listening) -> None:
        """Listen to a film up to its end, or take over what was heard of the same sound."""
        pieces = self.ledger.heard(listening.content, listening.stamp)
        if not pieces and (known := self._known_sound(listening)):
            for number, piece in enumerate(known):
                self.ledger.put_heard(listening.content, listening.stamp, number, piece)
            return
        before = pieces[-1].language if pieces else ""
        from_s = pieces[-1].end_s if pieces else 0.0
        for number, piece in enumerate(listening.pieces(from_s, before), start=len(pieces)):
            self.ledger.put_heard(listening.content, listening.stamp, number, piece)

    def _known_sound(self, listening: _Listening) -> list[HeardPiece]:
        """What was heard in another film that sounds the same; empty where there is none."""
        media, stamp = listening.media, listening.stamp
        if not media.duration_s:
            return []
        others = self.ledger.heard_out_of_length(stamp, media.duration_s, _SAME_LENGTH_S)
        if not others:
            return []
        found = listening.levels()
        for other in others:
            pieces = self.ledger.heard(other, stamp)
            spoken = [segment[:2] for piece in pieces for segment in piece.segments]
            known = joined_levels([(piece.first_level, piece.levels) for piece in pieces])
            if sounds_alike(known, found, spoken):
                return pieces
        return []

    def _publish_in_time(self) -> None:
        if time.monotonic() - self._published > COMMIT_S:
            self._words.project()
            self._published = time.monotonic()

    def _report_stop(self, error: ModelError) -> None:
        report = self.run.report
        report.stopped_by = error
        left = len(self.ledger.to_hear(self.run.parts.stamps.speech))
        report.warnings.append(
            f"Listening stopped: {error} {left} films wait for the next mmrag index."
        )


@dataclass(frozen=True)
class _Listening:
    """One film that is listened to."""

    run: Run
    media: MediaRow
    recogniser: SpeechRecogniser
    sounds: Sounds
    content: str
    stamp: str

    def pieces(self, from_s: float, language: str) -> Iterator[HeardPiece]:
        """Hear piece by piece from a time on, and tell how far it is."""
        report = self.run.report.stages["speech"]
        began, heard_s = time.monotonic(), 0.0
        for sound in self._sound(from_s):
            first, levels = levels_of(sound)
            segments: list[SpokenSegment] = []
            if max(levels, default=FLOOR_DB) > SILENT_DB:
                segments = self._asked(sound, language)
            language = segments[-1].language if segments else language
            said = tuple((s.start_s, s.end_s, s.text, s.language) for s in segments)
            yield HeardPiece(sound.end_s, said, language, first, tuple(levels))
            heard_s += sound.end_s - sound.start_s
            report.sound_s += sound.end_s - sound.start_s
            self._tell(sound.end_s, (time.monotonic() - began) / heard_s)
            self.run.between_media()

    def levels(self) -> list[int]:
        """How loud each window of the film is; nothing is recognised."""
        found = []
        for sound in self._sound(0.0):
            found.append(levels_of(sound))
            self.run.between_media()
        return joined_levels(found)

    def _sound(self, from_s: float) -> Iterator[Sound]:
        path, language = Path(self.media.path), self.recogniser.language
        return self.sounds(path, from_s=from_s, language=language)

    def _asked(self, sound: Sound, language: str) -> list[SpokenSegment]:
        try:
            with span("speech.recognise", sound_s=sound.end_s - sound.start_s):
                return self.recogniser.recognise(sound, language, self.run.between_media)
        except MediaError as error:
            raise MediaError(
                f"{self.media.path} can't be listened to at {format_time(sound.start_s)}: "
                f"{error.message}",
                error.remedy or "Play it in another program; mmrag index --retry tries again.",
                path=self.media.path,
            ) from error

    def _tell(self, until_s: float, factor: float) -> None:
        of_all = f" of {format_time(self.media.duration_s)}" if self.media.duration_s else ""
        told = f"{format_time(until_s)}{of_all}, real-time factor {factor:.2f}"
        self.run.progress.note("speech", told)


def joined_levels(pieces: Sequence[tuple[int, Sequence[int]]]) -> list[int]:
    """The levels of all windows from a film's beginning on; between pieces it is silent."""
    found: list[int] = []
    for first, levels in pieces:
        for at, level in enumerate(levels, start=max(first, 0)):
            found += [FLOOR_DB] * (at + 1 - len(found))
            found[at] = max(found[at], level)
    return found
