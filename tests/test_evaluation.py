"""`mmrag eval`: it agrees with exact computation, and says the truth about bad sets."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import mmrag_here
from media_made import describe, opened, picture
from mmrag_plugin.bm25 import document_vector, query_vector
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.evaluation.comparing import compare, randomisation_p
from mmrag_plugin.evaluation.measuring import evaluate
from mmrag_plugin.evaluation.own import says
from mmrag_plugin.evaluation.runs import read_run, write_run
from mmrag_plugin.evaluation.sets import AskedSet
from mmrag_plugin.evaluation.ways import ChannelWays, without_captions
from mmrag_plugin.learned_query import LearnedQuery
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Signal
from mmrag_plugin.terms import terms_of
from mmrag_plugin.words import word_rows

COLOURS = ("red", "blue", "green", "yellow", "purple", "orange")
THINGS = ("wall", "boat", "wall with a boat", "dog")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    for number, colour in enumerate(COLOURS * 4):
        path = picture(folder / f"p{number:02}.png", colour, number=number)
        describe(path, f"a {colour} {THINGS[number % 4]} number {number % 5}")
    return folder


@pytest.fixture(scope="module")
def library(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    with opened(tmp_path_factory.mktemp("home")) as found:
        found.index([media])
        yield found


@pytest.fixture(scope="module")
def queries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lines = [
        {
            "query": f"{THINGS[number % 4]} in {colour}",
            "relevant": [
                {"media": f"p{other:02}", "grade": 1 + (other % 4 == number % 4)}
                for other in range(24)
                if other % 6 == number % 6
            ],
        }
        for number, colour in enumerate(COLOURS * 2)
    ]
    lines += [{"query": "a zebra", "relevant": []}]
    path = tmp_path_factory.mktemp("set") / "set.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def exactly(library: MediaLibrary, asked: AskedSet) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Every measure of every query by brute force over what is stored, and by no code of eval.

    Each is there twice: where of equal scores the right ones come first, and where they come last.
    """
    searcher = library.searcher()
    frames = dict(searcher.frames.row_ids())
    pixels = {frames[row]: vector for row, vector in searcher.frames.vectors(frames).items()}
    signals = library.ledger.signals_of(list(pixels))
    documents = {
        media_id: [
            document_vector(row.terms)
            for row in word_rows(media_id, [signal for _, signal in pairs], dense=False)
        ]
        for media_id, pairs in signals.items()
    }
    values: dict[str, dict[str, list[dict[str, float]]]] = {"visual": {}, "bm25": {}}
    for query in asked.answered:
        seen = searcher.visual.embed_texts([query.text])[0]
        terms = list(dict.fromkeys(terms_of(query.text)))
        weights = query_vector(terms, *library.ledger.document_counts(terms))
        scores = {
            "visual": {media_id: float(vector @ seen) for media_id, vector in pixels.items()},
            "bm25": {
                media_id: max(sum(w * weights.get(d, 0) for d, w in row.items()) for row in rows)
                for media_id, rows in documents.items()
            },
        }
        for channel, scored in scores.items():
            matching = {m: s for m, s in scored.items() if s > 0 or channel == "visual"}
            values[channel][query.id] = [
                by_definition(query.relevant, sorted(matching, key=order))
                for order in (
                    lambda m: (-matching[m], m not in query.relevant),  # noqa: B023
                    lambda m: (-matching[m], m in query.relevant),  # noqa: B023
                )
            ]
    return values


def by_definition(relevant: Any, ranked: Sequence[str]) -> dict[str, float]:
    right = [rank for rank, media_id in enumerate(ranked, 1) if media_id in relevant]
    gains = [relevant.get(media_id, 0) for media_id in ranked[:10]]
    ideal = sorted(relevant.values(), reverse=True)[:10]
    return {
        "R@1": float(bool(right) and right[0] <= 1),
        "R@5": float(bool(right) and right[0] <= 5),
        "R@10": float(bool(right) and right[0] <= 10),
        "RR": 1 / right[0] if right else 0.0,
        "nDCG@10": dcg(gains) / dcg(ideal),
        "share@10": sum(rank <= 10 for rank in right) / len(relevant),
    }


def dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def test_every_figure_is_that_of_an_independent_exact_computation(
    minidual: Path, shared_data: Path, tmp_path: Path
) -> None:
    by_name = json.loads((shared_data / "coco_train" / "captions.json").read_text())
    folder = tmp_path / "media"
    folder.mkdir()
    names = list(by_name)[:24]
    for name in names:
        shutil.copy(next((shared_data / "coco_train").rglob(name)), folder / name)
    (folder / "captions.json").write_text(json.dumps({n: by_name[n][0] for n in names}))
    with opened(tmp_path / "home", visual_model=str(minidual), text_model="off") as library:
        library.index([folder])
        (tmp_path / "set.json").write_text(json.dumps({n: by_name[n][1:] for n in names}))
        asked = library.query_set(tmp_path / "set.json")
        run = library.evaluate(asked)
        expected = exactly(library, asked)
    assert len(run.results) == len(names) * 4
    for channel, by_query in expected.items():
        tied = [best != worst for best, worst in by_query.values()]
        assert sum(tied) <= len(tied) / 10
        for result in run.results:
            best, worst = by_query[result.id]
            for name, value in result.answers[channel].values.items():
                if best == worst:
                    assert value == pytest.approx(best[name], abs=1e-15, rel=0), name
                    assert name == "nDCG@10" or value == best[name]
                assert worst[name] - 1e-15 <= value <= best[name] + 1e-15
        for name, figure in run.ways[channel].figures.items():
            found = [result.answers[channel].values[name] for result in run.results]
            assert figure.value == math.fsum(found) / len(found)
            assert figure.low <= figure.value <= figure.high


def test_what_is_measured_is_what_a_search_finds(library: MediaLibrary, queries: Path) -> None:
    run = library.evaluate(library.query_set(queries))
    assert list(run.ways) == ["visual", "bm25", "fused"]
    for result in run.results:
        for name, channels in (("visual", ["visual"]), ("bm25", ["bm25"]), ("fused", None)):
            hits = library.search(result.text, channels=channels, limit=10, grouped=False).hits
            answer = result.answers[name]
            assert [hit.moment.media_id for hit in hits] == [top[0] for top in answer.top]
            assert answer.confidence == (hits[0].confidence if hits else None)


def test_queries_without_an_answer_count_for_confidence_alone(
    library: MediaLibrary, queries: Path
) -> None:
    run = library.evaluate(library.query_set(queries))
    zebra = next(result for result in run.results if result.text == "a zebra")
    assert zebra.answers["fused"].values == {}
    levels = run.ways["bm25"].levels
    assert levels["nothing"] == {"no hit": 1}
    assert sum(count for group in levels.values() for count in group.values()) == 13
    nothing = replace(library.query_set(queries), queries=())
    with pytest.raises(UsageError, match="No query of"):
        library.evaluate(nothing)


async def test_it_is_measured_beside_an_event_loop_as_well(
    library: MediaLibrary, queries: Path
) -> None:
    asked = library.query_set(queries).some(3)
    run = await library.aevaluate(asked)
    assert run.ways == library.evaluate(asked).ways


def test_a_run_is_kept_and_read_again_and_never_over_another(
    library: MediaLibrary, queries: Path, tmp_path: Path
) -> None:
    run = library.evaluate(library.query_set(queries))
    write_run(run, tmp_path / "a.json")
    assert read_run(tmp_path / "a.json") == run
    with pytest.raises(UsageError, match="exists already"):
        write_run(run, tmp_path / "a.json")


@pytest.mark.parametrize(
    "damage",
    [
        lambda kept: "not json",
        lambda kept: "[]",
        lambda kept: json.dumps({**kept, "format": 99}),
        lambda kept: json.dumps({**kept, "queries": [{"id": 5}]}),
        lambda kept: json.dumps({**kept, "ways": {"visual": {"figures": {"R@1": ["x"]}}}}),
        lambda kept: json.dumps(kept).replace('"R@1": 1.0', '"R@1": 7'),
        lambda kept: json.dumps(kept).replace('"confidence": "weak"', '"confidence": "sure"'),
        lambda kept: "[" * 100_000,
    ],
)
def test_what_is_no_run_is_refused(
    damage: Any, library: MediaLibrary, queries: Path, tmp_path: Path
) -> None:
    kept = library.evaluate(library.query_set(queries)).as_dict()
    (tmp_path / "bad.json").write_text(damage(kept))
    with pytest.raises(UsageError):
        read_run(tmp_path / "bad.json")


# ---- the library's own annotations --------------------------------------------------------------


def test_own_annotations_do_not_find_themselves_by_their_words(tmp_path: Path) -> None:
    for number, colour in enumerate(COLOURS):
        path = picture(tmp_path / "media" / f"p{number}.png", colour, number=number)
        describe(path, f"the {colour} wall of {'Lisbon' if number % 2 else 'Oslo'}")
    with opened(tmp_path / "home") as library:
        library.index([tmp_path / "media"])
        asked = library.query_set()
        assert {query.text for query in asked.queries} == {
            f"the {colour} wall of {'Lisbon' if n % 2 else 'Oslo'}"
            for n, colour in enumerate(COLOURS)
        }
        own = library.evaluate(asked)
        told = library.evaluate(replace(asked, format="captions"))
        assert told.ways["bm25"].figures["R@1"].value == 1.0  # it finds its own words
        assert own.ways["bm25"].figures["R@1"].value == 0.0  # which are covered up
        assert own.ways["visual"].figures == told.ways["visual"].figures
        assert any("covered up" in note for note in own.warnings)
        before = library.search("the red wall of Oslo").hits[0]
        assert before.text == "the red wall of Oslo", "the library itself has all its words"


