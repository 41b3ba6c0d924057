"""The owner process: who becomes it, what it guards, how it ends and what survives it."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import grpc
import numpy as np
import pytest
from llama_index.core.schema import ImageNode

from mmrag_plugin import milvus_engine, milvus_owner
from mmrag_plugin.errors import MilvusUnavailable, StorageError
from mmrag_plugin.metadata import row_metadata
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_owner import Address, connect, is_disk_error
from mmrag_plugin.milvus_store import MediaVectorStore, open_frames
from mmrag_plugin.shared_process import SharedProcess, write_private

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Milvus Lite needs POSIX")


def owner_pid(directory: Path) -> int:
    return int(json.loads((directory / "owner.json").read_text())["pid"])


def is_owned(directory: Path) -> bool:
    return milvus_owner._is_owned(directory)


def wait_until(condition: Any, timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def end_owner(directory: Path) -> None:
    """End the owner that this test started, by its pid, and wait for it."""
    try:
        os.kill(owner_pid(directory), signal.SIGTERM)
    except (OSError, ValueError):
        return
    wait_until(lambda: not is_owned(directory))


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "library"
    end_owner(tmp_path / "library")


def frame(number: int, dim: int = 4) -> ImageNode:
    vector = np.random.default_rng(number).standard_normal(dim)
    return ImageNode(
        id_=f"row{number:06}",
        embedding=vector.tolist(),
        metadata=row_metadata(
            media_id=f"m{number}",
            kind="image",
            stage="embed",
            source="frame",
            start_s=None,
            end_s=None,
            taken_at=None,
            camera="",
        ),
    )


def open_store(directory: Path) -> MediaVectorStore:
    return open_frames(MilvusConnection(directory), "frames", 4)


def run_python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, **options
    )


CONNECT = (
    "import sys; from pathlib import Path; from mmrag_plugin.milvus_owner import connect; "
    "print(connect(Path(sys.argv[1])).uri)"
)


# ---------------------------------------------------------------- becoming the owner


def test_of_three_starters_one_becomes_the_owner_and_all_use_it(directory: Path) -> None:
    starters = [run_python(CONNECT, str(directory)) for _ in range(3)]
    uris = {starter.communicate(timeout=60)[0] for starter in starters}
    assert [starter.returncode for starter in starters] == [0, 0, 0]
    assert len(uris) == 1
    assert (directory / "owner.log").read_text().count("serving at") == 1


def test_a_second_connect_finds_the_owner_of_the_first(directory: Path) -> None:
    assert connect(directory) == connect(directory)


def test_socket_address_and_log_are_for_the_owner_alone(directory: Path) -> None:
    address = connect(directory)
    socket_path = Path(address.uri.removeprefix("unix:"))
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
    assert len(os.fsencode(socket_path)) <= 103
    for name in ("owner.json", "owner.log", "owner.lock"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600


def test_each_owner_has_a_new_socket_and_a_new_token(directory: Path) -> None:
    first = connect(directory)
    end_owner(directory)
    second = connect(directory)
    assert first.uri != second.uri
    assert first.token != second.token


def test_an_address_left_by_a_dead_owner_is_not_used(directory: Path) -> None:
    directory.mkdir()
    stale = {"uri": "unix:/tmp/mmrag-gone/milvus", "token": "old", "pid": 2**22 - 7}
    (directory / "owner.json").write_text(json.dumps(stale))
    assert connect(directory).token != "old"


@pytest.mark.parametrize("damaged", ["", '{"uri": 1}'])
def test_a_damaged_address_file_is_replaced(directory: Path, damaged: str) -> None:
    directory.mkdir()
    (directory / "owner.json").write_text(damaged)
    assert connect(directory).uri.startswith("unix:")


def test_the_owner_holds_no_stdio_and_outlives_its_starter(directory: Path) -> None:
    code = CONNECT + "; import time; time.sleep(600)"
    starter = run_python(code, str(directory), start_new_session=True)
    assert starter.stdout is not None
    assert starter.stdout.readline().startswith(b"unix:")
    os.killpg(starter.pid, signal.SIGKILL)  # takes all that is left in the starter's session
    began = time.monotonic()
    assert starter.stdout.read() == b""  # end of file: nobody else holds the pipe
    assert time.monotonic() - began < 5
    starter.stdout.close()
    starter.wait()
    published = json.loads((directory / "owner.json").read_text())
    assert milvus_owner._answers(Address(published["uri"], published["token"]), 5)
    if sys.platform == "linux":
        descriptors = Path(f"/proc/{published['pid']}/fd")
        assert {str((descriptors / str(n)).readlink()) for n in range(3)} == {"/dev/null"}


# ---------------------------------------------------------------- guarding


def call_with(authorization: tuple[tuple[str, str], ...], address: Address) -> grpc.StatusCode:
    channel = grpc.insecure_channel(address.target)
    try:
        call = channel.unary_unary("/milvus.proto.milvus.MilvusService/ShowCollections")
        call(b"", timeout=5, metadata=authorization)
    except grpc.RpcError as error:
        return error.code()
    finally:
        channel.close()
    return grpc.StatusCode.OK


def test_a_stranger_without_the_token_is_refused(directory: Path) -> None:
    address = connect(directory)
    assert call_with(address.metadata, address) == grpc.StatusCode.OK
    refused = grpc.StatusCode.UNAUTHENTICATED
    assert call_with((), address) == refused
    assert call_with(Address("", "wrong").metadata, address) == refused
    assert call_with(Address("", "").metadata, address) == refused


class Call:
    """What gRPC tells about a call, as far as the gate asks."""

    method = "/milvus.proto.milvus.MilvusService/Insert"
    invocation_metadata = Address("", "secret").metadata

    def is_active(self) -> bool:
        return True


def test_calls_never_meet_inside_the_engine() -> None:
    gate = milvus_engine.Gate(Address("", "secret").metadata[0][1], on_broken=lambda: None)
    inside = most_inside = 0

    def behaviour(request: Any, context: Any) -> None:
        nonlocal inside, most_inside
        inside += 1
        most_inside = max(most_inside, inside)
        time.sleep(0.01)
        inside -= 1

    handler = gate.intercept_service(
        lambda details: grpc.unary_unary_rpc_method_handler(behaviour), Call()
    )
    callers = [threading.Thread(target=handler.unary_unary, args=(b"", Call())) for _ in range(8)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert most_inside == 1


def test_searches_go_on_side_by_side_and_a_change_waits_for_them() -> None:
    turns = milvus_engine.Turns()
    log: list[str] = []
    both_in, changed = threading.Barrier(2, timeout=10), threading.Event()

    def search() -> None:
        with turns.together():
            both_in.wait()  # fails unless the other is in, too
            assert not changed.is_set()
            time.sleep(0.05)
            log.append("searched")

    def change() -> None:
        with turns.alone():
            changed.set()
            log.append("changed")

    def late_search() -> None:
        with turns.together():
            log.append("late")

    searches = [threading.Thread(target=search) for _ in range(2)]
    for thread in searches:
        thread.start()
    wait_until(lambda: turns._looking == 2)
    writer = threading.Thread(target=change)
    writer.start()
    wait_until(lambda: turns._came == 3 or changed.is_set())
    late = threading.Thread(target=late_search)
    late.start()
    for thread in (*searches, writer, late):
        thread.join(10)
    assert log == ["searched", "searched", "changed", "late"]


def test_a_search_gets_its_turn_however_many_changes_come_one_after_the_other() -> None:
    turns, over, at_it = milvus_engine.Turns(), threading.Event(), threading.Barrier(4)

    def change_again_and_again() -> None:
        with turns.alone():
            pass
        at_it.wait()
        while not over.is_set():
            with turns.alone():
                time.sleep(0.002)

    def search() -> None:
        with turns.together():
            over.set()

    writers = [threading.Thread(target=change_again_and_again) for _ in range(3)]
    for thread in writers:
        thread.start()
    at_it.wait(10)
    time.sleep(0.05)
    threading.Thread(target=search, daemon=True).start()
    got_in = over.wait(5)
    over.set()
    for thread in writers:
        thread.join(10)
    assert got_in


def test_searches_side_by_side_read_their_filters_one_at_a_time(tmp_path: Path) -> None:
    import pymilvus  # noqa: F401  (so that opening the engine here leaves the package whole)
    from milvus_lite.schema import types

    engine = milvus_engine.open_engine(tmp_path / "milvus")
    fields = [
        types.FieldSchema("id", types.DataType.VARCHAR, is_primary=True, max_length=9),
        types.FieldSchema("embedding", types.DataType.FLOAT_VECTOR, dim=2),
    ]
    collection = engine.create_collection("c", types.CollectionSchema(fields))
    collection.load()
    inside = most_inside = 0
    stock = type(collection._filter_cache).get

    def get(self: Any, key: Any) -> Any:
        nonlocal inside, most_inside
        inside += 1
        most_inside = max(most_inside, inside)
        time.sleep(0.005)
        inside -= 1
        return stock(self, key)

    with mock.patch.object(type(collection._filter_cache), "get", get):
        searchers = [
            threading.Thread(
                target=collection.search, args=([[0.0, 1.0]],), kwargs={"expr": f'id == "{number}"'}
            )
            for number in range(6)
        ]
        for thread in searchers:
            thread.start()
        for thread in searchers:
            thread.join(10)
    engine.close()
    assert most_inside == 1


def test_a_dead_process_that_nobody_could_ask_does_not_hurry_the_next_one(tmp_path: Path) -> None:
    shared = SharedProcess(tmp_path, "owner", "nobody", does="is started here")
    lock = shared.take_lock()  # the new one lives
    assert lock is not None
    left = {"uri": "unix:/nowhere/milvus", "token": "old"}
    shared.address_file.write_text(json.dumps(left))
    new = {"uri": "unix:/somewhere/milvus", "token": "new"}

    asked: list[str] = []

    def answers(published: dict[str, Any]) -> bool:
        asked.append(published["token"])
        return published["token"] == "new"

    def appear() -> None:
        wait_until(lambda: bool(asked))
        shared.address_file.unlink()
        time.sleep(0.6)
        write_private(shared.address_file, json.dumps(new))

    starter = threading.Thread(target=appear)
    starter.start()
    try:
        found = shared.find_or_start(answers, start_timeout_s=10, frozen_s=0.3, idle_s=1)
    finally:
        starter.join(10)
        os.close(lock)
    assert found == new
    assert asked[0] == "old"


def test_an_owner_answers_newcomers_however_many_calls_wait_for_the_engine(
    tmp_path: Path,
) -> None:
    import pymilvus  # noqa: F401  (so that opening the engine here leaves the package whole)

    engine = milvus_engine.open_engine(tmp_path / "milvus")
    address = Address("", "secret")
    gate = milvus_engine.Gate(address.metadata[0][1], on_broken=lambda: None)
    server, uri, socket_path = milvus_engine.serve(engine, gate)
    address = Address(uri, "secret")
    channel = grpc.insecure_channel(address.target)
    try:
        with gate._turns.alone():
            call = channel.unary_unary("/milvus.proto.milvus.MilvusService/ShowCollections")
            waiting = [call.future(b"", timeout=30, metadata=address.metadata) for _ in range(40)]
            wait_until(lambda: gate._running == len(waiting))
            assert milvus_owner._answers(address, 5)
        for answer in waiting:
            answer.result()
    finally:
        channel.close()
        server.stop(0).wait()
        engine.close()
        assert socket_path is not None
        shutil.rmtree(socket_path.parent)


def test_loopback_tcp_with_the_token_serves_where_there_are_no_unix_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pymilvus  # noqa: F401  (so that opening the engine here leaves the package whole)

    monkeypatch.setattr(milvus_engine, "new_socket_path", lambda name: None)
    engine = milvus_engine.open_engine(tmp_path / "milvus")
    gate = milvus_engine.Gate(Address("", "secret").metadata[0][1], on_broken=lambda: None)
    server, uri, socket_path = milvus_engine.serve(engine, gate)
    try:
        assert socket_path is None
        assert uri.startswith("http://127.0.0.1:")
        connection = MilvusConnection(None, uri, "secret")
        assert connection.call("list_collections") == []
        connection.close()
        assert call_with((), Address(uri, "")) == grpc.StatusCode.UNAUTHENTICATED
    finally:
        server.stop(0).wait()
        engine.close()


def test_a_directory_that_another_program_holds_is_one_clear_error(directory: Path) -> None:
    (directory / "milvus").mkdir(parents=True)
    with (directory / "milvus" / "LOCK").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(MilvusUnavailable, match="Another program holds"):
            connect(directory)


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        connect(tmp_path / "file" / "library")


def test_a_data_folder_that_cannot_be_made_is_a_storage_error(directory: Path) -> None:
    directory.mkdir()
    (directory / "milvus").write_text("not a folder")
    with pytest.raises(StorageError, match="can't be written"):
        connect(directory)


def test_a_frozen_owner_is_reported_in_bounded_time(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(directory)
    pid = owner_pid(directory)
    monkeypatch.setattr(milvus_owner, "PROBE_S", 0.3)
    monkeypatch.setattr(milvus_owner, "FROZEN_S", 1.0)
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(MilvusUnavailable, match=f"pid {pid}"):
            connect(directory)
        assert time.monotonic() - began < 5
    finally:
        os.kill(pid, signal.SIGCONT)


# ---------------------------------------------------------------- leaving


def test_an_idle_owner_leaves_and_takes_its_files_with_it(directory: Path) -> None:
    address = connect(directory, idle_s=0.5)
    wait_until(lambda: not is_owned(directory))
    assert not (directory / "owner.json").exists()
    assert not Path(address.uri.removeprefix("unix:")).parent.exists()
    assert "closed" in (directory / "owner.log").read_text()


def test_calls_keep_the_owner_alive(directory: Path) -> None:
    connection = MilvusConnection(directory, idle_s=1.0)
    connection.call("list_collections")
    pid = owner_pid(directory)
    for _ in range(8):
        time.sleep(0.2)
        connection.call("list_collections")
    assert owner_pid(directory) == pid


def test_a_terminated_owner_keeps_rows_that_were_never_flushed(directory: Path) -> None:
    store = open_store(directory)
    store.add([frame(number) for number in range(50)])
    end_owner(directory)
    assert store.count() == 50  # from a new owner


def test_an_owner_whose_library_is_deleted_leaves_and_makes_nothing_again(directory: Path) -> None:
    address = connect(directory)
    open_store(directory).add([frame(1)])
    pid = owner_pid(directory)
    shutil.rmtree(directory)
    wait_until(lambda: not Path(address.uri.removeprefix("unix:")).exists())
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert not directory.exists()


def test_a_collection_cut_short_while_being_made_can_be_made_again(directory: Path) -> None:
    unfinished = directory / "milvus" / "collections" / "frames"
    unfinished.mkdir(parents=True)
    (unfinished / "manifest.json").write_text("{}")
    assert open_store(directory).count() == 0


def test_rows_that_were_acknowledged_survive_a_killed_owner_and_the_writer_goes_on(
    directory: Path,
) -> None:
    store = open_store(directory)
    acknowledged: list[str] = []
    longest_wait_s = 0.0
    stop = threading.Event()

    def write() -> None:
        nonlocal longest_wait_s
        number = 0
        while not stop.is_set():
            began = time.monotonic()
            acknowledged.extend(store.add([frame(number + i) for i in range(20)]))
            if number % 200 == 0:
                store.flush()
            longest_wait_s = max(longest_wait_s, time.monotonic() - began)
            number += 20

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):
            before = len(acknowledged)
            wait_until(lambda: len(acknowledged) > before + 100)  # noqa: B023
            os.kill(owner_pid(directory), signal.SIGKILL)
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) > before + 100)
    finally:
        stop.set()
        writer.join()
    assert {row_id for row_id, _ in store.row_ids()} >= set(acknowledged)
    assert longest_wait_s < 8  # about 1 s on an idle machine


def test_one_process_writes_while_another_searches(directory: Path) -> None:
    store = open_store(directory)
    store.add([frame(0)])
    code = """
