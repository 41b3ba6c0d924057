"""Where to look for writing in a picture: boxes around lines, and windows in which they are sought.

A detector sees a picture at a bounded size. In a large picture small letters are a mere hint there;
windows around hints are then looked at closely, a bounded number of them.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

DETECTION_SIDE_PX = 1280  # of the picture in which lines are looked for
# A picture longer than this is looked at in tiles: scaled down whole, its letters would be dots
MAX_ASPECT = 3
TILE_ASPECT = 2
MAX_TILES = 16
MAX_WINDOWS = 12  # that are looked at closely
SMALL_PX = 16  # a line that is thinner, where it was found, is not seen whole
CLEAR_PX = 22  # how thick it should be
LINE_ASPECT = 1.8  # of what looks like a line
MAX_PART = 0.4  # of the short side: what is thicker and not long is a thing, and no line
MAX_BLOCKS = 2  # things as high as long that are looked at closely, as if they were pages
BLOCK_ZOOM = 3  # how much closer, where nothing tells how small their letters are
SURE = 0.5  # the detector's score from which a box is one; below it is a hint
MAX_HINTS = 12  # of what is large enough, and looks like a line, that are read as well
MARGIN = 0.125  # of a cell that a window shows around it
MAX_LINE_ASPECT = 60  # of what is read at once

Point = tuple[float, float]
Cell = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Box:
    """A box around something like a line: its corners, clockwise from the one at the top left."""

    corners: tuple[Point, Point, Point, Point]
    score: float

    @cached_property
    def width(self) -> float:
        """The length of its upper edge."""
        return max(math.dist(*self.corners[:2]), 1.0)

    @cached_property
    def height(self) -> float:
        """The length of its left edge."""
        return max(math.dist(self.corners[0], self.corners[3]), 1.0)

    @property
    def length(self) -> float:
        """The longer side."""
        return max(self.width, self.height)

    @property
    def thickness(self) -> float:
        """The shorter side."""
        return min(self.width, self.height)

    @cached_property
    def middle(self) -> Point:
        """Its middle."""
        return sum(x for x, _ in self.corners) / 4, sum(y for _, y in self.corners) / 4

    @property
    def aspect(self) -> float:
        """How many times longer it is than thick."""
        return self.length / self.thickness

    @property
    def is_tall(self) -> bool | None:
        """Whether its text runs up or down; None when it is too short to tell."""
        if self.aspect < 1.5:
            return None
        return self.height > self.width

    @cached_property
    def bounds(self) -> Cell:
        """Left, top, right and bottom."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def turned(self, quarters: int) -> Box:
        """The same box, its corners counted from the one that begins a text turned so far."""
        a, b, c, d = self.corners[quarters:] + self.corners[:quarters]
        return Box((a, b, c, d), self.score)

    def pieces(self) -> Iterator[Box]:
        """The box, or several in a row where it is longer than what is read at once."""
        count = math.ceil(self.width / self.height / MAX_LINE_ASPECT)
        a, b, c, d = self.corners
        for number in range(count):
            begin, end = number / count, (number + 1) / count
            yield Box(
                (
                    _between(a, b, begin),
                    _between(a, b, end),
                    _between(d, c, end),
                    _between(d, c, begin),
                ),
                self.score,
            )

    def joined(self, other: Box) -> Box | None:
        """One box for two parts of a line that was cut; None if they are none."""
        if bool(self.is_tall) != bool(other.is_tall):
            return None
        one, two = (self.turned(1), other.turned(1)) if self.is_tall else (self, other)
        if not one._is_cut_from(two):
            return None
        way = 1 if self.is_tall else 0
        first, last = (one, two) if one.middle[way] <= two.middle[way] else (two, one)
        if last.corners[1][way] < first.corners[1][way]:  # it lies within the first
            return self if first is one else other
        both = Box(
            (first.corners[0], last.corners[1], last.corners[2], first.corners[3]),
            max(self.score, other.score),
        )
        return both.turned(3) if self.is_tall else both

    def _is_cut_from(self, other: Box) -> bool:
        """Whether two boxes that begin at their first corner overlap on one line."""
        (ax, ay), (bx, by) = self.corners[0], self.corners[1]
        along = (bx - ax) / self.width, (by - ay) / self.width
        dx, dy = other.middle[0] - self.middle[0], other.middle[1] - self.middle[1]
        apart, aside = abs(dx * along[0] + dy * along[1]), abs(dy * along[0] - dx * along[1])
        thin, thick = sorted((self.height, other.height))
        return aside < thin / 2 and thick < 2 * thin and apart < (self.width + other.width) / 2


