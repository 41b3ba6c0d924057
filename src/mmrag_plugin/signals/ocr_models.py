"""Recognition models of RapidOCR for other scripts: which there are, and fetching one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mmrag_plugin.errors import ModelError, ServiceError, StorageError
from mmrag_plugin.signals.ocr_languages import LANGUAGES, Language

PREFIX = "ocr-"  # before a language's code: the name of the model that reads it
FOLDER = "ocr"  # below the folder of models
_SCRIPTS = {  # RapidOCR's names for its models of PP-OCRv5, by the languages that they read
    "eslav": "be ru uk",
    "cyrillic": "bg kk mk sr",
    "korean": "ko",
    "th": "th",
    "el": "el",
    "devanagari": "hi mr ne",
    "ta": "ta",
    "te": "te",
}


@dataclass(frozen=True)
class Fetchable:
    """A model that RapidOCR offers: the name of its file, where it lies, what it must hash to."""

    file: str
    url: str
    sha256: str

    @property
    def host(self) -> str:
        """The machine that it comes from."""
        return urlsplit(self.url).netloc


def fetchable(language: Language) -> Fetchable | None:
    """The model that RapidOCR offers for a language; None when it has none."""
    script = next((name for name, codes in _SCRIPTS.items() if language.code in codes.split()), "")
    if not script:
        return None
    from rapidocr.inference_engine.base import FileInfo, InferSession
    from rapidocr.utils.typings import EngineType, ModelType, OCRVersion, TaskType

    wanted = FileInfo(
        EngineType.ONNXRUNTIME, OCRVersion.PPOCRV5, TaskType.REC, script, ModelType.MOBILE
    )
    found = InferSession.get_model_url(wanted)
    url = str(found["model_dir"])
    return Fetchable(Path(urlsplit(url).path).name, url, str(found["SHA256"]))


def model_named(name: str) -> tuple[Language, Fetchable] | None:
    """The language and the model that ``ocr-CODE`` means; None for any other name."""
    language = LANGUAGES.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    model = fetchable(language) if language else None
    return (language, model) if language and model else None


def fetch(model: Fetchable, models_home: Path) -> Path:
    """Download a model and return its path; the caller has asked the person.

    It takes its place only when it is whole. Raises ServiceError when it can't be reached,
    ModelError when it is not what RapidOCR says it is, StorageError when the disk won't take it.
    """
    from rapidocr.utils.download_file import DownloadFile, DownloadFileException, DownloadFileInput

    target = models_home / FOLDER / model.file
    if target.is_file() and DownloadFile.check_file_sha256(target, model.sha256):
        return target
    partial = target.with_name(f".{target.name}.part")
    quiet = logging.Logger("rapidocr-fetch", logging.CRITICAL + 1)
    try:
        partial.unlink(missing_ok=True)
        DownloadFile.run(DownloadFileInput(model.url, partial, quiet, verbose=False))
        if not DownloadFile.check_file_sha256(partial, model.sha256):
            partial.unlink()
            raise ModelError(
                f"What {model.host} sent is not {model.file}.", "Try again later, or elsewhere."
            )
        partial.replace(target)
    except DownloadFileException as error:
        raise ServiceError(
            f"{model.file} can't be fetched from {model.host}.",
            f"Check the connection; or put the file into {target.parent} yourself.",
        ) from error
    except OSError as error:
        raise StorageError(
            f"{target} can't be written: {error.strerror or error}.",
            "Free some room or choose another place with MMRAG_HOME.",
        ) from error
    return target
