"""Measures: the library's agree with plain code to the last digit, intervals hold what they say."""

from __future__ import annotations

import math
import random
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.evaluation.metrics import (
    CUTS,
    MEASURES,
    MOMENT_MEASURES,
    figure,
    groups_of,
    measure,
    measure_moments,
    median_rank,
    overlap,
    rank_of,
    share_figure,
)
from mmrag_plugin.evaluation.sets import Asked
from mmrag_plugin.media import Moment

MEDIA = [f"m{number}" for number in range(12)]


def plainly(relevant: dict[str, int], ranked: list[str]) -> dict[str, float]:
    """The measures by their definitions, without any library."""
    right = [rank for rank, media_id in enumerate(ranked, 1) if media_id in relevant]
    gains = sorted(relevant.values(), reverse=True)[:10]
    ideal = math.fsum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
    gained = math.fsum(
        relevant.get(media_id, 0) / math.log2(rank + 1)
        for rank, media_id in enumerate(ranked[:10], 1)
    )
    return {
        **{f"R@{k}": float(any(rank <= k for rank in right)) for k in CUTS},
        "RR": 1 / right[0] if right else 0.0,
        "nDCG@10": gained / ideal,
        "share@10": sum(rank <= 10 for rank in right) / len(relevant),
    }


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(MEDIA), st.integers(1, 3), min_size=1),
    st.lists(st.sampled_from(MEDIA), unique=True),
)
def test_measures_agree_with_their_definitions(relevant: dict[str, int], ranked: list[str]) -> None:
    found = measure({"q": relevant, "none": {}}, {"q": ranked})
    assert found.keys() == {"q"}
    assert tuple(sorted(found["q"])) == tuple(sorted(MEASURES))
    for name, value in plainly(relevant, ranked).items():
        assert found["q"][name] == pytest.approx(value, abs=1e-14), name


def test_a_query_that_found_nothing_counts_as_nothing() -> None:
    assert set(measure({"q": {"a": 1}}, {})["q"].values()) == {0.0}
    assert measure({}, {}) == {}


def test_the_median_rank_is_that_of_the_first_right_answer() -> None:
    assert rank_of({"b": 1, "c": 1}, ["a", "c", "b"]) == 2
    assert rank_of({"z": 1}, ["a"]) is None
    assert median_rank([1, 7, None]) == 7
    assert median_rank([1, None, None]) is None


@settings(deadline=None)
@given(*[st.tuples(st.floats(0, 99), st.floats(0.5, 50)) for _ in range(2)])
def test_overlap_is_that_of_sets_of_instants(
    one: tuple[float, float], other: tuple[float, float]
) -> None:
    first, second = (one[0], one[0] + one[1]), (other[0], other[0] + other[1])
    assert overlap(first, second) == overlap(second, first)
    assert overlap(first, first) == 1.0
    together = max(0.0, min(first[1], second[1]) - max(first[0], second[0]))
    all_of_it = (first[1] - first[0]) + (second[1] - second[0]) - together
    assert overlap(first, second) == pytest.approx(together / all_of_it if together else 0.0)


def test_moments_count_from_the_overlap_that_is_asked_for() -> None:
    asked = Asked("q", "a goal", {"film": 1, "whole": 1}, {"film": ((10.0, 20.0), (50.0, 60.0))})
    found = measure_moments(
        asked,
        [
            Moment("film", "video", 0.0, 10.0),
            Moment("film", "video", 55.0, 65.0),  # 5 of 15 s
            Moment("other", "video", 10.0, 20.0),
        ],
    )
    assert tuple(found) == MOMENT_MEASURES
    assert [name for name, value in found.items() if value] == ["R@5 IoU 0.3"]
    assert set(measure_moments(asked, [Moment("whole", "image")]).values()) == {1.0}
    assert set(measure_moments(asked, [Moment("film", "video")]).values()) == {0.0}
    assert set(measure_moments(asked, []).values()) == {0.0}


def test_intervals_hold_the_true_mean_about_as_often_as_they_say() -> None:
    chance = random.Random(5)
    held = 0
    for trial in range(60):
        values: list[float] = []
        groups: list[str] = []
        for photo in range(60):
            likely = chance.random()  # mean 0.5; what one photo's captions have in common
            values += [float(chance.random() < likely) for _ in range(5)]
            groups += [str(photo)] * 5
        found = figure(values, groups, seed=trial)
        assert found.value == fmean(values)
        assert found.low < found.value < found.high
        held += found.low <= 0.5 <= found.high
    assert 52 <= held <= 60


def test_the_interval_of_what_never_differs_is_that_value() -> None:
    only = figure([1.0, 1.0], ["a", "b"])
    assert (only.value, only.low, only.high) == (1.0, 1.0, 1.0)
    assert figure([0.0, 1.0], ["a", "a"]).high == 0.5
    with pytest.raises(ValueError, match="no values"):
        figure([], [])


def test_queries_of_one_photo_are_one_group() -> None:
    one, other = Asked("1", "x", {"b": 1, "a": 1}, {}), Asked("2", "y", {"a": 1}, {})
    assert groups_of([one, other, Asked("3", "z", {}, {})]) == ["a", "a", "3"]


def test_a_share_of_none_or_all_is_not_known_to_the_last_digit() -> None:
    groups = [f"photo {number // 2}" for number in range(60)]
    none, every = share_figure([0.0] * 60, groups), share_figure([1.0] * 60, groups)
    assert (none.value, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(0.1157, abs=1e-4)  # of 30 photos, by any table
    assert (every.high, every.low) == (1.0, 1 - none.high)
    some = [0.0] * 59 + [1.0]
    assert share_figure(some, groups) == figure(some, groups)
