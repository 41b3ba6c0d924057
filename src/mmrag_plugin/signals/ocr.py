"""Read the text in pictures."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MediaError, MissingExtra, ModelMissing
from mmrag_plugin.signals.plain_text import plain_text

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_SIDE_PX = 2000  # of the picture from which letters are read
DETECTION_SIDE_PX = 1280  # of the picture in which lines are looked for
MIN_SIDE_PX = 16  # nothing is written in fewer pixels
MIN_CONFIDENCE = 0.7  # of a line, below which it is more often a texture than text
MIN_LONE_CONFIDENCE = 0.95  # of a line of one character, which a texture gives easily
MAX_THREADS = 4
# A picture longer than this is read in tiles: scaled down whole, its letters would be dots
MAX_ASPECT = 3
TILE_ASPECT = 2
MAX_TILES = 16


class TextReader(ABC):
    """Reads what is written in a picture."""

    @property
    @abstractmethod
    def stamp(self) -> str:
        """Name the models and every parameter that changes what is read."""

    @abstractmethod
    def read(self, picture: Image) -> str:
        """Read an upright RGB picture: lines in reading order, "" where there is no text."""


@dataclass(frozen=True)
class _Line:
    """A piece of one line of text: where it begins and ends, its middle and height, in pixels."""

    text: str
    left: float
    right: float
    middle: float
    height: float

    def placed(self, scale: float, left_px: int, top_px: int) -> _Line:
        """Where the line is in the picture from which its tile was cut and scaled down."""
        return _Line(
            self.text,
            self.left * scale + left_px,
            self.right * scale + left_px,
            self.middle * scale + top_px,
            self.height * scale,
        )

    def is_again(self, other: _Line) -> bool:
        """Whether the two are one line that was read in two tiles."""
        aside_px = (self.left + self.right - other.left - other.right) / 2
        near_px = min(self.height, other.height) / 2
        return abs(self.middle - other.middle) < near_px and abs(aside_px) < 2 * near_px


class RapidOcrReader(TextReader):
    """PP-OCR by RapidOCR (https://github.com/RapidAI/RapidOCR) with the models of its wheel.

    Nothing is loaded before the first picture and nothing is ever downloaded. Calls from several
    threads wait for each other. Raises MissingExtra when RapidOCR is not installed.
    """

    def __init__(self, *, threads: int = 0) -> None:
        if not all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime")):
            raise MissingExtra(
                "Reading text in pictures needs the packages rapidocr and onnxruntime.",
                "Install them with `pip install rapidocr onnxruntime`, or set MMRAG_OCR=off.",
            )
        cpus = os.cpu_count() or 1
        self._threads = min(threads or MAX_THREADS, cpus)
        self._engine: Any = None
        self._lock = threading.Lock()

    @property
    def stamp(self) -> str:
        """Name the version of RapidOCR, whose wheel holds the models, and the limits."""
        version = importlib.metadata.version("rapidocr")
        limits = f"{DETECTION_SIDE_PX}px-{MAX_SIDE_PX}px-{MIN_CONFIDENCE}-{MIN_LONE_CONFIDENCE}"
        return f"rapidocr-{version}/{limits}/{MAX_ASPECT}-{TILE_ASPECT}-{MAX_TILES}/2"

    def read(self, picture: Image) -> str:
        """Read a picture. Raises MediaError when the engine fails on it."""
        if min(picture.size) < MIN_SIDE_PX:
            return ""
        is_tall, across_px = picture.height > picture.width, min(picture.size)
        lines: list[_Line] = []
        for begin_px, end_px, own_px in _tiles(across_px, max(picture.size)):
            before = list(lines)
            box = (0, begin_px, across_px, end_px) if is_tall else (begin_px, 0, end_px, across_px)
            tile = picture.crop(box)
            tile.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
            scale = (end_px - begin_px) / max(tile.size)
            for found in _lines(self._find(tile)):
                line = found.placed(scale, *box[:2])
                at_px = line.middle if is_tall else (line.left + line.right) / 2
                slack_px = line.height / 2  # a line on the seam lies a little otherwise in each
                is_own = own_px[0] - slack_px <= at_px < own_px[1] + slack_px
                if is_own and not any(line.is_again(other) for other in before):
                    lines.append(line)
        return plain_text("\n".join(_in_reading_order(lines)))

    def _find(self, picture: Image) -> Any:
        import numpy as np

        bgr = np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])
        with self._lock:
            if self._engine is None:
                self._engine = _load_engine(self._threads)
            try:
                return self._engine(bgr)
            except Exception as error:  # OpenCV and ONNX Runtime raise types of their own
                raise MediaError(
                    f"The text in the picture can't be read ({type(error).__name__}: {error}).",
                    "Set MMRAG_OCR=off if it happens with many pictures.",
                ) from error


def _tiles(short_px: int, long_px: int) -> Iterator[tuple[int, int, tuple[float, float]]]:
    """Cut the long side: where each tile begins and ends, and which part of it is its own.

    Tiles overlap, so that a line across a seam is whole in one of them; the seams lie in the middle
    of what two have in common.
    """
    if long_px <= max(MAX_ASPECT * short_px, MAX_SIDE_PX):
        yield 0, long_px, (0, long_px)
        return
    tile_px = max(TILE_ASPECT * short_px, DETECTION_SIDE_PX)
    overlap_px = tile_px // 8
    tiles = min(math.ceil((long_px - overlap_px) / (tile_px - overlap_px)), MAX_TILES)
    step_px = (long_px - overlap_px) / tiles
    for number in range(tiles):
        begin_px = round(number * step_px)
        end_px = min(math.ceil((number + 1) * step_px) + overlap_px, long_px)
        own_from_px = begin_px + overlap_px / 2 if number else 0
        own_to_px = end_px - overlap_px / 2 if number < tiles - 1 else long_px
        yield begin_px, end_px, (own_from_px, own_to_px)


def _load_engine(threads: int) -> Any:
    from rapidocr import RapidOCR

    spec = importlib.util.find_spec("rapidocr")
    models = Path(spec.origin or "").parent / "models" if spec else Path()
    paths = {part: next(models.glob(f"*_{part}_*.onnx"), None) for part in ("det", "rec", "cls")}
    missing = [part for part, path in paths.items() if path is None]
    if missing:
        raise ModelMissing(
            f"RapidOCR's models ({', '.join(missing)}) are not in {models}.",
            "Install it anew with `pip install --force-reinstall rapidocr`, or set MMRAG_OCR=off.",
        )
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Global.max_side_len": MAX_SIDE_PX,
            "Global.text_score": MIN_CONFIDENCE,
            # "min" would scale small pictures up to 736 px: 10 times the work for a thumbnail
            "Det.limit_type": "max",
            "Det.limit_side_len": DETECTION_SIDE_PX,
            # a path, so that a file which is missing or damaged is never fetched
            **{f"{part.capitalize()}.model_path": str(path) for part, path in paths.items()},
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _lines(found: Any) -> Iterator[_Line]:
    if getattr(found, "boxes", None) is None:  # then it is an empty result of another type
        return
    for box, text, confidence in zip(found.boxes, found.txts, found.scores, strict=True):
        letters = sum(char.isalnum() for char in text)
        if letters > 1 or (letters and confidence >= MIN_LONE_CONFIDENCE):
            (left_x, left_y), _, _, (below_x, below_y) = box  # clockwise; it may be slanted
            xs, ys = [float(x) for x, _ in box], [float(y) for _, y in box]
            height = max(math.hypot(below_x - left_x, below_y - left_y), 1.0)
            yield _Line(text.strip(), min(xs), max(xs), sum(ys) / len(ys), height)


def _in_reading_order(lines: Sequence[_Line]) -> Iterator[str]:
    """Sort pieces into rows, top to bottom and left to right; pieces that lie close make a line."""
    rows: list[list[_Line]] = []
    for line in sorted(lines, key=lambda line: line.middle):
        first = rows[-1][0] if rows else None
        if first and line.middle - first.middle < min(line.height, first.height) / 2:
            rows[-1].append(line)
        else:
            rows.append([line])
    for row in rows:
        row.sort(key=lambda line: line.left)
        text = row[0].text
        for before, line in pairwise(row):
            gap_px = line.left - before.right
            near = -before.height < gap_px < before.height
            text += (" " if near else "\n") + line.text
        yield text
