"""Filters as Milvus expressions, checked against what Python makes of the same filter."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_index.core.schema import ImageNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from mmrag_plugin import milvus_filters
from mmrag_plugin.errors import UsageError
from mmrag_plugin.metadata import NO_DATE_S, RowFilter
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_filters import (
    EVERYTHING,
    NOTHING,
    all_of,
    metadata_expression,
    quote,
    row_expressions,
)
from mmrag_plugin.milvus_store import MediaVectorStore, open_frames

NASTY = [
    '"',
    "'",
    "\\",
    "a\\",
    '\\"',
    "a\nb",
    "\t",
    '"] or id != "',
    "é",
    "日本",
    "100%",
    "$meta",
    "",
]
CAMERAS = ["Canon", 'O"Brien', "back\\slash", "new\nline", "日本", ""]
MEDIA = ["m1", 'm"2', "m\\", "m'4", "m5"]
DATES = [NO_DATE_S, -86_400, 0, 1_600_000_000]


@dataclass(frozen=True)
class Row:
    row_id: str
    values: dict[str, Any]


def make_rows() -> list[Row]:
    rows = []
    for number in range(60):
        values = {
            "media_id": MEDIA[number % 5],
            "kind": ("image", "video")[number % 2],
            "stage": ("embed", "ocr", "caption")[number % 3],
            "source": ("frame", "ocr")[number // 7 % 2],
            "start_ms": number - 1,
            "end_ms": number * 10 - 1,
            "taken_at": DATES[number // 3 % 4],
            "camera": CAMERAS[number % 6],
        }
        rows.append(Row(f"r{number:02}", values))
    return rows


ROWS = make_rows()


def frame(number: int) -> ImageNode:
    row = ROWS[number]  # vectors differ: an HNSW graph of equal ones is not fully connected
    return ImageNode(id_=row.row_id, embedding=[1.0, number / 100], metadata=row.values)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaVectorStore]:
    directory = tmp_path_factory.mktemp("filters")
    connection = MilvusConnection(directory)
    opened = open_frames(connection, "filters", 2)
    opened.add([frame(number) for number in range(40)], force_flush=True)
    # these stay in memory: the engine evaluates filters there by other code than on disk
    opened.add([frame(number) for number in range(40, 60)])
    yield opened
    connection.close()
    os.kill(int((directory / "owner.lock").read_text()), signal.SIGTERM)


def matches(where: RowFilter, values: dict[str, Any]) -> bool:
    """Say in Python what the docstring of RowFilter says in words."""
    dated = values["taken_at"] != NO_DATE_S
    return all(
        [
            where.kind is None or values["kind"] == where.kind,
            where.taken_from_s is None or (dated and values["taken_at"] >= where.taken_from_s),
            where.taken_to_s is None or (dated and values["taken_at"] <= where.taken_to_s),
            where.cameras is None or values["camera"] in where.cameras,
            where.media_ids is None or values["media_id"] in where.media_ids,
            where.not_media_ids is None or values["media_id"] not in where.not_media_ids,
            where.sources is None or values["source"] in where.sources,
            where.stages is None or values["stage"] in where.stages,
        ]
    )


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


TIMES = st.sampled_from([*DATES, -86_401, 1, 2**63 - 1, -(2**63), 2**70, -(2**70)])
FILTERS = st.builds(
    RowFilter,
    kind=optional(st.sampled_from(["image", "video"])),
    taken_from_s=optional(TIMES),
    taken_to_s=optional(TIMES),
    cameras=optional(st.lists(st.sampled_from(CAMERAS + NASTY), max_size=3).map(tuple)),
    media_ids=optional(st.frozensets(st.sampled_from(MEDIA + NASTY), max_size=5)),
    not_media_ids=optional(st.frozensets(st.sampled_from(MEDIA + NASTY), max_size=5)),
    sources=optional(st.lists(st.sampled_from(["frame", "ocr", "x"]), max_size=2).map(tuple)),
    stages=optional(st.lists(st.sampled_from(["embed", "ocr", "x"]), max_size=2).map(tuple)),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=FILTERS)
def test_milvus_finds_the_rows_that_python_finds(store: MediaVectorStore, where: RowFilter) -> None:
    expected = sorted(row.row_id for row in ROWS if matches(where, row.values))
    assert sorted(row_id for row_id, _ in store.row_ids(where)) == expected
    assert sorted(row.row_id for row in store.search_dense([1, 0], 100, where)) == expected


COMPARISONS = st.one_of(
    st.builds(
        MetadataFilter,
        key=st.sampled_from(["media_id", "camera", "kind"]),
        value=st.sampled_from(MEDIA + CAMERAS + NASTY),
        operator=st.sampled_from([FilterOperator.EQ, FilterOperator.NE]),
    ),
    st.builds(
        MetadataFilter,
        key=st.sampled_from(["media_id", "camera"]),
        value=st.lists(st.sampled_from(MEDIA + CAMERAS + NASTY), max_size=3),
        operator=st.sampled_from([FilterOperator.IN, FilterOperator.NIN]),
    ),
    st.builds(
        MetadataFilter,
        key=st.sampled_from(["start_ms", "taken_at"]),
        value=st.sampled_from([-1, 0, 10, 59, *DATES]),
        operator=st.sampled_from(["==", "!=", ">", ">=", "<", "<="]).map(FilterOperator),
    ),
)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(COMPARISONS, min_size=1, max_size=3),
    st.sampled_from([FilterCondition.AND, FilterCondition.OR, FilterCondition.NOT]),
)
def test_metadata_filters_mean_what_llama_index_says(
    store: MediaVectorStore, comparisons: list[MetadataFilter], condition: FilterCondition
) -> None:
    filters = MetadataFilters(filters=list(comparisons), condition=condition)
    by_id = {row.row_id: row.values for row in ROWS}
    wanted = build_metadata_filter_fn(by_id.__getitem__, filters)
    found = {node.node_id for node in store.get_nodes(filters=filters)}
    assert found == {row_id for row_id in by_id if wanted(row_id)}


def test_nested_filters_are_kept_apart(store: MediaVectorStore) -> None:
    image = MetadataFilter(key="kind", value="image")
    first = MetadataFilter(key="id", value="r00")
    second = MetadataFilter(key="id", value="r01")
    either = MetadataFilters(filters=[first, second], condition=FilterCondition.OR)
    both = MetadataFilters(filters=[image, either], condition=FilterCondition.AND)
    assert [node.node_id for node in store.get_nodes(filters=both)] == ["r00"]
    neither = MetadataFilters(filters=[image, either], condition=FilterCondition.NOT)
    found = {node.node_id for node in store.get_nodes(filters=neither)}
    assert found == {f"r{number:02}" for number in range(3, 60, 2)}


@given(st.text())
def test_a_quoted_text_is_one_literal_of_the_same_text(text: str) -> None:
    from milvus_lite.search.filter.ast import CmpOp, StringLit
    from milvus_lite.search.filter.parser import parse_expr

    parsed = parse_expr(f"id == {quote(text)}")
    assert isinstance(parsed, CmpOp)
    assert isinstance(parsed.right, StringLit)
    assert parsed.right.value == text


def test_text_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(UsageError, match="not valid Unicode"):
        quote("broken \udcff name")


@pytest.mark.parametrize(
    "where",
    [
        RowFilter(media_ids=frozenset()),
        RowFilter(cameras=()),
        RowFilter(sources=()),
        RowFilter(stages=()),
        RowFilter(taken_from_s=10, taken_to_s=9),
    ],
)
def test_a_filter_that_can_match_nothing_asks_nothing(where: RowFilter) -> None:
    assert row_expressions(where) == []


def test_no_filter_matches_everything() -> None:
    assert row_expressions(None) == [""]
    assert row_expressions(RowFilter()) == [""]
    assert row_expressions(RowFilter(not_media_ids=frozenset())) == [""]
    assert metadata_expression(None) == ""
    assert metadata_expression(MetadataFilters(filters=[])) == ""


def test_many_ids_are_asked_for_in_parts_that_never_overlap() -> None:
    ids = frozenset(f"m{number}" for number in range(25_001))
    expressions = row_expressions(RowFilter(kind="image", media_ids=ids))
    assert len(expressions) == 3
    assert all('kind in ["image"] and media_id in' in expression for expression in expressions)
    assert sum(expression.count('"m') for expression in expressions) == 25_001


def test_search_and_count_join_the_parts(
    store: MediaVectorStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_filters, "IDS_PER_EXPRESSION", 2)
    where = RowFilter(media_ids=frozenset(MEDIA[:4]), kind="image")
    expected = sorted(row.row_id for row in ROWS if matches(where, row.values))
    assert store.count(where) == len(expected)
    assert sorted(row.row_id for row in store.search_dense([1, 0], 100, where)) == expected
    assert len(store.search_dense([1, 0], 5, where)) == 5
    assert sorted(row_id for row_id, _ in store.row_ids(where)) == expected


@pytest.mark.parametrize(
    ("key", "value", "operator"),
    [
        ("camera == 1 or id", "x", FilterOperator.EQ),
        ("text", "x", FilterOperator.EQ),
        ("taken_at", "2020", FilterOperator.EQ),
        ("taken_at", 1.5, FilterOperator.EQ),
        ("taken_at", 2**63, FilterOperator.EQ),
        ("camera", 1, FilterOperator.EQ),
        ("camera", None, FilterOperator.EQ),
        ("camera", "x", FilterOperator.IN),
        ("camera", "x%", FilterOperator.TEXT_MATCH),
        ("camera", ["x"], FilterOperator.ANY),
        ("camera", None, FilterOperator.IS_EMPTY),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(
    key: str, value: Any, operator: FilterOperator
) -> None:
    filters = MetadataFilters(filters=[MetadataFilter(key=key, value=value, operator=operator)])
    with pytest.raises(UsageError):
        metadata_expression(filters)


def test_empty_lists_in_metadata_filters_match_nothing_or_everything() -> None:
    def one(operator: FilterOperator) -> str:
        return metadata_expression(
            MetadataFilters(filters=[MetadataFilter(key="kind", value=[], operator=operator)])
        )

    assert one(FilterOperator.IN) == f"({NOTHING})"
    assert one(FilterOperator.NIN) == f"({EVERYTHING})"


def test_joined_expressions_keep_their_meaning() -> None:
    assert all_of(["", 'a == "1" or b == "2"', "", "c > 1"]) == '(a == "1" or b == "2") and (c > 1)'
    assert all_of(["", ""]) == ""
