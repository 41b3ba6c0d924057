"""`mmrag tune`: it learns what is there to learn, keeps what holds elsewhere, and takes it back."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import mmrag_here
from media_made import describe, opened, picture
from mmrag_plugin.confidence import (
    CALIBRATION,
    CALIBRATION_WITH_SENTENCE_MODEL,
    Calibration,
    Evidence,
    Usual,
)
from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.tuned import Tuned, described
from mmrag_plugin.evaluation.tuning import (
    FALSE_STRONG,
    Judged,
    Scored,
    false_strong,
    learn_calibration,
    learn_weights,
    reciprocal_ranks,
    try_calibration,
    try_weights,
)
from mmrag_plugin.fusion import WEIGHTS
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import CHANNELS

NOTHING = Calibration({}, 0.5)
numbers = st.floats(-5, 5, allow_nan=False)


# ---- calibrations --------------------------------------------------------------------------------

evidence = st.builds(
    Evidence,
    st.none() | numbers,
    st.none() | numbers,
    numbers,
    st.none() | st.floats(0, 1),
)


@settings(deadline=None)
@given(evidence, st.sampled_from([CALIBRATION, CALIBRATION_WITH_SENTENCE_MODEL, NOTHING]))
def test_every_hit_is_judged_and_what_no_channel_found_is_never_sure(
    one: Evidence, calibration: Calibration
) -> None:
    assert 0 <= calibration.probability(one) <= 1
    level = calibration.level(one)
    assert level in ("strong", "weak", "none")
    if not one.channels:
        assert level == "none"
    if level == "strong":
        assert calibration.probability(one) >= calibration.strong


@pytest.mark.parametrize("shipped", [CALIBRATION, CALIBRATION_WITH_SENTENCE_MODEL])
def test_what_ships_knows_every_set_of_channels_and_more_of_a_sign_never_means_less(
    shipped: Calibration,
) -> None:
    assert set(shipped.coefficients) == {
        "visual", "text", "bm25", "visual+text", "visual+bm25", "text+bm25", "visual+text+bm25"
    }  # fmt: skip
    for visual in (None, 0.5):
        few, many = Evidence(visual, 0.5, 0.2, 0.3), Evidence(visual, 1.5, 0.8, 1.0)
        assert shipped.probability(few) < shipped.probability(many)
    assert shipped.level(Evidence(1.5, 1.8, 0.9, 1.0)) == "strong"
    assert shipped.level(Evidence(0.1, 0.1, 0.0, 0.1)) == "weak", "it has a word in common"
    assert shipped.level(Evidence(0.1, 0.1)) == "none"


def test_scores_are_made_comparable() -> None:
    usual = Usual(mean=0.2, deviation=0.1, rows=1000, among_rows=0.5)
    assert usual.standard(0.2) == 0
    assert usual.standard(0.2 + 0.1 * (2 * np.log(1000)) ** 0.5) == pytest.approx(1)
    assert usual.alike(0.5) == 0
    assert usual.alike(1.0) == 1


# ---- learning ------------------------------------------------------------------------------------


def made_scored(count: int, seed: int, *, useful: str) -> list[Scored]:
    """Queries of which one channel knows the answer and the others know nothing."""
    chance = np.random.default_rng(seed)
    scored = []
    for number in range(count):
        right = np.zeros(30, dtype=bool)
        right[chance.integers(30)] = True
        scores = {channel: chance.normal(size=30) for channel in CHANNELS}
        scores[useful] = scores[useful] + 3 * right  # type: ignore[index]
        scored.append(Scored(scores, right, str(number)))
    return scored


@pytest.mark.parametrize("useful", CHANNELS)
def test_weights_follow_the_channel_that_knows(useful: str) -> None:
    learned = learn_weights(made_scored(60, 1, useful=useful), WEIGHTS, CHANNELS)
    held = made_scored(60, 2, useful=useful)
    assert max(learned, key=lambda channel: learned[channel]) == useful
    trial = try_weights(held, WEIGHTS, learned, CHANNELS)
    assert trial.is_better
    assert trial.after - trial.before == pytest.approx(trial.change.value)
    assert not try_weights(held, learned, WEIGHTS, CHANNELS).is_better
    assert not try_weights(held, learned, learned, CHANNELS).is_better


def test_ranks_are_those_of_the_weighted_sum_and_ties_count_against_us() -> None:
    right = np.array([False, True, False])
    one = Scored(
        {"visual": np.array([2.0, 1.0, 0.0]), "bm25": np.array([0.0, 1.0, 0.0])}, right, "q"
    )
    assert reciprocal_ranks([one], {"visual": 1, "bm25": 0}) == [1 / 2]
    assert reciprocal_ranks([one], {"visual": 1, "bm25": 1}) == [1 / 2]
    assert reciprocal_ranks([one], {"visual": 1, "bm25": 2}) == [1.0]
    lost = Scored({"visual": np.array([1.0])}, np.array([False]), "q")
    assert reciprocal_ranks([lost], {"visual": 1}) == [0.0]


def made_judged(count: int, seed: int, *, telling: bool = True) -> list[Judged]:
    """First hits whose words tell whether they are right, or tell nothing."""
    chance = random.Random(seed)
    judged = []
    for number in range(count):
        for answered in (True, False):
            right = answered and chance.random() < 0.8
            shift = 1.0 if right and telling else 0.0
            one = Evidence(
                chance.gauss(0.8, 0.2),
                chance.gauss(0.8 + 0.3 * shift, 0.2),
                chance.gauss(0.3 + 0.4 * shift, 0.1),
                min(max(chance.gauss(0.4 + 0.3 * shift, 0.2), 0), 1),
            )
            judged.append(Judged(CHANNELS, (one,), (right,), answered, str(number)))
    return judged


def test_confidence_learns_to_tell_right_from_wrong() -> None:
    learned = learn_calibration(made_judged(200, 1), NOTHING)
    held = made_judged(200, 2)
    trial = try_calibration(held, CALIBRATION, learned)
    assert trial.is_better
    right, nothing = false_strong(held, learned)
    assert right > 0.8
    assert nothing < 2 * FALSE_STRONG
    assert learned == learn_calibration(made_judged(200, 1), NOTHING), "the same each time"


def test_where_nothing_tells_hardly_anything_is_strong() -> None:
    learned = learn_calibration(made_judged(200, 1, telling=False), NOTHING)
    right, nothing = false_strong(made_judged(200, 2, telling=False), learned)
    assert nothing <= 2 * FALSE_STRONG
    assert right <= nothing + 0.15


def test_too_few_hits_of_some_channels_teach_nothing_about_them() -> None:
    learned = learn_calibration(made_judged(10, 1), CALIBRATION)
    assert learned.coefficients == CALIBRATION.coefficients


def test_what_was_learned_is_kept_as_json() -> None:
    tuned = Tuned({"visual": 1.0, "text": 2.0}, None, CALIBRATION, ("a", "b"), {"set": "s"})
    again = Tuned.from_dict(json.loads(json.dumps(tuned.as_dict())))
    assert again.as_dict() == tuned.as_dict()
    of_other_features = tuned.as_dict()
    of_other_features["calibration"]["version"] = 0
    assert Tuned.from_dict(of_other_features).calibration is None
    assert "visual 1 text 2" in described(again)
    assert Tuned().is_empty


# ---- in a library --------------------------------------------------------------------------------

COLOURS = ("red", "blue", "green", "yellow", "purple", "orange")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    """Photos whose looks tell nothing of what is asked, and whose words tell it all."""
    folder = tmp_path_factory.mktemp("media")
    for number in range(60):
        path = picture(folder / f"p{number:02}.png", COLOURS[number % 6], number=number)
        describe(path, f"{COLOURS[(number + 1) % 6]} thing{number} thing{number + 1}")
    with opened(tmp_path_factory.mktemp("home")) as found:
        found.index([folder])
        yield found


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    path = tmp_path / "set.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(
                {
                    "query": f"{COLOURS[(number + 3) % 6]} thing{number}",
                    "relevant": [f"p{number:02}", *([f"p{number - 1:02}"] if number else [])],
                }
            )
            for number in range(0, 60, 3)
        )
        + "\n"
        + "\n".join(
            json.dumps(
                {"query": f"thing{number} {COLOURS[number % 6]}", "relevant": [f"p{number:02}"]}
            )
            for number in range(2, 60, 3)
        )
    )
    return path


def test_what_is_better_is_kept_shown_used_and_taken_back(
    library: MediaLibrary, queries: Path
) -> None:
    home = library.settings.home
    shipped = library.search("red thing3").as_dict()
    assert mmrag_here(home, "tune", "--undo").stdout.strip() == "Nothing was learned."
    asked = library.query_set(queries)
    deaf = {"visual": 1.0, "bm25": 0.0}
    about = {"set": "none", "at": "2026-01-01"}
    bad = Tuned(None, deaf, None, library.searcher().collections, about)
    library.ledger.state(tuned=bad.as_dict())
    assert library.searcher().fusion.without_text == deaf
    before = library.search("red thing3").as_dict()
    assert before != shipped
    tried = library.tune(asked, keep=False)
    assert tried.trials["without_text"].is_better
    assert library.searcher().fusion.without_text == deaf, "nothing was kept"
    found = library.tune(asked)
    assert found.tuned.as_dict()["without_text"] == tried.tuned.as_dict()["without_text"]
    assert library.searcher().fusion.without_text == found.tuned.without_text != deaf
    assert library.search("red thing3").as_dict() != before
    status = mmrag_here(home, "status").stdout
    assert "tuned" in status
    assert "set.jsonl" in status
    assert json.loads(mmrag_here(home, "status", "--json").stdout)["tuned"]["without_text"]
    assert json.loads(mmrag_here(home, "tune", "--undo", "--json").stdout) == {"undone": True}
    assert library.search("red thing3").as_dict() == shipped
    assert library.tuned() is None


async def test_the_command_and_the_event_loop_learn_the_same(
    library: MediaLibrary, queries: Path
) -> None:
    home = library.settings.home
    done = mmrag_here(home, "tune", queries, "--dry-run", "--json", "--seed", "3")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    found = await library.atune(library.query_set(queries), keep=False, seed=3)
    assert told["trials"] == found.as_dict()["trials"]
    shown = mmrag_here(home, "tune", queries, "--dry-run", COLUMNS="50").stdout
    assert "held-out" in shown
    assert "…" not in shown
    assert library.tuned() is None


def test_what_was_learned_of_other_vectors_holds_no_more(
    library: MediaLibrary, queries: Path
) -> None:
    library.ledger.state(tuned=Tuned({"visual": 1.0}, collections=("other", "words")).as_dict())
    assert library.tuned() is None
    assert library.searcher().fusion.weights == WEIGHTS
    library.untune()


def test_too_few_queries_say_how_many_more(library: MediaLibrary, queries: Path) -> None:
    with pytest.raises(UsageError, match="30 more are needed, 40 in all"):
        library.tune(library.query_set(queries).some(10))


@pytest.mark.parametrize("arguments", [(), ("--own", "--undo"), ("x.json", "--own")])
def test_it_must_be_clear_what_is_learned_from(
    arguments: tuple[str, ...], library: MediaLibrary
) -> None:
    done = mmrag_here(library.settings.home, "tune", *arguments)
    assert done.returncode == 2
    assert "What is to be learned from?" in done.stderr


def test_own_annotations_teach_too(library: MediaLibrary) -> None:
    found = library.tune(library.query_set(), keep=False)
    assert found.trials["confidence"].queries > 0
    assert any("covered up" in note for note in found.notes)