def test_other_words_about_a_media_are_left(tmp_path: Path) -> None:
    ids: dict[str, str] = {}
    with opened(tmp_path / "home") as library:
        for number, colour in enumerate(COLOURS):
            picture(tmp_path / "media" / f"p{number}.png", colour, number=number)
        library.index([tmp_path / "media"])
        ids = {Path(r.path).stem: m for m, r in library.ledger.media_rows().items()}
        library.annotate(ids["p0"], caption=["Rex asleep", "Rex lies down"], people=["Anna"])
        library.annotate(ids["p1"], caption="a boat", tags=["Sunday", "harbour"], people=["Anna"])
        asked = library.query_set()
        answers = {query.text: set(query.relevant) for query in asked.queries}
        assert answers == {
            "Rex asleep": {ids["p0"]},
            "Rex lies down": {ids["p0"]},
            "a boat": {ids["p1"]},
            "Sunday": {ids["p1"]},
            "harbour": {ids["p1"]},
            "Anna": {ids["p0"], ids["p1"]},
        }
        run = library.evaluate(asked)
        ranks = {result.text: result.answers["bm25"].rank for result in run.results}
    assert ranks == {
        "Rex asleep": 1,  # by its other caption
        "Rex lies down": 1,
        "a boat": None,
        "Sunday": None,
        "harbour": None,
        "Anna": None,
    }