def _between(a: Point, b: Point, part: float) -> Point:
    return a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part


Detect = Callable[[Cell, float], list[Box]]  # a window and its scale: boxes in the picture


@dataclass(frozen=True)
class Grid:
    """Cells of one size that cover a picture, and the windows that show each with a margin."""

    width_px: int
    height_px: int
    columns: int
    rows: int

    def cell(self, column: int, row: int) -> Cell:
        """The part of the picture that is a cell's own."""
        width, height = self.width_px / self.columns, self.height_px / self.rows
        return column * width, row * height, (column + 1) * width, (row + 1) * height

    def window(self, column: int, row: int) -> Cell:
        """A cell with a margin, so that a line on a seam is whole in one of two windows."""
        left, top, right, bottom = self.cell(column, row)
        across = MARGIN * (right - left) if self.columns > 1 else 0
        down = MARGIN * (bottom - top) if self.rows > 1 else 0
        return (
            max(left - across, 0),
            max(top - down, 0),
            min(right + across, self.width_px),
            min(bottom + down, self.height_px),
        )

    def cell_of(self, point: Point) -> tuple[int, int]:
        """The cell in which a point lies."""
        column = int(point[0] * self.columns / self.width_px)
        row = int(point[1] * self.rows / self.height_px)
        return min(max(column, 0), self.columns - 1), min(max(row, 0), self.rows - 1)

    def touched(self, box: Box) -> set[tuple[int, int]]:
        """The cells into which a box reaches, or nearly."""
        left, top, right, bottom = box.bounds
        near = 2 * box.thickness
        first, last = (
            self.cell_of((left - near, top - near)),
            self.cell_of((right + near, bottom + near)),
        )
        return {
            (column, row)
            for column in range(first[0], last[0] + 1)
            for row in range(first[1], last[1] + 1)
        }

    def own(self, cell: tuple[int, int], boxes: Sequence[Box]) -> Iterator[Box]:
        """Those of the boxes found in a window that no other window shows better."""
        left, top, right, bottom = self.cell(*cell)
        for box in boxes:
            x, y = box.middle
            slack = box.thickness / 2  # a line on the seam lies a little otherwise in each
            if left - slack <= x < right + slack and top - slack <= y < bottom + slack:
                yield box


def coarse_grid(width_px: int, height_px: int) -> Grid:
    """The whole picture as one cell; a long one as a row of tiles."""
    short_px, long_px = sorted((width_px, height_px))
    if long_px <= max(MAX_ASPECT * short_px, DETECTION_SIDE_PX):
        return Grid(width_px, height_px, 1, 1)
    tile_px = max(TILE_ASPECT * short_px, DETECTION_SIDE_PX) * (1 - 2 * MARGIN)
    tiles = min(math.ceil(long_px / tile_px), MAX_TILES)
    across = width_px > height_px
    return Grid(width_px, height_px, tiles if across else 1, 1 if across else tiles)


