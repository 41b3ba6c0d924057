"""Two units of a course: labelled diagrams, and lectures of slides with subtitles."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw

from media.drawing import arrow, film, label, page, slide, subtitles


def make(folder: Path) -> Path:
    """Write the course, one folder for each unit, and words beside the media."""
    water, cells = folder / "Unit 1 Water", folder / "Unit 2 Cells"
    for unit in (water, cells):
        unit.mkdir(parents=True, exist_ok=True)
    _water_cycle().save(water / "water-cycle.png")
    # a text beside a picture is its caption
    (water / "water-cycle.txt").write_text(
        "The water cycle: the sun lifts water from the sea, clouds carry it, rain and rivers "
        "bring it back.\n"
    )
    _plant_cell().save(cells / "plant-cell.png")
    _animal_cell().save(cells / "animal-cell.png")
    # or one list for a whole folder
    (cells / "diagrams.csv").write_text(
        "file,caption,keywords\n"
        "plant-cell.png,A plant cell. Its chloroplasts make sugar from light.,cell;botany\n"
        "animal-cell.png,An animal cell. Its mitochondria turn sugar into energy.,cell;zoology\n"
    )
    film(
        water / "lecture-1.mp4",
        [
            (slide("Water on the move", "Where does rain come from?"), 6),
            (slide("How clouds form", "warm air rises", "it cools", "droplets condense"), 8),
            (slide("Rivers", "run off the land", "and carry sand to the sea"), 6),
        ],
    )
    subtitles(
        water / "lecture-1.srt",
        [
            (0, 6, "Welcome. Today we follow a drop of water around the world."),
            (6, 14, "Clouds form when moist air rises, cools, and its vapour condenses."),
            (14, 20, "What falls on land runs off in rivers and carries sand to the sea."),
        ],
    )
    film(
        cells / "lecture-2.mp4",
        [
            (slide("Cells", "the smallest living things"), 5),
            (_plant_cell(), 7),
            (_animal_cell(), 6),
        ],
    )
    subtitles(
        cells / "lecture-2.srt",
        [
            (0, 5, "Everything alive is made of cells."),
            (5, 12, "Only plants have a cell wall: it keeps the stem upright without bones."),
            (12, 18, "Animal cells have no wall, so they can change their shape and crawl."),
        ],
    )
    return folder


def _water_cycle() -> Image.Image:
    picture = page((186, 220, 246))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([40, 30, 150, 140], fill=(250, 205, 60))
    draw.polygon([(0, 640), (0, 400), (210, 230), (430, 470), (520, 640)], fill=(118, 140, 96))
    draw.polygon([(150, 278), (210, 230), (262, 287), (210, 300)], fill=(246, 248, 250))
    draw.rectangle([470, 480, 960, 640], fill=(52, 116, 186))
    for x, y, r in ((420, 130, 50), (480, 105, 60), (545, 130, 52)):
        draw.ellipse([x - r, y - r, x + r, y + r], fill=(240, 243, 247))
    arrow(picture, (780, 470), (640, 170))
    arrow(picture, (410, 190), (290, 300))
    arrow(picture, (330, 400), (520, 520))
    label(picture, (800, 300), "Evaporation")
    label(picture, (560, 50), "Condensation")
    label(picture, (250, 180), "Precipitation")
    label(picture, (300, 560), "Runoff")
    label(picture, (760, 570), "Sea")
    return picture


def _plant_cell() -> Image.Image:
    picture = page((250, 250, 246))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle([230, 110, 730, 530], 40, (196, 226, 150), (86, 138, 52), 16)
    draw.rounded_rectangle([380, 190, 640, 440], 70, (176, 212, 240), (98, 150, 200), 4)
    draw.ellipse([262, 330, 372, 440], fill=(206, 150, 190), outline=(140, 84, 130), width=4)
    for x, y in ((300, 180), (320, 270), (560, 480), (670, 160), (680, 400)):
        draw.ellipse([x - 34, y - 18, x + 34, y + 18], fill=(70, 140, 60))
    label(picture, (130, 90), "Cell wall", (236, 180))
    label(picture, (110, 400), "Nucleus", (316, 386))
    label(picture, (850, 300), "Vacuole", (560, 320))
    label(picture, (800, 560), "Chloroplast", (570, 482))
    return picture


def _animal_cell() -> Image.Image:
    picture = page((250, 250, 246))
    draw = ImageDraw.Draw(picture)
    draw.ellipse([240, 110, 730, 540], (248, 214, 196), (190, 110, 90), 6)
    draw.ellipse([410, 250, 550, 390], fill=(206, 150, 190), outline=(140, 84, 130), width=4)
    for x, y in ((340, 230), (620, 220), (360, 440), (620, 440)):
        draw.ellipse([x - 36, y - 18, x + 36, y + 18], fill=(226, 120, 60))
    label(picture, (130, 100), "Membrane", (300, 180))
    label(picture, (860, 320), "Nucleus", (500, 320))
    label(picture, (810, 570), "Mitochondrion", (630, 446))
    return picture
