"""Recall and latency of the store's dense search against exact search.

    python -m benchmarks.milvus_recall --rows 50000 --dim 256 --k 100
    python -m benchmarks.milvus_recall --server --index HNSW IVF_SQ8 DISKANN

With ``--server`` it is measured on a Milvus server that is started for it, each kind of index in
turn over the same vectors.

Two kinds of vectors: clustered (the rows of one scene or film lie close together, as real frames
do; queries are noisy rows) and uniformly random ones, the hardest case for a graph. A hit counts
when its exact cosine is at least that of the k-th best, so ties count for both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from llama_index.core.schema import ImageNode

from mmrag_plugin.metadata import row_metadata
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_owner import paused
from mmrag_plugin.milvus_rows import DENSE
from mmrag_plugin.milvus_server import MilvusServer
from mmrag_plugin.milvus_store import MediaVectorStore, open_frames

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROWS_PER_SCENE = 25
TIE = 1e-5


def make_vectors(
    kind: str, rows: int, dim: int, queries: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Make [rows, dim] vectors and [queries, dim] queries, L2-normalised."""
    rng = np.random.default_rng(seed)
    if kind == "random":
        vectors = rng.standard_normal((rows, dim))
        asked = rng.standard_normal((queries, dim))
    else:
        scenes = rng.standard_normal((-(-rows // ROWS_PER_SCENE), dim))
        vectors = np.repeat(scenes, ROWS_PER_SCENE, axis=0)[:rows]
        vectors = vectors + 0.3 * rng.standard_normal((rows, dim))
        asked = vectors[rng.integers(rows, size=queries)] + 0.3 * rng.standard_normal(
            (queries, dim)
        )
    return _normalised(vectors), _normalised(asked)


def _normalised(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, dtype=np.float32)


def fill(store: MediaVectorStore, vectors: NDArray[np.float32]) -> None:
    """Write all vectors."""
    for start in range(0, len(vectors), 5000):
        store.add(
            [
                ImageNode(
                    id_=f"r{number}",
                    embedding=vectors[number].tolist(),
                    metadata=row_metadata(
                        media_id=f"m{number // ROWS_PER_SCENE}",
                        kind="video",
                        stage="embed",
                        source="frame",
                        start_s=float(number % ROWS_PER_SCENE),
                        end_s=float(number % ROWS_PER_SCENE + 1),
                        taken_at="2024-05-01T12:00:00",
                        camera="",
                    ),
                )
                for number in range(start, min(start + 5000, len(vectors)))
            ]
        )


def settle(store: MediaVectorStore, directory: Path) -> None:
    """Wait until the index is built, behind the writer's back."""
    connection = store._collection.connection
    if connection.embedded:
        store.flush()
        with paused(directory, timeout_s=600):
            return  # the owner ends when its graphs are done, and the next one loads them
    name = store.collection_name
    connection.call("flush", name, timeout_s=600)
    while True:
        built = connection.call("describe_index", name, index_name=DENSE)
        if built["total_rows"] and not built["pending_index_rows"]:
            break
        time.sleep(0.2)
    connection.call("release_collection", name)  # what is loaded again is searched by its index
    connection.call("load_collection", name, timeout_s=600)


def measure(
    store: MediaVectorStore, vectors: NDArray[np.float32], asked: NDArray[np.float32], k: int
) -> dict[str, float]:
    """Compare each search with the exact one."""
    recalls, seconds = [], []
    for query in asked:
        began = time.perf_counter()
        found = store.search_dense(query, k)
        seconds.append(time.perf_counter() - began)
        exact = vectors @ query
        least = np.partition(exact, -k)[-k] - TIE
        hits = sum(exact[int(row.row_id[1:])] >= least for row in found)
        recalls.append(hits / k)
    return {
        "recall_mean": float(np.mean(recalls)),
        "recall_min": float(np.min(recalls)),
        "p50_ms": 1000 * float(np.percentile(seconds, 50)),
        "p95_ms": 1000 * float(np.percentile(seconds, 95)),
    }


@contextlib.contextmanager
def _uri(folder: Path, wanted: bool) -> Iterator[str]:
    if not wanted:
        yield ""
        return
    from benchmarks._doubles import real_server

    with real_server(folder) as server:
        yield server.uri


def main() -> int:
    """Run and print a table, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--vectors", choices=["clustered", "random", "both"], default="both")
    parser.add_argument("--server", action="store_true", help="on a server, started for it")
    parser.add_argument("--index", nargs="+", default=["auto"], help="kinds, on a server only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    results = []
    with (
        tempfile.TemporaryDirectory(prefix="mmrag-recall-") as folder,
        _uri(Path(folder) / "server", options.server) as uri,
    ):
        kinds = ["clustered", "random"] if options.vectors == "both" else [options.vectors]
        for kind in kinds:
            vectors, asked = make_vectors(
                kind, options.rows, options.dim, options.queries, options.seed
            )
            for index in options.index:
                server = MilvusServer(uri, index=index) if uri else None
                connection = MilvusConnection(Path(folder), server=server, idle_s=20)
                store = open_frames(connection, f"recall_{kind}", options.dim)
                began = time.perf_counter()
                if not store.count():
                    fill(store, vectors)
                store.suit_index()
                settle(store, Path(folder))
                build_s = time.perf_counter() - began
                began = time.perf_counter()
                store.search_dense(asked[0], options.k)
                reopen_s = time.perf_counter() - began
                results.append(
                    {
                        "vectors": kind,
                        "index": connection.call(
                            "describe_index", store.collection_name, index_name=DENSE
                        )["index_type"],
                        "write_and_build_s": build_s,
                        "reopen_s": reopen_s,
                        **measure(store, vectors, asked, options.k),
                    }
                )
                if index == options.index[-1]:
                    store.drop()
                connection.close()
    if options.json:
        settings = {name: getattr(options, name) for name in ("rows", "dim", "k", "queries")}
        print(json.dumps({**settings, "results": results}))
    else:
        print(f"recall@{options.k}, {options.rows:,} rows of {options.dim} numbers")
        print(
            f"{'vectors':<10} {'index':<8} {'mean':>7} {'min':>7} {'p50':>9} {'p95':>9} "
            f"{'write+build':>12} {'reopen':>7}"
        )
        for row in results:
            print(
                f"{row['vectors']:<10} {row['index']:<8} "
                f"{row['recall_mean']:7.4f} {row['recall_min']:7.4f} "
                f"{row['p50_ms']:6.1f} ms {row['p95_ms']:6.1f} ms "
                f"{row['write_and_build_s']:10.1f} s {row['reopen_s']:5.1f} s"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
