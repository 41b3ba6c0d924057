"""Pictures with text in them, made on the spot: what stands in each is known word for word."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFilter

from mmrag_plugin.makers.lettering import font_for

Colour = tuple[int, int, int]
INK: Colour = (28, 28, 30)
PAPER: Colour = (250, 249, 246)

WORDS = (
    "harbour window ticket morning garden coffee letter bridge winter yellow travel market "
    "station number evening silver corner island bottle ladder orange pocket summer kitchen "
    "concert paper river hotel museum flight doctor folder invoice meeting signal battery"
).split()
RUSSIAN = (
    "вокзал билет утро сад кофе письмо мост зима жёлтый рынок номер вечер остров бутылка "
    "лестница карман лето кухня концерт бумага река гостиница музей рейс врач счёт встреча"
).split()
GERMAN = (
    "Straße Bücher Grüße Fahrkarte Frühstück Schlüssel Rechnung Übernachtung Äpfel Größe "
    "Bahnhof Öffnungszeiten Gepäck Zürich Königin Abfahrt Führung Tür müde schön"
).split()

BOARDING = (
    "BOARDING PASS",
    "MARTA OLIVEIRA",
    "LIS to BER",
    "Flight TP 534",
    "Gate B42",
    "Seat 14C",
    "Boarding 17:25",
    "Group 3",
    "Terminal 1",
)
RECEIPT = (
    ("Pastel de nata", "1.40"),
    ("Espresso", "0.90"),
    ("Sumo de laranja", "3.20"),
    ("Tosta mista", "4.50"),
    ("Agua mineral", "1.60"),
    ("Total EUR", "11.60"),
    ("IVA 13%", "1.33"),
)


@dataclass(frozen=True)
class Written:
    """A picture and what is written in it, in reading order."""

    kind: str
    picture: Image.Image
    text: str


def _page(
    lines: list[str],
    size: tuple[int, int],
    font_px: int,
    *,
    ink: Colour = INK,
    paper: Colour = PAPER,
    at: tuple[int, int] = (40, 40),
    step: float = 1.6,
) -> Image.Image:
    picture = Image.new("RGB", size, paper)
    draw = ImageDraw.Draw(picture)
    font = font_for("".join(lines), font_px)
    for number, line in enumerate(lines):
        draw.text((at[0], at[1] + round(number * font_px * step)), line, fill=ink, font=font)
    return picture


def _prose(chance: random.Random, lines: int, words: int, of: list[str] = WORDS) -> list[str]:
    return [" ".join(chance.choice(of) for _ in range(words)) for _ in range(lines)]


def background(chance: random.Random, size: tuple[int, int]) -> Image.Image:
    """What a photo without text is like: soft shapes, a gradient, some noise."""
    few = max(size[0] // 40, 2), max(size[1] // 40, 2)
    small = Image.frombytes("L", few, chance.randbytes(few[0] * few[1]))
    colour = tuple(chance.randrange(60, 180) for _ in range(3))
    soft = Image.merge("RGB", [small.point(lambda v, c=c: (v + c) // 2) for c in colour])
    picture = soft.resize(size, Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(14):
        x, y = chance.randrange(size[0]), chance.randrange(size[1])
        r = chance.randrange(size[0] // 30, size[0] // 7)
        shade = tuple(chance.randrange(40, 220) for _ in range(3))
        draw.ellipse((x, y, x + r, y + r), fill=shade)
    return picture.filter(ImageFilter.GaussianBlur(2))


def boarding_pass(chance: random.Random) -> Written:
    """A screenshot of a phone."""
    picture = _page(list(BOARDING), (1170, 2532), 52, at=(90, 320), step=3.2)
    return Written("boarding pass", picture, "\n".join(BOARDING))


def dark_screen(chance: random.Random) -> Written:
    """White on dark, small letters."""
    lines = _prose(chance, 26, 6)
    picture = _page(lines, (1080, 2340), 34, ink=(232, 232, 235), paper=(18, 18, 20), step=2.3)
    return Written("dark screen", picture, "\n".join(lines))


def dense_screen(chance: random.Random) -> Written:
    """A desktop full of small letters."""
    lines = _prose(chance, 48, 18)
    picture = _page(lines, (1920, 1080), 14, at=(20, 12), step=1.55)
    return Written("dense screen", picture, "\n".join(lines))


def two_columns(chance: random.Random) -> Written:
    """A page of a magazine: a title and two columns."""
    left, right = _prose(chance, 32, 5), _prose(chance, 32, 5)
    picture = _page(left, (1240, 1754), 20, at=(80, 200))
    draw = ImageDraw.Draw(picture)
    draw.text((80, 90), "The Harbour Quarterly Review", fill=INK, font=font_for("aQ", 52))
    for number, line in enumerate(right):
        draw.text((660, 200 + number * 32), line, fill=INK, font=font_for(line, 20))
    return Written(
        "two columns", picture, "\n".join(["The Harbour Quarterly Review", *left, *right])
    )


def receipt(chance: random.Random) -> Written:
    """A small receipt on a table in a photo of 12 megapixels: its letters are 20 px high."""
    picture = background(chance, (4000, 3000))
    slip = Image.new("RGB", (620, 700), (238, 236, 230))
    draw = ImageDraw.Draw(slip)
    font = font_for("aQ", 28)
    draw.text((150, 30), "PASTELARIA SOL", fill=INK, font=font_for("aQ", 36))
    for number, (name, price) in enumerate(RECEIPT):
        draw.text((40, 120 + number * 60), name, fill=INK, font=font)
        draw.text((500, 120 + number * 60), price, fill=INK, font=font)
    slip = slip.rotate(4, expand=True, fillcolor=(120, 110, 100), resample=Image.Resampling.BICUBIC)
    picture.paste(slip, (1700, 1100))
    text = "\n".join(["PASTELARIA SOL", *(f"{name}\n{price}" for name, price in RECEIPT)])
    return Written("receipt in 12 MP", picture, text)


def small_print(chance: random.Random) -> Written:
    """A label in a photo of 12 megapixels whose capitals are 12 px high."""
    picture = background(chance, (4000, 3000))
    lines = _prose(chance, 24, 6)
    picture.paste(_page(lines, (640, 640), 16, at=(20, 20)), (700, 1600))
    return Written("12 px in 12 MP", picture, "\n".join(lines))


def photographed_page(chance: random.Random) -> Written:
    """A page that fills a photo, a little slanted and soft."""
    lines = _prose(chance, 42, 9)
    page = _page(lines, (2500, 3400), 46, at=(160, 160))
    page = page.rotate(-6, expand=True, fillcolor=(90, 80, 70), resample=Image.Resampling.BICUBIC)
    return Written("slanted page", page.filter(ImageFilter.GaussianBlur(1.2)), "\n".join(lines))


def poster(chance: random.Random) -> Written:
    """A hundred megapixels: a title, and small print below."""
    lines = _prose(chance, 14, 8)
    picture = _page(["HARBOUR FESTIVAL"], (10_000, 10_000), 900, at=(300, 600))
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((500, 5000 + number * 220), line, fill=INK, font=font_for(line, 110))
    return Written("poster of 100 MP", picture, "\n".join(["HARBOUR FESTIVAL", *lines]))


def tiny_letters(chance: random.Random) -> Written:
    """A page of newsprint: more lines than anybody wants to wait for."""
    lines = _prose(chance, 260, 24)
    picture = _page(lines, (3500, 5000), 15, at=(60, 60), step=1.25)
    return Written("page of tiny letters", picture, "\n".join(lines))


def plain_photo(chance: random.Random) -> Written:
    """Nothing is written here."""
    return Written("photo without text", background(chance, (4000, 3000)), "")


def turned(degrees: int) -> Callable[[random.Random], Written]:
    """The boarding pass and a page of words, turned clockwise."""

    def make(chance: random.Random) -> Written:
        lines = [*BOARDING, *_prose(chance, 14, 4)]
        picture = _page(lines, (1170, 2532), 44, at=(90, 300), step=2.1)
        kind = f"turned {degrees}°" if degrees % 90 == 0 else f"slanted {degrees}°"
        return Written(
            kind,
            picture.rotate(
                -degrees, expand=True, fillcolor=PAPER, resample=Image.Resampling.BICUBIC
            ),
            "\n".join(lines),
        )

    return make


def in_german(chance: random.Random) -> Written:
    """Umlauts."""
    lines = _prose(chance, 16, 4, GERMAN)
    return Written("German", _page(lines, (1080, 1600), 40, step=2), "\n".join(lines))


def in_russian(chance: random.Random) -> Written:
    """Another script, with some Latin letters among it."""
    lines = [*_prose(chance, 16, 4, RUSSIAN), "Gate B42", "WiFi Hotel"]
    return Written("Russian", _page(lines, (1080, 1700), 40, step=2), "\n".join(lines))


KINDS: dict[str, Callable[[random.Random], Written]] = {
    "boarding pass": boarding_pass,
    "dark screen": dark_screen,
    "dense screen": dense_screen,
    "two columns": two_columns,
    "receipt": receipt,
    "small print": small_print,
    "slanted page": photographed_page,
    "turned 90": turned(90),
    "turned 180": turned(180),
    "turned 270": turned(270),
    "slanted 8": turned(8),
    "poster": poster,
    "tiny letters": tiny_letters,
    "photo": plain_photo,
    "German": in_german,
    "Russian": in_russian,
}


def written(each: int, kinds: list[str] | None = None) -> Iterator[Written]:
    """Yield ``each`` pictures of every kind, the same in every run."""
    for kind in kinds or KINDS:
        for number in range(each):
            yield KINDS[kind](random.Random(f"{kind} {number}"))  # noqa: S311
