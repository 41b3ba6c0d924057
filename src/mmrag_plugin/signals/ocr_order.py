"""The order in which lines of a picture are read: rows from the top, columns of prose in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Protocol

MIN_COLUMN_LINES = 4
MIN_COLUMN_CHARS = 12  # on average; shorter ones are prices or hours beside what they belong to
WIDE = 0.55  # of the width of all text: a line that goes over columns, as a title


class Placed(Protocol):
    """A piece of a line and its box."""

    @property
    def text(self) -> str:
        """What is written."""

    @property
    def left(self) -> float:
        """Its left edge, in pixels."""

    @property
    def right(self) -> float:
        """Its right edge."""

    @property
    def middle(self) -> float:
        """How far down its middle is."""

    @property
    def height(self) -> float:
        """How high it is."""


def in_reading_order(lines: Sequence[Placed]) -> Iterator[str]:
    """Yield the text of lines as a person reads them, pieces that lie close joined."""
    for block in _blocks(lines):
        yield from _rows(block)


def _blocks(lines: Sequence[Placed]) -> Iterator[Sequence[Placed]]:
    """Split where columns of prose stand side by side; what goes over them comes in between."""
    columns = _columns(lines)
    if len(columns) < 2:
        yield lines
        return
    inside = {id(line) for column in columns for line in column}
    over = sorted((line for line in lines if id(line) not in inside), key=lambda line: line.middle)
    above = float("-inf")
    for below in [*(line.middle for line in over), float("inf")]:
        for column in columns:
            if band := [line for line in column if above <= line.middle < below]:
                yield band
        if crossing := [line for line in over if line.middle == below]:
            yield crossing
        above = below


def _columns(lines: Sequence[Placed]) -> list[list[Placed]]:
    """Lines that stand above each other with nothing reaching from one group into the next."""
    if len(lines) < 2 * MIN_COLUMN_LINES:
        return []
    width = max(line.right for line in lines) - min(line.left for line in lines)
    narrow = [line for line in lines if line.right - line.left < WIDE * width]
    columns: list[list[Placed]] = []
    end = float("-inf")
    for line in sorted(narrow, key=lambda line: line.left):
        if line.left >= end:
            columns.append([])
        columns[-1].append(line)
        end = max(end, line.right)
    columns = [column for column in columns if _is_prose(column)]
    if len(columns) < 2:
        return []
    tops = [min(line.middle for line in column) for column in columns]
    ends = [max(line.middle for line in column) for column in columns]
    return columns if max(tops) < min(ends) else []  # side by side


def _is_prose(column: Sequence[Placed]) -> bool:
    chars = sum(len(line.text) for line in column)
    return len(column) >= MIN_COLUMN_LINES and chars >= MIN_COLUMN_CHARS * len(column)


def _rows(lines: Sequence[Placed]) -> Iterator[str]:
    """Sort pieces into rows, top to bottom and left to right; pieces that lie close make a line."""
    rows: list[list[Placed]] = []
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
