"""Positions in all spellings, and the names of the places where they lie."""

from __future__ import annotations

import csv
import math
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.media import MediaFacts
from mmrag_plugin.places import degrees, position
from mmrag_plugin.signals.facts_words import facts_signals
from mmrag_plugin.signals.place_words import place_words


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("38.7169", 38.7169),
        (38.7169, 38.7169),
        ("-38.5", -38.5),
        ("38,43.014N", 38.7169),
        ("38,43,1S", -38.7169444),
        ("38 deg 43' 1.00\" N", 38.7169444),
        ("-0.5", -0.5),
        ("0,30W", -0.5),
        (7, 7.0),
    ],
)
def test_degrees_are_read_in_every_spelling(written: object, expected: float) -> None:
    assert degrees(written, 90) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(
    "written", ["", "north", "91", "38,43,1,2N", math.nan, math.inf, 1e300, True, None, [1], {}]
)
def test_what_are_no_degrees_is_none(written: object) -> None:
    assert degrees(written, 90) is None


@given(st.text() | st.floats() | st.integers() | st.from_regex(r"\d{1,3}[, ]\d{1,3}[NSEW]?"))
def test_any_value_is_within_the_limit_or_none(written: object) -> None:
    value = degrees(written, 180)
    assert value is None or abs(value) <= 180


def test_a_position_is_whole_or_none() -> None:
    assert position(1.0, None) == position(None, 1.0) == position(0.0, 0.0) == (None, None)
    assert position(0.0, 1.0) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ((38.711, -9.13), "Alfama, Lisbon, Portugal"),  # city and region are called the same
        ((48.8584, 2.2919), "Neuilly-sur-Seine, Paris, Île-de-France, France"),  # Eiffel tower
        ((39.0, -108.0), "Cedaredge, Colorado, United States"),
        ((38.6, -9.8), "Lisbon, Portugal"),  # 30 km off the coast: no city
        ((0.5, -30.0), ""),  # on the Atlantic
        ((-90.0, 0.0), ""),
        ((47.56, 7.62), "Birsfelden, Basel, Basel-Landschaft, Switzerland"),
    ],
)
def test_a_position_is_named_as_far_as_places_reach(where: tuple[float, float], words: str) -> None:
    assert place_words(*where) == words
    said = [
        signal.text for signal in facts_signals(MediaFacts(latitude=where[0], longitude=where[1]))
    ]
    assert said == ([words] if words else [])


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_position_on_earth_has_words_or_none(latitude: float, longitude: float) -> None:
    assert isinstance(place_words(latitude, longitude), str)


def test_places_are_not_loaded_before_one_is_asked_for() -> None:
    program = (
        "import sys\n"
        "from mmrag_plugin.media import MediaFacts\n"
        "from mmrag_plugin.signals.facts_words import facts_signals\n"
        "facts_signals(MediaFacts(taken_at='2023-10-06T06:35:36'))\n"
        "print(sorted({'scipy', 'reverse_geocode'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


def test_the_places_leave_the_limits_of_tables_alone() -> None:
    place_words(1.0, 1.0)
    assert csv.field_size_limit() == 131_072
