"""Milvus Lite as the owner process serves it: opened whole, changed by one call at a time.

Searches go on side by side; every call carries the token.

Imported by the owner process only.
"""

from __future__ import annotations

import contextlib
import hmac
import importlib.metadata
import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from typing import Any

import grpc  # type: ignore[import-untyped]

from mmrag_plugin.errors import MilvusUnavailable
from mmrag_plugin.milvus_owner import is_disk_error
from mmrag_plugin.shared_process import new_socket_path

QUICK_LITE = "3.2.2"  # the version whose searches ``milvus_lite_reads`` makes quick
MAX_CALLS = 256  # each call that waits for the engine holds a thread; probes need one as well
MAX_MESSAGE_BYTES = 256 * 1024 * 1024  # what a Milvus server allows

# calls that change nothing, so that several may be in the engine together
_SEARCHES = {"Search"}
# calls that never touch the engine
_FREE_CALLS = {"Connect", "GetVersion", "CheckHealth", "GetFlushState", "GetCompactionState"}

logger = logging.getLogger("mmrag.owner")


def open_engine(directory: Path) -> Any:
    """Open Milvus Lite with every collection open and loaded.

    Raises MilvusUnavailable when another program holds the directory, OSError from the disk.
    """
    _skip_pymilvus_front_door()
    from milvus_lite.db import MilvusLite
    from milvus_lite.exceptions import DataDirLockedError

    _make_searches_quick()
    try:
        engine = MilvusLite(str(directory))
    except DataDirLockedError as error:
        raise MilvusUnavailable(
            f"Another program holds {directory}.",
            "Close the program that has opened it with Milvus Lite directly.",
        ) from error
    for database in engine.list_databases():
        root = Path(engine._collections_root(database))
        _remove_unfinished_collections(root)
        for name in engine.list_collections(database_name=database):
            try:
                _load(engine.get_collection(name, database_name=database), root / name)
            except Exception:  # a damaged one must not keep the others from being used
                logger.exception("collection %s can't be loaded", name)
    _look_up_one_by_one(engine)
    _read_filters_one_by_one()
    return engine


def _make_searches_quick() -> None:
    """Speed up the searches of the one version that this is known to be right for."""
    version = importlib.metadata.version("milvus-lite")
    if version != QUICK_LITE:
        logger.info("milvus-lite %s searches as it came", version)
        return
    from mmrag_plugin.milvus_lite_reads import make_quick

    make_quick()


def _look_up_one_by_one(engine: Any) -> None:
    """Let no two searches open one collection twice, which loses what is written later."""
    look_up, lock = engine.get_collection, threading.Lock()

    def get_collection(*arguments: Any, **options: Any) -> Any:
        with lock:
            return look_up(*arguments, **options)

    engine.get_collection = get_collection


def _read_filters_one_by_one() -> None:
    """Let no two searches meet in what a collection keeps of filters, which is made for one."""
    from milvus_lite.engine.collection import Collection

    stock = Collection._compile_filter
    if hasattr(stock, "__wrapped__"):
        return
    lock = threading.Lock()

    @wraps(stock)
    def compile_filter(*arguments: Any, **options: Any) -> Any:
        with lock:
            return stock(*arguments, **options)

    Collection._compile_filter = compile_filter


def _load(collection: Any, directory: Path) -> None:
    """Load a collection; an index that was cut short by a kill is made again of its rows."""
    from milvus_lite.index.files import INDEX_FILE_EXTENSIONS

    try:
        collection.load()
    except Exception as error:
        logger.info("making the indexes of %s again: %s", directory.name, error)
        for path in directory.glob("partitions/*/indexes/*"):
            if path.suffix in INDEX_FILE_EXTENSIONS:
                path.unlink()
        collection.load()


def _remove_unfinished_collections(root: Path) -> None:
    """Remove folders without a schema: a creation or drop cut short, which blocks the name."""
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir() and not (folder / "schema.json").exists():
            logger.info("removing the unfinished collection %s", folder.name)
            shutil.rmtree(folder)


