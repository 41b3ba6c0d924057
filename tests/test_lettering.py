"""Text in pictures: letters that there are, lines that fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from mmrag_plugin.makers import lettering
from mmrag_plugin.makers.base import one_line
from mmrag_plugin.makers.lettering import font_for, height_px, write


@pytest.fixture(autouse=True)
def _looked_for_anew() -> None:
    lettering._font.cache_clear()
    lettering._fonts.cache_clear()


def test_a_machine_without_fonts_writes_in_pillows_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(lettering, "_FOLDERS", (str(tmp_path),))
    assert font_for("東京", 20).getlength("abc") > 10
    picture = PIL.Image.new("RGB", (200, 40), "white")
    write(picture, (0, 0, 200, 40), "Hello 東京", 20, fill=(0, 0, 0))
    assert np.asarray(picture).min() < 50


def test_a_font_with_all_letters_is_taken_where_there_is_one(tmp_path: Path) -> None:
    for text in ("Ärger", "дом"):
        font = font_for(text, 20)
        has = [lettering._has(font, letter) for letter in text]
        if not lettering._fonts():
            pytest.skip("this machine has no fonts")
        assert all(has), text


def test_a_font_file_that_is_none_is_passed_over(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "dejavusans.ttf").write_bytes(b"no font")
    monkeypatch.setattr(lettering, "_FOLDERS", (str(tmp_path),))
    assert font_for("дом", 20).getlength("abc") > 10


@pytest.mark.parametrize(
    "text", ["one two three four five six", "w" * 200, "a " + "b" * 99, "", " "]
)
@pytest.mark.parametrize("most", [1, 2, 5])
def test_lines_fit_and_end_with_dots_where_something_is_left_out(text: str, most: int) -> None:
    font = font_for("abc…", 15)
    lines = list(lettering._lines(text, font, 100, most))
    assert len(lines) <= most
    assert all(font.getlength(line) <= 100 for line in lines)
    whole = "".join(text.split())
    shown = "".join("".join(lines).split())
    assert shown == whole or (shown.endswith("…") and whole.startswith(shown[:-1]))
    assert height_px(text, 15, 100, most) == len(lines) * 19


def test_text_out_of_media_is_one_line_without_controls() -> None:
    assert one_line("a\n\x1b[31m b\u202e\tc") == "a [31m b c"
