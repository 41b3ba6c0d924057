"""Render the media of ``mmrag demo``, which ship in the package.

Run ``python scripts/make_demo_media.py [FOLDER]``; without a folder it writes the package's own
src/mmrag_plugin/demo_media. The names, cameras and numbers in them are invented.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import demo_landscapes
import demo_street_life
import numpy as np
from demo_canvas import Canvas, Colour
from demo_landscapes import Scene
from PIL import Image, ImageDraw, ImageFont

TARGET = Path(__file__).resolve().parents[1] / "src" / "mmrag_plugin" / "demo_media"

WIDTH_PX, HEIGHT_PX = 768, 512
FILM_WIDTH_PX, FILM_HEIGHT_PX = 480, 270
FILM_FPS = 15
SHOT_S = 3

_MAKE, _MODEL, _DATE, _GPS_IFD, _EXIF_IFD = 0x010F, 0x0110, 0x9003, 0x8825, 0x8769


@dataclass(frozen=True)
class Photo:
    """One picture: where it goes, what it shows, and what its EXIF says."""

    path: str
    scene: Scene
    seed: int
    taken: str = ""
    camera: tuple[str, str] = ("", "")
    latitude_longitude: tuple[float, float] | None = None


PHONE, CAMERA = ("Example", "Example Phone 3"), ("Samplecam", "Samplecam S1")

PHOTOS = (
    Photo("Farm weekend/IMG_3101.jpg", demo_landscapes.red_barn, 1, "2022:07:16 10:12:05", CAMERA),
    Photo(
        "Farm weekend/IMG_3107.jpg", demo_landscapes.sunflowers, 3, "2022:07:16 14:40:51", CAMERA
    ),
    Photo(
        "Farm weekend/Biscuit.jpg", demo_street_life.dog_on_grass, 9, "2022:07:17 09:03:27", PHONE
    ),
    Photo(
        "Lisbon trip/IMG_2031.jpg",
        demo_landscapes.sail_boat,
        2,
        "2024:05:12 11:20:33",
        PHONE,
        (38.69, -9.21),
    ),
    Photo(
        "Desert road/IMG_4410.jpg", demo_landscapes.desert_sunset, 4, "2019:10:03 18:45:10", CAMERA
    ),
    Photo(
        "Winter 2023/DSC01234.jpg", demo_landscapes.snowy_mountain, 5, "2023:01:28 12:01:44", CAMERA
    ),
    Photo("Provence/lavender.jpg", demo_landscapes.lavender_rows, 6),
    Photo("City/IMG_5120.jpg", demo_street_life.night_city, 7, "2023:11:04 22:31:18", PHONE),
    Photo("City/IMG_5133.jpg", demo_street_life.rainy_street, 10, "2023:11:05 16:08:59", PHONE),
    Photo("Spring/PXL_20240406_101500123.jpg", demo_street_life.cherry_blossom, 8),
)

SHOTS = (
    (demo_landscapes.sail_boat, 12),
    (demo_street_life.dog_on_grass, 19),
    (demo_street_life.cherry_blossom, 18),
    (demo_street_life.night_city, 17),
)

TEXTS = {
    "Farm weekend/IMG_3101.txt": "The old red barn behind the cottage where we stayed.\n",
    "Farm weekend/captions.csv": (
        "file,caption,keywords\n"
        "IMG_3107.jpg,Sunflowers as far as we could see,flowers;summer\n"
        "Biscuit.jpg,Our dog Biscuit waits for the ball,dog;pet\n"
    ),
    "City/captions.csv": (
        "file,caption\nIMG_5133.jpg,Walking home under an umbrella in the pouring rain\n"
    ),
    "Films/a_day_out.srt": (
        "1\n00:00:00,300 --> 00:00:02,800\nThe wind is just right, so we sail out of the bay.\n\n"
        "2\n00:00:03,200 --> 00:00:05,800\nBiscuit runs ahead of us through the meadow.\n\n"
        "3\n00:00:06,200 --> 00:00:08,800\nWe have our picnic under the cherry tree.\n\n"
        "4\n00:00:09,200 --> 00:00:11,800\nAnd then we drive back to the city in the dark.\n"
    ),
}


def render_photo(photo: Photo) -> Image.Image:
    """Draw one scene."""
    canvas = Canvas(WIDTH_PX, HEIGHT_PX, photo.seed)
    photo.scene(canvas, 0.0)
    return canvas.finish()


def render_boarding_pass() -> Image.Image:
    """Draw the screenshot of a boarding pass on a phone."""
    page = Image.new("RGB", (540, 960), (226, 230, 238))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, 540, 60), fill=(24, 42, 92))
    _text(draw, (24, 16), "06:30", 26, (255, 255, 255))
    draw.rounded_rectangle((30, 100, 510, 900), 24, fill=(255, 255, 255))
    draw.rounded_rectangle((30, 100, 510, 200), 24, fill=(34, 84, 168))
    draw.rectangle((30, 170, 510, 200), fill=(34, 84, 168))
    _text(draw, (60, 128), "BOARDING PASS", 36, (255, 255, 255))
    fields = (
        (60, 225, "PASSENGER", "A. SAMPLE", 34),
        (60, 325, "FROM", "OSLO", 40),
        (300, 325, "TO", "LISBON", 40),
        (60, 430, "FLIGHT", "XM 417", 34),
        (300, 430, "DATE", "11 MAY", 34),
        (60, 530, "GATE", "B42", 52),
        (240, 530, "SEAT", "17C", 52),
        (380, 530, "BOARDS", "07:15", 36),
    )
    for x, y, label, value, size in fields:
        _text(draw, (x, y), label, 20, (110, 118, 134))
        _text(draw, (x, y + 26), value, size, (20, 24, 36))
    bars = np.random.default_rng(42).integers(2, 7, 90)
    x = 70
    for index, width in enumerate(bars):
        if x + width > 470:
            break
        if index % 2 == 0:
            draw.rectangle((x, 690, x + int(width) - 1, 840), fill=(16, 18, 24))
        x += int(width)
    return page


def render_receipt() -> Image.Image:
    """Draw a photo of a receipt on a wooden table."""
    canvas = Canvas(512, WIDTH_PX, 11)
    canvas.gradient(0, 1, (150, 104, 66), (128, 84, 52))
    canvas.texture(0, 1, 0.22, 14, 420)
    table = canvas.finish()
    paper = Image.new("RGBA", (360, 620), (250, 249, 244, 255))
    draw = ImageDraw.Draw(paper)
    lines = (
        ("CAFE AURORA", 32),
        ("Rua do Exemplo 5", 20),
        ("12.05.2024  13:42", 20),
        ("", 14),
        ("2 Espresso|3.00", 24),
        ("1 Orange juice|3.40", 24),
        ("2 Custard tart|4.20", 24),
        ("1 Cheese toast|4.80", 24),
        ("", 14),
        ("TOTAL EUR|15.40", 30),
        ("", 14),
        ("Thank you!", 24),
    )
    y = 34
    for line, size in lines:
        left, _, right = line.partition("|")
        font = ImageFont.load_default(size)
        margin = 26 if right else (360 - draw.textlength(left, font)) / 2
        _text(draw, (margin, y), left, size, (40, 40, 44))
        if right:
            _text(draw, (334 - draw.textlength(right, font), y), right, size, (40, 40, 44))
        y += size + 20
    turned = paper.rotate(2.5, Image.Resampling.BICUBIC, expand=True)
    shadow = Image.new("RGBA", turned.size, (40, 26, 16, 255))
    shadow.putalpha(turned.getchannel("A").point(lambda value: value // 3))
    at = ((table.width - turned.width) // 2, (table.height - turned.height) // 2)
    table.paste(shadow, (at[0] + 8, at[1] + 10), shadow)
    table.paste(turned, at, turned)
    return table


def render_film_frame(index: int) -> Image.Image:
    """Draw one frame of the film, which cuts to another scene every few seconds."""
    shot, frame = divmod(index, SHOT_S * FILM_FPS)
    scene, seed = SHOTS[shot]
    canvas = Canvas(FILM_WIDTH_PX, FILM_HEIGHT_PX, seed)
    scene(canvas, frame / FILM_FPS)
    return canvas.finish()


def write_film(path: Path) -> None:
    """Encode the film as H.264 with a key frame at each cut and nowhere else."""
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=FILM_FPS)
        stream.width, stream.height, stream.pix_fmt = FILM_WIDTH_PX, FILM_HEIGHT_PX, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FILM_FPS)
        stream.options = {
            "crf": "30",
            "preset": "slow",
            "x264-params": f"keyint={SHOT_S * FILM_FPS}:scenecut=0:threads=1",
        }
        for index in range(len(SHOTS) * SHOT_S * FILM_FPS):
            frame = av.VideoFrame.from_image(render_film_frame(index))
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_photo(photo: Photo, path: Path) -> None:
    """Draw one scene and save it as JPEG with its EXIF."""
    image = render_photo(photo)
    exif = Image.Exif()
    if photo.taken:
        exif[_MAKE], exif[_MODEL] = photo.camera
        exif.get_ifd(_EXIF_IFD)[_DATE] = photo.taken
    if photo.latitude_longitude:
        latitude, longitude = photo.latitude_longitude
        exif.get_ifd(_GPS_IFD).update(
            {
                1: "N" if latitude >= 0 else "S",
                2: _degrees(latitude),
                3: "E" if longitude >= 0 else "W",
                4: _degrees(longitude),
            }
        )
    image.save(path, quality=82, optimize=True, exif=exif)


def write_all(target: Path) -> None:
    """Write every file of the demo."""
    for name in ("Lisbon trip", "Films", *(str(Path(photo.path).parent) for photo in PHOTOS)):
        (target / name).mkdir(parents=True, exist_ok=True)
    for photo in PHOTOS:
        write_photo(photo, target / photo.path)
    boarding_pass = render_boarding_pass().quantize(32, dither=Image.Dither.NONE)
    boarding_pass.save(target / "Lisbon trip/Screenshot_20240511-063012.png", optimize=True)
    render_receipt().save(target / "Lisbon trip/IMG_2044.jpg", quality=82, optimize=True)
    write_film(target / "Films/a_day_out.mp4")
    for name, text in TEXTS.items():
        (target / name).write_text(text, encoding="utf-8", newline="\n")


def _degrees(value: float) -> tuple[float, float, float]:
    degrees, rest = divmod(abs(value), 1)
    minutes, rest = divmod(rest * 60, 1)
    return degrees, minutes, round(rest * 60, 2)


def _text(
    draw: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, colour: Colour
) -> None:
    draw.text(at, text, fill=colour, font=ImageFont.load_default(size))


if __name__ == "__main__":
    write_all(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)
