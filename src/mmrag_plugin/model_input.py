"""What a model is given of a picture: a small square, scaled and cut as the model was taught.

It needs no model and nothing of LlamaIndex, so the process that decodes a picture makes it ready,
and hands on a few kilobytes instead of megabytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.pictures import reduced

if TYPE_CHECKING:
    from PIL.Image import Image

# A picture at least 3.2 times as large as its square is first reduced by whole pixels, so that the
# slower scaling still makes it 1.6 times smaller: with less the embeddings of some photos agree no
# better than 0.996.
REDUCING_GAP = 1.6
MAX_ASPECT = 32  # beyond that a picture is a line: scaling its short side up would fill the memory


def bounded(picture: Image, at_least_px: int) -> Image:
    """Scale a much too large picture down, its short side still ``at_least_px`` or more.

    Model preprocessors copy every pixel several times before they scale; a picture that is already
    twice the model's input looks the same to it. A picture longer than 32 times its breadth is cut
    to its middle.
    """
    short_px, long_px = sorted(picture.size)
    if long_px > MAX_ASPECT * short_px:
        keep_px = MAX_ASPECT * short_px
        left = (picture.width - min(picture.width, keep_px)) // 2
        top = (picture.height - min(picture.height, keep_px)) // 2
        box = (left, top, left + min(picture.width, keep_px), top + min(picture.height, keep_px))
        picture = picture.crop(box)
    return reduced(picture, at_least_px)


class ModelInput:
    """How a model takes pictures; this one takes them as they are."""

    def least_px(self, input_px: int) -> int:
        """The short side below which no picture should be decoded for a model that sees a square.

        At twice of what it is scaled to, a JPEG looks the same to a model as the whole.
        """
        return 2 * input_px

    def fitted(self, picture: Image) -> Image:
        """Make an upright RGB picture ready; one that is ready stays as it is."""
        return picture


@dataclass(frozen=True)
class Square(ModelInput):
    """A square, described as open_clip's preprocess_cfg.json does it.

    ``shortest`` scales the short side to ``short_side_px`` and cuts out the middle square;
    ``squash`` scales both sides; ``longest`` scales the long side and fills up with
    ``fill_colour``. A picture that is exactly ``size_px`` square is taken as it is.
    """

    size_px: int
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    short_side_px: int = 0
    fill_colour: int = 0
    middle_rounds_down: bool = False  # as transformers cuts it out; torchvision rounds to even

    @classmethod
    def read(cls, path: Path) -> Square:
        """Read preprocess_cfg.json. Raises ValueError, KeyError or TypeError when it is wrong."""
        given = json.loads(path.read_text("utf-8"))
        size = given["size"]
        width_px, height_px = (size, size) if isinstance(size, int) else size
        if width_px != height_px:
            raise ValueError(f"the input is {width_px} x {height_px}, not a square")
        mode = given.get("resize_mode", "shortest")
        if mode not in ("shortest", "squash", "longest"):
            raise ValueError(f"unknown resize_mode {mode!r}")
        interpolation = given.get("interpolation", "bicubic")
        if interpolation not in ("bicubic", "bilinear", "nearest", "lanczos"):
            interpolation = "bicubic"  # open_clip's `random` is for training
        return cls(
            size_px=int(width_px),
            mean=tuple(map(float, given["mean"])),
            std=tuple(map(float, given["std"])),
            interpolation=interpolation,
            resize_mode=mode,
            short_side_px=int(given.get("resize_short_side") or width_px),
            fill_colour=int(given.get("fill_color") or 0),
        )

    def least_px(self, input_px: int) -> int:
        """Twice the short side that the picture is scaled to before the square is cut out."""
        return 2 * max(input_px, self.size_px, self.short_side_px)

    def fitted(self, picture: Image) -> Image:
        """Scale and cut or fill an RGB picture to the square that the model sees."""
        from PIL import Image, ImageOps

        size_px = self.size_px
        if picture.size == (size_px, size_px):
            return picture
        picture = bounded(picture, 4 * size_px)
        way = Image.Resampling[self.interpolation.upper()]
        gap = None if self.interpolation in ("box", "nearest") else REDUCING_GAP
        if self.resize_mode == "squash":
            return picture.resize((size_px, size_px), way, reducing_gap=gap)
        width_px, height_px = picture.size
        if self.resize_mode == "longest":
            scale = size_px / max(width_px, height_px)
            scaled_px = max(1, round(width_px * scale)), max(1, round(height_px * scale))
            scaled = picture.resize(scaled_px, way, reducing_gap=gap)
            return ImageOps.pad(scaled, (size_px, size_px), way, (self.fill_colour,) * 3)
        scale = self.short_side_px / min(width_px, height_px)
        # torchvision's rounding, with which these models were trained: the long side is cut off
        scaled_px = (
            self.short_side_px if width_px <= height_px else int(width_px * scale),
            self.short_side_px if height_px <= width_px else int(height_px * scale),
        )
        left, top = (self._middle(side_px) for side_px in scaled_px)
        if min(scaled_px) < size_px:  # what lacks is black
            scaled = picture.resize(scaled_px, way, reducing_gap=gap)
            return scaled.crop((left, top, left + size_px, top + size_px))
        across, down = width_px / scaled_px[0], height_px / scaled_px[1]
        middle = (left * across, top * down, (left + size_px) * across, (top + size_px) * down)
        return picture.resize((size_px, size_px), way, middle, reducing_gap=gap)

    def _middle(self, side_px: int) -> int:
        """Where the middle square begins on a side."""
        beside_px = side_px - self.size_px
        return beside_px // 2 if self.middle_rounds_down else round(beside_px / 2)
