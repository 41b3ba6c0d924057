"""A Milvus server that goes away: runs of indexing wait for it, searches say so and work again.

The server is away for some seconds; MMRAG_TEST_OUTAGE_S=60 makes it a minute.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mcp_calls import said
from mcp_processes import connected
from media_made import COLOURS, describe, opened, picture
from milvus_servers import Server, real_server
from mmrag_plugin import index_pixels, index_seeing_here, index_words, milvus_connection
from mmrag_plugin.errors import IndexStopped, MilvusUnavailable
from mmrag_plugin.index_report import Progress
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Stage
from mmrag_plugin.upkeep import verify
from served_library import over_http

OUTAGE_S = float(os.environ.get("MMRAG_TEST_OUTAGE_S", "8"))
PICTURES = 60
ANSWERS_WITHIN_S = 20.0  # of a search, on a machine with much else to do; it takes eight or less

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 6 * OUTAGE_S)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with real_server(folder, session_s=round(OUTAGE_S + 15)) as started:
        yield started


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos").resolve()
    for number in range(PICTURES):
        path = picture(
            folder / f"picture {number}.png", list(COLOURS)[number % len(COLOURS)], number=number
        )
        if number % 4 == 0:
            describe(path, f"thing number {number}")
    return folder


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run of seconds has as many places to break as one of hours."""
    monkeypatch.setattr(index_pixels, "_COMMIT_FRAMES", 8)
    monkeypatch.setattr(index_seeing_here, "EMBED_BATCH", 4)
    monkeypatch.setattr(index_words, "_COMMIT_ROWS", 10)
    monkeypatch.setattr(index_words, "_EMBED_ROWS", 4)


def killed(server: Server) -> None:
    server.kill()
    time.sleep(OUTAGE_S)
    server.start()


def frozen(server: Server) -> None:
    server.freeze()
    time.sleep(OUTAGE_S)
    server.thaw()


class Disturbing(Progress):
    """Takes the server away once some pictures are embedded, and hears what is told of it."""

    def __init__(self, server: Server, outage: Callable[[Server], None], after: int) -> None:
        self.told: list[str] = []
        self.outage = threading.Thread(target=outage, args=(server,))
        self._embedded, self._after = 0, after

    def advance(self, stage: Stage, count: int) -> None:
        if stage == "embed":
            self._embedded += count
            if self._embedded >= self._after and not self.outage.ident:
                self.outage.start()

    def waiting(self, text: str) -> None:
        if self.told[-1:] != [text]:
            self.told.append(text)


def rows_in(library: MediaLibrary) -> dict[str, Any]:
    """Every row of both collections, vectors too."""
    fields = ["id", "media_id", "text", "source", "start_ms", "taken_at", "camera"]
    found: dict[str, Any] = {}
    for name, store in library.stores().items():
        rows = sorted(store._read('id != ""', fields), key=lambda row: str(row["id"]))
        found[name] = [{field: row[field] for field in fields} for row in rows]
    frames = library.stores()["visual"]
    vectors = frames.vectors(row_id for row_id, _ in frames.row_ids())
    found["vectors"] = {row: np.round(vector, 4).tolist() for row, vector in vectors.items()}
    return found


@pytest.fixture(scope="module")
def unbroken(
    server: Server, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What a run that nobody disturbed makes."""
    with opened(tmp_path_factory.mktemp("unbroken"), milvus_uri=server.uri) as library:
        assert library.index([photos]).added == PICTURES
        return rows_in(library)


@pytest.mark.parametrize("outage", [killed, frozen])
def test_a_run_waits_for_a_server_that_goes_away_and_nothing_is_lost_or_doubled(
    server: Server,
    photos: Path,
    tmp_path: Path,
    unbroken: dict[str, Any],
    outage: Callable[[Server], None],
) -> None:
    progress = Disturbing(server, outage, after=PICTURES // 3)
    with opened(tmp_path, milvus_uri=server.uri) as library:
        report = library.index([photos], progress)
        progress.outage.join()
        assert (report.added, report.failed) == (PICTURES, [])
        assert report.stages["embed"].done == PICTURES
        for difference in verify(library):
            assert (difference.missing, difference.surplus) == ([], []), difference
        assert rows_in(library) == unbroken
        assert library.index([photos]).did_something is False
    if outage is killed:  # a frozen one may have answered before anything was to be told
        assert server.uri in progress.told[0]
        assert "waited for" in progress.told[0]
        assert progress.told[-1] == ""


def test_a_run_gives_up_on_a_server_that_stays_away_and_the_next_goes_on(
    server: Server, photos: Path, tmp_path: Path, unbroken: dict[str, Any]
) -> None:
    progress = Disturbing(server, Server.kill, after=PICTURES // 3)
    with opened(tmp_path, milvus_uri=server.uri) as library:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(milvus_connection, "PATIENCE_S", 4.0)
            with pytest.raises(MilvusUnavailable, match="waited for") as caught:
                library.index([photos], progress)
        assert server.uri in caught.value.message
        assert "next run goes on" in caught.value.remedy
        server.start()
        report = library.index([photos])
        assert 0 < report.stages["embed"].done < PICTURES
        assert rows_in(library) == unbroken


def test_a_run_that_waits_can_be_stopped(server: Server, photos: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    class Stopping(Disturbing):
        def waiting(self, text: str) -> None:
            stop.set()

    progress = Stopping(server, Server.kill, after=PICTURES // 3)
    with opened(tmp_path, milvus_uri=server.uri) as library:
        report = library.index([photos], progress, stop)
        assert isinstance(report.stopped_by, IndexStopped)
    server.start()


@pytest.mark.parametrize(
    ("outage", "wrong"), [("kill", "be reached"), ("freeze", "did not answer")]
)
async def test_searches_say_within_seconds_what_is_wrong_and_work_again_without_a_restart(
    server: Server, photos: Path, tmp_path: Path, outage: str, wrong: str
) -> None:
    with opened(tmp_path, milvus_uri=server.uri) as library:
        library.index([photos])
        with over_http(tmp_path, MMRAG_MILVUS_URI=server.uri) as served:
            async with connected(served.url) as client:

                async def asked() -> tuple[bool, str]:
                    found = await client.call_tool("search_media", {"query": "red"})
                    return not found.is_error, said(found)

                assert library.search("red").hits
                answered, text = await asked()
                assert answered, text

                getattr(server, outage)()
                for _ in range(2):
                    began = time.monotonic()
                    with pytest.raises(MilvusUnavailable, match=wrong) as caught:
                        library.search("red")
                    assert time.monotonic() - began < ANSWERS_WITHIN_S
                    assert server.uri in caught.value.message
                    wrong = "be reached"  # from now on by a new connection
                began = time.monotonic()
                answered, text = await asked()
                assert time.monotonic() - began < ANSWERS_WITHIN_S
                assert not answered
                assert server.uri in text

                server.start() if outage == "kill" else server.thaw()
                deadline = time.monotonic() + 300  # the server takes its time
                while not (await asked())[0]:
                    assert time.monotonic() < deadline
                    if server.process is not None and server.process.poll() is not None:
                        server.kill()  # it was frozen for so long that it ended itself
                        server.start()
                while True:
                    try:
                        assert library.search("red").hits
                        break
                    except MilvusUnavailable:
                        assert time.monotonic() < deadline