def test_own_annotations_are_not_asked_with_what_was_learned_from_them(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as library:
        for number, colour in enumerate(COLOURS):
            picture(tmp_path / "media" / f"p{number}.png", colour, number=number)
        library.index([tmp_path / "media"])
        ids = sorted(library.ledger.media_rows())
        for media_id in ids:
            library.annotate(media_id, caption=["a red wall", f"a green wall {media_id[:4]}"])
        asked = library.query_set()
        before = library.evaluate(asked)
        visual = library.searcher().visual
        texts = [query.text for query in asked.queries]
        keys = visual.embed_texts(texts)
        library.searcher().learned = LearnedQuery(
            visual.stamp, texts, [False] * len(texts), keys, -2 * keys[::-1], 0.0
        )
        learned = library.evaluate(replace(asked, format="captions"))
        assert learned.ways["visual"].figures != before.ways["visual"].figures
        assert library.evaluate(asked).ways == before.ways
        with pytest.raises(UsageError, match="can't be covered up for a VLM"):
            library.evaluate(asked, rerank=True)


def test_a_signal_says_what_is_asked_word_for_word() -> None:
    assert says(Signal("annotation", "People: Anna, Ben"), "anna")
    assert says(Signal("path", "Oma's  Garden 2019"), "oma s garden")
    assert not says(Signal("annotation", "Annabel"), "Anna")


def test_nothing_annotated_makes_no_set(tmp_path: Path) -> None:
    with opened(tmp_path / "home") as library:
        picture(tmp_path / "media" / "p.png")
        library.index([tmp_path / "media"])
        with pytest.raises(UsageError, match="Nothing in this library is annotated"):
            library.query_set()


# ---- with and without captions ------------------------------------------------------------------


def test_captions_are_left_out_and_the_rest_is_found_as_before(
    library: MediaLibrary, queries: Path
) -> None:
    asked = library.query_set(queries)
    searcher = library.searcher()
    bare = evaluate(asked, ChannelWays(without_captions(searcher)), {})
    whole = evaluate(asked, ChannelWays(searcher), {})
    for one, other in zip(bare.results, whole.results, strict=True):  # there are no captions
        for name, answer in one.answers.items():
            assert answer.values == other.answers[name].values
            assert answer.confidence == other.answers[name].confidence
    media_id = next(iter(library.ledger.media_rows()))
    caption = Signal("caption", "a zebra at dawn")
    library.ledger.put_signals("caption", "x", {media_id: [caption]})
    left = without_captions(searcher).signals([media_id])[media_id]
    assert caption in library.searcher().signals([media_id])[media_id]
    assert caption not in left
    run = library.evaluate(asked)
    assert list(run.ways)[-1] == "fused, without captions"
    library.ledger.put_signals("caption", "x", {media_id: []})


# ---- comparing ----------------------------------------------------------------------------------


def test_two_runs_are_compared_query_by_query(library: MediaLibrary, queries: Path) -> None:
    run = library.evaluate(library.query_set(queries))
    same = compare(run, run)
    assert [one.ways for one in same] == [(w, w) for w in ("visual", "bm25", "fused")]
    for row in (row for one in same for row in one.differences):
        assert (row.change.value, row.p, row.better, row.worse) == (0.0, 1.0, 0, 0)
    (one,) = compare(run, run, ("bm25", "visual"))
    rows = {row.measure: row for row in one.differences}
    for measure, row in rows.items():
        assert row.first == run.ways["bm25"].figures[measure].value
        assert row.second == run.ways["visual"].figures[measure].value
    assert rows["nDCG@10"].better + rows["nDCG@10"].worse > 0
    assert len(one.changed) == sum(
        result.answers["bm25"].rank != result.answers["visual"].rank for result in run.results
    )
    with pytest.raises(UsageError, match="no way 'speech'"):
        compare(run, run, ("visual", "speech"))
    with pytest.raises(UsageError, match="share no query"):
        compare(run, replace(run, results=()))
    part = replace(run, results=run.results[:5])
    assert "8 queries are in one run only" in compare(run, part)[0].warnings[0]


def test_chance_alone_is_rarely_significant_and_a_real_change_is() -> None:
    chance = np.random.default_rng(1)
    groups = [str(number // 5) for number in range(200)]
    false = sum(
        randomisation_p(chance.normal(size=200).tolist(), groups, seed=trial) < 0.05
        for trial in range(40)
    )
    assert false <= 6
    assert randomisation_p((chance.normal(size=200) + 1).tolist(), groups) < 0.001
    assert randomisation_p([1.0] * 5, ["a"] * 5) == 1.0, "five captions of one photo prove nothing"
    exact = randomisation_p([1.0, 1.0, 1.0, 1.0], list("abcd"))
    assert exact == pytest.approx(2 / 16)


# ---- the command --------------------------------------------------------------------------------


def test_the_command_measures_keeps_draws_and_compares(
    library: MediaLibrary, queries: Path, tmp_path: Path
) -> None:
    home = library.settings.home
    kept, plot = tmp_path / "a.json", tmp_path / "a.png"
    done = mmrag_here(home, "eval", queries, "--save", kept, "--plot", plot)
    assert done.returncode == 0, done.stderr
    assert "12 queries of set.jsonl and 1 without an answer" in done.stdout
    assert "fused" in done.stdout
    assert plot.read_bytes().startswith(b"\x89PNG")
    found = json.loads(mmrag_here(home, "eval", "run", queries, "--json").stdout)
    again = json.loads(kept.read_text())
    assert found["ways"] == again["ways"]
    done = mmrag_here(home, "eval", "compare", kept, kept, "--ways", "bm25,fused")
    assert done.returncode == 0, done.stderr
    assert "bm25 against fused, 13 queries" in done.stdout
    both = json.loads(mmrag_here(home, "eval", "compare", kept, kept, "--json").stdout)
    assert len(both["compared"]) == 3
    done = mmrag_here(home, "eval", queries, "--save", kept)
    assert done.returncode == 2
    assert "exists already" in " ".join(done.stderr.split())


def test_a_narrow_terminal_cuts_no_figure_off(library: MediaLibrary, queries: Path) -> None:
    shown = mmrag_here(library.settings.home, "eval", queries, COLUMNS="50").stdout
    assert "…" not in shown
    assert all(len(line.rstrip()) <= 50 for line in shown.splitlines())
    assert re.search(r"R@1 +visual +\d+\.\d +\d+\.\d to \d+\.\d", shown)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "--json"), "What is to be asked?"),
        (("eval", "x.json", "--own"), "What is to be asked?"),
        (("eval", "x.json", "--plot", "x.gif"), "neither .png nor .svg"),
        (("eval", "--own", "--save", "nowhere/x.json"), "There is no folder nowhere"),
        (("eval", "--own", "--plot", "nowhere/x.png"), "There is no folder nowhere"),
        (("eval", "compare", "x.json", "y.json", "--ways", "visual"), "names no two ways"),
        (("eval", "x.json"), "can't be read"),
        (("eval", "x.json", "--format", "nonsense"), "can't be read"),
        (("eval",), "wants a command"),
    ],
)
def test_wrong_usage_is_a_sentence(
    arguments: Sequence[str], said: str, library: MediaLibrary
) -> None:
    done = mmrag_here(library.settings.home, *arguments)
    assert done.returncode in (1, 2)
    assert said in " ".join((done.stdout + done.stderr).split())


def test_a_set_about_other_media_is_refused(library: MediaLibrary, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"elsewhere.jpg": ["a dog"]}')
    with pytest.raises(NotFound, match=r"elsewhere\.jpg"):
        library.query_set(tmp_path / "other.json")
