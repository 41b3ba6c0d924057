"""The media that ship for the demo are what the script renders, and every stage can use them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import mmrag_plugin
from mmrag_plugin.media import kind_of
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.signals.path_words import path_words
from mmrag_plugin.signals.sidecars import FolderSidecars

DEMO = Path(mmrag_plugin.__file__).parent / "demo_media"
SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"

sys.path.insert(0, str(SCRIPTS))
make_demo_media = importlib.import_module("make_demo_media")
PHOTOS = make_demo_media.PHOTOS


def difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    pixels = [np.asarray(image.convert("RGB"), dtype=np.float32) for image in (one, other)]
    return float(np.abs(pixels[0] - pixels[1]).mean())


@pytest.mark.parametrize("photo", PHOTOS, ids=lambda photo: photo.path)
def test_a_scene_is_shipped_as_the_script_renders_it(photo: Any, tmp_path: Path) -> None:
    rendered = tmp_path / "rendered.jpg"
    make_demo_media.write_photo(photo, rendered)
    # encoders and font renderers differ a little from version to version
    assert difference(open_picture(rendered), open_picture(DEMO / photo.path)) < 1.0


def test_documents_and_texts_are_shipped_as_the_script_renders_them() -> None:
    boarding_pass = open_picture(DEMO / "Lisbon trip/Screenshot_20240511-063012.png")
    receipt = open_picture(DEMO / "Lisbon trip/IMG_2044.jpg")
    assert difference(make_demo_media.render_boarding_pass(), boarding_pass) < 2.0
    assert difference(make_demo_media.render_receipt(), receipt) < 4.0  # JPEG, unlike the rendering
    for name, text in make_demo_media.TEXTS.items():
        assert (DEMO / name).read_text(encoding="utf-8") == text


def test_rendering_twice_gives_the_same_pixels() -> None:
    first, second = (make_demo_media.render_photo(PHOTOS[0]) for _ in range(2))
    assert difference(first, second) == 0
    first, second = (make_demo_media.render_film_frame(50) for _ in range(2))
    assert difference(first, second) == 0


def test_the_demo_is_small_and_holds_nothing_else() -> None:
    files = [path for path in DEMO.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 1_500_000
    assert sum(kind_of(path) == "image" for path in files) == 12
    assert sum(kind_of(path) == "video" for path in files) == 1
    others = {path.relative_to(DEMO).as_posix() for path in files if kind_of(path) is None}
    assert others == set(make_demo_media.TEXTS)


def test_each_scene_has_a_colour_of_its_own() -> None:
    signatures = {}
    for photo in PHOTOS:
        small = open_picture(DEMO / photo.path).resize((6, 4), Image.Resampling.BOX)
        signatures[photo.path] = np.asarray(small, dtype=np.float32)
    for path, signature in signatures.items():
        nearest = min(
            float(np.abs(signature - other).mean()) for p, other in signatures.items() if p != path
        )
        assert nearest > 25


def test_the_film_cuts_where_its_key_frames_are() -> None:
    import av

    with av.open(str(DEMO / "Films/a_day_out.mp4")) as container:
        frames = [
            (frame.time, frame.key_frame, frame.to_image()) for frame in container.decode(video=0)
        ]
    assert [time for time, is_key, _ in frames if is_key] == [0.0, 3.0, 6.0, 9.0]
    assert len(frames) == 12 * make_demo_media.FILM_FPS
    for index in range(0, len(frames), make_demo_media.SHOT_S * make_demo_media.FILM_FPS):
        assert difference(frames[index][2], make_demo_media.render_film_frame(index)) < 8
    for before, after in ((44, 45), (89, 90), (134, 135)):
        assert difference(frames[before][2], frames[after][2]) > 30
    assert difference(frames[0][2], frames[44][2]) > 2  # it moves


def test_the_gate_on_the_boarding_pass_can_be_read() -> None:
    reader = RapidOcrReader(threads=2)
    text = reader.read(open_picture(DEMO / "Lisbon trip/Screenshot_20240511-063012.png"))
    assert {"BOARDING PASS", "A. SAMPLE", "GATE", "B42", "OSLO", "LISBON"} <= set(text.split("\n"))
    receipt = reader.read(open_picture(DEMO / "Lisbon trip/IMG_2044.jpg"))
    assert "CAFE AURORA" in receipt
    assert "15.40" in receipt


def test_some_photos_carry_a_date_a_camera_and_a_place() -> None:
    with Image.open(DEMO / "Lisbon trip/IMG_2031.jpg") as image:
        exif = image.getexif()
    assert exif[0x0110] == "Example Phone 3"
    assert exif.get_ifd(0x8769)[0x9003] == "2024:05:12 11:20:33"
    assert exif.get_ifd(0x8825)[1] == "N"
    with Image.open(DEMO / "Provence/lavender.jpg") as image:
        assert not image.getexif()


def test_sidecars_speak_about_some_media_and_not_about_others() -> None:
    said = {}
    for folder in (path for path in DEMO.iterdir() if path.is_dir()):
        entries = {path.name: (path.stat().st_size, 0) for path in folder.iterdir()}
        sidecars = FolderSidecars(folder, entries)
        for name in entries:
            if kind_of(name):
                said[name] = [signal.text for signal in sidecars.signals_for(name)]
        assert sidecars.problems() == []
    assert said["IMG_3101.jpg"] == ["The old red barn behind the cottage where we stayed."]
    assert said["Biscuit.jpg"] == ["Our dog Biscuit waits for the ball", "dog, pet"]
    assert len(said["a_day_out.mp4"]) == 4
    assert said["IMG_4410.jpg"] == said["lavender.jpg"] == said["IMG_2031.jpg"] == []
    assert path_words("Lisbon trip/IMG_2031.jpg") == "Lisbon trip"
