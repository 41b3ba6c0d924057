"""What hidden media cost an assistant's search: python -m benchmarks hidden [ROWS].

Half of generated rows are hidden, and a search leaves them out: in Milvus by a filter of ids, or
here from more hits than are wanted, which is what a store does from MANY_LEFT_OUT ids on. In the
worst case everything that is near the query is hidden.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import numpy as np
from llama_index.core.schema import ImageNode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ledgers_made import generated
from mmrag_plugin import milvus_collection
from mmrag_plugin.ledger_hiding import HidingRule
from mmrag_plugin.metadata import row_metadata
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_owner import paused
from mmrag_plugin.milvus_store import open_frames

DIM, LIMIT, ROUNDS = 64, 50, 9


def main() -> None:
    """Print the median time of some searches, for each way and case."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 40_000
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((rows, DIM))
    vectors[rows // 2 :] += 1.5  # the hidden half lies on one side
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    with TemporaryDirectory() as directory:
        place = Path(directory)
        ledger = generated(place / "ledger.sqlite3", rows)
        ids = [f"{n:016x}" for n in range(rows)]
        hidden = frozenset(ids[rows // 2 :])
        ledger.hide(HidingRule("folder", "/photos/0", "/photos/0"))
        began = time.perf_counter()
        found = len(ledger.hidden_media_ids())
        print(f"the ledger names {found:,} media in {1000 * (time.perf_counter() - began):.0f} ms")
        connection = MilvusConnection(place, idle_s=20)
        store = open_frames(connection, "frames", DIM)
        for start in range(0, rows, 1000):
            nodes = [
                ImageNode(
                    id_=f"{ids[n]}:0",
                    metadata=row_metadata(
                        media_id=ids[n],
                        kind="image",
                        stage="embed",
                        source="frame",
                        start_s=None,
                        end_s=None,
                        taken_at=None,
                        camera="",
                    ),
                    embedding=vectors[n].tolist(),
                )
                for n in range(start, min(start + 1000, rows))
            ]
            store.add(nodes)
        store.flush()
        with paused(place, timeout_s=600):  # graphs are built behind the writer's back
            pass
        store.leave_out(lambda: hidden)
        for case, query in (("shown lie near", -np.ones(DIM)), ("hidden lie near", np.ones(DIM))):
            for way, many in (("by a filter", 10**9), ("from more hits", 1)):
                with mock.patch.object(milvus_collection, "MANY_LEFT_OUT", many):
                    seconds = []
                    for _ in range(ROUNDS):
                        began = time.perf_counter()
                        hits = store.search_dense(query, LIMIT)
                        seconds.append(time.perf_counter() - began)
                        assert hidden.isdisjoint(hit.media_id for hit in hits)
                median_ms = 1000 * statistics.median(seconds)
                print(f"{case}, {way}: {median_ms:.0f} ms, {len(hits)} hits")
        connection.close()
        ledger.close()
        with paused(place):  # nobody holds the directory that goes now
            pass


if __name__ == "__main__":
    main()
