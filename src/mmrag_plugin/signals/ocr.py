"""Read the text in pictures: the seam, and a line of text as its readers hand it on."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mmrag_plugin.signals.ocr_order import in_reading_order
from mmrag_plugin.signals.plain_text import MAX_SIGNAL_CHARS, plain_text

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_SIDE_PX = 16  # nothing is written in fewer pixels
SURE = 0.9  # a line that is read with this confidence is no other script
MIN_DEGREES = 1.0  # a picture that is slanted by less is read as it is


@dataclass(frozen=True)
class Line:
    """A piece of one line of text: its box in pixels, once the picture is turned upright."""

    text: str
    left: float
    right: float
    middle: float
    height: float
    confidence: float = 1.0

    def lies_on(self, other: Line) -> bool:
        """Whether the two boxes have the same place in the picture."""
        across = min(self.right, other.right) - max(self.left, other.left)
        near_px = max(self.height, other.height) / 2
        return across > 0 and abs(self.middle - other.middle) < near_px


@dataclass(frozen=True)
class Sight:
    """What a reader sees in a picture.

    ``degrees`` is how far the picture has to be turned counterclockwise until its lines run from
    left to right; the boxes are those of the turned picture. ``places`` counts what looks like
    writing; ``left_unread`` of these were too many, and what stands in those of ``unclear`` (left,
    top, right, bottom) may be in letters that the reader doesn't know.
    """

    lines: Sequence[Line] = ()
    degrees: float = 0.0
    places: int = 0
    left_unread: int = 0
    unclear: Sequence[tuple[float, float, float, float]] = ()


class TextReader(ABC):
    """Reads what is written in a picture."""

    @property
    @abstractmethod
    def stamp(self) -> str:
        """Name the models and every parameter that changes what is read."""

    @abstractmethod
    def see(self, picture: Image) -> Sight:
        """Find and read the lines of an RGB picture. Raises MediaError when it fails on it."""

    def may_hold_text(self, picture: Image) -> bool:
        """Whether a cheap look at a small version of a picture finds anything like writing."""
        return True

    def read(self, picture: Image) -> str:
        """Read a picture: lines in reading order, "" where there is no text."""
        if min(picture.size) < MIN_SIDE_PX:
            return ""
        return text_of(self.see(picture).lines)


@dataclass(frozen=True)
class Turn:
    """A turn of a picture about its middle, after which it is as large as it needs to be."""

    degrees: float
    width_px: int
    height_px: int
    _cosine: float = field(init=False)
    _sine: float = field(init=False)

    def __post_init__(self) -> None:
        radians = math.radians(self.degrees)
        object.__setattr__(self, "_cosine", math.cos(radians))
        object.__setattr__(self, "_sine", math.sin(radians))

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the turned picture."""
        cosine, sine = abs(self._cosine), abs(self._sine)
        return (
            self.width_px * cosine + self.height_px * sine,
            self.width_px * sine + self.height_px * cosine,
        )

    def of(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the picture is after the turn."""
        x, y = x - self.width_px / 2, y - self.height_px / 2
        width, height = self.size
        return (
            x * self._cosine + y * self._sine + width / 2,
            y * self._cosine - x * self._sine + height / 2,
        )

    def picture(self, picture: Image) -> Image:
        """The turned picture."""
        import PIL.Image

        if abs(self.degrees) < MIN_DEGREES:
            return picture
        bicubic = PIL.Image.Resampling.BICUBIC
        return picture.rotate(self.degrees, bicubic, expand=True, fillcolor="white")


def text_of(lines: Sequence[Line]) -> str:
    """Lines as text, in reading order, fit to be stored and shown."""
    return plain_text("\n".join(in_reading_order(lines)))


class ReadsAlso(TextReader):
    """Two readers as one: the second reads what is written in letters that the first knows not.

    The second is only shown what the first sees and can't read, turned upright, on white.
    """

    def __init__(self, first: TextReader, second: TextReader, letters: frozenset[str]) -> None:
        """``letters`` are the second's own, small ones."""
        self.first, self.second, self._letters = first, second, letters

    @property
    def stamp(self) -> str:
        """Name both."""
        return f"{self.first.stamp}+{self.second.stamp}"

    def may_hold_text(self, picture: Image) -> bool:
        """What the first says: it finds writing in any letters."""
        return self.first.may_hold_text(picture)

    def see(self, picture: Image) -> Sight:
        """Take from the second the lines with letters of its own, where the first is not sure."""
        seen = self.first.see(picture)
        if not seen.unclear:
            return seen
        sure = [line for line in seen.lines if line.confidence >= SURE]
        turned = Turn(seen.degrees, *picture.size).picture(picture)
        shown = _only(turned, seen.unclear)
        others = [
            line
            for line in self.second.see(shown).lines
            if not self._letters.isdisjoint(line.text.lower())
            and not any(line.lies_on(known) for known in sure)
        ]
        mine = [line for line in seen.lines if not any(line.lies_on(other) for other in others)]
        return replace(seen, lines=cut([*mine, *others]))


def _only(picture: Image, places: Sequence[tuple[float, float, float, float]]) -> Image:
    """Some places of a picture, on white: a texture around them takes longer than all text."""
    import PIL.Image

    shown = PIL.Image.new("RGB", picture.size, "white")
    for left, top, right, bottom in places:
        near = (bottom - top) / 3
        box = (
            max(round(left - near), 0),
            max(round(top - near), 0),
            min(round(right + near), picture.width),
            min(round(bottom + near), picture.height),
        )
        if box[0] < box[2] and box[1] < box[3]:
            shown.paste(picture.crop(box), box[:2])
    return shown


def cut(lines: Sequence[Line]) -> list[Line]:
    """No more lines than a signal can hold, the highest letters first."""
    kept, chars = list[Line](), 0
    for line in sorted(lines, key=lambda line: -line.height):
        chars += len(line.text) + 1
        if chars > MAX_SIGNAL_CHARS:
            break
        kept.append(line)
    return kept
