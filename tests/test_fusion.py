"""One conformance suite over the ways to fuse the lists of channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.fusion import (
    DEPTH,
    WEIGHTS,
    WEIGHTS_WITH_SENTENCE_MODEL,
    Fusion,
    ReciprocalRanks,
    StandardScores,
)
from mmrag_plugin.media import CHANNELS, Channel

Lists = dict[Channel, list[tuple[str, float]]]

every_fusion = pytest.mark.parametrize(
    "make", [ReciprocalRanks, StandardScores], ids=lambda make: make.__name__
)
every_weighting = pytest.mark.parametrize(
    "weights", [WEIGHTS, WEIGHTS_WITH_SENTENCE_MODEL], ids=["even", "sentence model"]
)
some = settings(max_examples=30, deadline=None)
Make = Callable[..., Fusion]

KEYS = "abcdefghij"


@st.composite
def ranked(draw: st.DrawFn, *, least: int = 0) -> list[tuple[str, float]]:
    """A channel's list: distinct keys, finite scores, best first."""
    keys = draw(st.lists(st.sampled_from(KEYS), unique=True, min_size=least, max_size=len(KEYS)))
    scores = draw(
        st.lists(
            st.integers(1, 10_000).map(lambda n: n / 1000), min_size=len(keys), max_size=len(keys)
        )
    )
    return list(zip(keys, sorted(scores, reverse=True), strict=True))


def all_lists(*, least: int = 0) -> st.SearchStrategy[Lists]:
    return st.fixed_dictionaries({channel: ranked(least=least) for channel in CHANNELS})


def totals(fused: list[tuple[str, float]]) -> dict[str, float]:
    return {key: round(score, 6) for key, score in fused}


@every_fusion
@every_weighting
@some
@given(lists=all_lists())
def test_all_keys_come_back_once_and_best_first(
    make: Make, weights: dict[Channel, float], lists: Lists
) -> None:
    fused = make(weights).fuse(lists)
    keys = [key for key, _ in fused]
    assert sorted(keys) == sorted({key for channel in lists.values() for key, _ in channel})
    scores = [score for _, score in fused]
    assert all(math.isfinite(score) for score in scores)
    assert scores == sorted(scores, reverse=True)


@every_fusion
@some
@given(lists=all_lists())
def test_words_are_held_back_beside_the_text_channel_alone(make: Make, lists: Lists) -> None:
    held_back = make(WEIGHTS_WITH_SENTENCE_MODEL, without_text=WEIGHTS)
    assert held_back.fuse(lists) == make(WEIGHTS_WITH_SENTENCE_MODEL).fuse(lists)
    without_text: Lists = {channel: lists[channel] for channel in ("visual", "bm25")}
    assert held_back.fuse(without_text) == make(WEIGHTS).fuse(without_text)


@every_fusion
def test_what_holds_a_word_beats_what_does_not_however_long_the_list(make: Make) -> None:
    held = [(f"w{number}", 9.0 - number / 1000) for number in range(DEPTH + 50)]
    seen = [(f"v{number}", 0.5 - number / 10_000) for number in range(DEPTH)]
    fused = [key for key, _ in make().fuse({"visual": seen, "bm25": held})]
    words = [key for key in fused if key.startswith("w")]
    assert words == [key for key, _ in held], "in order, to the last"


@every_fusion
@some
@given(lists=all_lists(), order=st.permutations(CHANNELS))
def test_the_order_of_channels_does_not_change_the_scores(
    make: Make, lists: Lists, order: list[Channel]
) -> None:
    shuffled = {channel: lists[channel] for channel in order}
    assert totals(make().fuse(shuffled)) == pytest.approx(totals(make().fuse(lists)), abs=1e-5)


@every_fusion
@some
@given(lists=all_lists())
def test_the_same_lists_give_the_same_order_every_time(make: Make, lists: Lists) -> None:
    assert make().fuse(lists) == make().fuse({**lists})


@every_fusion
@some
@given(lists=all_lists(), best=st.sampled_from(KEYS), least=st.integers(1, 5))
def test_a_channel_that_ranks_a_key_first_never_lowers_it(
    make: Make, lists: Lists, best: str, least: int
) -> None:
    """Before it had some rank among all; a new channel that puts it on top can't make it worse."""
    before = make().fuse({"visual": lists["visual"], "text": lists["text"]})
    if best not in dict(before):
        return
    others = [item for item in lists["bm25"] if item[0] != best]
    new = [(best, (others[0][1] if others else 0.0) + 1.0), *others]
    after = make().fuse({"visual": lists["visual"], "text": lists["text"], "bm25": new})

    def ahead(fused: list[tuple[str, float]]) -> set[str]:
        mine = dict(fused)[best]
        return {key for key, score in fused if score > mine + 1e-9}

    assert ahead(after) <= ahead(before)


