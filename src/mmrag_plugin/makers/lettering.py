"""Text in pictures: a font of this machine that has the letters, lines that fit."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.makers.base import one_line

if TYPE_CHECKING:
    from PIL.Image import Image

_FOLDERS = (
    "/usr/share/fonts",
    "/usr/local/share/fonts",
    "/System/Library/Fonts",
    "/Library/Fonts",
    "~/.local/share/fonts",
    "~/.fonts",
    "~/Library/Fonts",
    "C:/Windows/Fonts",
)
_SUFFIXES = (".ttf", ".otf", ".ttc")
# The first that has all letters is taken: plain ones with many letters come first
_LIKED = ("dejavusans.", "notosans-regular.", "liberationsans-regular.", "arial.", "arialunicode.")
_LIKED_PARTS = ("notosanscjk-regular", "notosans", "droidsansfallback", "wqy", "hiragino", "sans")
_MOST_FONTS = 300
_NO_LETTER = "\U0010fffd"  # no font has it: what it looks like, missing letters look like


def write(
    picture: Image,
    box: tuple[int, int, int, int],
    text: str,
    size_px: int,
    *,
    fill: tuple[int, int, int],
    centred: bool = False,
) -> None:
    """Write a text into a box (left, top, right, bottom), in as many lines as fit; … at the end."""
    import PIL.ImageDraw

    draw = PIL.ImageDraw.Draw(picture)
    left, top, right, bottom = box
    font = font_for(text, size_px)
    step_px = round(size_px * 1.25)
    for number, line in enumerate(_lines(text, font, right - left, (bottom - top) // step_px)):
        x = left
        if centred:
            x += max(round((right - left - font.getlength(line)) / 2), 0)
        draw.text((x, top + number * step_px), line, font=font, fill=fill)


def height_px(text: str, size_px: int, width_px: int, most_lines: int) -> int:
    """How high a text of at most so many lines is."""
    count = len(list(_lines(text, font_for(text, size_px), width_px, most_lines)))
    return count * round(size_px * 1.25)


def font_for(text: str, size_px: int) -> Any:
    """A font that has all letters of a text, or most of them; Pillow's own where there is none."""
    letters = "".join(sorted({letter for letter in text if not letter.isspace()}))
    return _font(letters, size_px)


@lru_cache(maxsize=256)
def _font(letters: str, size_px: int) -> Any:
    import PIL.ImageFont

    best: Any = PIL.ImageFont.load_default(size_px)
    most = sum(_has(best, letter) for letter in letters)
    for path in _fonts():
        if most == len(letters):
            break
        try:
            font = PIL.ImageFont.truetype(path, size_px)
            count = sum(_has(font, letter) for letter in letters)
        except (OSError, ValueError):
            continue
        if count > most:
            best, most = font, count
    return best


def _has(font: Any, letter: str) -> bool:
    missing, mask = font.getmask(_NO_LETTER), font.getmask(letter)
    return (mask.size, bytes(mask)) != (missing.size, bytes(missing))


@lru_cache(maxsize=1)
def _fonts() -> tuple[str, ...]:
    """Font files of this machine, those that are liked first."""
    found = sorted(_font_files(), key=_liking)
    return tuple(found[:_MOST_FONTS])


def _font_files() -> Iterator[str]:
    for folder in _FOLDERS:
        if sys.platform == "win32" or not folder.startswith("C:"):
            for place, _, names in os.walk(Path(folder).expanduser()):
                yield from (
                    str(Path(place) / name) for name in names if name.lower().endswith(_SUFFIXES)
                )


def _liking(path: str) -> tuple[int, str]:
    name = Path(path).name.lower()
    for place, liked in enumerate(_LIKED):
        if name.startswith(liked):
            return place, name
    slanted = any(word in name for word in ("bold", "italic", "oblique", "mono", "thin", "black"))
    for place, part in enumerate(_LIKED_PARTS):
        if part in name and not slanted:
            return 10 + place, name
    return 100, name


def _lines(text: str, font: Any, width_px: int, most: int) -> Iterator[str]:
    """Break a text into lines between words, a long word anywhere."""
    words, line, given = one_line(text).split(" "), "", 0
    while words:
        word = words.pop(0)
        longer = f"{line} {word}".strip()
        if font.getlength(longer) <= width_px:
            line = longer
            continue
        if not line:  # one word that is too long
            fits = next(
                (n for n in range(len(word) - 1, 1, -1) if font.getlength(word[:n]) <= width_px), 1
            )
            line, rest = word[:fits], word[fits:]
            words = [rest, *words] if rest else words
        else:
            words = [word, *words]
        given += 1
        if given >= most:
            if most > 0 and words:
                while line and font.getlength(f"{line}…") > width_px:
                    line = line[:-1]
                line += "…"
            if most > 0:
                yield line
            return
        yield line
        line = ""
    if line and given < most:
        yield line
