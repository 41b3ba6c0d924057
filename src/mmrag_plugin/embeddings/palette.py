"""Search by colour without any model: how much of which basic colour is where.

Pictures and queries share one space. A picture is taken whole and cut into 4 x 4 cells; each part
holds the shares of the eleven basic colour terms (Berlin and Kay, Basic Color Terms, 1969), named
in CIELAB by the nearest of a few typical colours of each term, and the shares of dark, middle and
bright pixels. The vector holds the square roots of the shares, so that every picture has the same
length and cosine is the Bhattacharyya similarity; a small patch of red still counts. A query puts
its weight on the colours it names, a little more on the cells where it says they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.base import VisualEncoder
from mmrag_plugin.embeddings.preparing import normalised
from mmrag_plugin.model_input import ModelInput, Square

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

CELLS = 4  # on each side
SAMPLE_PX = 96  # the side to which a picture is scaled, a multiple of CELLS
LIGHTNESS_WEIGHT = 0.25  # of dark, middle and bright beside the colours
DARK_BELOW, BRIGHT_ABOVE = 30.0, 72.0  # CIE L*
COMMON = frozenset({"black", "white", "grey", "brown"})  # in every photo, so they say less
COMMON_WEIGHT = 0.5  # of these in a query; median rank 345 -> 330 of 1,000 photos
NAMING_WIDTH = 9.0  # in CIELAB units: how soft the border between two colour terms is
PLACE_WEIGHT = 0.8  # how much a named place adds to its cells and takes from the others

# Typical sRGB colours of each term, light to dark.
TYPICAL: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (22, 22, 24), (30, 26, 24)),
    "white": ((255, 255, 255), (236, 236, 236), (245, 242, 232)),
    "grey": ((205, 205, 205), (165, 168, 170), (128, 128, 128), (92, 92, 92), (60, 60, 62)),
    "red": ((235, 50, 50), (220, 15, 30), (190, 30, 45), (150, 15, 25), (110, 10, 15)),
    "green": (
        (150, 215, 130),
        (60, 180, 75),
        (125, 165, 60),
        (0, 128, 0),
        (85, 115, 50),
        (0, 140, 100),
        (25, 80, 35),
        (50, 65, 30),
    ),
    "yellow": ((255, 245, 150), (255, 235, 0), (245, 215, 70), (215, 185, 30)),
    "blue": (
        (170, 205, 240),
        (110, 170, 230),
        (0, 160, 210),
        (30, 110, 220),
        (75, 115, 165),
        (0, 50, 190),
        (35, 60, 110),
        (10, 20, 90),
    ),
    "brown": ((180, 135, 95), (150, 100, 60), (120, 72, 38), (90, 58, 38), (62, 42, 28)),
    "orange": ((255, 175, 80), (255, 140, 0), (240, 110, 30), (205, 95, 20)),
    "pink": ((255, 200, 215), (255, 150, 190), (240, 90, 160), (215, 120, 150)),
    "purple": ((190, 150, 215), (150, 85, 190), (128, 0, 128), (100, 40, 140), (65, 15, 95)),
}
TERMS = tuple(TYPICAL)
_LIGHTNESS = ("dark", "middle", "bright")

# Words for a term, or a mixture of terms.
_SYNONYMS = {
    "red": "crimson scarlet ruby cherry vermilion cardinal reddish",
    "green": "emerald lime olive jade mint greenish",
    "yellow": "golden gold blond blonde lemon mustard amber yellowish",
    "blue": "navy azure indigo cobalt sapphire ultramarine cerulean bluish blueish",
    "brown": "chestnut chocolate tan bronze sepia auburn brunette caramel mahogany brownish",
    "orange": "tangerine apricot",
    "pink": "rose magenta fuchsia pinkish",
    "purple": "violet lilac lavender mauve plum purplish",
    "grey": "gray silver silvery slate charcoal greyish grayish",
    "white": "ivory snowy whitish",
    "black": "ebony jet blackish",
}
_MIXTURES = {
    "turquoise teal cyan aqua": {"blue": 0.7, "green": 0.5},
    "beige cream": {"white": 0.6, "brown": 0.6},
    "maroon burgundy": {"red": 0.8, "brown": 0.4},
    "salmon coral peach": {"pink": 0.7, "orange": 0.5},
    "khaki": {"brown": 0.7, "green": 0.4},
    "monochrome greyscale grayscale": {"grey": 1.0, "black": 1.0, "white": 1.0},
}
WORDS: dict[str, dict[str, float]] = {
    **{term: {term: 1.0} for term in TERMS},
    **{word: {term: 1.0} for term, words in _SYNONYMS.items() for word in words.split()},
    **{word: mixture for words, mixture in _MIXTURES.items() for word in words.split()},
}
_SHADES = {
    **dict.fromkeys(("dark", "darkness", "darkened"), "dark"),
    **dict.fromkeys(("bright", "brightly"), "bright"),
}
_PLACES = {
    **dict.fromkeys(("top", "upper", "sky", "skies", "ceiling", "roof", "sunset"), "top"),
    **dict.fromkeys("bottom lower ground floor grass field meadow lawn carpet".split(), "bottom"),
    **dict.fromkeys("road street sand beach sea ocean lake".split(), "bottom"),
    **dict.fromkeys(("left",), "left"),
    **dict.fromkeys(("right",), "right"),
    **dict.fromkeys("middle centre center".split(), "centre"),
}
# "A above B": where A is, where B is
_RELATIONS = {
    **dict.fromkeys(("above", "over"), ("top", "bottom")),
    **dict.fromkeys(("below", "under", "beneath", "underneath"), ("bottom", "top")),
}
_OPPOSITE = {"left": "right", "right": "left"}
_EDGES = frozenset("top bottom left right middle centre center".split())
_BREAKS = frozenset("and with while next beside near behind but in on".split())


@dataclass
class _Clause:
    """A part of a query: the weights of its terms, and where in the picture they should be."""

    weights: dict[str, float]
    place: str = ""


SAMPLE = Square(SAMPLE_PX, interpolation="box", resize_mode="squash")  # what is looked at


class Palette(VisualEncoder):
    """Colours and their places: no weights, no download, the same everywhere, ready at once.

    It has nothing to say about a query without a colour word (or dark, or bright): ``understands``
    is False and the row is zeros. Its vectors say nothing about texts among themselves.
    """

    model_name = setting = "palette"
    stamp = "palette-1"
    dim = (CELLS * CELLS + 1) * (len(TERMS) + len(_LIGHTNESS))
    input_px = SAMPLE_PX
    compares_texts = False
    max_tokens = 1000

    @property
    def takes(self) -> ModelInput:
        """The sample of the picture that is looked at."""
        return SAMPLE

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, 238], rows L2-normalised."""
        import numpy as np

        rows = np.zeros((len(pictures), self.dim), np.float32)
        for row, picture in zip(rows, pictures, strict=True):
            shares = _shares(picture)
            cells, whole = _parts(row)
            cells[:] = np.sqrt(shares) / CELLS  # so that the cells together weigh as the whole
            whole[:] = np.sqrt(shares.mean(axis=(0, 1)))
        return normalised(rows, by=self.model_name)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, 238], rows L2-normalised; zeros for a text without a colour word."""
        import numpy as np

        rows = np.zeros((len(texts), self.dim), np.float32)
        names = (*TERMS, *_LIGHTNESS)
        for row, text in zip(rows, texts, strict=True):
            cells, whole = _parts(row)
            for clause in _clauses(text):
                places = _cells(clause.place)
                for name, weight in clause.weights.items():
                    says = weight * (COMMON_WEIGHT if name in COMMON else 1.0)
                    cells[:, :, names.index(name)] += says * places / CELLS
                    whole[names.index(name)] += says
        return normalised(rows, by=self.model_name)

    def understands(self, text: str) -> bool:
        """Whether the query names a colour, or dark, or bright."""
        return any(word in WORDS or word in _SHADES for word in _words(text))


def _parts(row: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Views of a vector: the cells [rows, columns, 14] and the whole picture [14]."""
    width = len(TERMS) + len(_LIGHTNESS)
    return row[:-width].reshape(CELLS, CELLS, width), row[-width:]


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z]+|[,;]", text.lower())