import sys, time
from pathlib import Path
from mmrag_plugin.milvus_store import MilvusConnection, open_frames
store = open_frames(MilvusConnection(Path(sys.argv[1])), "frames", 4)
print("ready", flush=True)
seen = 0
for _ in range(3000):
    found = store.search_dense([1, 0, 0, 0], 1000)
    assert len(found) >= seen, (len(found), seen)  # no acknowledged row ever disappears
    seen = len(found)
    if seen >= 600:
        print("saw all"); break
"""
    searcher = run_python(code, str(directory))
    assert searcher.stdout is not None
    assert searcher.stdout.readline() == b"ready\n"
    for start in range(1, 600, 50):
        store.add([frame(number) for number in range(start, min(start + 50, 600))])
        if start % 100 == 1:
            store.flush()
    output, _ = searcher.communicate(timeout=60)
    assert output == b"saw all\n"


@pytest.mark.skipif(sys.platform != "linux", reason="needs prlimit")
def test_a_full_disk_is_a_storage_error_and_loses_nothing(directory: Path) -> None:
    store = open_store(directory)
    store.add([frame(number) for number in range(100)])
    log_bytes = max(
        path.stat().st_size for path in (directory / "milvus").rglob("wal_data_*.arrow")
    )
    resource.prlimit(  # what a full disk does: the write stops half way
        owner_pid(directory), resource.RLIMIT_FSIZE, (log_bytes + 1000, log_bytes + 1000)
    )
    with pytest.raises(StorageError, match="can't write"):
        store.add([frame(number) for number in range(100, 200)])
    store.add([frame(number) for number in range(200, 300)])  # a new owner, and space again
    store.flush()
    kept = {row_id for row_id, _ in store.row_ids()}
    assert kept >= {f"row{number:06}" for number in (*range(100), *range(200, 300))}


def test_only_errors_of_the_disk_count_as_disk_errors() -> None:
    assert is_disk_error("[Errno 28] Error writing bytes. Detail: [errno 28] No space left")
    assert not is_disk_error("[Errno 2] No such file or directory")
    assert not is_disk_error("collection 'errno 28' does not exist")


def test_while_paused_the_data_has_no_owner_and_a_caller_waits(directory: Path) -> None:
    store = open_store(directory)
    store.add([frame(1)])
    with milvus_owner.paused(directory):
        caller = run_python(CONNECT, str(directory))
        time.sleep(1.0)
        assert caller.poll() is None
        assert not (directory / "owner.json").exists()
    assert caller.communicate(timeout=30)[0].startswith(b"unix:")
    assert store.count() == 1
