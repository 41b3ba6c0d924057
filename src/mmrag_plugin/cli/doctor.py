"""`mmrag doctor`: what works on this machine, and what mends the rest."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import kept_words, milvus_words, on_one_line, output, print_json
from mmrag_plugin.errors import MediaError, MmragError, ModelError, NotFound, StorageError

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.library_models import LibraryModels
    from mmrag_plugin.settings import Settings

WRITTEN = "Gate 42"
FILM = "a_day_out.mp4"


@dataclass(frozen=True)
class Check:
    """One thing that was tried: whether it works, what was found, the command that mends it."""

    name: str
    works: bool
    found: str
    remedy: str = ""


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(doctor)


def doctor(
    sight: Annotated[
        bool,
        typer.Option("--sight", help="Also show the VLM pictures, to be sure; that loads it."),
    ] = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Say what works on this machine, and for what doesn't the one command that mends it."""
    from mmrag_plugin.settings import load_settings

    settings = load_settings(library=library, home=home)
    with ExitStack() as closing:
        place = _Place(settings, closing)
        checks = [
            _tried(name, check)
            for name, check in (
                ("libraries", place.home),
                ("library", place.library),
                ("Milvus", partial(_milvus, settings)),
                ("visual model", place.visual),
                ("text model", place.text),
                ("models kept loaded", partial(_kept, settings)),
                ("text in pictures", partial(_ocr, settings)),
                ("films", _films),
                ("speech", partial(_speech, settings)),
                ("VLM (Ollama)", partial(_vlm, settings, sight)),
                ("new pictures", partial(_generator, settings)),
            )
        ]
    if json:
        print_json({"checks": [vars(check) for check in checks]})
    else:
        for check in checks:
            mark = ("✓ ", "green") if check.works else ("✗ ", "yellow")
            found = Text.assemble(mark, (check.name, "bold"), f"  {on_one_line(check.found)}")
            output.print(found)
            if check.remedy:
                remedy = Text(on_one_line(check.remedy), "dim")
                output.print(Padding(remedy, (0, 0, 0, 4), expand=False))
    if not all(check.works for check in checks):
        raise typer.Exit(1)


def _tried(name: str, check: Callable[[], tuple[str, str]]) -> Check:
    try:
        found, remedy = check()
        return Check(name, True, found, remedy)
    except MmragError as error:
        return Check(name, False, error.message, error.remedy)
    except Exception as error:
        return Check(name, False, f"{type(error).__name__}: {error}", "Reinstall mmrag-plugin.")


class _Place:
    """Where libraries lie, and the one that was named with the models that it works with."""

    def __init__(self, settings: Settings, closing: ExitStack) -> None:
        self._settings, self._closing = settings, closing
        self._library: MediaLibrary | None = None

    def home(self) -> tuple[str, str]:
        home = self._settings.home
        try:
            parent = next(place for place in (home, *home.parents) if place.exists())
            with tempfile.TemporaryFile(dir=parent):
                return f"{home} is writable", ""
        except OSError as error:
            raise StorageError(
                f"{home} can't be written: {error.strerror or error}.",
                "Mend its permissions, or name another place by --home or MMRAG_HOME.",
            ) from error

    def library(self) -> tuple[str, str]:
        from mmrag_plugin.library import MediaLibrary

        name = self._settings.library
        try:
            library = self._closing.enter_context(MediaLibrary.open(self._settings))
        except NotFound as error:
            if name != "default":
                raise
            return "there is none yet", error.remedy
        empty = library.recorded("visual") is None
        self._library = None if empty else library
        place = f"{name} in {library.directory}"
        if self._settings.ledger_url:
            place += f", ledger in {library.ledger.address}"
        return place, "Fill it: mmrag index FOLDER" * empty

    def visual(self) -> tuple[str, str]:
        if self._library is not None:
            model, _ = self._library.models.in_use()
            return _visual_words(model), _said(self._library.models)
        model, warnings = self._chosen
        return _visual_words(model), " ".join(warnings)

    def text(self) -> tuple[str, str]:
        if self._library is not None and (words := self._library.recorded("words")) is not None:
            models = self._library.models
            found = models.text_in_use(words, models.in_use()[0])
            if found is None and words.setting != "off":
                raise ModelError(f"{words.setting} does not work", _said(models))
            return _text_words(found), _said(models)
        from mmrag_plugin.embeddings.choose import choose_text

        settings = self._settings
        model, warnings = choose_text(
            settings.text_model,
            self._chosen[0],
            ollama_host=settings.ollama_host,
            models_home=settings.models_home,
            allow_remote=settings.allow_remote,
            dtype=settings.dtype,
            device=settings.device,
        )
        return _text_words(model), " ".join(warnings)

    @cached_property
    def _chosen(self) -> tuple[VisualEncoder, list[str]]:
        from mmrag_plugin.embeddings.choose import choose_visual

        settings = self._settings
        return choose_visual(
            settings.visual_model,
            models_home=settings.models_home,
            dtype=settings.dtype,
            device=settings.device,
        )


def _visual_words(model: VisualEncoder) -> str:
    return f"{model.model_name}, {model.dim} dimensions{_run_words(model)}"


def _text_words(model: TextEncoder | None) -> str:
    return f"{model.setting}{_run_words(model)}" if model else "words alone (BM25)"


