"""A canvas for the demo's scenes: the same pixels on every run.

Coordinates are fractions of the canvas, x of its width and y of its height; radii and widths of
lines are fractions of its height.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Array = NDArray[np.float32]

_OVERSAMPLING = 2  # shapes are drawn larger and scaled down, which smooths their edges


class Canvas:
    """A picture to draw on, with chance that is the same for the same seed."""

    def __init__(self, width_px: int, height_px: int, seed: int) -> None:
        self.width_px, self.height_px, self.seed = width_px, height_px, seed
        self.w, self.h = width_px * _OVERSAMPLING, height_px * _OVERSAMPLING
        self.rng = np.random.default_rng(seed)
        self.image = Image.new("RGB", (self.w, self.h))
        self.draw = ImageDraw.Draw(self.image)

    def gradient(self, top: float, bottom: float, *colours: Colour) -> None:
        """Fill a band with colours that run into each other from top to bottom."""
        y0, y1 = round(top * self.h), round(bottom * self.h)
        at = np.linspace(0, len(colours) - 1, max(y1 - y0, 1))
        channels = np.array(colours, dtype=np.float32).T
        rows = np.stack([np.interp(at, range(len(colours)), c) for c in channels], axis=-1)
        band = np.repeat(rows[:, None, :], self.w, axis=1)
        self.image.paste(Image.fromarray(band.round().astype(np.uint8)), (0, y0))

    def texture(self, top: float, bottom: float, strength: float, x_px: int, y_px: int) -> None:
        """Lighten and darken a band by soft patches of about that size."""
        y0, y1 = round(top * self.h), round(bottom * self.h)
        noise = _soft_noise(self.w, y1 - y0, x_px, y_px, self.seed + y0)
        band = np.asarray(self.image.crop((0, y0, self.w, y1)), dtype=np.float32)
        shaded = band * (1 + strength * noise[:, :, None])
        self.image.paste(Image.fromarray(shaded.clip(0, 255).astype(np.uint8)), (0, y0))

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """Fill a polygon."""
        self.draw.polygon([(x * self.w, y * self.h) for x, y in points], fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """Fill an upright rectangle."""
        self.draw.rectangle((x0 * self.w, y0 * self.h, x1 * self.w, y1 * self.h), fill=fill)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """Fill an ellipse; both radii are fractions of the height."""
        cx, cy, a, b = x * self.w, y * self.h, rx * self.h, ry * self.h
        self.draw.ellipse((cx - a, cy - b, cx + a, cy + b), fill=fill)

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """Draw a line; its width is a fraction of the height."""
        scaled = [(x * self.w, y * self.h) for x, y in points]
        self.draw.line(scaled, fill=fill, width=max(round(width * self.h), 1), joint="curve")

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Add light around a point."""
        ys, xs = np.mgrid[0 : self.h, 0 : self.w].astype(np.float32)
        distance = np.hypot(xs - x * self.w, ys - y * self.h) / (radius * self.h)
        light = strength * np.exp(-(distance**2))[:, :, None]
        lit = np.asarray(self.image, dtype=np.float32) * (1 - light) + light * np.array(colour)
        self.image.paste(Image.fromarray(lit.clip(0, 255).astype(np.uint8)))

    def clouds(self, count: int, top: float, bottom: float, drift: float = 0.0) -> None:
        """Lay white clouds over the sky."""
        mask = Image.new("L", (self.w, self.h))
        draw = ImageDraw.Draw(mask)
        for _ in range(count):
            x = (self.rng.uniform(-0.1, 1.1) + drift) * self.w
            y, size = self.rng.uniform(top, bottom) * self.h, self.rng.uniform(0.03, 0.06) * self.h
            for _ in range(9):
                dx, dy = self.rng.normal(0, size * 1.6), self.rng.normal(0, size * 0.25)
                r = size * self.rng.uniform(0.5, 1.0)
                draw.ellipse((x + dx - r, y + dy - r * 0.6, x + dx + r, y + dy + r * 0.6), fill=215)
        mask = mask.filter(ImageFilter.GaussianBlur(self.h / 90))
        self.image.paste((255, 255, 255), (0, 0), mask)

    def strokes(
        self, count: int, top: float, bottom: float, colours: Sequence[Colour], lean: float
    ) -> None:
        """Draw blades of grass, far ones first and shorter."""
        for y in np.sort(self.rng.uniform(top, bottom, count)):
            near = (y - top) / (bottom - top)
            x, height = self.rng.uniform(0, 1), 0.012 + 0.045 * near * self.rng.uniform(0.5, 1)
            tip = x + self.rng.normal(0, lean) * height
            colour = colours[int(self.rng.integers(len(colours)))]
            self.line([(x, y), (tip, y - height)], colour, 0.002 + 0.003 * near)

    def finish(self) -> Image.Image:
        """Scale down and add the grain that every photo has."""
        small = self.image.resize((self.width_px, self.height_px), Image.Resampling.LANCZOS)
        grain = np.random.default_rng(self.seed).normal(0, 2.0, (self.height_px, self.width_px, 1))
        noisy = np.asarray(small, dtype=np.float32) + grain
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


@lru_cache(maxsize=32)
def _soft_noise(width: int, height: int, x_px: int, y_px: int, seed: int) -> Array:
    """Smooth noise of about -1..1 with patches of ``x_px`` by ``y_px``."""
    coarse = np.random.default_rng(seed).uniform(-1, 1, (height // y_px + 3, width // x_px + 3))
    image = Image.fromarray(coarse.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
