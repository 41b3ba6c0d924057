"""Read text in pictures with PP-OCR's models, by RapidOCR."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import math
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mmrag_plugin.errors import MediaError, MissingExtra, ModelMissing
from mmrag_plugin.signals import ocr_windows as windows
from mmrag_plugin.signals.ocr import SURE, Line, Sight, TextReader, Turn, cut
from mmrag_plugin.signals.ocr_windows import Box, Cell, find_boxes
from mmrag_plugin.signals.plain_text import MAX_SIGNAL_CHARS

if TYPE_CHECKING:
    from PIL.Image import Image

MIN_CONFIDENCE = 0.7  # of a line, below which it is more often a texture than text
MIN_LONE_CONFIDENCE = 0.95  # of a line of one character, which a texture gives easily
MIN_TURNED_CONFIDENCE = 0.85  # of a line that was turned against all others, or was a mere hint
MAX_LINES = 600  # of one picture that are read, the largest first
MAX_THREADS = 4
GLANCE_SIDE_PX = 640  # of the picture in which a cheap look seeks anything like writing
GLANCE_SCORE = 0.45
_HINT = 0.25  # the score from which the detector's boxes are heard of
_LETTERS_PX = 64  # how high a line is cut out; the models see 48
_VOTERS = 16  # lines by which it is decided which way is up
_ONE_MIND = 0.8  # of the votes, else it is tried which way reads better
_TRIED = 6  # lines, for that
_BATCH = 48  # lines between two looks at how much was read
_VERSION = 5

_Found = TypeVar("_Found")


class RapidOcrReader(TextReader):
    """PP-OCR by RapidOCR (https://github.com/RapidAI/RapidOCR) with the models of its wheel.

    ``models`` are files of further recognition models, for other scripts: each line is read by all,
    and the surest counts. Nothing is loaded before the first picture and nothing is ever
    downloaded. Calls from several threads wait for each other. Raises MissingExtra when RapidOCR
    is not installed.
    """

    def __init__(self, *, threads: int = 0, models: Sequence[Path] = ()) -> None:
        require_rapidocr()
        cpus = os.cpu_count() or 1
        self._threads = min(threads or MAX_THREADS, cpus)
        self._models = tuple(models)
        self._engines: list[Any] = []
        self._lock = threading.Lock()

    @property
    def stamp(self) -> str:
        """Name the version of RapidOCR, whose wheel holds the models, others, and the limits."""
        version = importlib.metadata.version("rapidocr")
        others = "".join(f"+{path.stem}" for path in self._models)
        found = f"{windows.DETECTION_SIDE_PX}px-{windows.MAX_WINDOWS}-{windows.MAX_TILES}"
        limits = f"{MIN_CONFIDENCE}-{MIN_LONE_CONFIDENCE}-{MAX_LINES}"
        return f"rapidocr-{version}{others}/{found}/{limits}/{_VERSION}"

    def see(self, picture: Image) -> Sight:
        """Find lines, which way is up, and what they say; at most ``MAX_LINES``."""

        def work() -> Sight:
            boxes = find_boxes(
                *picture.size, lambda cell, scale: self._detect(picture, cell, scale)
            )
            thin_px = windows.MAX_PART * min(picture.size)
            boxes = [box for box in boxes if box.is_tall is not None or box.thickness <= thin_px]
            boxes.sort(key=lambda box: -box.thickness)
            sight = self._read(picture, boxes[:MAX_LINES])
            left = max(len(boxes) - MAX_LINES, 0) + sight.left_unread
            return replace(sight, places=len(boxes), left_unread=left)

        return self._guarded(work)

    def may_hold_text(self, picture: Image) -> bool:
        """Look for lines in the picture at a quarter of the pixels, and read none."""
        scale = min(GLANCE_SIDE_PX / max(picture.size), 1.0)
        boxes = self._guarded(lambda: self._detect(picture, (0, 0, *picture.size), scale))
        thin_px = windows.MAX_PART * min(picture.size)
        return any(
            box.score >= GLANCE_SCORE
            and box.aspect >= windows.LINE_ASPECT
            and box.thickness <= thin_px
            for box in boxes
        )

    def _guarded(self, work: Callable[[], _Found]) -> _Found:
        with self._lock:
            if not self._engines:
                self._engines = [
                    _load_engine(self._threads, path) for path in (None, *self._models)
                ]
            try:
                return work()
            except Exception as error:  # OpenCV and ONNX Runtime raise types of their own
                raise MediaError(
                    f"The text in the picture can't be read ({type(error).__name__}: {error}).",
                    "Set MMRAG_OCR=off if it happens with many pictures.",
                ) from error

    def _detect(self, picture: Image, window: Cell, scale: float) -> list[Box]:
        """The boxes in a part of the picture, in pixels of the picture."""
        from rapidocr.main import RapidOCRError

        left, top, right, bottom = window
        shown = _shown(picture, window, scale)
        if min(shown.size) < 2:
            return []
        padded: dict[str, Any] = {}
        try:
            _, found = self._engines[0].detect_and_crop(_bgr(shown), padded)
        except RapidOCRError:  # how it says that there is nothing
            return []
        across, down = (right - left) / shown.width, (bottom - top) / shown.height
        above = padded["padding_1"]["top"]
        boxes: list[Box] = []
        for corners, score in zip(found.boxes, found.scores, strict=True):
            a, b, c, d = (
                (left + float(x) * across, top + (float(y) - above) * down) for x, y in corners
            )
            boxes.append(Box((a, b, c, d), float(score)))
        return boxes

    def _read(self, picture: Image, boxes: Sequence[Box]) -> Sight:
        if not boxes:
            return Sight()
        hints = [box for box in boxes if box.score < windows.SURE]
        boxes = [box for box in boxes if box.score >= windows.SURE]
        if not boxes:
            hints, boxes = [], hints
        tall_px = sum(box.length for box in boxes if box.is_tall)
        wide_px = sum(box.length for box in boxes if box.is_tall is False)
        mostly_tall = tall_px > wide_px
        if mostly_tall and not all(box.is_tall for box in boxes):
            mostly_tall = self._reads_better_tall(picture, boxes)
        is_tall = [mostly_tall if box.is_tall is None else box.is_tall for box in boxes]
        ways = {
            tall: self._way(
                picture, [box for box, its in zip(boxes, is_tall, strict=True) if its == tall], tall
            )
            for tall in set(is_tall)
        }
        upright = [box.turned(ways[tall]) for box, tall in zip(boxes, is_tall, strict=True)]
        along = [box for box, tall in zip(upright, is_tall, strict=True) if tall == mostly_tall]
        turn = Turn(_degrees(along, ways[mostly_tall]), *picture.size)
        lines, chars, read = list[Line](), 0, 0
        unread: list[Box] = []
        for begin in range(0, len(upright), _BATCH):
            if chars > MAX_SIGNAL_CHARS:
                break
            batch = upright[begin : begin + _BATCH]
            read += len(batch)
            for box, (text, confidence) in zip(batch, self._texts(picture, batch), strict=True):
                if confidence < MIN_CONFIDENCE or not text.strip():
                    unread.append(box)
                elif _is_text(text, confidence):
                    lines.append(_line(box, text, confidence, turn))
                    chars += len(text)
        hints = [box.turned(ways[mostly_tall]) for box in hints if box.is_tall == mostly_tall]
        other_way = [box.turned(2) for box in unread[:_VOTERS]]
        for doubtful in (hints, other_way):
            for box, (text, confidence) in zip(
                doubtful, self._texts(picture, doubtful), strict=True
            ):
                if confidence >= MIN_TURNED_CONFIDENCE and _is_text(text, confidence):
                    lines.append(_line(box, text, confidence, turn))
        unclear = [_bounds(box, turn) for box in unread]
        unclear += [
            (line.left, line.middle - line.height / 2, line.right, line.middle + line.height / 2)
            for line in lines
            if line.confidence < SURE
        ]
        return Sight(cut(lines), turn.degrees, len(boxes), len(upright) - read, unclear)

    def _reads_better_tall(self, picture: Image, boxes: Sequence[Box]) -> bool:
        """Whether tall boxes hold text, rather than the others: poles and edges are tall, too."""
        sure: list[float] = []
        for tall in (True, False):
            tried = [box for box in boxes if bool(box.is_tall) == tall]
            tried = sorted(tried, key=lambda box: -box.score)[:_TRIED]
            way = self._way(picture, tried, tall) if tried else 0
            read = self._texts(picture, [box.turned(way) for box in tried])
            sure.append(sum(confidence for text, confidence in read if len(text) > 1))
        return sure[0] > sure[1]

    def _way(self, picture: Image, boxes: Sequence[Box], tall: bool) -> int:
        """How many quarters lines are turned clockwise: 0 or 2 for wide ones, 1 or 3 for tall."""
        voters = sorted(boxes, key=lambda box: -box.length)[:_VOTERS]
        voters = [box.turned(1 if tall else 0) for box in voters]
        crops = [_crop(picture, box) for box in voters]
        _, said = self._engines[0].cls_and_rotate(crops)
        votes = {"0": 0.0, "180": 0.0}
        for label, score in said.cls_res:
            votes[label] += score
        first = 1 if tall else 0
        if not tall and votes["0"] >= _ONE_MIND * sum(votes.values()):
            return first
        # the classifier errs with short lines, and few pictures are turned: which way reads better?
        tried = sorted(voters, key=lambda box: -box.score)[:_TRIED]
        sure = [
            sum(confidence for _, confidence in self._texts(picture, turned))
            for turned in (tried, [box.turned(2) for box in tried])
        ]
        return first + (2 if sure[1] > sure[0] else 0)

    def _texts(self, picture: Image, boxes: Sequence[Box]) -> list[tuple[str, float]]:
        """What boxes that begin at their first corner say, each by the surest of the models."""
        pieces = [list(box.pieces()) for box in boxes]
        crops = [_crop(picture, piece) for parts in pieces for piece in parts]
        if not crops:
            return []
        read: list[tuple[str, float]] = [("", 0.0)] * len(crops)
        for engine in self._engines:
            found = engine.recognize_txt(crops)
            for number, one in enumerate(zip(found.txts, found.scores, strict=True)):
                if one[1] > read[number][1]:
                    read[number] = one
        texts: list[tuple[str, float]] = []
        for parts in pieces:
            own, read = read[: len(parts)], read[len(parts) :]
            texts.append((" ".join(text for text, _ in own), min(sure for _, sure in own)))
        return texts


def require_rapidocr() -> None:
    """Raise MissingExtra when RapidOCR is not installed."""
    if not all(importlib.util.find_spec(name) for name in ("rapidocr", "onnxruntime")):
        raise MissingExtra(
            "Reading text in pictures needs the packages rapidocr and onnxruntime.",
            "Install them with `pip install rapidocr onnxruntime`, or set MMRAG_OCR=off.",
        )


def wheel_models() -> dict[str, Path]:
    """The models of RapidOCR's wheel by part: det, rec, cls. Raises ModelMissing."""
    spec = importlib.util.find_spec("rapidocr")
    models = Path(spec.origin or "").parent / "models" if spec else Path()
    paths = {part: next(models.glob(f"*_{part}_*.onnx"), None) for part in ("det", "rec", "cls")}
    missing = [part for part, path in paths.items() if path is None]
    if missing:
        raise ModelMissing(
            f"RapidOCR's models ({', '.join(missing)}) are not in {models}.",
            "Install it anew with `pip install --force-reinstall rapidocr`, or set MMRAG_OCR=off.",
        )
    return {part: path for part, path in paths.items() if path is not None}


def _load_engine(threads: int, recognition: Path | None) -> Any:
    from rapidocr import RapidOCR

    paths = wheel_models()
    if recognition is not None:
        paths["rec"] = recognition
    return RapidOCR(
        params={
            "Global.log_level": "critical",
            "Det.box_thresh": _HINT,
            # pictures come in the size in which they are to be looked at
            "Det.limit_type": "max",
            "Det.limit_side_len": windows.DETECTION_SIDE_PX,
            # a path, so that a file which is missing or damaged is never fetched
            **{f"{part.capitalize()}.model_path": str(path) for part, path in paths.items()},
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def _shown(picture: Image, window: Cell, scale: float) -> Image:
    """A part of the picture, scaled down."""
    import PIL.Image

    left, top, right, bottom = window
    size = max(round((right - left) * scale), 1), max(round((bottom - top) * scale), 1)
    if scale >= 1:
        return picture.crop((round(left), round(top), round(right), round(bottom)))
    return picture.resize(size, PIL.Image.Resampling.BICUBIC, box=window, reducing_gap=2.0)


def _bgr(picture: Image) -> Any:
    import numpy as np

    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])


def _crop(picture: Image, box: Box) -> Any:
    """Cut a line out that begins at the first corner of its box, upright."""
    import cv2
    import numpy as np

    left, top, right, bottom = box.bounds
    around = (
        max(int(left), 0),
        max(int(top), 0),
        max(min(int(right) + 2, picture.width), int(left) + 1),
        max(min(int(bottom) + 2, picture.height), int(top) + 1),
    )
    scale = min(_LETTERS_PX / box.height, 1.0)
    part = _shown(picture, around, scale)
    across, down = part.width / (around[2] - around[0]), part.height / (around[3] - around[1])
    corners = [((x - around[0]) * across, (y - around[1]) * down) for x, y in box.corners]
    width, height = max(round(box.width * scale), 1), max(round(box.height * scale), 1)
    upright = [(0, 0), (width, 0), (width, height), (0, height)]
    matrix = cv2.getPerspectiveTransform(
        np.array(corners, np.float32), np.array(upright, np.float32)
    )
    replicate, cubic = cv2.BORDER_REPLICATE, cv2.INTER_CUBIC
    return cv2.warpPerspective(
        _bgr(part), matrix, (width, height), borderMode=replicate, flags=cubic
    )


def _degrees(boxes: Sequence[Box], way: int) -> float:
    """How far the text of boxes runs from the left to the right, the median by their lengths."""
    slants: list[tuple[float, float]] = []
    for box in boxes:
        (ax, ay), (bx, by) = box.corners[0], box.corners[1]
        slant = math.degrees(math.atan2(by - ay, bx - ax)) - 90 * way
        if box.width >= 3 * box.height:
            slants.append(((slant + 180) % 360 - 180, box.width))
    slants.sort()
    left = sum(width for _, width in slants) / 2
    for slant, width in slants:
        left -= width
        if left <= 0:
            return 90 * way + slant
    return 90 * way


def _is_text(text: str, confidence: float) -> bool:
    letters = sum(char.isalnum() for char in text)
    return letters > 1 or (letters == 1 and confidence >= MIN_LONE_CONFIDENCE)


def _bounds(box: Box, turn: Turn) -> Cell:
    xs, ys = zip(*(turn.of(*corner) for corner in box.corners), strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def _line(box: Box, text: str, confidence: float, turn: Turn) -> Line:
    corners = [turn.of(*corner) for corner in box.corners]
    xs = [x for x, _ in corners]
    _, middle = turn.of(*box.middle)
    return Line(text.strip(), min(xs), max(xs), middle, box.height, confidence)
