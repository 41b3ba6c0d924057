"""Where writing is looked for: all over, closely where letters are small, and never for long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.signals import ocr_windows as windows
from mmrag_plugin.signals.ocr_windows import Box, Cell, coarse_grid, find_boxes

SIZES = st.integers(1, 40_000)


def box(left: float, top: float, right: float, bottom: float, score: float = 0.9) -> Box:
    return Box(((left, top), (right, top), (right, bottom), (left, bottom)), score)


def places(boxes: list[Box]) -> list[tuple[int, ...]]:
    return sorted(tuple(map(round, one.bounds)) for one in boxes)


class Eyes:
    """Sees boxes that are thick enough at the scale in which they are shown, cut to the window."""

    def __init__(self, boxes: list[Box], *, clear_px: float = 10.0, hint_px: float = 2.0) -> None:
        self.boxes, self.clear_px, self.hint_px = boxes, clear_px, hint_px
        self.looks: list[tuple[Cell, float]] = []

    def __call__(self, window: Cell, scale: float) -> list[Box]:
        self.looks.append((window, scale))
        found = []
        for one in self.boxes:
            left, top, right, bottom = one.bounds
            seen = (
                max(left, window[0]),
                max(top, window[1]),
                min(right, window[2]),
                min(bottom, window[3]),
            )
            shown_px = min(seen[3] - seen[1], seen[2] - seen[0]) * scale
            if shown_px >= self.clear_px:
                found.append(box(*seen))
            elif shown_px >= self.hint_px:
                found.append(box(*seen, score=0.3))
        return found


@given(SIZES, SIZES)
def test_tiles_cover_a_picture_and_are_few(width: int, height: int) -> None:
    grid = coarse_grid(width, height)
    assert grid.columns * grid.rows <= windows.MAX_TILES
    assert min(grid.columns, grid.rows) == 1
    assert grid.cell(0, 0)[:2] == (0, 0)
    assert grid.cell(grid.columns - 1, grid.rows - 1)[2:] == pytest.approx((width, height))
    for column in range(grid.columns - 1):
        assert grid.window(column, 0)[2] > grid.window(column + 1, 0)[0]


@given(
    SIZES,
    SIZES,
    st.lists(st.tuples(*[st.floats(0, 1)] * 4, st.floats(0.2, 1)), max_size=40),
)
def test_no_picture_is_looked_at_for_long(
    width: int, height: int, found: list[tuple[float, float, float, float, float]]
) -> None:
    looks = 0

    def everywhere(window: Cell, scale: float) -> list[Box]:
        nonlocal looks
        looks += 1
        left, top, right, bottom = window
        assert 0 <= left < right <= width + 1
        assert 0 <= top < bottom <= height + 1
        assert max(right - left, bottom - top) * scale <= windows.DETECTION_SIDE_PX * 1.01
        across, down = right - left, bottom - top
        return [
            box(
                left + min(a, b) * across,
                top + min(c, d) * down,
                left + max(a, b) * across,
                top + max(c, d) * down,
                score,
            )
            for a, b, c, d, score in found
        ]

    boxes = find_boxes(width, height, everywhere)
    assert looks <= windows.MAX_TILES + windows.MAX_WINDOWS
    assert sum(one.score < windows.SURE for one in boxes) <= windows.MAX_HINTS


def test_small_letters_are_looked_at_closely_where_they_are() -> None:
    lines = [box(700, 1600 + 26 * number, 1300, 1620 + 26 * number) for number in range(20)]
    eyes = Eyes(lines)
    found = find_boxes(4000, 3000, eyes)
    assert places(found) == places(lines)
    assert len(eyes.looks) < 6, "not all of the picture"
    assert max(scale for _, scale in eyes.looks) > 0.8


def test_a_picture_without_small_letters_is_looked_at_once() -> None:
    eyes = Eyes([box(500, 500, 3500, 900)])
    assert places(find_boxes(4000, 3000, eyes)) == [(500, 500, 3500, 900)]
    assert len(eyes.looks) == 1


def test_a_line_over_several_windows_is_one() -> None:
    lines = [box(100, 200 + 60 * number, 3900, 220 + 60 * number) for number in range(40)]
    found = find_boxes(4000, 3000, Eyes(lines))
    assert places(found) == places(lines)


def test_a_line_that_runs_down_over_several_windows_is_one() -> None:
    lines = [box(200 + 60 * number, 100, 220 + 60 * number, 2900) for number in range(20)]
    found = find_boxes(4000, 3000, Eyes(lines))
    assert places(found) == places(lines)


@pytest.mark.parametrize("size", [(1000, 33_000), (33_000, 1000)])
def test_each_line_of_a_long_picture_is_found_once(size: tuple[int, int]) -> None:
    step = 90
    count = max(size) // step - 1
    across = size[0] > size[1]
    lines = [
        box(at * step, 300, at * step + 70, 340)
        if across
        else box(100, at * step, 800, at * step + 40)
        for at in range(count)
    ]
    found = find_boxes(*size, Eyes(lines, clear_px=4))
    assert places(found) == places(lines)


def test_large_letters_beside_small_ones_are_kept_once() -> None:
    title, small = box(200, 200, 3600, 700), box(300, 2000, 900, 2020)
    found = find_boxes(4000, 3000, Eyes([title, small]))
    assert places(found) == places([title, small])


def test_a_line_that_is_very_long_is_read_in_pieces() -> None:
    pieces = list(box(0, 0, 10_000, 20).pieces())
    assert len(pieces) == 9
    assert pieces[0].corners[0] == (0, 0)
    assert pieces[-1].corners[1] == pytest.approx((10_000, 0))
    assert all(piece.width / piece.height <= windows.MAX_LINE_ASPECT for piece in pieces)


def test_a_line_in_a_frame_is_read_though_the_detector_is_unsure_and_small_hints_are_not() -> None:
    seen = [
        box(100, 100, 300, 140, 0.9),
        box(100, 200, 300, 240, 0.3),  # a label in a frame
        box(100, 300, 300, 310, 0.3),  # too thin to be read
        box(100, 400, 140, 440, 0.3),  # as high as long
    ]
    boxes = find_boxes(960, 640, lambda window, scale: seen)
    assert [one.score for one in boxes] == [0.9, 0.3]
    assert boxes[1].bounds == (100, 200, 300, 240)