def _run_words(model: VisualEncoder | TextEncoder) -> str:
    """Which number format on which device; nothing of a model that Ollama runs."""
    return f", {model.runs_with}" if model.runs_with else ""


def _said(models: LibraryModels) -> str:
    said = " ".join(models.warnings)
    models.warnings.clear()
    return said


def _kept(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.model_keeper import kept

    if not settings.keep_models:
        return "none, as MMRAG_KEEP_MODELS is 0", ""
    found = kept(settings.home)
    return kept_words(found) if found else "none at present", ""


def _milvus(settings: Settings) -> tuple[str, str]:
    from mmrag_plugin.milvus_owner import paused

    if settings.milvus_uri:
        return _described(settings, settings.home)
    with tempfile.TemporaryDirectory() as scratch:
        found = _described(settings, Path(scratch))
        with paused(Path(scratch)):  # its owner ends before its directory goes
            return found


def _described(settings: Settings, directory: Path) -> tuple[str, str]:
    from mmrag_plugin.milvus_connection import MilvusConnection

    connection = MilvusConnection.of(settings, directory)
    try:
        return milvus_words(connection.describe()), ""
    finally:
        connection.close()


def _ocr(settings: Settings) -> tuple[str, str]:
    import PIL.Image
    import PIL.ImageDraw

    from mmrag_plugin.signals.ocr_choice import choose_reader
    from mmrag_plugin.signals.ocr_tesseract import installed

    if settings.ocr == "off":
        return "is not read, as MMRAG_OCR is off", ""
    chosen = choose_reader(
        settings.ocr_languages, settings.ocr_models, models_home=settings.models_home
    )
    picture = PIL.Image.new("RGB", (320, 80), "white")
    PIL.ImageDraw.Draw(picture).text((20, 20), WRITTEN, "black", font_size=36)
    text = chosen.reader.read(picture).strip()
    if WRITTEN not in text:
        raise ModelError(
            f"RapidOCR reads {text!r} where {WRITTEN!r} is written.",
            "Install it again: pip install --force-reinstall rapidocr",
        )
    if chosen.missing:
        names = ", ".join(language.name for language in chosen.missing)
        raise ModelError(f"{names} can't be read in pictures", chosen.how_to_read_all)
    readers = dict.fromkeys(chosen.by.values())
    said = [
        f"{', '.join(language.name for language, by in chosen.by.items() if by == reader)} "
        f"by {reader}"
        for reader in readers
    ]
    found = f"RapidOCR reads {text!r} where {WRITTEN!r} is written"
    if said:
        return f"{found}; {'; '.join(said)}", ""
    return f"{found}; it reads Chinese, Japanese and languages in Latin letters", (
        "For others set MMRAG_OCR_LANGUAGES (as en,ru); Tesseract reads "
        f"{', '.join(sorted(installed())) or 'none, as it is not installed'} here."
    )


def _films() -> tuple[str, str]:
    import av

    from mmrag_plugin.readers.video import frame_at

    versions = f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"
    with as_file(files("mmrag_plugin") / "demo_media" / "Films" / FILM) as film:
        try:
            picture = frame_at(film, 1.0)
        except MediaError as error:
            raise ModelError(
                f"{versions} can't decode the film that comes with mmrag: {error.message}",
                "Install it again: pip install --force-reinstall av",
            ) from error
    return f"{versions} decode {FILM}, {picture.width} x {picture.height} pixels", ""


def _speech(settings: Settings) -> tuple[str, str]:
    """Who writes down what is said; everything else works without."""
    from mmrag_plugin.embeddings.catalogue import DEFAULT_SPEECH
    from mmrag_plugin.library_speech import recogniser_of, speech_model

    if settings.speech == "off":
        return "off: what is said in films is found where they have subtitles", ""
    recogniser = recogniser_of(settings)
    if recogniser is not None:
        folder = None if settings.speech.startswith("script:") else speech_model(settings)
        return f"{folder or settings.speech} writes down what is said in films", ""
    if find_spec("faster_whisper") is None:
        return (
            "no recogniser is installed: what is said in films is found where they have subtitles",
            "If you want it: pip install 'mmrag-plugin[speech]'",
        )
    return (
        "faster-whisper is installed, a model is not: what is said in films is found where they "
        "have subtitles",
        f"If you want it: mmrag models pull {DEFAULT_SPEECH.name} ({DEFAULT_SPEECH.size_mb} MB)",
    )


def _generator(settings: Settings) -> tuple[str, str]:
    """Which model makes new pictures; nothing else needs one."""
    if settings.generator == "plain":
        return "plain colours, without a model", ""
    if find_spec("diffusers") is None:
        return (
            "no generator is installed: mmrag imagine does not work",
            "If you want it: pip install 'mmrag-plugin[generate]'",
        )
    if not settings.generator:
        return (
            "no model is named: mmrag imagine wants --generator",
            "If you want it: set MMRAG_GENERATOR to a diffusers model on this disk.",
        )
    return settings.generator, ""


def _vlm(settings: Settings, sight: bool) -> tuple[str, str]:
    from mmrag_plugin.library_models import vlm_of
    from mmrag_plugin.vlm.canary import check_sight

    llm = vlm_of(settings)
    llm.preflight()
    if not sight:
        return f"{settings.vlm} on {settings.ollama_host} sees pictures", ""
    check_sight(llm)
    return f"{settings.vlm} on {settings.ollama_host} names the colours it is shown", ""
