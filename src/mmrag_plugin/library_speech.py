"""Who writes down what is said in the films of a library, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import ModelError, ModelMissing
from mmrag_plugin.settings import Settings

if TYPE_CHECKING:
    from mmrag_plugin.signals.speech import SpeechRecogniser

SCRIPT = "script:"


def recogniser_of(
    settings: Settings, given: SpeechRecogniser | None = None
) -> SpeechRecogniser | None:
    """The recogniser that settings name, in a process of its own; ``given`` comes instead of it.

    ``auto`` takes the first Whisper of the catalogue that is on this disk, where the extra is
    installed; None means that nobody listens. Nothing is loaded or fetched. Raises MissingExtra
    and ModelMissing for a model that was named, ModelError for a folder that holds another.
    """
    from mmrag_plugin.signals.speech_apart import RecognisesApart

    wanted = settings.speech
    if given is not None:
        return None if wanted == "off" else given
    if wanted == "off":
        return None
    if wanted.startswith(SCRIPT):
        from mmrag_plugin.signals.speech_scripted import ScriptedRecogniser

        script = Path(wanted.removeprefix(SCRIPT))
        return RecognisesApart(ScriptedRecogniser(script, language=settings.speech_language))
    from mmrag_plugin.signals.speech_whisper import (
        WhisperRecogniser,
        is_installed,
        require_installed,
    )

    if wanted != "auto":
        require_installed()
    folder = speech_model(settings) if is_installed() else None
    if folder is None:
        return None
    return RecognisesApart(
        WhisperRecogniser(
            folder,
            language=settings.speech_language,
            threads=settings.speech_threads,
            compute=settings.speech_compute,
        )
    )


def speech_model(settings: Settings) -> Path | None:
    """The folder of the model that settings name; None where ``auto`` finds none on this disk.

    Raises ModelMissing and ModelError for one that was named.
    """
    from mmrag_plugin.embeddings.catalogue import DEFAULT_SPEECH, SPEECH_MODELS
    from mmrag_plugin.embeddings.local_models import layout_of, locate, on_disk

    if settings.speech == "auto":
        found = (on_disk(row.name, settings.models_home) for row in SPEECH_MODELS)
        return next(filter(None, found), None)
    try:
        folder = locate(settings.speech, settings.models_home)
    except ModelMissing:
        raise
    except ModelError:
        folder = Path(settings.speech).expanduser()
    if layout_of(folder) != "whisper":
        raise ModelError(
            f"{settings.speech} is no Whisper model in the form of CTranslate2.",
            "Such a folder holds model.bin, config.json and tokenizer.json. Fetch one: "
            f"mmrag models pull {DEFAULT_SPEECH.name}",
        )
    return folder
