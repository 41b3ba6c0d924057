"""One conformance suite for the vector store, over every Milvus that is at hand.

The embedded Milvus is always there. Milvus 2.3.5 and the C++ core of milvus-lite 2.5.1 are started
here; another server joins in when MMRAG_TEST_MILVUS_URI names one. What one can't do (sparse
vectors before 2.4) is skipped by what it says it can do.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.milvus import MilvusVectorStore

from milvus_servers import lite_core, real_server
from mmrag_plugin import milvus_collection, milvus_rows
from mmrag_plugin.bm25 import K1, USUAL_TERMS, B, query_vector
from mmrag_plugin.errors import (
    MilvusUnavailable,
    ModelMismatch,
    ServiceError,
    UsageError,
)
from mmrag_plugin.index_run import replace_rows
from mmrag_plugin.media import FilmShot
from mmrag_plugin.metadata import COLUMNS, NO_DATE_S, RowFilter, row_metadata, wall_clock_s
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_rows import same_weights
from mmrag_plugin.milvus_store import (
    FoundRow,
    MediaVectorStore,
    open_frames,
    open_signals,
)

SERVER_URI = os.environ.get("MMRAG_TEST_MILVUS_URI", "")
BACKENDS = [
    "embedded",
    pytest.param("real server", marks=pytest.mark.slow),
    pytest.param("C++ core", marks=pytest.mark.slow),
    *(["named server"] if SERVER_URI else []),
]
# What the C++ core of milvus-lite gets wrong itself; its successor and servers don't.
FAULTS_OF_THE_CORE = {
    "test_an_empty_collection_answers_everything": "no vectors can be asked of an empty collection",
    "test_nodes_are_deleted_by_filters": "it can't delete by an expression with `not`",
    "new\\nline": "an escaped newline in an expression is no newline to it",
    "tab\\t": "an escaped tab in an expression is no tab to it",
    "test_hostile_ids_are_ids_like_any_other[C++ core-d'4]": "an apostrophe breaks its SQL",
}
HOSTILE = ['d"3', "d'4", "d\\", 'x"] or id != "', "new\nline", "tab\t", "日本", "%", "a" * 500]
DIM = 8


@pytest.fixture(scope="module", params=BACKENDS)
def connection(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MilvusConnection]:
    directory = tmp_path_factory.mktemp("library")
    if request.param == "named server":
        opened = MilvusConnection(None, SERVER_URI, os.environ.get("MMRAG_TEST_MILVUS_TOKEN", ""))
        yield opened
        opened.close()
        return
    if request.param != "embedded":
        started = real_server if request.param == "real server" else lite_core
        with started(directory) as server:
            opened = MilvusConnection(None, server.uri)
            yield opened
            opened.close()
        return
    opened = MilvusConnection(directory)
    yield opened
    opened.close()
    os.kill(int((directory / "owner.lock").read_text()), signal.SIGTERM)


@pytest.fixture(autouse=True)
def known_faults(request: pytest.FixtureRequest) -> None:
    test = request.node.name
    for part, reason in FAULTS_OF_THE_CORE.items():
        if "C++ core" in test and part in test:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.fixture(scope="module")
def emptied(connection: MilvusConnection) -> Iterator[list[MediaVectorStore]]:
    """Collections that tests have left, emptied: a server takes seconds to make one."""
    left: list[MediaVectorStore] = []
    yield left
    for store in left:
        store.drop()


@pytest.fixture
def name() -> str:
    return f"c_{uuid.uuid4().hex}"


@pytest.fixture
def frames(
    connection: MilvusConnection,
    name: str,
    emptied: list[MediaVectorStore],
    request: pytest.FixtureRequest,
) -> Iterator[MediaVectorStore]:
    store = emptied.pop() if emptied else open_frames(connection, name, DIM)
    yield store
    kept = "real server" in request.node.name
    if not kept or not connection.call("has_collection", store.collection_name):
        store.drop()
    else:
        store.leave_out(frozenset)
        store._collection.delete(['id != ""'])
        emptied.append(store)


@pytest.fixture
def signals(connection: MilvusConnection, name: str) -> Iterator[MediaVectorStore]:
    if not connection.capabilities().words:
        pytest.skip("this Milvus has no sparse vectors")
    store = open_signals(connection, name, DIM)
    yield store
    store.drop()


@pytest.fixture
def words_only(connection: MilvusConnection, name: str) -> Iterator[MediaVectorStore]:
    if not connection.capabilities().words:
        pytest.skip("this Milvus has no sparse vectors")
    store = open_signals(connection, name, None)
    yield store
    store.drop()


def vector(number: int) -> list[float]:
    return np.random.default_rng(number).standard_normal(DIM).tolist()  # type: ignore[no-any-return]


def about(media_id: str = "m1", **changes: Any) -> dict[str, str | int]:
    facts: dict[str, Any] = {
        "media_id": media_id,
        "kind": "image",
        "stage": "embed",
        "source": "frame",
        "start_s": None,
        "end_s": None,
        "taken_at": None,
        "camera": "",
    }
    return row_metadata(**{**facts, **changes})


def frame(row_id: str, number: int = 0, media_id: str = "m1", **changes: Any) -> ImageNode:
    return ImageNode(id_=row_id, embedding=vector(number), metadata=about(media_id, **changes))


def signal_row(row_id: str, text: str, number: int = 0, **changes: Any) -> TextNode:
    return TextNode(
        id_=row_id,
        text=text,
        embedding=vector(number),
        metadata=about(**{"stage": "ocr", "source": "ocr", **changes}),
    )


def of_document(node: BaseNode, document: str) -> BaseNode:
    node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=document)
    return node


def words_row(row_id: str, text: str = "") -> TextNode:
    return TextNode(id_=row_id, text=text, metadata=about(row_id, stage="ocr", source="ocr"))


def found_by(store: MediaVectorStore, *terms: str) -> dict[str, float]:
    """The scores of the rows that hold any of the terms, in the order of the hits."""
    return {row.row_id: row.score for row in store.search_words(same_weights(terms), 100)}


def ids_in(store: MediaVectorStore) -> set[str]:
    return {row_id for row_id, _ in store.row_ids()}


# ---------------------------------------------------------------- our own face


def test_dense_search_gives_scalars_best_first_with_cosine_scores(frames: MediaVectorStore) -> None:
    frames.add(
        [
            frame("a", 1, "m1", kind="video", start_s=1.5, end_s=2.25),
            frame("b", 2, "m2"),
            frame("c", 3, "m3"),
        ]
    )
    found = frames.search_dense(np.asarray(vector(1), dtype=np.float32), 10)
    assert found[0] == FoundRow("a", "m1", "video", "frame", 1.5, 2.25, found[0].score)
    assert found[0].score == pytest.approx(1.0, abs=1e-5)
    assert [row.score for row in found] == sorted((row.score for row in found), reverse=True)
    other = next(row for row in found if row.row_id == "b")
    one, two = np.asarray(vector(1)), np.asarray(vector(2))
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert other.score == pytest.approx(cosine, abs=1e-4)
    assert other.start_s is None
    assert other.end_s is None


def test_a_frame_is_found_with_the_edges_of_its_shot(frames: MediaVectorStore) -> None:
    shot = FilmShot(3, 1.25, 9.5)
    frames.add([frame("a", 1, "m1", kind="video", start_s=1.5, end_s=2.25, shot=shot)])
    [found] = frames.search_dense(vector(1), 1)
    assert (found.start_s, found.end_s) == (1.5, 2.25)
    assert (found.shot_start_s, found.shot_end_s) == (1.25, 9.5)
    [node] = frames.get_nodes(["a"])
    assert node.metadata["shot"] == 3


def test_a_collection_from_before_shots_is_read_and_goes_on(
    connection: MilvusConnection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        older = tuple(column for column in COLUMNS if "shot" not in column.name)
        before.setattr(milvus_rows, "COLUMNS", older)
        store = open_frames(connection, name, DIM)
        store.add([frame("old", 1, "m1", kind="video", start_s=0.0, end_s=2.0)])
    store = open_frames(connection, name, DIM)
    shot = FilmShot(1, 2.0, 5.0)
    store.add([frame("new", 2, "m2", kind="video", start_s=2.0, end_s=3.0, shot=shot)])
    found = {row.row_id: row for row in store.search_dense(vector(1), 10)}
    assert (found["old"].shot_start_s, found["old"].shot_end_s) == (None, None)
    assert (found["new"].shot_start_s, found["new"].shot_end_s) == (2.0, 5.0)
    store.drop()


def test_limits_are_kept(frames: MediaVectorStore) -> None:
    frames.add([frame(f"r{number}", number) for number in range(20)])
    assert len(frames.search_dense(vector(0), 7)) == 7
    assert frames.search_dense(vector(0), 0) == []
    assert frames.search_dense(vector(0), -1) == []
    assert len(frames.search_dense(vector(0), 1_000_000)) == 20


@pytest.mark.parametrize("hidden", [0, 1, 5, 20, 39, 40])
def test_what_is_left_out_comes_in_no_hit_whichever_way_it_is_left_out(
    signals: MediaVectorStore, hidden: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = range(40)
    signals.add([signal_row(f"r{n}", "a gate " * (n + 1), n, media_id=f"m{n}") for n in numbers])
    near = {row.media_id: n for n, row in enumerate(signals.search_dense(vector(3), 40))}
    best_first = sorted(near, key=near.__getitem__)
    asked: list[str] = []
    call = signals._collection.connection.call

    def listening(method: str, *args: Any, **options: Any) -> Any:
        if method == "search":
            asked.append(options["filter"])
        return call(method, *args, **options)

    monkeypatch.setattr(signals._collection.connection, "call", listening)
    for left_out in (frozenset(best_first[:hidden]), frozenset(best_first[40 - hidden :])):
        signals.leave_out(lambda left_out=left_out: left_out)  # type: ignore[misc]
        found = {}
        for many in (0, 10**9):
            monkeypatch.setattr(milvus_collection, "MANY_LEFT_OUT", many)
            asked.clear()
            nodes = signals.query(VectorStoreQuery(vector(3), similarity_top_k=3)).nodes or []
            where = RowFilter(media_ids=frozenset(best_first[:6]))
            hits = [
                signals.search_dense(vector(3), 3),
                signals.search_dense(vector(3), 3, group_by_media=True),
                signals.search_words(same_weights(["gate"]), 3),
                signals.search_dense(vector(3), 3, where),
            ]
            assert all(row.media_id not in left_out for rows in hits for row in rows)
            found[many] = [[row.row_id for row in rows] for rows in hits]
            found[many].append([node.node_id for node in nodes])
            assert left_out.isdisjoint(node.metadata["media_id"] for node in nodes)
            if many and left_out:
                assert all("not in" in expression for expression in asked)
        assert found[0] == found[10**9]
        assert len(found[0][0]) == min(3, 40 - hidden)


def test_an_empty_collection_answers_everything(frames: MediaVectorStore) -> None:
    assert frames.search_dense(vector(0), 10) == []
    assert frames.search_dense(vector(0), 10, group_by_media=True) == []
    assert frames.count() == 0
    assert list(frames.row_ids()) == []
    assert frames.vectors(["x"]) == {}


def test_filters_restrict_a_search_and_a_count(frames: MediaVectorStore) -> None:
    frames.add(
        [
            frame("old", 1, "m1", taken_at="1969-07-20T20:17:40"),
            frame("new", 2, "m2", taken_at="2024-01-01T10:00:00", camera="Canon"),
            frame("undated", 3, "m3", kind="video"),
        ]
    )

    def found(**restrictions: Any) -> set[str]:
        where = RowFilter(**restrictions)
        rows = {row.row_id for row in frames.search_dense(vector(0), 10, where)}
        assert frames.count(where) == len(rows)
        return rows

    assert found(kind="video") == {"undated"}
    assert found(taken_to_s=wall_clock_s("2000-01-01")) == {"old"}
    assert found(taken_from_s=wall_clock_s("1960-01-01")) == {"old", "new"}
    assert found(cameras=("Canon",)) == {"new"}
    assert found(not_media_ids=frozenset({"m1", "m2"})) == {"undated"}
    assert found(media_ids=frozenset()) == set()
    assert found(cameras=()) == set()


def test_what_was_written_or_deleted_is_so_in_the_next_search(frames: MediaVectorStore) -> None:
    def found() -> set[str]:
        return {row.row_id for row in frames.search_dense(vector(0), 100)}

    for turn in range(3):
        frames.add([frame(f"r{number}", number, f"m{number % 3}") for number in range(9)])
        assert len(found()) == 9
        frames.delete_nodes(["r0"])
        assert len(found()) == 8
        frames.delete_media([f"m{turn}"])
        assert found() == {f"r{number}" for number in range(1, 9) if number % 3 != turn}


def test_grouping_gives_each_media_once_with_its_best_row(frames: MediaVectorStore) -> None:
    base = np.asarray(vector(0))
    rng = np.random.default_rng(7)
    nodes = []
    for media in range(12):  # the first films fill the page on their own
        for number in range(40 if media < 2 else 3):
            noise = rng.standard_normal(DIM) * (0.02 + 0.05 * media)
            node = frame(f"m{media}_{number}", 0, f"m{media}", kind="video")
            node.embedding = (base + noise).tolist()
            nodes.append(node)
    frames.add(nodes)
    everything = frames.search_dense(base, 1000)
    best: dict[str, FoundRow] = {}
    for row in everything:
        best.setdefault(row.media_id, row)
    grouped = frames.search_dense(base, 8, group_by_media=True)
    assert [row.row_id for row in grouped] == [row.row_id for row in best.values()][:8]
    not_first = RowFilter(not_media_ids=frozenset({"m0"}))
    assert "m0" not in {
        row.media_id for row in frames.search_dense(base, 8, not_first, group_by_media=True)
    }


def test_a_word_search_finds_only_rows_with_a_word_and_scores_are_positive(
    words_only: MediaVectorStore,
) -> None:
    texts = ["Gate B42 now boarding", "gate gate closed", "a cat on a mat", "", "Ünïcode"]
    words_only.add([words_row(f"s{number}", text) for number, text in enumerate(texts)])
    scores = found_by(words_only, "gate")
    assert list(scores) == ["s1", "s0"]  # twice in a shorter text
    assert all(score > 0 for score in scores.values())
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert set(found_by(words_only, "b42", "cat")) == {"s0", "s2"}
    assert found_by(words_only, "nowhere") == {}
    best = words_only.search_words(same_weights(["gate"]), 1)
    assert [row.row_id for row in best] == ["s1"]
    words_only.flush()
    assert found_by(words_only, "gate") == scores


def test_a_word_search_keeps_to_filters_and_limits(words_only: MediaVectorStore) -> None:
    words_only.add([words_row(f"s{number}", "gate " * (number + 1)) for number in range(5)])
    gate = same_weights(["gate"])
    some = RowFilter(media_ids=frozenset({"s1", "s3"}))
    assert {row.row_id for row in words_only.search_words(gate, 9, some)} == {"s1", "s3"}
    assert len(words_only.search_words(gate, 2)) == 2
    assert words_only.search_words(gate, 0) == []
    assert len(words_only.search_words(gate, 1_000_000)) == 5


def test_an_empty_query_is_answered_without_asking_milvus(
    words_only: MediaVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    words_only.add([words_row("s1", "gate")])

    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("Milvus was asked")

    monkeypatch.setattr(MilvusConnection, "call", refuse)
    assert words_only.search_words({}, 10) == []
    monkeypatch.undo()


def test_a_rare_word_counts_more_than_a_common_one(words_only: MediaVectorStore) -> None:
    words_only.add([words_row("rare", "lisbon"), words_row("common", "beach")])
    query = query_vector(["beach", "lisbon"], {"beach": 30, "lisbon": 1}, 31)
    assert [row.row_id for row in words_only.search_words(query, 30)] == ["rare", "common"]


def test_rows_without_terms_are_kept_and_never_found_by_words(
    words_only: MediaVectorStore,
) -> None:
    words_only.add([words_row("bare", "gate"), words_row("gate", "gate")], terms=[[], ["gate"]])
    words_only.add([words_row("empty")])
    for _ in range(2):
        assert ids_in(words_only) == {"bare", "gate", "empty"}
        assert set(found_by(words_only, "gate", "", "bare", "empty")) == {"gate"}
        words_only.flush()
    words_only.add([words_row("gate")], terms=[[]])  # a row may lose its words
    assert found_by(words_only, "gate") == {}


def test_scores_do_not_depend_on_how_rows_were_written(
    connection: MilvusConnection, words_only: MediaVectorStore, name: str
) -> None:
    rows = [words_row(f"s{number}", "beach lisbon " + "sun " * number) for number in range(6)]
    for row in rows[:-2]:
        words_only.add([row], force_flush=True)
    words_only.add(rows[-2:])  # these stay in memory
    at_once = open_signals(connection, f"{name}_at_once", None)
    at_once.add(rows, force_flush=True)
    query = query_vector(["beach", "sun"], {"beach": 6, "sun": 5}, 6)
    apart, together = (store.search_words(query, 10) for store in (words_only, at_once))
    assert apart == together
    assert len(apart) == 6
    at_once.drop()


def plain_bm25(documents: dict[str, list[str]], query: list[str]) -> dict[str, float]:
    """The formula of Robertson and Zaragoza, word for word."""
    scores: dict[str, float] = {}
    for row_id, terms in documents.items():
        for word in set(query) & set(terms):
            holding = sum(word in other for other in documents.values())
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            often = terms.count(word)
            slope = K1 * (1 - B + B * len(terms) / USUAL_TERMS)
            score = idf * often * (K1 + 1) / (often + slope)
            scores[row_id] = scores.get(row_id, 0.0) + score
    return scores


@pytest.mark.parametrize("seed", range(4))
def test_words_are_ranked_as_a_plain_bm25_ranks_them(
    words_only: MediaVectorStore, seed: int
) -> None:
    chance = random.Random(seed)
    vocabulary = [f"w{number}" for number in range(30)]
    usual = [1 / (number + 1) for number in range(30)]  # few common words, many rare ones
    documents = {
        f"d{number:02}": chance.choices(vocabulary, usual, k=chance.randrange(25))
        for number in range(40)
    }
    rows = [(words_row(row_id), terms) for row_id, terms in documents.items()]
    while rows:  # in writes and flushes of any size
        part = [rows.pop() for _ in range(min(len(rows), chance.randint(1, 15)))]
        nodes, terms = zip(*part, strict=True)
        words_only.add(nodes, terms=terms, force_flush=chance.random() < 0.5)
    counts = {word: sum(word in terms for terms in documents.values()) for word in vocabulary}
    for _ in range(10):
        query = chance.sample([*vocabulary, "unknown"], chance.randint(1, 6))
        expected = plain_bm25(documents, query)
        found = words_only.search_words(query_vector(query, counts, len(documents)), 100)
        assert {row.row_id: row.score for row in found} == pytest.approx(expected, abs=1e-3)
        ranked = [expected[row.row_id] for row in found]
        assert ranked == pytest.approx(sorted(ranked, reverse=True), abs=1e-5)


def test_given_terms_are_searched_instead_of_the_text(signals: MediaVectorStore) -> None:
    signals.add([signal_row("s1", "日本語の看板")], terms=[["日本", "kan ban"]])
    assert list(found_by(signals, "日本")) == list(found_by(signals, "kan ban")) == ["s1"]
    assert found_by(signals, "看板") == {}
    assert signals.get_nodes(["s1"])[0].get_content() == "日本語の看板"


def test_media_are_deleted_whole_or_by_stage(signals: MediaVectorStore) -> None:
    signals.add(
        [
            signal_row("a", "one", media_id="m1", stage="ocr"),
            signal_row("b", "two", media_id="m1", stage="caption"),
            signal_row("c", "three", media_id='m"2', stage="ocr"),
            signal_row("d", "four", media_id="m3", stage="ocr"),
        ]
    )
    signals.delete_media([])
    signals.delete_media(["m1"], stages=[])
    assert ids_in(signals) == {"a", "b", "c", "d"}
    signals.delete_media(["m1", "unknown"], stages=["ocr", "speech"])
    assert ids_in(signals) == {"b", "c", "d"}
    signals.delete_media(iter(['m"2', "m1"]))
    assert ids_in(signals) == {"d"}
    assert found_by(signals, "one", "two", "three") == {}
    signals.flush()
    assert ids_in(signals) == {"d"}


def test_rows_are_replaced_without_a_moment_in_which_a_media_has_none(
    signals: MediaVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals.add([signal_row(row_id, "old", media_id="m1") for row_id in ("a", "b", "c")])
    signals.add([signal_row("z", "old", media_id="m2")])
    seen: list[set[str]] = []

    def looking(method: str, *arguments: Any, **options: Any) -> Any:
        done = real(method, *arguments, **options)
        if method in ("upsert", "delete"):
            with monkeypatch.context() as unwatched:
                unwatched.setattr(signals._collection.connection, "call", real)
                seen.append(ids_in(signals))
        return done

    real = signals._collection.connection.call
    monkeypatch.setattr(signals._collection.connection, "call", looking)
    replace_rows(signals, {"m1"}, [signal_row("a", "new", media_id="m1")])
    replace_rows(signals, {"m2"}, [])
    assert seen == [{"a", "b", "c", "z"}, {"a", "z"}, {"a"}]
    assert list(found_by(signals, "new")) == ["a"]
    assert found_by(signals, "old") == {}


def test_ten_thousand_ids_can_be_searched_counted_and_deleted(frames: MediaVectorStore) -> None:
    frames.add([frame(f"r{number}", number, f"m{number}") for number in range(50)])
    many = frozenset(f"m{number}" for number in range(10, 25_000))
    assert frames.count(RowFilter(media_ids=many)) == 40
    assert len(frames.search_dense(vector(0), 100, RowFilter(media_ids=many))) == 40
    assert len(frames.search_dense(vector(0), 100, RowFilter(not_media_ids=many))) == 10
    frames.delete_media(many)
    assert frames.count() == 10


def test_row_ids_are_walked_in_pages_without_gaps(
    frames: MediaVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mmrag_plugin.milvus_media.ROWS_PER_PAGE", 7)
    frames.add([frame(f"r{number:03}", number, f"m{number % 3}") for number in range(30)])
    frames.flush()
    frames.add([frame(f"r{number:03}", number, f"m{number % 3}") for number in range(20, 50)])
    walked = list(frames.row_ids())
    assert walked == [(f"r{number:03}", f"m{number % 3}") for number in range(50)]
    assert len(list(frames.row_ids(RowFilter(media_ids=frozenset({"m0"}))))) == 17


def test_vectors_come_back_as_they_were(frames: MediaVectorStore) -> None:
    frames.add([frame(f"r{number}", number) for number in range(30)])
    found = frames.vectors(["r1", "r2", "unknown", "r2"])
    assert set(found) == {"r1", "r2"}
    np.testing.assert_allclose(found["r1"], vector(1), rtol=1e-6)
    assert found["r1"].dtype == np.float32


def test_the_same_id_again_replaces_the_row(frames: MediaVectorStore) -> None:
    frames.add([frame("a", 1, "m1"), frame("a", 2, "m2")])
    frames.add([frame("a", 3, "m3")])
    assert list(frames.row_ids()) == [("a", "m3")]
    frames.flush()
    frames.add([frame("a", 4, "m4")])
    assert [(row.row_id, row.media_id) for row in frames.search_dense(vector(3), 5)] == [
        ("a", "m4")
    ]


# ---------------------------------------------------------------- what fits


def test_long_text_is_cut_on_a_character_boundary(signals: MediaVectorStore) -> None:
    signals.add([signal_row("long", "a" + "é" * 40_000)])
    text = signals.get_nodes(["long"])[0].get_content()
    assert text == "a" + "é" * 32_767
    assert len(text.encode()) == 65_535


def test_pixels_and_paths_are_not_kept(frames: MediaVectorStore) -> None:
    node = frame("a", 1)
    node.image = "AAAA" * 100_000
    node.image_path = "/home/anna/secret.jpg"
    frames.add([node])
    kept = frames.get_nodes(["a"])[0]
    assert isinstance(kept, ImageNode)
    assert kept.image is None
    assert kept.image_path is None
    assert "secret" not in str(frames.client.query(frames.collection_name, 'id == "a"'))


@pytest.mark.parametrize(
    "broken",
    [
        ImageNode(id_="x", metadata=about()),
        ImageNode(id_="x", embedding=[1.0], metadata=about()),
        ImageNode(id_="", embedding=[1.0] * DIM, metadata=about()),
        ImageNode(id_="x" * 513, embedding=[1.0] * DIM, metadata=about()),
        ImageNode(id_="x\udcff", embedding=[1.0] * DIM, metadata=about()),
        ImageNode(id_="x", embedding=[1.0] * DIM, metadata={**about(), "camera": "c" * 129}),
        ImageNode(id_="x", embedding=[1.0] * DIM, metadata={**about(), "taken_at": "2024"}),
        ImageNode(id_="x", embedding=[1.0] * DIM, metadata={**about(), "taken_at": 2**63}),
        ImageNode(id_="x", embedding=[1.0] * DIM, metadata={**about(), "note": "n" * 70_000}),
    ],
    ids="no vector,short vector,empty id,long id,no Unicode,long camera,date as text,"
    "large date,large metadata".split(","),
)
def test_a_node_that_does_not_fit_is_refused_before_anything_is_written(
    frames: MediaVectorStore, broken: ImageNode
) -> None:
    with pytest.raises(UsageError):
        frames.add([frame("good", 1), broken])
    assert frames.count() == 0


def test_columns_that_a_foreign_node_lacks_hold_sentinels(frames: MediaVectorStore) -> None:
    node = TextNode(id_="foreign", text="hi", embedding=vector(1), metadata={"author": "Ann"})
    frames.add([node])
    row = frames.client.query(frames.collection_name, 'id == "foreign"')[0]
    assert (row["media_id"], row["taken_at"], row["start_ms"]) == ("", NO_DATE_S, -1)
    kept = frames.get_nodes(["foreign"])[0]
    assert kept.metadata == {"author": "Ann"}
    assert kept.get_content() == "hi"


@pytest.mark.parametrize("bad", ["", "Anna's photos", "a-b", "1a", "a.b", "ä", "a" * 256, "a\n"])
def test_a_collection_name_that_a_server_refuses_is_refused_everywhere(
    connection: MilvusConnection, bad: str
) -> None:
    with pytest.raises(UsageError, match="collection name"):
        open_frames(connection, bad, DIM)


def test_a_collection_of_another_model_is_refused(
    connection: MilvusConnection, frames: MediaVectorStore
) -> None:
    with pytest.raises(ModelMismatch, match="8 numbers, the model makes 16"):
        open_frames(connection, frames.collection_name, 16)


# ---------------------------------------------------------------- opening


def test_a_second_process_opens_what_the_first_wrote(
    frames: MediaVectorStore, connection: MilvusConnection
) -> None:
    if not connection.embedded:
        pytest.skip("a server has no directory")
    frames.add([frame("a", 1)])
    code = (
        "import sys; from pathlib import Path\n"
        "from mmrag_plugin.milvus_store import MilvusConnection, open_frames\n"
        f"store = open_frames(MilvusConnection(Path(sys.argv[1])), sys.argv[2], {DIM})\n"
        f"print([row.row_id for row in store.search_dense({vector(1)}, 5)], store.count())"
    )
    arguments = [sys.executable, "-c", code, connection.address, frames.collection_name]
    done = subprocess.run(arguments, capture_output=True, check=True, timeout=60)
    assert done.stdout == b"['a'] 1\n"
    assert done.stderr == b""


def test_an_unfinished_collection_is_completed_when_opened(
    connection: MilvusConnection, name: str
) -> None:
    from mmrag_plugin.milvus_rows import make_schema

    schema = make_schema(DIM, False)
    connection.call("create_collection", name, schema=schema, consistency_level="Session")
    store = open_frames(connection, name, DIM)
    store.add([frame("a", 1)])
    assert len(store.search_dense(vector(1), 5)) == 1
    assert "embedding" in connection.call("list_indexes", name)
    store.drop()


def test_the_graph_is_built_as_it_was_asked_for(frames: MediaVectorStore) -> None:
    index = frames.client.describe_index(frames.collection_name, "embedding")
    kind = frames._collection.connection.capabilities().indexes[0]
    assert (index["index_type"], index["metric_type"]) == (kind, "COSINE")
    if kind != "HNSW":
        return
    built = index["params"] if isinstance(index.get("params"), dict) else index
    assert int(built["M"]) == 32
    assert int(built["efConstruction"]) == 200


def test_clear_leaves_an_empty_store_that_works(frames: MediaVectorStore) -> None:
    frames.add([frame("a", 1)])
    frames.clear()
    assert frames.count() == 0
    frames.add([frame("b", 1)])
    assert ids_in(frames) == {"b"}


def test_dropping_twice_is_no_error(connection: MilvusConnection, name: str) -> None:
    store = open_frames(connection, name, DIM)
    store.drop()
    store.drop()
    assert not connection.call("has_collection", name)


# ---------------------------------------------------------------- LlamaIndex's face


def query_for(mode: VectorStoreQueryMode, **changes: Any) -> VectorStoreQuery:
    return VectorStoreQuery(
        **{
            "query_embedding": vector(1),
            "query_str": "Gate B42!",
            "similarity_top_k": 3,
            "mode": mode,
            **changes,
        }
    )


def test_it_is_the_vector_store_that_llama_index_knows(frames: MediaVectorStore) -> None:
    assert isinstance(frames, MilvusVectorStore)
    assert frames.stores_text
    assert frames.aclient is None


def test_nodes_come_back_as_they_were(signals: MediaVectorStore) -> None:
    picture = of_document(frame("f1", 1), "m1")
    text = of_document(signal_row("s1", "Gate B42", 2), "m2")
    assert signals.add([picture, text]) == ["f1", "s1"]
    kept_text, kept_picture = sorted(
        signals.get_nodes(["f1", "s1"]), key=lambda node: node.node_id, reverse=True
    )
    assert isinstance(kept_picture, ImageNode)
    assert isinstance(kept_text, TextNode)
    assert kept_text.get_content() == "Gate B42"
    assert kept_text.metadata == text.metadata
    assert kept_text.ref_doc_id == "m2"
    np.testing.assert_allclose(kept_picture.embedding, vector(1), rtol=1e-6)


@pytest.mark.parametrize("document", HOSTILE)
def test_deleting_a_document_deletes_that_document_only(
    frames: MediaVectorStore, document: str
) -> None:
    frames.add(
        [
            of_document(frame("wanted", 1), document),
            of_document(frame("other", 2), "d1"),
            frame("orphan", 3),
        ]
    )
    frames.delete("")
    assert frames.count() == 3
    frames.delete(document)
    assert ids_in(frames) == {"other", "orphan"}


@pytest.mark.parametrize("row_id", HOSTILE)
def test_hostile_ids_are_ids_like_any_other(frames: MediaVectorStore, row_id: str) -> None:
    frames.add([frame(row_id, 1), frame("other", 2)])
    assert [node.node_id for node in frames.get_nodes([row_id])] == [row_id]
    asked = query_for(VectorStoreQueryMode.DEFAULT, node_ids=[row_id])
    assert frames.query(asked).ids == [row_id]
    assert set(frames.vectors([row_id])) == {row_id}
    frames.delete_nodes([row_id])
    assert ids_in(frames) == {"other"}


def test_empty_lists_select_nothing(frames: MediaVectorStore) -> None:
    frames.add([frame("a", 1)])
    assert frames.get_nodes([]) == []
    frames.delete_nodes([])
    frames.delete_nodes([], MetadataFilters(filters=[MetadataFilter(key="kind", value="image")]))
    assert frames.count() == 1
    with pytest.raises(UsageError):
        frames.get_nodes()
    with pytest.raises(UsageError):
        frames.delete_nodes()
    with pytest.raises(UsageError):
        frames.delete_nodes(filters=MetadataFilters(filters=[]))


def test_nodes_are_deleted_by_filters(frames: MediaVectorStore) -> None:
    frames.add([frame("a", 1, "m1"), frame("b", 2, "m2", kind="video")])
    video = MetadataFilter(key="kind", value="video")
    not_video = MetadataFilters(filters=[video], condition=FilterCondition.NOT)
    frames.delete_nodes(filters=not_video)
    assert ids_in(frames) == {"b"}


def test_a_default_query_gives_nodes_ids_and_similarities(frames: MediaVectorStore) -> None:
    frames.add([frame("a", 1, "m1"), frame("b", 2, "m2"), frame("c", 3, "m3")])
    result = frames.query(query_for(VectorStoreQueryMode.DEFAULT, similarity_top_k=2))
    assert result.ids is not None
    assert result.ids[0] == "a"
    assert result.similarities == pytest.approx(
        [row.score for row in frames.search_dense(vector(1), 2)]
    )
    assert result.nodes is not None
    assert result.nodes[0].metadata["media_id"] == "m1"
    only_b = MetadataFilters(filters=[MetadataFilter(key="media_id", value="m2")])
    assert frames.query(query_for(VectorStoreQueryMode.DEFAULT, filters=only_b)).ids == ["b"]
    assert frames.query(query_for(VectorStoreQueryMode.DEFAULT, similarity_top_k=0)).ids == []


@pytest.mark.parametrize("mode", [VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH])
def test_a_text_query_finds_words(signals: MediaVectorStore, mode: VectorStoreQueryMode) -> None:
    signals.add([signal_row("s1", "gate B42", 5), signal_row("s2", "a cat", 1)])
    result = signals.query(query_for(mode, query_embedding=None))
    assert result.ids == ["s1"]
    assert result.similarities is not None
    assert result.similarities[0] > 0
    assert result.nodes is not None
    assert result.nodes[0].get_content() == "gate B42"
    assert signals.query(query_for(mode, query_str="!?")).ids == []
    with pytest.raises(UsageError, match="needs a text"):
        signals.query(query_for(mode, query_str=None))


def test_a_text_query_is_tokenized_and_weighed_as_the_opener_said(
    connection: MilvusConnection, words_only: MediaVectorStore
) -> None:
    words_only.add([words_row("one"), words_row("two")], terms=[["Gate"], ["B42!"]])
    weighed = open_signals(
        connection,
        words_only.collection_name,
        None,
        tokenize=str.split,
        weigh=lambda terms: query_vector(terms, {"Gate": 9}, 10),
    )
    asked = query_for(VectorStoreQueryMode.TEXT_SEARCH, query_str="Gate B42!")
    assert weighed.query(asked).ids == ["two", "one"]


def test_a_hybrid_query_joins_words_and_vectors_under_one_filter(signals: MediaVectorStore) -> None:
    signals.add(
        [
            signal_row("words", "gate B42", 5, media_id="m1"),
            signal_row("near", "a cat", 1, media_id="m2"),
            signal_row("both", "gate", 1, media_id="m3"),
            *(signal_row(f"x{n}", "nothing", 10 + n, media_id="m4") for n in range(10)),
        ]
    )
    result = signals.query(query_for(VectorStoreQueryMode.HYBRID))
    assert result.ids is not None
    assert result.ids[0] == "both"
    assert set(result.ids) == {"words", "near", "both"}
    only = MetadataFilters(filters=[MetadataFilter(key="media_id", value="m2")])
    assert signals.query(query_for(VectorStoreQueryMode.HYBRID, filters=only)).ids == ["near"]
    assert signals.query(query_for(VectorStoreQueryMode.HYBRID, query_str="?!")).ids is not None
    with pytest.raises(UsageError, match="needs a vector"):
        signals.query(query_for(VectorStoreQueryMode.HYBRID, query_embedding=None))


def test_an_mmr_query_prefers_different_hits(frames: MediaVectorStore) -> None:
    twin = frame("twin", 1)
    twin.embedding = [x * 1.001 + 0.001 for x in vector(1)]
    frames.add([frame("a", 1), twin, frame("other", 2)])
    result = frames.query(
        query_for(VectorStoreQueryMode.MMR, similarity_top_k=2), mmr_threshold=0.1
    )
    assert result.ids is not None
    assert len({"a", "twin"} & set(result.ids)) == 1
    assert "other" in result.ids


def test_what_a_frames_collection_cannot_do_is_said(frames: MediaVectorStore) -> None:
    assert not frames.searches_words
    with pytest.raises(UsageError, match="can't be searched by words"):
        frames.search_words(same_weights(["a"]), 5)
    with pytest.raises(UsageError, match="can't be searched by words"):
        frames.query(query_for(VectorStoreQueryMode.SPARSE))
    with pytest.raises(UsageError, match="not supported"):
        frames.query(query_for(VectorStoreQueryMode.SVM))


def test_the_async_face_works_in_several_event_loops_in_a_row(signals: MediaVectorStore) -> None:
    async def work(row_id: str) -> tuple[list[str] | None, int]:
        await signals.async_add([signal_row(row_id, f"gate {row_id}", 1)])
        result = await signals.aquery(query_for(VectorStoreQueryMode.TEXT_SEARCH, query_str=row_id))
        nodes = await signals.aget_nodes([row_id])
        await signals.adelete_nodes([row_id])
        await signals.adelete("unknown")
        return result.ids, len(nodes)

    for row_id in ("one", "two", "three"):
        assert asyncio.run(work(row_id)) == ([row_id], 1)
    asyncio.run(signals.aclear())
    assert signals.count() == 0


def test_a_multi_modal_index_searches_through_the_store(
    frames: MediaVectorStore, connection: MilvusConnection, name: str
) -> None:
    from llama_index.core import MockEmbedding, StorageContext, VectorStoreIndex

    frames.add([frame("a", 1)])
    index = VectorStoreIndex.from_vector_store(
        frames,
        embed_model=MockEmbedding(embed_dim=DIM),
        storage_context=StorageContext.from_defaults(vector_store=frames),
    )
    found = index.as_retriever(similarity_top_k=2).retrieve("anything")
    assert [hit.node.node_id for hit in found] == ["a"]


# ---------------------------------------------------------------- the connection


def test_what_a_milvus_can_do_is_described(connection: MilvusConnection) -> None:
    known = connection.capabilities()
    described = connection.describe()
    assert re.search(r"\d+\.\d+", known.version)
    assert described["version"] == known.version
    assert described["embedded"] == connection.embedded
    assert ("BM25" in str(described["turned_off"])) != known.words


def test_an_old_server_says_what_it_turns_off_and_keeps_dense_signals(
    connection: MilvusConnection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = connection.capabilities()
    old = replace(known, version="v2.3.5", words=False, column_index=False)
    monkeypatch.setattr(connection, "capabilities", lambda: old)
    assert "2.4" in old.turned_off[0]
    store = open_signals(connection, name, DIM)
    assert not store.searches_words
    store.add([signal_row("s1", "gate", 1)], terms=[["gate"]])
    assert [row.row_id for row in store.search_dense(vector(1), 5)] == ["s1"]
    store.drop()


def test_signals_that_nothing_can_search_are_kept_and_counted(
    connection: MilvusConnection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = connection.capabilities()
    old = replace(known, version="v2.3.5", words=False, column_index=False)
    for words in (False, True):  # and still so when the server has become newer
        monkeypatch.setattr(
            connection, "capabilities", lambda words=words: replace(old, words=words)
        )
        store = open_signals(connection, name, None)
        assert not store.searches_words
        store.add([words_row("s1", "gate"), words_row("s2")], terms=[["gate"], []])
        assert store.count() == 2
        assert ids_in(store) == {"s1", "s2"}
        assert store.get_nodes(["s1"])[0].get_content() == "gate"
        with pytest.raises(UsageError, match="can't be searched by words"):
            found_by(store, "gate")
        store.delete_media(["s2"])
        assert ids_in(store) == {"s1"}
    store.drop()


@pytest.mark.parametrize(
    ("version", "words"),
    [("v2.3.5", False), ("v2.4.0", True), ("v2.5.1-dev", True), ("milvus_lite-3.2.2", True)],
)
def test_words_are_searched_from_2_4_on(
    monkeypatch: pytest.MonkeyPatch, version: str, words: bool
) -> None:
    server = MilvusConnection(None, "http://127.0.0.1:9")
    monkeypatch.setattr(server, "call", lambda method: version)
    assert server.capabilities().words == words


def test_a_refused_call_is_an_error_of_our_family(connection: MilvusConnection) -> None:
    with pytest.raises(ServiceError, match="refused query"):
        connection.call("query", "no_such_collection", filter='id == "a"', output_fields=["id"])


def test_a_server_that_is_not_there_is_reported_in_bounded_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmrag_plugin.milvus_connection.RECONNECT_S", 0.5)
    nowhere = MilvusConnection(None, "http://anna:secret@127.0.0.1:9")
    with pytest.raises(MilvusUnavailable, match=r"http://127\.0\.0\.1:9") as caught:
        nowhere.call("list_collections", timeout_s=1)
    assert "secret" not in str(caught.value)
    assert "MMRAG_MILVUS_URI" in caught.value.remedy


def test_a_server_that_never_answered_is_not_waited_for_as_long_as_one_that_went_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mmrag_plugin.milvus_connection.FIRST_PATIENCE_S", 2.5)
    told: list[str] = []
    nowhere = MilvusConnection(None, "http://127.0.0.1:9").patiently(told.append)
    with pytest.raises(MilvusUnavailable, match=r"It was waited for [2-9] s") as caught:
        nowhere.call("list_collections", timeout_s=1)
    assert "MMRAG_MILVUS_URI" in caught.value.remedy
    assert any("waited for, 0 s more" in text for text in told)


@pytest.mark.parametrize(
    "uri", ["anna:secret@localhost:19530", "ftp://anna:se@cret@x", "http:/anna:secret@x"]
)
def test_a_wrong_address_is_refused_without_its_password(uri: str) -> None:
    with pytest.raises(UsageError, match="not a Milvus address") as caught:
        MilvusConnection(None, uri)
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("uri", ["library.db", "localhost:19530", "ftp://x", "file:///etc"])
def test_an_address_that_is_none_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="not a Milvus address"):
        MilvusConnection(None, uri)


def test_neither_directory_nor_address_is_refused() -> None:
    with pytest.raises(UsageError):
        MilvusConnection(None)


def test_a_closed_connection_opens_again(connection: MilvusConnection, tmp_path: Path) -> None:
    connection.close()
    connection.close()
    assert connection.call("has_collection", "none") is False


def test_a_failed_call_prints_nothing(
    connection: MilvusConnection, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ServiceError):
        connection.call("query", "no_such_collection", filter='id == "a"', output_fields=["id"])
    assert capfd.readouterr() == ("", "")