def find_boxes(width_px: int, height_px: int, detect: Detect) -> list[Box]:
    """Look at the whole picture, and closely where there are hints of small letters.

    The last boxes may be mere hints, with a score below ``SURE``: the frame around a label keeps
    the detector from being sure of it, and reading tells.
    """
    grid = coarse_grid(width_px, height_px)
    cells = [(column, row) for column in range(grid.columns) for row in range(grid.rows)]
    scale = _scale(grid.window(*cells[len(cells) // 2]))
    found = _in_cells(grid, cells, scale, detect)
    sure = [box for box in found if box.score >= SURE]
    hints = _hints(found, scale)
    if scale >= 1:
        return sure + hints
    small = [
        box
        for box in found
        if box.thickness * scale < SMALL_PX and (box.score >= SURE or box.aspect >= LINE_ASPECT)
    ]
    thin_px = MAX_PART * min(width_px, height_px)
    blocks = [box for box in sure if _is_block(box) and box.thickness <= thin_px]
    blocks = sorted(blocks, key=lambda box: -box.score)[:MAX_BLOCKS]
    closer, near = _close_grid(width_px, height_px, small, scale)
    if near < 1.15 * scale or not (small or blocks):
        return sure + hints
    seen = _looked_at(closer, [*small, *blocks], near, detect)
    thin = SMALL_PX / scale
    large = [box for box in sure if box.thickness >= thin]
    unseen = [  # closely: far away a picture that is soft shows more
        box
        for box in sure
        if box.thickness < thin
        and not any(_covers(box, other) or _covers(other, box) for other in seen)
    ]
    # what seemed one thing and holds lines is a label or a page
    large = [
        box
        for box in large
        if not (_is_block(box) and sum(_covers(box, other) for other in seen) > 1)
    ]
    seen = [box for box in seen if not any(_covers(other, box) for other in large)]
    boxes = large + unseen + seen
    return boxes + [
        hint for hint in hints if not any(_covers(hint, box) or _covers(box, hint) for box in boxes)
    ]


def _hints(found: Sequence[Box], scale: float) -> list[Box]:
    hints = [
        box
        for box in found
        if box.score < SURE and box.aspect >= LINE_ASPECT and box.thickness * scale >= SMALL_PX
    ]
    return sorted(hints, key=lambda box: -box.score)[:MAX_HINTS]


def _is_block(box: Box) -> bool:
    """Whether it is as high as long: a single letter, or many lines that were too small to see."""
    return box.is_tall is None


def _scale(window: Cell) -> float:
    left, top, right, bottom = window
    return min(DETECTION_SIDE_PX / max(right - left, bottom - top), 1.0)


def _in_cells(
    grid: Grid, cells: Sequence[tuple[int, int]], scale: float, detect: Detect
) -> list[Box]:
    found: list[Box] = []
    for cell in cells:
        found += grid.own(cell, detect(grid.window(*cell), scale))
    return _joined(grid, found)


def _close_grid(
    width_px: int, height_px: int, small: Sequence[Box], scale: float
) -> tuple[Grid, float]:
    """The grid that shows small lines clearly enough in no more windows than may be looked at."""
    sizes = sorted(box.thickness * scale for box in small) or [CLEAR_PX / BLOCK_ZOOM]
    near = min(scale * CLEAR_PX / max(sizes[len(sizes) // 4], 4.0), 1.0)
    while True:
        cell_px = DETECTION_SIDE_PX / near / (1 + 2 * MARGIN)
        grid = Grid(
            width_px, height_px, math.ceil(width_px / cell_px), math.ceil(height_px / cell_px)
        )
        hinted = {grid.cell_of(box.middle) for box in small}
        if len(hinted) <= MAX_WINDOWS or near <= scale:
            return grid, near
        near *= 0.9


def _looked_at(grid: Grid, small: Sequence[Box], scale: float, detect: Detect) -> list[Box]:
    """Look into the cells with hints, and into those that their lines lead to.

    The cells where lines are likeliest come first; where these show none, the others are let be.
    """
    hints: dict[tuple[int, int], float] = {}
    for box in small:
        cell = grid.cell_of(box.middle)
        hints[cell] = hints.get(cell, 0.0) + box.score * min(box.aspect, 5)
    waiting = deque(sorted(hints, key=lambda cell: -hints[cell]))
    is_likely = any(box.score >= SURE and box.aspect >= LINE_ASPECT for box in small)
    most_misses, misses = (2 if is_likely else 1), 0
    done, found = set[tuple[int, int]](), list[Box]()
    while waiting and len(done) < MAX_WINDOWS and misses < most_misses:
        cell = waiting.popleft()
        if cell in done:
            continue
        done.add(cell)
        seen = [box for box in detect(grid.window(*cell), scale) if box.score >= SURE]
        lines = [box for box in seen if box.aspect >= LINE_ASPECT]
        misses = 0 if lines else misses + 1
        if lines:  # else what was seen from afar stays
            found += grid.own(cell, seen)
        further = {other for box in lines for other in grid.touched(box)} - done
        waiting.extendleft(sorted(further))
    return _joined(grid, found)


def _covers(large: Box, box: Box) -> bool:
    left, top, right, bottom = large.bounds
    x, y = box.middle
    return left <= x <= right and top <= y <= bottom


def _meet(one: Cell, two: Cell) -> bool:
    return one[0] <= two[2] and two[0] <= one[2] and one[1] <= two[3] and two[1] <= one[3]


def _joined(grid: Grid, boxes: Sequence[Box]) -> list[Box]:
    """Make one of the parts of each line that a seam cuts."""
    found = [box for box in boxes if len(grid.touched(box)) == 1]
    cut: list[Box] = []
    for box in boxes:
        if len(grid.touched(box)) == 1:
            continue
        whole, at = box, 0
        while at < len(cut):
            both = cut[at].joined(whole) if _meet(cut[at].bounds, whole.bounds) else None
            if both is None:
                at += 1
            else:  # it may meet others now
                del cut[at]
                whole, at = both, 0
        cut.append(whole)
    return found + cut