def _clauses(text: str) -> list[_Clause]:
    """Read a query as clauses, each with its colours and one place."""
    words = _words(text)
    clauses = [_Clause({})]
    skip = 0
    for position, word in enumerate(words):
        clause = clauses[-1]
        following = words[position + 1] if position + 1 < len(words) else ""
        if skip:
            skip -= 1
        elif word in WORDS:
            for term, weight in WORDS[word].items():
                clause.weights[term] = max(weight, clause.weights.get(term, 0))
        elif word in _SHADES:
            if following not in WORDS:
                clause.weights[_SHADES[word]] = 1.0
            elif _SHADES[word] == "dark":
                clause.weights["black"] = max(0.4, clause.weights.get("black", 0))
        elif word in _RELATIONS or (word in _OPPOSITE and following == "of"):
            here, there = _RELATIONS.get(word) or (word, _OPPOSITE[word])
            clause.place = clause.place or here
            clauses.append(_Clause({}, there))
        elif word in _PLACES:
            clause.place = _PLACES[word]
        elif (word in _BREAKS or not word.isalpha()) and clause.weights:
            place, skip = _place_ahead(words[position + 1 :])
            clause.place = place or clause.place
            clauses.append(_Clause({}))
    return [clause for clause in clauses if clause.weights]


def _place_ahead(words: list[str]) -> tuple[str, int]:
    """The place in "[on] the left", "[at] the top", and how many words it takes; "" and 0 if none.

    "[and] left of" is a relation, not a place.
    """
    for count, word in enumerate(words[:3], start=1):
        if word in _EDGES:
            related = word in _OPPOSITE and words[count : count + 1] == ["of"]
            return ("", 0) if related else (_PLACES[word], count)
        if word not in ("the", "at", "on", "in"):
            break
    return "", 0