def _skip_pymilvus_front_door() -> None:
    """Let ``pymilvus.grpc_gen`` be imported alone.

    The package's front door loads pandas and half a second of client code that an owner never
    calls, and an owner is what a first search waits for.
    """
    from importlib.util import find_spec
    from types import ModuleType

    if "pymilvus" in sys.modules:
        return
    found = find_spec("pymilvus")
    if found and found.submodule_search_locations:
        package = ModuleType("pymilvus")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["pymilvus"] = package
        try:
            import milvus_lite.adapter.grpc.servicer  # noqa: F401
        except ImportError:  # a version that needs the rest too
            del sys.modules["pymilvus"]


def serve(engine: Any, gate: Gate) -> tuple[Any, str, Path | None]:
    """Serve the engine; returns the gRPC server, its uri and its socket (None on TCP)."""
    from milvus_lite.adapter.grpc.servicer import MilvusServicer
    from pymilvus.grpc_gen import milvus_pb2_grpc

    server = grpc.server(
        ThreadPoolExecutor(MAX_CALLS),
        interceptors=[gate],
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # pymilvus pings every ten seconds; gRPC's default takes that for an attack
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
            ("grpc.http2.max_ping_strikes", 0),  # pings come in a bunch after a stall
            ("grpc.keepalive_permit_without_calls", 1),
        ],
    )
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(MilvusServicer(engine), server)
    socket_path = new_socket_path("milvus")
    if socket_path is None:
        uri = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    else:
        uri = f"unix:{socket_path}"
        server.add_insecure_port(uri)
        socket_path.chmod(0o600)
    server.start()
    return server, uri, socket_path


class Turns:
    """Lets many who only look be at one thing together, or one who changes it alone.

    Everybody is let in in the order of coming, so that nobody waits for ever.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._came, self._let_in = 0, 0
        self._looking, self._busy = 0, False

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Look, with others who do."""
        with self._changed:
            self._wait_until(lambda: not self._busy)
            self._looking += 1
        try:
            yield
        finally:
            with self._changed:
                self._looking -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one."""
        with self._changed:
            self._wait_until(lambda: not (self._busy or self._looking))
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _wait_until(self, free: Callable[[], bool]) -> None:
        mine, self._came = self._came, self._came + 1
        self._changed.wait_for(lambda: self._let_in == mine and free())
        self._let_in += 1
        self._changed.notify_all()


class Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    """Checks the token, keeps the time, and lets searches together into the engine, else one call.

    ``authorization`` is what each call must carry. ``on_broken`` is called once the engine has
    met a disk error, after which the gate lets nothing more in.
    """

    def __init__(self, authorization: str, on_broken: Callable[[], None]) -> None:
        self.broken = False
        self._authorization = authorization.encode()
        self._on_broken = on_broken
        self._turns = Turns()
        self._count_lock = threading.Lock()
        self._running = 0
        self._last_call = time.monotonic()

    def idle_s(self) -> float:
        """For how long nobody has called."""
        with self._count_lock:
            return 0.0 if self._running else time.monotonic() - self._last_call

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        """Wrap the handler of one call (gRPC's hook)."""
        given = dict(details.invocation_metadata).get("authorization", "")
        given = given.encode() if isinstance(given, str) else given
        if not hmac.compare_digest(given, self._authorization):
            return grpc.unary_unary_rpc_method_handler(_refuse)
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        name = details.method.rpartition("/")[2]

        def answer(request: Any, context: Any) -> Any:
            return self._call(handler.unary_unary, name, request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer, handler.request_deserializer, handler.response_serializer
        )

    def _call(self, behaviour: Any, name: str, request: Any, context: Any) -> Any:
        with self._count_lock:
            self._running += 1
        try:
            if name in _FREE_CALLS:
                return behaviour(request, context)
            with self._turns.together() if name in _SEARCHES else self._turns.alone():
                if self.broken or not context.is_active():  # its caller has given up waiting
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the owner is leaving")
                response = behaviour(request, context)
                self._look_for_disk_error(name, response)
                return response
        finally:
            with self._count_lock:
                self._running -= 1
                self._last_call = time.monotonic()

    def _look_for_disk_error(self, name: str, response: Any) -> None:
        reason = getattr(getattr(response, "status", response), "reason", "")
        if is_disk_error(reason):
            logger.error("%s: %s", name, reason)
            self.broken = True
            self._on_broken()


def _refuse(_request: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
