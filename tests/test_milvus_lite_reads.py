"""Milvus Lite's searches as the owner process makes them, beside its own."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any
from unittest import mock
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag_plugin import milvus_engine, milvus_lite_reads
from mmrag_plugin.milvus_indexes import HNSW
from mmrag_plugin.milvus_rows import NO_TERMS, make_schema

DIM = 8
FIELDS = ["media_id", "source", "start_ms"]
NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=25)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NUMBERS),
        st.tuples(st.just("delete"), NUMBERS),
        st.tuples(st.just("flush"), st.just([])),
    ),
    min_size=1,
    max_size=9,
)
FILTERS = st.sampled_from(
    ["", 'source == "odd"', 'media_id in ["m1","m3"]', "start_ms > 2", 'id == ""']
)


def row(number: int, version: int) -> dict[str, Any]:
    chance = np.random.default_rng([number, version])
    terms = {int(term): float(chance.integers(1, 4)) for term in chance.integers(0, 12, 3)}
    return {
        "id": f"r{number}",
        "doc_id": "",
        "text": "",
        "media_id": f"m{number % 7}",
        "kind": "image",
        "stage": "embed",
        "source": "odd" if number % 2 else "even",
        "start_ms": version,
        "end_ms": -1,
        "taken_at": 0,
        "camera": "",
        "shot": -1,
        "shot_start_ms": -1,
        "shot_end_ms": -1,
        "embedding": chance.standard_normal(DIM).tolist(),
        "sparse_embedding": terms if number % 5 else NO_TERMS,
        "extra": f"x{number}",
    }


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import pymilvus  # noqa: F401  (so that opening the engine here leaves the package whole)

    found = milvus_engine.open_engine(tmp_path_factory.mktemp("lite") / "milvus")
    yield found
    found.close()


def made(engine: Any) -> Any:
    """An empty collection, as the store makes it."""
    from milvus_lite.adapter.grpc.translators.schema import milvus_to_milvus_lite_schema
    from pymilvus.client.prepare import Prepare

    name = f"c{uuid4().hex}"
    schema = make_schema(DIM, words=True)
    proto = Prepare.get_schema_from_collection_schema(name, schema)
    found = engine.create_collection(name, milvus_to_milvus_lite_schema(proto))
    found.create_index("embedding", {"index_type": "HNSW", "metric_type": "COSINE", "params": HNSW})
    found.create_index(
        "sparse_embedding", {"index_type": "SPARSE_INVERTED_INDEX", "metric_type": "IP"}
    )
    found.load()
    return found


def searches(collection: Any, expression: str, limit: int, fields: Sequence[str]) -> list[Any]:
    found = []
    for number in range(3):
        chance = np.random.default_rng([99, number])
        query = chance.standard_normal(DIM).tolist()
        words = {int(term): float(chance.random()) for term in chance.integers(0, 14, 4)}
        for field, metric, asked, params in (
            ("embedding", "COSINE", query, {"ef": 64}),
            ("sparse_embedding", "IP", words, {}),
        ):
            found.append(
                collection.search(
                    [asked],
                    top_k=limit,
                    metric_type=metric,
                    expr=expression or None,
                    output_fields=list(fields),
                    anns_field=field,
                    search_params=params,
                )
            )
    return found


def as_it_came(collection: Any, *arguments: Any) -> list[Any]:
    """The same by Milvus Lite's own code alone."""
    from milvus_lite.engine import collection as module
    from milvus_lite.index import sparse_factory
    from milvus_lite.index.sparse_ip import SparseIpIndex
    from milvus_lite.search.executor_indexed import execute_search_with_index

    with ExitStack() as stack:
        for target, name, value in (
            (module, "execute_search_with_index", execute_search_with_index),
            (module.Collection, "_search_sparse", module.Collection._search_sparse.__wrapped__),
            (sparse_factory, "SparseIpIndex", SparseIpIndex),
        ):
            stack.enter_context(mock.patch.object(target, name, value))
        segments = collection._read_snapshot()[0]
        kept = [dict(segment.sparse_indexes) for segment in segments]
        for segment in segments:
            segment.sparse_indexes.clear()
        try:
            return searches(collection, *arguments)
        finally:
            for segment, indexes in zip(segments, kept, strict=True):
                segment.sparse_indexes = indexes


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    steps=STEPS,
    expression=FILTERS,
    limit=st.sampled_from([1, 5, 40]),
    fields=st.sampled_from([FIELDS, ["media_id", "extra"], ["id", "media_id"], ["$meta"], []]),
)
def test_hits_are_those_of_milvus_lite_to_the_last_bit(
    engine: Any, steps: list[tuple[str, list[int]]], expression: str, limit: int, fields: list[str]
) -> None:
    collection = made(engine)
    for version, (what, numbers) in enumerate(steps):
        if what == "write":
            collection.upsert([row(number, version) for number in dict.fromkeys(numbers)])
        elif what == "delete":
            collection.delete([f"r{number}" for number in numbers])
        else:
            collection.flush()
            collection._wait_for_bg()  # for the graph, whose sums differ in the last bits
        for _ in range(2):  # the second time out of what is kept
            quick = searches(collection, expression, limit, fields)
        assert quick == as_it_came(collection, expression, limit, fields)
    engine.drop_collection(collection.name)