@lru_cache(maxsize=8)
def _cells(place: str) -> NDArray[np.float32]:
    """Weights of the cells [rows, columns]; their mean is 1."""
    import numpy as np

    ramp = np.linspace(1, -1, CELLS, dtype=np.float32)
    rows, columns = np.zeros((CELLS, 1), np.float32), np.zeros((1, CELLS), np.float32)
    if place in ("top", "bottom"):
        rows[:, 0] = ramp if place == "top" else -ramp
    elif place in ("left", "right"):
        columns[0] = ramp if place == "left" else -ramp
    elif place == "centre":
        hump = 1 - 2 * np.abs(ramp)
        rows[:, 0] = columns[0] = (hump - hump.mean()) / 2
    cells: NDArray[np.float32] = 1 + PLACE_WEIGHT * (rows + columns)
    return cells


def _shares(picture: Image) -> NDArray[np.float32]:
    """Shares of each term and lightness: [rows, columns, 14]."""
    import numpy as np

    levels = np.asarray(SAMPLE.fitted(picture), dtype=np.int32) >> 3
    index = (levels[..., 0] << 10) | (levels[..., 1] << 5) | levels[..., 2]
    named = _naming()[index]
    side = SAMPLE_PX // CELLS
    shares: NDArray[np.float32] = named.reshape(CELLS, side, CELLS, side, -1).mean(axis=(1, 3))
    return shares


@lru_cache(maxsize=1)
def _naming() -> NDArray[np.float32]:
    """For each of 32 x 32 x 32 colours the share of each term and lightness: [32768, 14]."""
    import numpy as np

    level = np.arange(32768)
    centres = np.stack([level >> 10, (level >> 5) & 31, level & 31], axis=1) * (255 / 31)
    lab = to_lab(centres)
    table = np.zeros((len(lab), len(TERMS) + len(_LIGHTNESS)), np.float32)
    nearest = np.stack(
        [
            ((lab[:, None, :] - to_lab(np.array(colours))[None]) ** 2).sum(axis=2).min(axis=1)
            for colours in TYPICAL.values()
        ],
        axis=1,
    )
    closeness = np.exp(-(nearest - nearest.min(axis=1, keepdims=True)) / (2 * NAMING_WIDTH**2))
    table[:, : len(TERMS)] = closeness / closeness.sum(axis=1, keepdims=True)
    dark, bright = lab[:, 0] < DARK_BELOW, lab[:, 0] > BRIGHT_ABOVE
    table[:, len(TERMS) :] = LIGHTNESS_WEIGHT * np.stack([dark, ~dark & ~bright, bright], axis=1)
    return table


def to_lab(rgb: NDArray[Any]) -> NDArray[np.float64]:
    """Convert sRGB 0..255 [n, 3] to CIELAB under D65 (IEC 61966-2-1; CIE 15)."""
    import numpy as np

    unit = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lightness = 116 * root[:, 1] - 16
    a, b = 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])
    return np.stack([lightness, a, b], axis=1)
