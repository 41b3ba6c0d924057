"""Pictures and films for the examples: labels with arrows, slides, and a film of slides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]
Point = tuple[int, int]

SIZE_PX = (960, 640)
FILM_PX = (640, 360)
FPS = 5
DARK, WHITE, BLUE = (34, 40, 54), (255, 255, 255), (38, 96, 190)


def page(colour: Colour = WHITE, size_px: tuple[int, int] = SIZE_PX) -> Image.Image:
    """A page to draw on."""
    return Image.new("RGB", size_px, colour)


def write(
    picture: Image.Image, at: Point, text: str, size: int = 30, colour: Colour = DARK
) -> None:
    """Write a line of text, centred on a point."""
    draw = ImageDraw.Draw(picture)
    draw.text(at, text, fill=colour, font=ImageFont.load_default(size), anchor="mm")


def label(picture: Image.Image, at: Point, text: str, to: Point | None = None) -> None:
    """Write a label in a white box, with a line to what it names."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(28)
    if to:
        draw.line([at, to], fill=DARK, width=3)
        draw.ellipse([to[0] - 6, to[1] - 6, to[0] + 6, to[1] + 6], fill=DARK)
    left, top, right, bottom = draw.textbbox(at, text, font=font, anchor="mm")
    draw.rounded_rectangle([left - 12, top - 8, right + 12, bottom + 8], 8, WHITE, DARK, 2)
    draw.text(at, text, fill=DARK, font=font, anchor="mm")


def arrow(picture: Image.Image, start: Point, end: Point, colour: Colour = BLUE) -> None:
    """Draw a thick arrow."""
    draw = ImageDraw.Draw(picture)
    draw.line([start, end], fill=colour, width=9)
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    wings = [
        (end[0] - 30 * math.cos(angle + turn), end[1] - 30 * math.sin(angle + turn))
        for turn in (0.5, -0.5)
    ]
    draw.polygon([end, *wings], fill=colour)


def slide(title: str, *lines: str, colour: Colour = WHITE) -> Image.Image:
    """A slide of a lecture: a title, and a few lines."""
    picture = page(colour, FILM_PX)
    ImageDraw.Draw(picture).rectangle([0, 0, FILM_PX[0], 84], fill=BLUE)
    write(picture, (FILM_PX[0] // 2, 42), title, 40, WHITE)
    for number, line in enumerate(lines):
        write(picture, (FILM_PX[0] // 2, 140 + 56 * number), line, 28)
    return picture


def film(path: Path, shots: Sequence[tuple[Image.Image, int]]) -> None:
    """Write a film that shows each picture for so many seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = *FILM_PX, "yuv420p"
        for picture, seconds in shots:
            frame = av.VideoFrame.from_image(picture.resize(FILM_PX))
            for number in range(seconds * FPS):
                frame.pts = None
                frame.pict_type = av.video.frame.PictureType(1 if number == 0 else 0)  # a key frame
                container.mux(stream.encode(frame))
        container.mux(stream.encode())


def subtitles(path: Path, lines: Sequence[tuple[int, int, str]]) -> None:
    """Write what is said in a film, from second to second, as an .srt file."""
    blocks = [
        f"{number}\n00:00:{start:02},000 --> 00:00:{end:02},000\n{text}\n"
        for number, (start, end, text) in enumerate(lines, 1)
    ]
    path.write_text("\n".join(blocks), encoding="utf-8")