def test_what_is_current_is_found_out_once_for_many_searches(engine: Any) -> None:
    collection = made(engine)
    collection.upsert([row(number, 0) for number in range(30)])
    collection.flush()
    collection._wait_for_bg()
    searches(collection, "", 5, FIELDS)
    with mock.patch.object(
        milvus_lite_reads, "_current", side_effect=AssertionError("looked at every row")
    ):
        first = searches(collection, "", 5, FIELDS)
    collection.delete([hit["id"] for hit in first[0][0]])
    collection.flush()
    gone = {hit["id"] for hit in first[0][0]}
    assert gone.isdisjoint(hit["id"] for hit in searches(collection, "", 5, FIELDS)[0][0])
    engine.drop_collection(collection.name)


def test_of_a_collection_that_was_dropped_nothing_is_kept(engine: Any) -> None:
    from milvus_lite.engine import collection as module

    def places() -> set[str]:
        return set(module.execute_search_with_index.__self__._known)

    for _ in range(3):
        before = places()
        collection = made(engine)
        collection.upsert([row(number, 0) for number in range(30)])
        collection.flush()
        collection._wait_for_bg()
        searches(collection, "", 5, FIELDS)
        assert len(places() - before) == 1
        assert len(places()) == 1
        engine.drop_collection(collection.name)
        del collection
        gc.collect()


def test_searches_side_by_side_that_look_differently_far_find_what_each_finds_alone(
    engine: Any,
) -> None:
    collection = made(engine)
    for start in range(0, 3000, 500):
        collection.upsert([row(number, 0) for number in range(start, start + 500)])
    collection.flush()
    collection._wait_for_bg()
    query = np.random.default_rng(7).standard_normal(DIM).tolist()

    def search(ef: int) -> Any:
        return collection.search(
            [query],
            top_k=10,
            output_fields=["media_id"],
            search_params={"ef": ef},
            anns_field="embedding",
        )

    alone = {ef: search(ef) for ef in (10, 3000)}
    with ThreadPoolExecutor(4) as pool:
        asked = [10, 3000] * 40
        for ef, hits in zip(asked, pool.map(search, asked), strict=True):
            assert hits == alone[ef]
    engine.drop_collection(collection.name)


def test_a_version_that_is_not_known_searches_as_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(milvus_engine.importlib.metadata, "version", lambda name: "3.2.1")
    # which has no such module
    monkeypatch.setitem(sys.modules, "milvus_lite.index.sparse_ip", None)
    monkeypatch.delitem(sys.modules, "mmrag_plugin.milvus_lite_reads")
    milvus_engine._make_searches_quick()
    assert "mmrag_plugin.milvus_lite_reads" not in sys.modules