@every_fusion
@some
@given(channel=st.sampled_from(CHANNELS), items=ranked(least=1))
def test_one_channel_alone_keeps_its_own_order(
    make: Make, channel: Channel, items: list[tuple[str, float]]
) -> None:
    assert [key for key, _ in make().fuse({channel: items})] == [key for key, _ in items]


@every_fusion
@some
@given(channel=st.sampled_from(CHANNELS), items=ranked(least=1))
def test_a_key_that_a_channel_lacks_never_scores_above_one_that_it_has(
    make: Make, channel: Channel, items: list[tuple[str, float]]
) -> None:
    scores, missing = make().scores(channel, items)
    assert missing <= min(scores.values()) + 1e-9


@every_fusion
@some
@given(lists=all_lists(least=1))
def test_a_key_that_is_best_everywhere_comes_first(make: Make, lists: Lists) -> None:
    with_best = {channel: [("best", items[0][1] + 1.0), *items] for channel, items in lists.items()}
    assert make().fuse(with_best)[0][0] == "best"


@every_fusion
@some
@given(lists=all_lists(), channel=st.sampled_from(CHANNELS))
def test_an_empty_channel_changes_nothing(make: Make, lists: Lists, channel: Channel) -> None:
    without = {name: items for name, items in lists.items() if name != channel}
    assert make().fuse({**without, channel: []}) == make().fuse(without)


@every_fusion
def test_nothing_found_fuses_to_nothing(make: Make) -> None:
    assert make().fuse({}) == []
    assert make().fuse({"visual": [], "bm25": []}) == []


@every_fusion
def test_ties_stay_in_the_order_of_arrival(make: Make) -> None:
    lists: Lists = {"visual": [("x", 0.5)], "text": [("y", 0.5)]}
    assert [key for key, _ in make().fuse(lists)] == ["x", "y"]


@every_fusion
def test_a_channel_without_weight_decides_nothing(make: Make) -> None:
    weights: dict[Channel, float] = {"visual": 1.0, "bm25": 0.0}
    lists: Lists = {"visual": [("x", 0.9), ("y", 0.1)], "bm25": [("y", 9.0), ("x", 1.0)]}
    assert [key for key, _ in make(weights).fuse(lists)] == ["x", "y"]


def test_reciprocal_ranks_are_those_of_the_paper() -> None:
    fused = dict(
        ReciprocalRanks({}, k=60).fuse({"visual": [("a", 9), ("b", 1)], "text": [("b", 3)]})
    )
    assert fused == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61})


def test_the_one_picture_with_the_word_stands_out_from_those_without() -> None:
    """One hit in a word search says more than one of two hundred hits."""
    alone = StandardScores().scores("bm25", [("only", 5.0)])
    many = StandardScores().scores("bm25", [(str(n), 5.0) for n in range(DEPTH)])
    assert alone[0]["only"] - alone[1] > 10
    assert many[0]["0"] - many[1] >= 0
    assert alone[0]["only"] > many[0]["0"]


def test_the_scale_of_a_channel_does_not_matter_to_standard_scores() -> None:
    visual = [("a", 0.31), ("b", 0.30), ("c", 0.22)]
    text = [("c", 0.9), ("b", 0.4), ("a", 0.1)]
    small = StandardScores().fuse({"visual": visual, "text": text})
    stretched = [(key, 100 * score + 7) for key, score in visual]
    assert totals(StandardScores().fuse({"visual": stretched, "text": text})) == totals(small)


@every_fusion
def test_lists_longer_than_the_depth_are_fused_whole(make: Make) -> None:
    keys = [str(number) for number in range(3 * DEPTH)]
    lists: Lists = {
        "visual": [(key, 1.0 / rank) for rank, key in enumerate(keys, 1)],
        "bm25": [(key, 1.0 / rank) for rank, key in enumerate(reversed(keys), 1)],
    }
    assert {key for key, _ in make().fuse(lists)} == set(keys)
