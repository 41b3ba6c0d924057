"""Tesseract as it may be: absent, without a language, hanging, crashing, talking nonsense."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.signals import ocr_choice
from mmrag_plugin.signals.ocr_choice import choose_reader
from mmrag_plugin.signals.ocr_languages import LANGUAGES
from mmrag_plugin.signals.ocr_tesseract import TesseractReader, how_to_install, installed

RUSSIAN, ENGLISH = LANGUAGES["ru"], LANGUAGES["en"]
HEAD = "level page_num block_num par_num line_num word_num left top width height conf text"


def table(*rows: tuple[int, int, str]) -> str:
    """Tesseract's table: words with their line and confidence."""
    lines = [HEAD.replace(" ", "\t")]
    for word, (line, confidence, text) in enumerate(rows):
        cells = 5, 1, 1, 1, line, word, 10 + 100 * word, 30 * line, 90, 20, confidence, text
        lines.append("\t".join(map(str, cells)))
    return "\n".join(lines) + "\n"


class Program:
    """A program called tesseract that does what the test says, and notes how it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.does("")

    def does(self, python: str, *, languages: str = "eng\nrus") -> None:
        """Run some Python once the program is to read a picture."""
        script = self.folder / "tesseract"
        script.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys, time\n"
            f"open({str(self.calls)!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
            "if sys.argv[1] == '--version': print('tesseract 5.9.9'); sys.exit()\n"
            "if sys.argv[1] == '--list-langs':\n"
            f"    print('List of languages (2):'); print({languages!r}); sys.exit()\n"
            "data = sys.stdin.buffer.read()\n"
            f"{python}\n"
        )
        script.chmod(0o755)

    def says(self, text: str) -> None:
        """Have it answer a picture with a text."""
        self.does(f"sys.stdout.write({text!r})")

    def called(self) -> list[list[str]]:
        """The arguments of its calls."""
        return [json.loads(line) for line in self.calls.read_text().splitlines()]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/nowhere")
    return Program(folder)


def picture() -> Image.Image:
    return Image.new("RGB", (600, 200), "white")


def test_words_of_a_line_are_joined_and_doubtful_ones_left_out(program: Program) -> None:
    program.says(table((1, 96, "Выход"), (1, 91, "B42"), (2, 12, "%$#"), (2, 20, "тень")))
    assert TesseractReader([RUSSIAN]).read(picture()) == "Выход B42"


def test_no_word_of_a_picture_or_setting_is_an_argument_of_its_own(program: Program) -> None:
    program.says(table())
    TesseractReader([RUSSIAN, ENGLISH]).read(picture())
    assert program.called()[-1] == [
        *("stdin", "stdout", "-l", "eng+rus", "--psm", "11", "--dpi", "150", "tsv")
    ]


def test_a_program_that_hangs_is_ended(program: Program) -> None:
    program.does("time.sleep(60)")
    began_s = time.monotonic()
    with pytest.raises(MediaError, match=r"longer than 1 s"):
        TesseractReader([RUSSIAN], limit_s=1).read(picture())
    assert time.monotonic() - began_s < 20


def test_a_crash_is_an_error_with_its_last_word_and_drives_no_terminal(program: Program) -> None:
    program.does("sys.stderr.write('first\\n\\x1b[2J\\x1b]0;owned\\x07no memory\\n'); sys.exit(3)")
    with pytest.raises(MediaError, match="no memory") as caught:
        TesseractReader([RUSSIAN]).read(picture())
    assert caught.value.message.isprintable()


def test_a_killed_program_is_an_error(program: Program) -> None:
    program.does("os.kill(os.getpid(), 9)")
    with pytest.raises(MediaError, match="exit status -9"):
        TesseractReader([RUSSIAN]).read(picture())


@pytest.mark.parametrize(
    "said",
    [
        "",
        "nonsense",
        "level\tconf\n5\n",
        HEAD.replace(" ", "\t") + "\n5\tx\ty\n",
        HEAD.replace(" ", "\t") + "\n" + "\t".join(["5"] * 10 + ["nan", "x"]) + "\n",
        "\0\x1b" * 1000,
        table((1, 96, "")),
    ],
)
def test_nonsense_is_no_text(program: Program, said: str) -> None:
    program.says(said)
    assert TesseractReader([RUSSIAN]).read(picture()) == ""


def test_text_that_would_drive_a_terminal_is_plain(program: Program) -> None:
    program.says(table((1, 96, "\x1b[31mGate\x07"), (1, 96, "\u202eB42")))
    text = TesseractReader([RUSSIAN]).read(picture())
    assert text.isprintable()
    assert "Gate" in text


def test_a_flood_of_text_is_cut(program: Program) -> None:
    program.does(
        f"sys.stdout.write({HEAD.replace(' ', chr(9))!r} + chr(10))\n"
        "for n in range(30_000):\n"
        "    cells = 5, 1, 1, 1, n, 1, 10, n, 90, 20, 96, 'word' * 10\n"
        "    sys.stdout.write(chr(9).join(map(str, cells)) + chr(10))\n"
    )
    assert len(TesseractReader([RUSSIAN]).read(picture())) <= 10_000


def test_a_large_picture_is_scaled_down(program: Program) -> None:
    program.does("sys.stdout.write('level\\n'); open(sys.argv[0] + '.size', 'wb').write(data[:15])")
    TesseractReader([RUSSIAN]).see(Image.new("L", (9000, 3000)))
    assert (program.folder / "tesseract.size").read_bytes().split()[1:3] == [b"3000", b"1000"]


def test_a_missing_language_is_named_with_its_command(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.does("", languages="eng")
    (program.folder / "apt-get").touch(mode=0o755)
    with pytest.raises(MissingExtra, match="can't read Russian, German here") as caught:
        TesseractReader([RUSSIAN, LANGUAGES["de"], ENGLISH])
    assert "sudo apt install tesseract-ocr-rus && sudo apt install tesseract-ocr-deu" in (
        caught.value.remedy
    )
    (program.folder / "tesseract").unlink()
    assert how_to_install([RUSSIAN]).startswith("Install it: sudo apt install tesseract-ocr && ")


def test_a_program_that_does_not_answer_has_no_languages(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.signals.ocr_tesseract.ASKED_S", 0.2)
    (program.folder / "tesseract").write_text(f"#!{sys.executable}\nimport time; time.sleep(30)\n")
    assert installed() == frozenset()


def test_languages_go_to_whom_knows_their_letters(program: Program) -> None:
    chosen = choose_reader("en, de, zh, ja, ru, ko")
    named = {language.code: by for language, by in chosen.by.items()}
    by_wheel = dict.fromkeys(("en", "de", "zh", "ja"), "RapidOCR")
    assert named == {**by_wheel, "ru": "Tesseract"}
    assert [language.name for language in chosen.missing] == ["Korean"]
    assert len(chosen.warnings) == 1
    assert "Korean" in chosen.warnings[0]
    assert "mmrag models pull ocr-ko" in chosen.warnings[0]
    assert "tesseract-5.9.9/eng+rus" in chosen.reader.stamp


def test_without_languages_tesseract_is_not_even_asked(program: Program) -> None:
    chosen = choose_reader()
    assert chosen.reader.stamp.startswith("rapidocr")
    assert not program.calls.exists()


def test_a_model_of_the_persons_own_is_used_for_its_letters(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = ocr_choice.wheel_models()["rec"]
    models = tmp_path / "models"
    models.mkdir()
    other = models / "other_rec_mobile.onnx"
    other.write_bytes(wheel.read_bytes())
    real = ocr_choice.letters_of
    monkeypatch.setattr(  # as if the wheel's knew no Greek, which the same model in the folder does
        ocr_choice,
        "letters_of",
        lambda path: real(path) - frozenset("ä") if path == wheel else real(path),
    )
    chosen = choose_reader("de,fr,ru", str(models), threads=2)
    assert {language.code: by for language, by in chosen.by.items()} == {
        "fr": "RapidOCR",
        "de": "RapidOCR with a model of yours",
        "ru": "Tesseract",
    }
    program.says(table())
    page = Image.new("RGB", (400, 120), "white")
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(page).text((20, 30), "Gate B42", "black", font=ImageFont.load_default(40))
    assert chosen.reader.read(page) == "Gate B42"
    assert "+other_rec_mobile" in chosen.reader.stamp


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no recognition model"),
        ({"x_rec_y.onnx": b"not a model"}, "no model that can be loaded"),
    ],
)
def test_a_folder_without_a_model_is_an_error(
    tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    from mmrag_plugin.errors import ModelError

    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=said):
        choose_reader("ru", str(tmp_path))
    with pytest.raises(ModelError, match="can't be looked into"):
        choose_reader("", str(tmp_path / "nowhere"))
