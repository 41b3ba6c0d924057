"""Which index vectors get, and how a server's is changed while others search."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from llama_index.core.schema import ImageNode

from milvus_servers import Server, real_server
from mmrag_plugin import milvus_connection, milvus_indexes
from mmrag_plugin.errors import MilvusUnavailable
from mmrag_plugin.metadata import row_metadata
from mmrag_plugin.milvus_capabilities import CORE_OF_OLD_LITE, capabilities_of
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_indexes import LARGE_ROWS, kind_of_index
from mmrag_plugin.milvus_server import MilvusServer
from mmrag_plugin.milvus_store import MediaVectorStore, open_frames

DIM, ROWS = 16, 3000


@pytest.mark.parametrize(
    ("version", "small", "large"),
    [
        ("v2.3.5", "HNSW", "IVF_SQ8"),
        ("v2.4.9", "HNSW", "IVF_SQ8"),
        ("v2.5.4", "HNSW", "HNSW_SQ"),
        ("v2.6.1", "HNSW", "HNSW_SQ"),
        ("something", "HNSW", "HNSW_SQ"),
        (CORE_OF_OLD_LITE, "IVF_FLAT", "IVF_FLAT"),
    ],
)
def test_an_index_is_chosen_by_the_number_of_rows_among_those_that_there_are(
    version: str, small: str, large: str
) -> None:
    known = capabilities_of(version, embedded=False).indexes
    assert kind_of_index(0, known) == kind_of_index(LARGE_ROWS - 1, known) == small
    assert kind_of_index(LARGE_ROWS, known) == kind_of_index(10**9, known) == large
    assert kind_of_index(0, known, "DISKANN") == ("DISKANN" if "DISKANN" in known else small)
    assert kind_of_index(0, known, "IVF_RABITQ") == (
        "IVF_RABITQ" if "2.6" in version else small
    ) or (version == "something")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with real_server(tmp_path_factory.mktemp("server")) as started:
        yield started


def vectors() -> np.ndarray:
    rows = np.random.default_rng(1).standard_normal((ROWS, DIM))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def filled(connection: MilvusConnection, name: str) -> MediaVectorStore:
    store = open_frames(connection, name, DIM)
    about = {"kind": "image", "stage": "embed", "source": "frame", "start_s": None, "end_s": None}
    store.add(
        [
            ImageNode(
                id_=f"r{number}",
                embedding=vector.tolist(),
                metadata=row_metadata(media_id=f"m{number}", taken_at=None, camera="", **about),
            )
            for number, vector in enumerate(vectors())
        ]
    )
    return store


def kind_in(store: MediaVectorStore) -> str:
    return str(store._collection.call("describe_index", index_name="embedding")["index_type"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["IVF_SQ8", "SCANN", "DISKANN", "IVF_FLAT"])
def test_an_index_that_is_asked_for_replaces_another_and_every_row_is_found_again(
    server: Server, kind: str
) -> None:
    store = filled(MilvusConnection(None, server.uri), f"asked_{kind}")
    store.client.flush(store.collection_name)  # so that there is something to index
    assert kind_in(store) == "HNSW"
    other = MilvusConnection(None, server=MilvusServer(server.uri, index=kind))
    changed = open_frames(other, store.collection_name, DIM)
    changed.suit_index()
    assert kind_in(store) == kind
    changed.suit_index()
    for found in (store, changed):
        assert found.count() == ROWS
        hits = [found.search_dense(row, 10)[0].row_id for row in vectors()[:20]]
        assert hits == [f"r{number}" for number in range(20)]
    store.drop()


@pytest.mark.slow
def test_a_library_that_has_grown_gets_the_index_for_it_while_others_search(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(MilvusConnection(None, server.uri), "grown")
    over, wrong, right = threading.Event(), list[str](), list[int]()
    changing = threading.Event()

    def search() -> None:
        searching = open_frames(MilvusConnection(None, server.uri), "grown", DIM)
        query = vectors()[7]
        while not over.is_set():
            changed = changing.is_set()
            try:
                found = searching.search_dense(query, 5)
            except MilvusUnavailable as error:  # it says so, and works again afterwards
                told = error.message
            else:
                told = "" if [row.row_id for row in found[:1]] == ["r7"] else f"found {found}"
            if not changed and not changing.is_set() and told:
                wrong.append(told)
            right.extend([1] * (not told))

    others = threading.Thread(target=search)
    others.start()
    try:
        monkeypatch.setattr(milvus_indexes, "LARGE_ROWS", ROWS + 1)
        store.suit_index()
        assert kind_in(store) == "HNSW"
        monkeypatch.setattr(milvus_indexes, "LARGE_ROWS", ROWS)
        changing.set()
        store.suit_index()
        changing.clear()
        assert kind_in(store) == "IVF_SQ8"
        searched = len(right)
        while len(right) < searched + 3 and others.is_alive():
            time.sleep(0.1)
        monkeypatch.setattr(milvus_indexes, "LARGE_ROWS", ROWS + 500)  # it shrank a little
        store.suit_index()
        assert kind_in(store) == "IVF_SQ8"
        monkeypatch.setattr(milvus_indexes, "LARGE_ROWS", 10**6)
        changing.set()
        store.suit_index()
        assert kind_in(store) == "HNSW"
    finally:
        over.set()
        others.join()
    assert wrong == []
    assert store.count() == ROWS
    store.drop()


@pytest.mark.slow
def test_a_change_that_was_broken_off_is_finished_by_whoever_opens_next(server: Server) -> None:
    store = filled(MilvusConnection(None, server.uri), "broken_off")
    store._collection.call("release_collection")
    store._collection.call("drop_index", index_name="embedding")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(milvus_connection, "RECONNECT_S", 0.5)
        with pytest.raises(MilvusUnavailable, match="not loaded"):
            store.search_dense(vectors()[0], 1)
    again = open_frames(MilvusConnection(None, server.uri), "broken_off", DIM)
    assert kind_in(again) == "HNSW"
    assert again.search_dense(vectors()[0], 1)[0].row_id == "r0"
    assert again.count() == ROWS
    store.drop()


def test_the_embedded_milvus_keeps_its_index(tmp_path: Path) -> None:
    connection = MilvusConnection(tmp_path)
    assert connection.embedded
    assert capabilities_of("milvus_lite-3.2.2", embedded=True).indexes[0] == "HNSW"
