"""Text in pictures, read by the real models."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from mmrag_plugin.errors import MissingExtra, ModelMissing
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.signals import ocr_rapid, ocr_windows
from mmrag_plugin.signals.ocr import TextReader
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.terms import terms_of


@pytest.fixture(scope="module")
def reader() -> TextReader:
    return RapidOcrReader(threads=2)


def written(
    *lines: tuple[int, int, str], size: tuple[int, int] = (640, 360), font_px: int = 28
) -> Image.Image:
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for x, y, text in lines:
        draw.text((x, y), text, fill="black", font=ImageFont.load_default(font_px))
    return picture


def test_lines_are_read_from_top_to_bottom(reader: TextReader) -> None:
    picture = written(
        (40, 220, "Departure 14:05"), (40, 40, "BOARDING PASS"), (40, 130, "GATE B42")
    )
    assert reader.read(picture).split("\n") == ["BOARDING PASS", "GATE B42", "Departure 14:05"]


def test_words_side_by_side_make_one_line_and_columns_do_not(reader: TextReader) -> None:
    picture = written((30, 50, "Coffee"), (450, 50, "3.50"), (30, 150, "Two"), (110, 150, "words"))
    assert reader.read(picture).split("\n") == ["Coffee", "3.50", "Two words"]


def test_white_on_black_is_read(reader: TextReader) -> None:
    picture = written((40, 40, "NIGHT MARKET")).point(lambda value: 255 - value)
    assert reader.read(picture) == "NIGHT MARKET"


def test_a_large_picture_is_scaled_down_and_still_read(reader: TextReader) -> None:
    picture = written((400, 400, "GATE B42"), size=(5000, 2500), font_px=200)
    assert reader.read(picture) == "GATE B42"
    assert picture.size == (5000, 2500)


def test_a_long_screenshot_is_read_to_its_end_and_each_line_once(reader: TextReader) -> None:
    lines = [f"Message {number}" for number in range(100, 130)]
    placed = [(20, 148 * at, line) for at, line in enumerate(lines)]
    picture = written(*placed, size=(240, 148 * 30), font_px=20)
    assert reader.read(picture).split("\n") == lines


def test_a_wide_panorama_is_read_from_end_to_end(reader: TextReader) -> None:
    words = ["NORTH", "EAST", "SOUTH", "WEST", "HOTEL", "HARBOUR"]
    signs = [(100 + 1400 * at, 40 + 40 * (at % 3), word) for at, word in enumerate(words)]
    picture = written(*signs, size=(8400, 240), font_px=20)
    assert set(reader.read(picture).split("\n")) == set(words)


@pytest.mark.parametrize("size", [(640, 360), (8, 8), (16, 2000), (3000, 40), (1, 1)])
def test_a_picture_without_text_gives_nothing(reader: TextReader, size: tuple[int, int]) -> None:
    assert reader.read(Image.new("RGB", size, "navy")) == ""


@pytest.mark.slow
def test_real_photos_with_text_are_read(reader: TextReader, shared_data: Path) -> None:
    folder = shared_data / "tricky" / "albums_text"
    book = reader.read(open_picture(folder / "book-beside-flowers.jpg", at_least_px=2000))
    shop = reader.read(open_picture(folder / "japanese-shop.jpg", at_least_px=1500))
    assert "sesli düşünebildiğin" in book
    assert "KIRIN" in shop
    assert set(terms_of("キリンビール")) <= set(terms_of(shop))


def test_the_engine_is_silent(reader: TextReader, capfd: pytest.CaptureFixture[str]) -> None:
    RapidOcrReader(threads=1).read(written((40, 40, "HELLO")))
    out, err = capfd.readouterr()
    assert out + err == ""
    assert logging.getLogger().level == logging.WARNING


def test_nothing_is_downloaded_when_the_models_are_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "models").mkdir()
    elsewhere = importlib.util.spec_from_file_location("rapidocr", tmp_path / "__init__.py")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: elsewhere)
    with pytest.raises(ModelMissing, match="det, rec, cls"):
        RapidOcrReader().read(written((40, 40, "HELLO")))


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pip install rapidocr"):
        RapidOcrReader()


def test_the_stamp_names_engine_and_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = RapidOcrReader().stamp
    assert stamp.startswith("rapidocr-")
    assert stamp == RapidOcrReader(threads=1).stamp
    monkeypatch.setattr(ocr_rapid, "MIN_CONFIDENCE", 0.9)
    assert RapidOcrReader().stamp != stamp


@pytest.mark.parametrize("degrees", [90, 180, 270, 8])
def test_a_turned_picture_is_read_in_order(reader: TextReader, degrees: int) -> None:
    lines = ["BOARDING PASS", "GATE B42", "Departure 14:05", "Seat 14C"]
    placed = [(60, 60 + 80 * at, line) for at, line in enumerate(lines)]
    picture = written(*placed, size=(640, 480)).rotate(degrees, expand=True, fillcolor="white")
    assert reader.read(picture).split("\n") == lines
    assert reader.see(picture).degrees % 360 == pytest.approx(-degrees % 360, abs=1.5)


def test_poles_beside_short_words_do_not_lay_the_picture_on_its_side(reader: TextReader) -> None:
    names = ["MIN", "BOS", "SEA", "NYY", "OAK", "KC"]
    picture = written(
        *[(300, 30 + 70 * at, name) for at, name in enumerate(names)], size=(640, 480)
    )
    draw = ImageDraw.Draw(picture)
    for x in (40, 90, 540, 590):
        for y in range(20, 460, 10):
            draw.line((x, y, x + 16, y + 5), fill="black", width=3)
    assert set(names) <= set(reader.read(picture).split("\n"))


def test_nothing_but_poles_is_no_text_and_no_error(reader: TextReader) -> None:
    picture = Image.new("RGB", (640, 480), "white")
    draw = ImageDraw.Draw(picture)
    for x in (40, 90, 300, 540, 590):
        for y in range(20, 460, 10):
            draw.line((x, y, x + 16, y + 5), fill="black", width=3)
    assert not any(len(line) > 3 for line in reader.read(picture).split("\n"))


@pytest.mark.parametrize("shapes", ["tall", "wide", "square", "tall square", "tall wide square"])
def test_boxes_of_any_shapes_are_read_without_error(
    reader: TextReader, shapes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"tall": (20, 300), "wide": (300, 20), "square": (20, 20)}
    boxes = []
    for number, shape in enumerate(shapes.split()):
        width, height = sizes[shape]
        left, top = 10 + 30 * number, 10 + 30 * number
        right, bottom = left + width, top + height
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        boxes.append(ocr_windows.Box(corners, 0.9))
    monkeypatch.setattr(ocr_rapid, "find_boxes", lambda *_: list(boxes))
    assert reader.see(Image.new("RGB", (640, 480), "white")).places == len(boxes)
