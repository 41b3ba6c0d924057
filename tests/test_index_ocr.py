"""Reading text in a library: likely pictures first, the others when asked, films within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

from commands import mmrag_here, told
from made_films import write_film
from media_made import end_owner, opened, picture
from mmrag_plugin import index_ocr
from mmrag_plugin.index_text import read_text
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Frame, Signal
from mmrag_plugin.signals.ocr import Sight, TextReader
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.upkeep import status

PASS = ("BOARDING PASS", "MARTA OLIVEIRA", "LIS to BER", "Gate B42", "Seat 14C", "Boarding 17:25")
RECEIPT = ("PASTELARIA SOL", "Espresso 0.90", "Gate closes never 3.20", "Total EUR 11.60")


def page(
    path: Path, lines: tuple[str, ...], *, size: tuple[int, int] = (700, 760), camera: str = ""
) -> Path:
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((60, 60 + 100 * number), line, fill="black", font=ImageFont.load_default(40))
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if camera:
        exif[0x0110] = camera
    image.save(path, exif=exif)
    return path


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for directory in (tmp_path / "home").iterdir():
        end_owner(directory, wait=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return (tmp_path / "photos").resolve()


def media_id_of(library: MediaLibrary, path: Path) -> str:
    return library.ledger.known_files([str(path)])[str(path)].media_id


def texts(library: MediaLibrary, path: Path) -> list[str]:
    found = library.ledger.signals_of([media_id_of(library, path)])
    return [signal.text for stage, signal in next(iter(found.values())) if stage == "ocr"]


def test_a_boarding_pass_is_found_by_its_gate_and_the_reason_quotes_it(
    home: Path, folder: Path
) -> None:
    page(folder / "receipt.jpg", RECEIPT)
    page(folder / "pass.png", PASS)
    turned = page(folder / "other.png", ("Hotel voucher", "Gate of the castle", "Room 212"))
    Image.open(turned).rotate(90, expand=True).save(turned)
    picture(folder / "wall.jpg", "blue", size=(600, 400))
    with opened(home, ocr="auto") as library:
        library.index([folder])
    found = told(mmrag_here(home, "search", "gate B42", "--json"), 0)["hits"]
    assert Path(found[0]["path"]).name == "pass.png"
    assert "Gate B42" in found[0]["reason"]
    room = told(mmrag_here(home, "search", "room 212", "--json"), 0)["hits"]
    assert Path(room[0]["path"]).name == "other.png", "although it lies on its side"


def test_a_large_library_is_read_where_text_is_likely_and_says_what_it_left(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = page(folder / "sign.jpg", PASS, size=(1500, 1100), camera="Phone")
    wall = picture(folder / "wall.jpg", "blue", size=(1500, 1100), camera="Phone")
    small = page(folder / "small.jpg", RECEIPT, camera="Phone")
    screen = page(folder / "screen.png", ("Hello",), size=(1600, 900))
    glanced: list[tuple[int, int]] = []
    look = RapidOcrReader.may_hold_text

    def counted(reader: RapidOcrReader, shown: Image.Image) -> bool:
        glanced.append(shown.size)
        return look(reader, shown)

    monkeypatch.setattr(RapidOcrReader, "may_hold_text", counted)
    with opened(home, ocr="auto", ocr_all_below=2) as library:
        report = library.index([folder])
        assert "Gate B42" in texts(library, sign)[0]
        assert texts(library, small)
        assert texts(library, screen) == ["Hello"]
        assert texts(library, wall) == []
        assert len(glanced) == 2, "neither a screenshot nor a small picture is glanced at"
        assert any("1 pictures were not read" in said for said in report.warnings)
        assert any("mmrag index --ocr-all" in said for said in report.warnings)
        assert (report.stages["ocr"].done, report.stages["ocr"].pending) == (3, 0)
        assert status(library)["not_read_for_text"] == 1
        again = library.index([])
        assert again.stages["ocr"].done == 0
        assert not again.warnings
    assert "--ocr-all" in mmrag_here(home, "status").stdout
    with opened(home, ocr="all") as library:
        assert library.plan([]).pending["ocr"] == 1
        assert library.index([]).stages["ocr"].done == 1
        assert status(library)["not_read_for_text"] == 0


def test_what_was_passed_over_is_looked_at_again_when_it_changes(home: Path, folder: Path) -> None:
    wall = picture(folder / "wall.jpg", "blue", size=(1500, 1100), camera="Phone")
    with opened(home, ocr="auto", ocr_all_below=0) as library:
        library.index([folder])
        assert status(library)["not_read_for_text"] == 1
        page(wall, PASS, size=(1500, 1100), camera="Phone")
        library.index([])
        assert "Gate B42" in texts(library, wall)[0]
        assert status(library)["not_read_for_text"] == 0


def test_screenshots_are_read_before_photos(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[tuple[int, int]] = []
    monkeypatch.setattr(
        RapidOcrReader, "read", lambda reader, shown: order.append(shown.size) or ""
    )
    picture(folder / "a.jpg", size=(101, 100), camera="Phone")
    picture(folder / "b.jpg", size=(102, 100))
    picture(folder / "c.png", size=(103, 100))
    picture(folder / "d.jpg", size=(104, 100), camera="Phone")
    with opened(home, ocr="auto") as library:
        library.index([folder])
    assert [width for width, _ in order] == [103, 102, 101, 104]


def test_other_languages_redo_only_the_reading_of_text(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # where there is no Tesseract
    page(folder / "pass.png", PASS)
    with opened(home, ocr="auto") as library:
        library.index([folder])
    with opened(home, ocr="auto", ocr_languages="en,ru") as library:
        report = library.index([])
        assert any("in Russian here" in said for said in report.warnings)
        assert report.stages["ocr"].done == 0, "nobody reads anything otherwise than before"
    monkeypatch.setattr(RapidOcrReader, "stamp", "another")
    with opened(home, ocr="auto", ocr_languages="en") as library:
        report = library.index([])
        done = {name: stage.done for name, stage in report.stages.items() if name != "scan"}
    assert {name for name, count in done.items() if count} == {"ocr"}


def test_photos_and_films_are_found_before_the_first_text_is_read(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page(folder / "pass.png", PASS)
    picture(folder / "wall.jpg", "red", size=(600, 400))
    write_film(folder / "film.mp4", [(255, 0, 0)] * 5)
    found: list[set[str]] = []

    with opened(home, ocr="auto") as library:

        def search_first(_reader: RapidOcrReader, _shown: Image.Image) -> str:
            if not found:
                hits = library.search("red", channels=["visual"]).hits
                found.append({Path(hit.path).name for hit in hits})
            return ""

        monkeypatch.setattr(RapidOcrReader, "read", search_first)
        library.index([folder])
    assert found == [{"pass.png", "wall.jpg", "film.mp4"}]


class Reads(TextReader):
    """Reads what the test says of one picture after the other."""

    def __init__(self, *said: str, likely: bool = True) -> None:
        self.said, self.likely = list(said), likely

    @property
    def stamp(self) -> str:
        return "reads"

    def see(self, picture: Image.Image) -> Sight:
        return Sight()

    def read(self, picture: Image.Image) -> str:
        return self.said.pop(0)

    def may_hold_text(self, picture: Image.Image) -> bool:
        return self.likely


def frames(*shades: int) -> list[Frame]:
    return [
        Frame(number, Image.new("RGB", (64, 36), (shade,) * 3), float(number), number + 1.0)
        for number, shade in enumerate(shades)
    ]


def test_what_stays_on_the_screen_is_one_signal_however_it_is_spaced() -> None:
    reader = Reads("GATE B42", "GATEB42.", "Gate B42", "Gate B43")
    assert read_text(reader, frames(0, 50, 100, 150)) == [
        Signal("ocr", "GATE B42", 0.0, 3.0),
        Signal("ocr", "Gate B43", 3.0, 4.0),
    ]


def test_a_frame_that_shows_the_same_is_not_read_again() -> None:
    reader = Reads("Slide 1", "Slide 2")
    assert read_text(reader, frames(0, 2, 3, 200, 201)) == [
        Signal("ocr", "Slide 1", 0.0, 3.0),
        Signal("ocr", "Slide 2", 3.0, 5.0),
    ]


def test_a_picture_that_changes_slowly_is_read_again_in_the_end() -> None:
    reader = Reads("one", "two", "three")
    found = read_text(reader, frames(0, 10, 20, 30, 40))
    assert [signal.text for signal in found] == ["one", "two", "three"]


def test_small_changes_on_a_screen_are_read() -> None:
    before, after = frames(250, 250)
    ImageDraw.Draw(after.picture).rectangle((20, 15, 24, 18), fill="black")
    assert len(read_text(Reads("2:1", "2:2"), [before, after])) == 2


def test_frames_without_writing_are_not_read_where_a_quick_look_decides() -> None:
    assert read_text(Reads(likely=False), frames(0, 100), glances=True) == []


def test_a_film_is_read_within_bounds_however_long_it_is(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_ocr, "MAX_FRAMES", 5)
    read: list[int] = []
    monkeypatch.setattr(RapidOcrReader, "read", lambda *_: read.append(1) or "")
    folder.mkdir()
    shades = [(40 * (number % 6), 0, 200) for number in range(40)]
    write_film(folder / "long.mp4", shades, times_s=[1.0 * n for n in range(40)], gop=1)
    with opened(home, ocr="auto") as library:
        library.index([folder])
    assert 1 < len(read) <= 5
