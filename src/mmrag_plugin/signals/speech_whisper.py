"""Whisper by faster-whisper (https://github.com/SYSTRAN/faster-whisper), the extra ``[speech]``."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.errors import MediaError, MissingExtra, ModelError, ModelMissing
from mmrag_plugin.film_sound import RATE_HZ
from mmrag_plugin.signals.speech import (
    SPEECH_VERSION,
    SpeechRecogniser,
    SpokenSegment,
    nothing_between,
    tidied,
)

if TYPE_CHECKING:
    from mmrag_plugin.film_sound import Sound

MAX_THREADS = 4
BEAMS = 5
SURE_OF_LANGUAGE = 0.6  # a probability; below, the language of the piece before is more likely
# Where Whisper hears no speech, is unsure of its words, or says the same again and again, it makes
# them up: the limits with which OpenAI's own program tries again, here also with the last try.
MAX_NO_SPEECH, MIN_LOGPROB, MAX_COMPRESSION = 0.6, -1.0, 2.4
# Loading it would fetch what a folder lacks, but for these.
FILES = ("model.bin", "config.json", "tokenizer.json")


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("faster_whisper") is not None


def require_installed() -> None:
    """Raise MissingExtra where the extra is not there."""
    if not is_installed():
        raise MissingExtra(
            "What is said in films can't be written down: faster-whisper is not installed.",
            "Install it: pip install 'mmrag-plugin[speech]', or set MMRAG_SPEECH=off.",
        )


class WhisperRecogniser(SpeechRecogniser):
    """Whisper in a folder as CTranslate2 has it; nothing is ever downloaded.

    ``language`` is a code such as ``en``, or empty to detect it; ``compute`` a type of CTranslate2
    (``int8``, ``float16``, ``float32``), by default int8 on a processor and float16 on a GPU.
    Raises MissingExtra without faster-whisper, ModelMissing for a folder without its files.
    """

    def __init__(
        self, folder: Path, *, language: str = "", threads: int = 0, compute: str = "auto"
    ) -> None:
        require_installed()
        self._folder = folder.expanduser().resolve()
        missing = [name for name in FILES if not (self._folder / name).is_file()]
        if missing:
            raise ModelMissing(
                f"{folder} holds no Whisper model of CTranslate2: {', '.join(missing)} missing.",
                "Fetch one: mmrag models pull whisper-small",
            )
        self._language, self._compute = language, compute
        self._threads = threads or min(MAX_THREADS, os.cpu_count() or 1)
        self._model: Any = None

    @cached_property
    def stamp(self) -> str:
        """Name the model by its weights, the language, the type of numbers, and our limits."""
        weights = content_hash_of(self._folder / "model.bin")[:16]
        limits = f"{BEAMS}-{MAX_NO_SPEECH}-{MIN_LOGPROB}-{MAX_COMPRESSION}-{SURE_OF_LANGUAGE}"
        return (
            f"faster-whisper/{self._folder.name[:60]}-{weights}/{self._language or 'auto'}"
            f"/{self._compute}/{limits}/{SPEECH_VERSION}"
        )

    @property
    def language(self) -> str:
        """The language that was asked for."""
        return self._language

    def recognise(
        self, sound: Sound, before: str = "", between: Callable[[], None] = nothing_between
    ) -> list[SpokenSegment]:
        """Write down what is said, where a small network hears a voice at all (Silero VAD)."""
        from faster_whisper.vad import get_speech_timestamps

        between()
        try:
            model = self._loaded()
            voices = get_speech_timestamps(sound.samples)
            if not voices:
                return []
            language = self._language or self._detected(model, sound, voices, before)
            between()
            heard, _ = model.transcribe(
                sound.samples,
                language=language,
                beam_size=BEAMS,
                vad_filter=True,
                condition_on_previous_text=False,  # else one invention leads to the next
                no_speech_threshold=MAX_NO_SPEECH,
                log_prob_threshold=MIN_LOGPROB,
                compression_ratio_threshold=MAX_COMPRESSION,
            )
            return tidied(_believed(heard, sound, language, between), sound)
        except (RuntimeError, ValueError) as error:  # CTranslate2's
            raise MediaError(f"Whisper fails on it ({_first_line(error)}).") from error

    def close(self) -> None:
        """Let the model go."""
        self._model = None

    def _detected(self, model: Any, sound: Sound, voices: list[Any], before: str) -> str:
        """The language, from up to half a minute in which somebody speaks."""
        import numpy as np

        if not model.model.is_multilingual:
            return "en"
        spoken = np.concatenate([sound.samples[span["start"] : span["end"]] for span in voices])
        language, probability, _ = model.detect_language(spoken[: 30 * RATE_HZ])
        sure = not before or probability >= SURE_OF_LANGUAGE
        return str(language) if sure else before

    def _loaded(self) -> Any:
        if self._model is None:
            from faster_whisper import WhisperModel

            compute = "default" if self._compute == "auto" else self._compute
            try:
                if self._compute == "auto":
                    compute = _usual_compute()
                self._model = WhisperModel(
                    str(self._folder),
                    compute_type=compute,
                    cpu_threads=self._threads,
                    local_files_only=True,
                )
            except Exception as error:  # CTranslate2 and tokenizers raise types of their own
                raise ModelError(
                    f"The speech model in {self._folder} can't be loaded: {_first_line(error)}",
                    "Its files may be damaged, or MMRAG_SPEECH_COMPUTE may not suit this machine: "
                    "fetch it again, or choose another (mmrag models list).",
                ) from error
            if self._language and self._language not in self._model.supported_languages:
                known = ", ".join(self._model.supported_languages)
                raise ModelError(
                    f"The speech model knows no language {self._language!r}.",
                    f"Set MMRAG_SPEECH_LANGUAGE to one of {known}, or leave it out.",
                )
        return self._model


def _usual_compute() -> str:
    import ctranslate2

    return "float16" if ctranslate2.get_cuda_device_count() else "int8"


def _believed(
    heard: Iterator[Any], sound: Sound, language: str, between: Callable[[], None]
) -> Iterator[SpokenSegment]:
    for said in heard:
        between()
        made_up = (
            said.no_speech_prob > MAX_NO_SPEECH
            or said.avg_logprob < MIN_LOGPROB
            or said.compression_ratio > MAX_COMPRESSION
        )
        if not made_up:
            start_s, end_s = sound.start_s + said.start, sound.start_s + said.end
            yield SpokenSegment(start_s, end_s, said.text, language)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
