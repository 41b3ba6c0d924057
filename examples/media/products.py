"""Two products of a shop: a picture and an explained drawing of each, and how-to films."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from media.drawing import FILM_PX, film, label, page, subtitles, write


def make(folder: Path) -> Path:
    """Write the products, one folder for each, and one list of words for all of them."""
    kettle, lamp = folder / "Kettle K2", folder / "Lamp L5"
    for product in (kettle, lamp):
        product.mkdir(parents=True, exist_ok=True)
    _kettle().save(kettle / "kettle-k2.jpg", quality=92)
    _kettle_lights().save(kettle / "kettle-k2-lights.png")
    _lamp().save(lamp / "lamp-l5.jpg", quality=92)
    (folder / "products.csv").write_text(
        "file,caption,keywords\n"
        "Kettle K2/kettle-k2.jpg,The electric kettle K2 in red. It holds 1.5 litres.,kettle\n"
        "Kettle K2/kettle-k2-lights.png,What the lights of the kettle K2 mean,kettle;lights\n"
        "Lamp L5/lamp-l5.jpg,The table lamp L5 in yellow. It dims by phone.,lamp\n"
    )
    film(
        kettle / "descale.mp4",
        [
            (_step(_kettle(), "1. Water and vinegar"), 6),
            (_step(_kettle(), "2. Boil, wait 30 minutes"), 6),
            (_step(_kettle(), "3. Rinse twice"), 6),
        ],
    )
    subtitles(
        kettle / "descale.srt",
        [
            (0, 6, "To descale the kettle, fill it half with water and half with vinegar."),
            (6, 12, "Let it boil once, and leave it to stand for thirty minutes."),
            (12, 18, "Pour it out and rinse the kettle twice with fresh water."),
        ],
    )
    film(
        lamp / "pairing.mp4",
        [
            (_step(_lamp(), "1. Open the app"), 5),
            (_step(_lamp(), "2. Hold the button 5 s"), 6),
            (_step(_lamp(), "3. Choose L5 in the list"), 5),
        ],
    )
    subtitles(
        lamp / "pairing.srt",
        [
            (0, 5, "Open the app on your phone and turn on its radio."),
            (5, 11, "If the lamp does not pair, hold its button for five seconds until it blinks."),
            (11, 16, "Then choose L5 in the list on the phone."),
        ],
    )
    return folder


def _kettle() -> Image.Image:
    picture = page((240, 238, 232))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 520, 960, 640], fill=(196, 164, 124))
    draw.arc([560, 200, 760, 470], -90, 90, (60, 60, 64), 30)
    draw.polygon([(330, 250), (250, 300), (262, 330), (340, 320)], fill=(170, 24, 30))
    draw.polygon([(360, 190), (620, 190), (680, 540), (300, 540)], fill=(206, 32, 38))
    draw.rounded_rectangle([350, 160, 630, 200], 14, (60, 60, 64))
    draw.ellipse([468, 126, 512, 166], fill=(60, 60, 64))
    draw.rectangle([290, 536, 690, 566], fill=(60, 60, 64))
    draw.ellipse([474, 480, 506, 512], fill=(250, 220, 90))
    return picture


def _kettle_lights() -> Image.Image:
    picture = page()
    draw = ImageDraw.Draw(picture)
    write(picture, (480, 70), "Lights of the kettle K2", 44)
    rows = (
        ((60, 120, 220), "blue: water is heating"),
        ((60, 170, 80), "green: keeps warm"),
        ((216, 40, 40), "red, blinking: empty, add water"),
    )
    for number, (colour, text) in enumerate(rows):
        y = 200 + 140 * number
        draw.ellipse([120, y - 40, 200, y + 40], fill=colour)
        write(picture, (540, y), text, 38)
    return picture


def _lamp() -> Image.Image:
    picture = page((226, 232, 240))
    draw = ImageDraw.Draw(picture)
    draw.rectangle([0, 540, 960, 640], fill=(150, 130, 110))
    draw.rectangle([466, 300, 494, 530], fill=(70, 74, 84))
    draw.ellipse([390, 510, 570, 570], fill=(70, 74, 84))
    draw.polygon([(400, 110), (560, 110), (640, 320), (320, 320)], fill=(248, 208, 60))
    label(picture, (720, 470), "Button", (540, 540))
    return picture


def _step(product: Image.Image, text: str) -> Image.Image:
    """A shot of a how-to film: the product, and what to do."""
    shot = product.resize(FILM_PX)
    ImageDraw.Draw(shot).rectangle([0, FILM_PX[1] - 76, *FILM_PX], fill=(24, 28, 40))
    write(shot, (FILM_PX[0] // 2, FILM_PX[1] - 38), text, 34, (255, 255, 255))
    return shot
