"""Read text in pictures with Tesseract, a program that the person installs."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.signals.ocr import Line, Sight, TextReader, cut
from mmrag_plugin.signals.ocr_languages import Language
from mmrag_plugin.signals.plain_text import plain_text

if TYPE_CHECKING:
    from PIL.Image import Image

PROGRAM = "tesseract"
MAX_SIDE_PX = 3000  # of the picture that it sees
READ_S = 30.0  # that it may take for one picture
ASKED_S = 10.0  # that it may take to say what it is
MIN_CONFIDENCE = 50  # of 100, of a word
MAX_OUTPUT_BYTES = 8 * 2**20
_SPARSE = "11"  # page segmentation: find as much text as possible, in no particular order
_VERSION = 1
_INSTALL = (  # the first program that is there, and its command for Tesseract and a language
    ("apt-get", "sudo apt install tesseract-ocr", "sudo apt install tesseract-ocr-{}"),
    ("dnf", "sudo dnf install tesseract", "sudo dnf install tesseract-langpack-{}"),
    ("pacman", "sudo pacman -S tesseract", "sudo pacman -S tesseract-data-{}"),
    (
        "zypper",
        "sudo zypper install tesseract-ocr",
        "sudo zypper install tesseract-ocr-traineddata-{}",
    ),
    ("brew", "brew install tesseract", "brew install tesseract-lang"),
)
_LEVEL, _WORD = "level", "5"


class TesseractReader(TextReader):
    """Tesseract (https://github.com/tesseract-ocr/tesseract) for some languages.

    It runs as a process of its own for each picture, on one core, and is ended after ``limit_s``.
    Raises MissingExtra when the program is not installed, or has no data for a language.
    """

    def __init__(self, languages: Sequence[Language], *, limit_s: float = READ_S) -> None:
        here = installed()
        missing = [language for language in languages if language.tesseract not in here]
        if missing or not languages:
            names = ", ".join(language.name for language in missing)
            raise MissingExtra(
                f"Tesseract can't read {names} here."
                if names
                else "Tesseract is given no language.",
                how_to_install(missing),
            )
        self._languages = "+".join(sorted({language.tesseract for language in languages}))
        self._limit_s = limit_s

    @cached_property
    def stamp(self) -> str:
        """Name the version of Tesseract, the languages and the limits."""
        limits = f"{MAX_SIDE_PX}px-{MIN_CONFIDENCE}"
        return f"tesseract-{version()}/{self._languages}/{limits}/{_VERSION}"

    def see(self, picture: Image) -> Sight:
        """Read an upright picture: lines with their places. Raises MediaError when it fails."""
        import PIL.Image

        scale = min(MAX_SIDE_PX / max(picture.size), 1.0)
        shown = picture.convert("L")
        if scale < 1:
            size = max(round(picture.width * scale), 1), max(round(picture.height * scale), 1)
            shown = shown.resize(size, PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
        file = io.BytesIO()
        shown.save(file, "PPM")
        lines = list(_lines(self._run(file.getvalue()), 1 / scale))
        return Sight(cut(lines), 0.0, len(lines))

    def _run(self, picture: bytes) -> str:
        command = [_program(), "stdin", "stdout", "-l", self._languages]
        command += ["--psm", _SPARSE, "--dpi", "150", "tsv"]
        try:
            done = subprocess.run(  # noqa: S603  (a program by its full path, no word of the picture)
                command,
                input=picture,
                capture_output=True,
                timeout=self._limit_s,
                check=False,
                env={**os.environ, "OMP_THREAD_LIMIT": "1"},
            )
        except subprocess.TimeoutExpired:
            raise MediaError(
                f"Tesseract takes longer than {self._limit_s:g} s to read the picture.",
                "Save it smaller if its text should be found.",
            ) from None
        except OSError as error:
            raise _gone() from error
        if done.returncode:
            said = plain_text(done.stderr.decode("utf-8", "replace")).splitlines()
            reason = said[-1][:200] if said else f"exit status {done.returncode}"
            raise MediaError(
                f"Tesseract can't read the picture ({reason}).",
                "mmrag doctor says whether it works at all.",
            )
        return done.stdout[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")


def installed() -> frozenset[str]:
    """The languages that Tesseract has data for here; none where it isn't installed."""
    said = _asked("--list-langs")
    return frozenset(line.strip() for line in said.splitlines()[1:] if line.strip())


def version() -> str:
    """The version of Tesseract; empty where it isn't installed."""
    words = _asked("--version").split()
    return words[1] if len(words) > 1 else ""


def how_to_install(missing: Sequence[Language]) -> str:
    """The commands that get Tesseract and its data for languages, on this machine."""
    packer = next((row for row in _INSTALL if shutil.which(row[0])), None)
    if packer is None:
        names = ", ".join(f"{language.tesseract}.traineddata" for language in missing)
        return f"Install Tesseract (https://tesseract-ocr.github.io) with {names or 'its data'}."
    _, program, data = packer
    commands = [] if shutil.which(PROGRAM) else [program]
    commands += [data.format(language.tesseract.replace("_", "-")) for language in missing]
    return "Install it: " + " && ".join(dict.fromkeys(commands))


def _asked(option: str) -> str:
    if shutil.which(PROGRAM) is None:
        return ""
    try:
        done = subprocess.run(  # noqa: S603
            [_program(), option], capture_output=True, timeout=ASKED_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")


def _program() -> str:
    found = shutil.which(PROGRAM)
    if found is None:
        raise _gone()
    return found


def _gone() -> MissingExtra:
    return MissingExtra("Tesseract is not installed any more.", how_to_install(()))


def _lines(table: str, scale: float) -> Iterator[Line]:
    """The lines of Tesseract's table of words (TSV): words it is sure of, joined.

    Rows that are no such thing are left out.
    """
    words: dict[tuple[str, ...], list[tuple[str, float, float, float, float, float]]] = {}
    head, *rows = (line.split("\t") for line in table.split("\n"))
    for cells in rows:
        row = dict(zip(head, cells, strict=False))
        try:
            left, top, width, height = (
                float(row[name]) * scale for name in ("left", "top", "width", "height")
            )
            level, text, confidence = row[_LEVEL], row["text"].strip(), float(row["conf"])
        except (KeyError, ValueError):
            continue
        if level != _WORD or not MIN_CONFIDENCE <= confidence <= 100:
            continue
        if any(char.isalnum() for char in text):
            place = tuple(row[name] for name in ("page_num", "block_num", "par_num", "line_num"))
            found = text, left, top, left + width, top + height, confidence / 100
            words.setdefault(place, []).append(found)
    for line in words.values():
        texts, lefts, tops, rights, bottoms, sure = zip(*line, strict=True)
        top, bottom = min(tops), max(bottoms)
        height = max(bottom - top, 1.0)
        middle = (top + bottom) / 2
        yield Line(" ".join(texts), min(lefts), max(rights), middle, height, min(sure))
