"""What every reader of text in pictures keeps, by RapidOCR, by Tesseract, and by both as one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFont

from mmrag_plugin.signals.ocr import Line, ReadsAlso, Sight, TextReader
from mmrag_plugin.signals.ocr_languages import LANGUAGES
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.signals.ocr_tesseract import TesseractReader, installed

LINES = ("BOARDING PASS", "GATE B42", "Departure 14:05")


def _both() -> TextReader:
    russian = LANGUAGES["ru"]
    return ReadsAlso(RapidOcrReader(threads=2), _tesseract(), russian.letters)


def _tesseract() -> TextReader:
    return TesseractReader([LANGUAGES["en"]])


READERS: dict[str, Callable[[], TextReader]] = {
    "rapidocr": lambda: RapidOcrReader(threads=2),
    "tesseract": _tesseract,
    "both": _both,
}


@pytest.fixture(scope="module", params=READERS)
def make(request: pytest.FixtureRequest) -> Callable[[], TextReader]:
    if request.param != "rapidocr" and "eng" not in installed():
        pytest.skip("Tesseract with English is not installed: apt install tesseract-ocr")
    return READERS[request.param]


@pytest.fixture(scope="module")
def reader(make: Callable[[], TextReader]) -> TextReader:
    return make()


def written(
    lines: tuple[str, ...] = LINES, *, size: tuple[int, int] = (640, 400), ink: str = "black"
) -> Image.Image:
    picture = Image.new("RGB", size, "white" if ink == "black" else "black")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((40, 40 + 90 * number), line, fill=ink, font=ImageFont.load_default(34))
    return picture


def test_lines_are_read_from_top_to_bottom(reader: TextReader) -> None:
    assert reader.read(written()).split("\n") == list(LINES)


def test_white_on_black_is_read(reader: TextReader) -> None:
    assert "GATE B42" in reader.read(written(ink="white"))


@pytest.mark.parametrize("size", [(640, 360), (8, 8), (16, 900), (900, 16), (1, 1), (1, 3000)])
def test_a_picture_without_text_gives_nothing(reader: TextReader, size: tuple[int, int]) -> None:
    assert reader.read(Image.new("RGB", size, "navy")) == ""


@pytest.mark.parametrize("size", [(640, 360), (8, 8), (1, 1), (1, 3000)])
def test_seeing_nothing_is_no_error(reader: TextReader, size: tuple[int, int]) -> None:
    assert reader.see(Image.new("RGB", size, "navy")).lines in ((), [])


def test_lines_stand_where_they_are_in_the_picture(reader: TextReader) -> None:
    seen = {line.text: line for line in reader.see(written()).lines}
    gate = seen["GATE B42"]
    assert 25 < gate.left < 55
    assert 140 < gate.middle < 165
    assert gate.left < gate.right < 300
    assert 0 < gate.confidence <= 1
    assert seen["BOARDING PASS"].middle < gate.middle < seen["Departure 14:05"].middle


def test_a_picture_stays_as_it_is(reader: TextReader) -> None:
    picture = written()
    before = picture.tobytes()
    reader.read(picture)
    assert (picture.size, picture.tobytes()) == ((640, 400), before)


def test_the_stamp_is_the_same_for_the_same_reader(
    make: Callable[[], TextReader], reader: TextReader
) -> None:
    assert make().stamp == reader.stamp
    assert "\n" not in reader.stamp


def test_threads_may_share_a_reader(reader: TextReader) -> None:
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(reader.read, [written()] * 2))
    assert texts[0] == texts[1] == "\n".join(LINES)


def test_a_quick_look_tells_a_page_from_a_wall(reader: TextReader) -> None:
    assert reader.may_hold_text(written())


class Says(TextReader):
    """A second reader that says what the test wants, with what it was shown."""

    def __init__(self, sight: Sight) -> None:
        self.sight, self.shown = sight, list[tuple[int, int]]()
        self.colours = set[Any]()

    @property
    def stamp(self) -> str:
        return "says"

    def see(self, picture: Image.Image) -> Sight:
        self.shown.append(picture.size)
        self.colours |= {colour for _, colour in picture.getcolors(9) or ()}
        return self.sight


def test_the_second_reader_is_not_asked_about_a_picture_without_writing() -> None:
    second = Says(Sight())
    both = ReadsAlso(RapidOcrReader(threads=2), second, frozenset("ж"))
    assert both.read(Image.new("RGB", (300, 200), "navy")) == ""
    assert second.shown == []


def test_the_second_reader_is_shown_what_the_first_can_not_read_upright_on_white() -> None:
    second = Says(Sight())
    picture = Image.new("RGB", (400, 640), "navy")
    first = Says(Sight(degrees=90.0, places=1, unclear=[(100.0, 60.0, 200.0, 90.0)]))
    ReadsAlso(first, second, frozenset("\u0436")).read(picture)
    assert second.shown == [(640, 400)]
    assert second.colours == {(255, 255, 255), (0, 0, 128)}


def test_what_the_first_is_sure_of_is_not_taken_for_another_script() -> None:
    gate = Line("GATE B42", 40, 200, 150, 30, 0.99)
    doubtful = Line("BbIXOA", 40, 200, 360, 30, 0.75)
    looks_like_it = replace(gate, text="\u0421\u0410\u0422\u0415 42", confidence=0.9)
    way_out = replace(doubtful, text="\u0432\u044b\u0445\u043e\u0434", confidence=0.9)
    first = Says(Sight([gate, doubtful], places=2, unclear=[(40.0, 345.0, 200.0, 375.0)]))
    second = Says(Sight([looks_like_it, way_out]))
    both = ReadsAlso(first, second, LANGUAGES["ru"].letters)
    assert both.read(written()).split("\n") == ["GATE B42", way_out.text]
