"""Choose who reads the text in pictures, by the languages that are wanted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmrag_plugin.errors import ModelError
from mmrag_plugin.signals.ocr import ReadsAlso, TextReader
from mmrag_plugin.signals.ocr_languages import FROM_THE_RIGHT, Language, languages_named
from mmrag_plugin.signals.ocr_models import FOLDER, PREFIX, fetchable
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader, require_rapidocr, wheel_models
from mmrag_plugin.signals.ocr_tesseract import TesseractReader, how_to_install, installed

BY_WHEEL, BY_MODEL, BY_TESSERACT = "RapidOCR", "RapidOCR with a model of yours", "Tesseract"


@dataclass(frozen=True)
class Chosen:
    """A reader, by whom each wanted language is read, and those that nobody here can read."""

    reader: TextReader
    by: dict[Language, str]
    missing: tuple[Language, ...]

    @property
    def how_to_read_all(self) -> str:
        """What to do so that the languages are read that are not."""
        offered = [language for language in self.missing if fetchable(language)]
        fetching = " && ".join(f"mmrag models pull {PREFIX}{one.code}" for one in offered)
        return how_to_install(self.missing) + (
            f". Or fetch a model: {fetching}" if fetching else ""
        )

    @property
    def warnings(self) -> list[str]:
        """What to do about languages that can't be read; empty when all can."""
        if not self.missing:
            return []
        names = ", ".join(language.name for language in self.missing)
        return [f"Text in pictures can't be read in {names} here. {self.how_to_read_all}"]


def choose_reader(
    named: str = "", folder: str = "", *, models_home: Path | None = None, threads: int = 0
) -> Chosen:
    """RapidOCR for the languages whose letters its models know, Tesseract for the others.

    Without languages RapidOCR reads what the models of its wheel know: Chinese, Japanese, and
    languages in Latin letters. ``folder`` is one with further recognition models; without it those
    that were fetched into ``models_home`` count, where a language needs them. Raises MissingExtra
    without RapidOCR, ModelError for a folder without a model, UsageError for what is no language.
    """
    languages = languages_named(named)
    require_rapidocr()
    files = _models_in(Path(folder)) if folder else []
    if languages and not files and models_home is not None and (models_home / FOLDER).is_dir():
        files = sorted((models_home / FOLDER).glob("*_rec_*.onnx"))
    if not languages:
        return Chosen(RapidOcrReader(threads=threads, models=files), {}, ())
    wheel = letters_of(wheel_models()["rec"])
    others = {path: letters_of(path) for path in files}
    by: dict[Language, str] = {}
    used: list[Path] = []
    for language in languages:
        if language.code in FROM_THE_RIGHT:
            continue
        if language.is_written_with(wheel):
            by[language] = BY_WHEEL
        elif path := next(
            (p for p, known in others.items() if language.is_written_with(known)), None
        ):
            by[language] = BY_MODEL
            used += [] if path in used else [path]
    reader: TextReader = RapidOcrReader(threads=threads, models=used)
    here = installed()
    left = [language for language in languages if language not in by and language.tesseract in here]
    if left:
        by |= dict.fromkeys(left, BY_TESSERACT)
        # with the others: a line is often in two languages
        also = [language for language in languages if language.tesseract in here]
        known = wheel.union(*(others[path] for path in used))
        letters = frozenset[str]().union(*(language.letters for language in left)) - known
        reader = ReadsAlso(reader, TesseractReader(also), letters)
    return Chosen(reader, by, tuple(language for language in languages if language not in by))


def letters_of(model: Path) -> frozenset[str]:
    """The letters that a recognition model knows, as it says itself. Raises ModelError."""
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
        known = session.get_modelmeta().custom_metadata_map["character"]
    except KeyError:
        raise ModelError(
            f"{model} does not say which letters it knows.",
            "Take a recognition model of RapidOCR (its name holds _rec_), which has them inside.",
        ) from None
    except Exception as error:  # ONNX Runtime's own
        raise ModelError(
            f"{model} is no model that can be loaded ({type(error).__name__}).",
            "Fetch it again, or take it out of the folder.",
        ) from error
    return frozenset(known.lower()) | frozenset(known)


def _models_in(folder: Path) -> list[Path]:
    try:
        found = sorted(
            path
            for path in folder.expanduser().iterdir()
            if "_rec_" in path.name and path.suffix == ".onnx"
        )
    except OSError as error:
        raise ModelError(
            f"{folder} can't be looked into: {error.strerror or error}.",
            "Name the folder with recognition models by MMRAG_OCR_MODELS.",
        ) from error
    if not found:
        raise ModelError(
            f"{folder} holds no recognition model (*_rec_*.onnx).",
            "Put one of RapidOCR's there, as cyrillic_PP-OCRv5_rec_mobile.onnx, or unset "
            "MMRAG_OCR_MODELS.",
        )
    return found
