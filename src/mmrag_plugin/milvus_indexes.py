"""Which index dense vectors get, by their number, and how it is searched.

A graph (HNSW) over the vectors as they are finds most and is fastest; it wants them all in memory,
2 GB for a million of 512 numbers. From there on numbers are kept in a quarter of the bytes: in a
graph where the server has one for them (HNSW_SQ, Milvus 2.5), else in lists of neighbours
(IVF_SQ8). A server cuts a collection into segments of at most some hundred thousand rows, each with
an index of its own and searched on its own, so what is searched in each need not grow with the
library for as much to be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LARGE_ROWS = 1_000_000
MIN_EF = 2048  # recall@100 of 0.99 and more at 50,000 rows, even of random vectors
LISTS = 1024
LISTS_SEARCHED = 128
MORE_REFINED = 2.0  # times as many of quantised rows are compared again as they were

HNSW = {"M": 32, "efConstruction": 200}
_SMALLER = {"nlist": LISTS}
_BUILT: dict[str, dict[str, Any]] = {
    "HNSW": HNSW,
    "HNSW_SQ": {**HNSW, "sq_type": "SQ8", "refine": True, "refine_type": "FP16"},
    "IVF_FLAT": _SMALLER,
    "IVF_SQ8": _SMALLER,
    "IVF_RABITQ": {**_SMALLER, "refine": True, "refine_type": "SQ8"},
    "SCANN": {**_SMALLER, "with_raw_data": True},
    "DISKANN": {},
}


def kind_of_index(rows: int, known: Sequence[str], wanted: str = "auto") -> str:
    """Choose among the kinds that a Milvus knows; one that is wanted and unknown counts as auto."""
    if wanted in known:
        return wanted
    by_size = ("HNSW_SQ", "IVF_SQ8", "HNSW") if rows >= LARGE_ROWS else ("HNSW",)
    return next((kind for kind in (*by_size, "IVF_FLAT") if kind in known), known[0])


def dense_index(kind: str) -> dict[str, Any]:
    """What ``add_index`` takes to build such an index."""
    # twice "params": pymilvus spreads the outer one out, and Lite reads the inner one only
    return {"index_type": kind, "metric_type": "COSINE", "params": {"params": _BUILT[kind]}}


def dense_search(limit: int) -> dict[str, Any]:
    """How deep a search for so many rows looks into each segment's index, of whatever kind.

    Another process may have had another index built, and each kind leaves alone what it doesn't
    know.
    """
    params = {
        "ef": max(MIN_EF, 2 * limit),
        "nprobe": LISTS_SEARCHED,
        "search_list": max(200, 2 * limit),
        "refine_k": MORE_REFINED,
        "reorder_k": max(1000, 2 * limit),
    }
    return {"metric_type": "COSINE", "params": params}
