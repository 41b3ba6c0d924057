"""Milvus Lite's searches, with what it does for every row of a collection done once.

At each search Milvus Lite finds out anew, in a loop over all rows, which of them are current: the
newest with their id, and not deleted. With 20,000 rows that takes three times as long as the search
itself. Here the answer is kept for as long as the same files of rows lie in the collection; where
rows wait in memory to be written, and in anything else out of the ordinary, its own search runs.
Sparse vectors are added up by arrays, and of the rows that are found only the fields that somebody
asks for are read. Hits, scores and their order are those of Milvus Lite to the last bit.

Imported by the owner process only, and only where it has the version whose insides these searches
know (``milvus_engine``).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from milvus_lite.index.sparse_ip import SparseIpIndex

if TYPE_CHECKING:
    from numpy.typing import NDArray

_INTERNAL = frozenset({"_seq", "_partition", "$meta"})


def make_quick() -> None:
    """Have Milvus Lite search like this in this process."""
    from milvus_lite.engine import collection
    from milvus_lite.index import sparse_factory

    if sparse_factory.SparseIpIndex is not ArraySparseIndex:
        sparse_factory.SparseIpIndex = ArraySparseIndex
        stock_sparse = collection.Collection._search_sparse
        searches = _Searches(collection.execute_search_with_index, stock_sparse)

        @wraps(stock_sparse)
        def search_sparse(of: Any, **asked: Any) -> Any:
            return searches.sparse(of, **asked)

        collection.execute_search_with_index = searches.dense
        collection.Collection._search_sparse = search_sparse


class ArraySparseIndex(SparseIpIndex):  # type: ignore[misc]
    """Milvus Lite's index of sparse vectors, with an array for each dimension."""

    _posting_lists: dict[int, list[tuple[int, float]]]

    def build(self, sparse_vectors: list[dict[int, float]], valid_mask: Any = None) -> None:
        """Take vectors in."""
        super().build(sparse_vectors, valid_mask)
        self._arrays: dict[int, tuple[NDArray[np.int64], NDArray[np.float64]]] = {
            dimension: (
                np.fromiter((row for row, _ in postings), np.int64, len(postings)),
                np.fromiter((weight for _, weight in postings), np.float64, len(postings)),
            )
            for dimension, postings in self._posting_lists.items()
        }
        self._posting_lists = {}  # not kept twice

    def _search_prepared(
        self, queries: list[dict[int, float]], top_k: int, valid_mask: Any = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        ids = np.full((len(queries), top_k), -1, np.int64)
        distances = np.full((len(queries), top_k), np.inf, np.float32)
        for number, query in enumerate(queries):
            scores = np.zeros(self.num_rows)
            first = np.full(self.num_rows, -1, np.int64)  # equal scores: what a term met first
            met = 0
            for dimension, query_weight in query.items():
                if dimension not in self._arrays:
                    continue
                rows, weights = self._arrays[dimension]
                if valid_mask is not None:
                    valid = valid_mask[rows]
                    rows, weights = rows[valid], weights[valid]
                scores[rows] += query_weight * weights
                new = rows[first[rows] < 0]
                first[new] = np.arange(met, met + len(new))
                met += len(new)
            found = np.flatnonzero(first >= 0)
            if len(found) > top_k:
                least = np.partition(scores[found], -top_k)[-top_k] if top_k else np.inf
                found = found[scores[found] >= least]
            found = found[np.lexsort((first[found], -scores[found]))][:top_k]
            ids[number, : len(found)] = found
            distances[number, : len(found)] = -scores[found]
        return ids, distances


@dataclass(frozen=True)
class _Known:
    """Which rows of some segments are current, as long as these are all and so is deleted."""

    segments: tuple[weakref.ref[Any], ...]
    deleted: Mapping[Any, int]
    masks: tuple[NDArray[np.bool_] | None, ...]  # of each segment; None: all rows are

    def holds(self, tables: Sequence[Any], deleted: Mapping[Any, int]) -> bool:
        same = len(tables) == len(self.segments) and all(
            known() is table for known, table in zip(self.segments, tables, strict=True)
        )
        return same and deleted == self.deleted

    def is_over(self) -> bool:
        """Whether a segment is gone, as after its collection was dropped."""
        return any(known() is None for known in self.segments)


class _Searches:
    """Searches over collections whose rows are all in files; others are handed on."""

    def __init__(self, stock_dense: Callable[..., Any], stock_sparse: Callable[..., Any]) -> None:
        self._stock_dense, self._stock_sparse = stock_dense, stock_sparse
        self._known: dict[str, _Known] = {}  # by the folder with the first file of rows

    def dense(self, **asked: Any) -> Any:
        """As milvus_lite.search.executor_indexed.execute_search_with_index."""
        segments, fields, top_k = (asked[name] for name in ("segments", "output_fields", "top_k"))
        if (
            not segments
            or fields is None
            or top_k <= 0
            or asked["partition_names"]
            or asked["memtable"].size()
        ):
            return self._stock_dense(**asked)
        from milvus_lite.index.brute_force import BruteForceIndex

        query_vectors, vector_field = asked["query_vectors"], asked["vector_field"]
        masks = self._masks(segments, asked["delta_index"]._map)
        found: list[list[tuple[float, int, int]]] = [[] for _ in query_vectors]
        for number, (segment, mask) in enumerate(zip(segments, masks, strict=True)):
            if not segment.num_rows:
                continue
            vectors, there = segment.vector_data(vector_field)
            mine = _all_of([mask, there, _passing(segment, asked)])
            if mine is not None and not mine.any():
                continue
            index = segment.indexes.get(vector_field)
            if index is None:
                index = BruteForceIndex.build(vectors, asked["metric_type"])
            ids, distances = _search(index, query_vectors, top_k, mine, asked["search_params"])
            for query, (row_ids, row_distances) in enumerate(zip(ids, distances, strict=True)):
                count = int(np.argmax(row_ids < 0)) if (row_ids < 0).any() else len(row_ids)
                found[query] += zip(
                    row_distances[:count].tolist(),
                    [number] * count,
                    row_ids[:count].tolist(),
                    strict=True,
                )
        pk_field, project = asked["pk_field"], asked["project_record_fn"]
        return [
            _hits(segments, sorted(candidates)[:top_k], fields, pk_field, project)
            for candidates in found
        ]

    def sparse(self, of: Any, **asked: Any) -> Any:
        """As milvus_lite.engine.collection.Collection._search_sparse."""
        fields, field, metric, top_k = (
            asked[name] for name in ("output_fields", "vector_field", "metric_type", "top_k")
        )
        if fields is None or metric != "IP" or asked["partition_names"] or of._memtable.size():
            return self._stock_sparse(of, **asked)
        segments, delta = of._read_snapshot()
        indexes = [segment.sparse_indexes.get(field) for segment in segments]
        if not segments or not all(type(index) is ArraySparseIndex for index in indexes):
            return self._stock_sparse(of, **asked)
        queries = of._prepare_sparse_queries(asked["query_vectors"], field)
        compiled = (
            of._compile_filter(asked["expr"], timezone=asked["timezone"]) if asked["expr"] else None
        )
        filtered = {
            "compiled_filter": compiled,
            "indexed_filter_plan": of._indexed_filter_plan(compiled),
        }
        masks = self._masks(segments, delta._map)
        found: list[list[tuple[float, int, int]]] = [[] for _ in queries]
        for number, (segment, mask) in enumerate(zip(segments, masks, strict=True)):
            ids, distances = indexes[number]._search_prepared(
                queries, top_k, valid_mask=_all_of([mask, _passing(segment, filtered)])
            )
            for query, (row_ids, row_distances) in enumerate(zip(ids, distances, strict=True)):
                found[query] += [
                    (distance, number, row)
                    for distance, row in zip(row_distances.tolist(), row_ids.tolist(), strict=True)
                    if row >= 0
                ]
        project = _projection(of, fields)
        return [
            _hits(
                segments,
                sorted(candidates, key=lambda candidate: candidate[0])[:top_k],
                fields,
                of._pk_name,
                project,
            )
            for candidates in found
        ]

    def _masks(
        self, segments: Sequence[Any], deleted: Mapping[Any, int]
    ) -> tuple[NDArray[np.bool_] | None, ...]:
        """Which rows of each segment are current; None: all."""
        tables = [segment.seqs for segment in segments]  # a segment itself can't be referred to
        place = str(Path(segments[0].file_path).parent)
        known = self._known.get(place)
        if known is None or not known.holds(tables, deleted):
            known = _Known(
                tuple(weakref.ref(table) for table in tables),
                dict(deleted),
                tuple(_current(segments, deleted)),
            )
            still = {at: kept for at, kept in list(self._known.items()) if not kept.is_over()}
            self._known = {**still, place: known}
        return known.masks


def _current(
    segments: Sequence[Any], deleted: Mapping[Any, int]
) -> Iterable[NDArray[np.bool_] | None]:
    newest: dict[Any, int] = {}
    for segment in segments:
        for key, written in zip(segment.pks, segment.seqs.tolist(), strict=True):
            if written > newest.get(key, -1):
                newest[key] = written
    for segment in segments:
        mask = np.fromiter(
            (
                newest[key] == written and deleted.get(key, -1) <= written
                for key, written in zip(segment.pks, segment.seqs.tolist(), strict=True)
            ),
            np.bool_,
            segment.num_rows,
        )
        yield None if mask.all() else mask


def _passing(segment: Any, asked: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """The rows of a segment that a search's filter lets in."""
    compiled = asked["compiled_filter"]
    if compiled is None:
        return None
    from milvus_lite.search.indexed_filter import evaluate_segment_filter

    passing = evaluate_segment_filter(segment, compiled, asked["indexed_filter_plan"])
    return np.asarray(passing, dtype=np.bool_)


def _all_of(masks: Iterable[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    given = [mask for mask in masks if mask is not None]
    if not given:
        return None
    together = np.logical_and.reduce(given)
    return None if together.all() else together


def _search(
    index: Any,
    queries: NDArray[np.float32],
    top_k: int,
    mask: NDArray[np.bool_] | None,
    params: Mapping[str, Any] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    from milvus_lite.index.faiss_hnsw import FaissHnswIndex

    if type(index) is FaissHnswIndex and mask is None and index.metric == "COSINE":
        return _search_graph(index, queries, top_k, int((params or {}).get("ef", 64)))
    found: tuple[NDArray[np.int64], NDArray[np.float32]] = index.search(
        queries, top_k, valid_mask=mask, params=params
    )
    return found


def _search_graph(
    index: Any, queries: NDArray[np.float32], top_k: int, ef: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Search all of a graph; ``ef``, how far to look, is told with the search.

    Milvus Lite sets it in the index instead, where searches side by side would meet.
    """
    import faiss
    from milvus_lite.index.faiss_hnsw import _l2_normalize

    queries = np.ascontiguousarray(_l2_normalize(queries), dtype=np.float32)
    how = faiss.SearchParametersHNSW(efSearch=ef)  # type: ignore[attr-defined]
    products, ids = index._index.search(queries, top_k, params=how)
    distances = (1.0 - products.astype(np.float64)).astype(np.float32)
    distances[ids < 0] = np.inf
    return ids, distances


def _projection(of: Any, fields: Sequence[str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    from milvus_lite.engine.projection import build_projection_plan, project_record

    plan = build_projection_plan(fields, of._schema, api_kind="search")
    return lambda record: dict(project_record(record, of._schema, plan))


def _hits(
    segments: Sequence[Any],
    candidates: Sequence[tuple[float, int, int]],
    fields: Sequence[str],
    pk_field: str,
    project: Callable[[dict[str, Any]], dict[str, Any]] | None,
) -> list[dict[str, Any]]:
    """The rows that were found, with the fields that are asked for."""
    by_segment: dict[int, list[int]] = {}
    for _, number, row in candidates:
        by_segment.setdefault(number, []).append(row)
    entities: dict[tuple[int, int], dict[str, Any]] = {}
    for number, rows in by_segment.items():
        segment = segments[number]
        wanted = list(dict.fromkeys(name for name in fields if name != pk_field))
        if set(wanted) <= set(segment.table.column_names) - _INTERNAL:
            columns = [segment.table.column(name).take(rows).to_pylist() for name in wanted]
            for place, row in enumerate(rows):
                entities[number, row] = {
                    name: column[place] for name, column in zip(wanted, columns, strict=True)
                }
        else:
            for row in rows:
                record = segment.row_to_dict(row)
                entities[number, row] = project(record) if project else record
    return [
        {"id": segments[number].pks[row], "distance": distance, "entity": entities[number, row]}
        for distance, number, row in candidates
    ]
