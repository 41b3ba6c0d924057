"""The order in which lines are read, and how a turned picture's lines get there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.signals.ocr import Line, Turn
from mmrag_plugin.signals.ocr_order import in_reading_order


def line(text: str, left: float, middle: float, *, width: float = 300) -> Line:
    return Line(text, left, left + width, middle, 20)


def test_columns_of_prose_are_read_one_after_the_other() -> None:
    left = [line(f"the left column says {n}", 50, 100 + 30 * n) for n in range(6)]
    right = [line(f"the right column says {n}", 400, 102 + 30 * n) for n in range(6)]
    title = line("a title that goes over both", 60, 40, width=620)
    foot = line("and a line below both of them", 50, 400, width=640)
    read = list(in_reading_order([foot, *right, title, *left]))
    assert read == [one.text for one in (title, *left, *right, foot)]


def test_what_stands_between_two_pairs_of_columns_is_read_in_between() -> None:
    first = [line(f"first column of prose {n}", 50, 100 + 30 * n) for n in range(8)]
    second = [line(f"second column of prose {n}", 400, 100 + 30 * n) for n in range(8)]
    over = line("a heading in the middle of it all", 50, 205 + 5, width=640)
    read = list(in_reading_order([*second, over, *first]))
    assert read.index(over.text) == 8
    assert read[:4] == [one.text for one in first[:4]]
    assert read[4:8] == [one.text for one in second[:4]]


def test_prices_stay_beside_what_they_belong_to() -> None:
    names = [line(f"Espresso number {n}", 50, 100 + 30 * n) for n in range(6)]
    prices = [line(f"{n}.50", 600, 100 + 30 * n, width=60) for n in range(6)]
    read = list(in_reading_order([*prices, *names]))
    assert read == [f"Espresso number {n}\n{n}.50" for n in range(6)]


def test_nothing_is_read_of_nothing() -> None:
    assert list(in_reading_order([])) == []


@given(
    st.lists(
        st.tuples(st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4), st.floats(1, 100)),
        max_size=40,
    )
)
def test_every_line_is_read_once(places: list[tuple[float, float, float, float]]) -> None:
    lines = [
        Line(f"x{number}x" + "y" * 20, left, left + width, middle, height)
        for number, (left, width, middle, height) in enumerate(places)
    ]
    words = " ".join(in_reading_order(lines)).split()
    assert sorted(words) == sorted(one.text for one in lines)


@pytest.mark.parametrize(
    ("degrees", "point"),
    [(0, (10, 20)), (90, (20, 390)), (180, (390, 180)), (270, (180, 10))],
)
def test_a_turn_puts_points_where_the_turned_picture_has_them(
    degrees: float, point: tuple[float, float]
) -> None:
    assert Turn(degrees, 400, 200).of(10, 20) == pytest.approx(point)
