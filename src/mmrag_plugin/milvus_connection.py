"""One way to talk to Milvus, embedded or a server: late, with timeouts, and again when it breaks.

pymilvus alone waits up to a minute on a frozen process, and knows nothing of owner processes that
come and go. Here every call has a timeout; when the other side has gone, a new owner (or the
server) is looked for and the call is made again, which is safe because every call is idempotent:
rows are upserted, deleted and read, never appended.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MilvusUnavailable, ServiceError, StorageError, UsageError
from mmrag_plugin.milvus_answers import read_by_columns
from mmrag_plugin.milvus_capabilities import CORE_OF_OLD_LITE, Capabilities, capabilities_of
from mmrag_plugin.milvus_failures import PASSING, Failure, failure_of, reason_of
from mmrag_plugin.milvus_import import import_pymilvus
from mmrag_plugin.milvus_owner import IDLE_S, Address, connect
from mmrag_plugin.milvus_server import MilvusServer
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from mmrag_plugin.settings import Settings

READ_S = 15.0
SERVER_READ_S = 8.0  # pymilvus alone would call again for so long where nobody is there
WRITE_S = 60.0
BUILD_S = 600.0  # creating an index or loading a large collection builds its graph
CONNECT_S = 5.0
# pymilvus waits as long for an owner that was killed before it says so, and nobody waits over five
OWNER_CONNECT_S = 2.0
FIRST_PAUSE_S = 0.05
RECONNECT_S = 5.0  # how long a lost connection is tried for
PATIENCE_S = 300.0  # how long a run of indexing waits for its server
FIRST_PATIENCE_S = 30.0  # and for one that has never answered: its address may be wrong
TRY_S = 20.0  # how long one call of such a run may take before another is tried
WAITED_FOR_S = 2.0  # from when on it is said that a server is waited for

_log = logging.getLogger("mmrag.milvus")


class UnknownCall(ServiceError):
    """Milvus has no such call."""


class MilvusConnection:
    """A connection to the embedded Milvus of ``directory``, or to a server.

    Nothing is opened before the first call. Safe to use from several threads. With ``waiting`` a
    call waits for a server that has gone for ``PATIENCE_S`` (one that has not answered yet, for
    ``FIRST_PATIENCE_S``) and not for moments only: it hears, in words, what is waited for, and an
    empty text once it is over; what it raises ends the waiting.
    """

    def __init__(
        self,
        directory: Path | None,
        uri: str = "",
        token: str = "",
        *,
        server: MilvusServer | None = None,
        idle_s: float = IDLE_S,
        waiting: Callable[[str], None] | None = None,
    ) -> None:
        self.server = MilvusServer(uri, token) if uri else server
        if self.server is None and directory is None:
            raise UsageError("Neither a directory nor a Milvus address is given.")
        self._directory = directory
        self._idle_s = idle_s
        self._waiting = waiting
        self._answered = False
        self._lock = threading.RLock()
        self._milvus: Any = None
        self._begun: Future[Address] | None = None
        self._capabilities: Capabilities | None = None

    @classmethod
    def of(cls, settings: Settings, directory: Path) -> MilvusConnection:
        """The connection that settings ask for: to their server, or to a library's own Milvus."""
        return cls(directory, server=MilvusServer.of(settings))

    def patiently(self, waiting: Callable[[str], None]) -> MilvusConnection:
        """A connection to the same server that waits for it; the embedded Milvus is itself."""
        if self.embedded:
            return self
        patient = MilvusConnection(None, server=self.server, waiting=waiting)
        patient._answered = self._answered
        return patient

    @property
    def embedded(self) -> bool:
        """Whether this is the Milvus inside the library's directory."""
        return self.server is None

    @property
    def address(self) -> str:
        """The address as people may see it."""
        return str(self._directory) if self.server is None else self.server.shown

    @property
    def client(self) -> Any:
        """The pymilvus MilvusClient, connected now if it was not."""
        with self._lock:
            if self._milvus is None:
                with span("milvus.connect", embedded=self.embedded):
                    self._milvus = self._open()
            return self._milvus

    def begin(self) -> None:
        """Have an embedded Milvus start while this process imports what it calls it with."""
        with self._lock:
            if self._directory is None or self._milvus is not None or self._begun is not None:
                return
            pool = ThreadPoolExecutor(1)
            self._begun = pool.submit(connect, self._directory, idle_s=self._idle_s)
            pool.shutdown(wait=False)

    def call(
        self, method: str, *arguments: Any, timeout_s: float | None = None, **options: Any
    ) -> Any:
        """Call a method of MilvusClient, again on a new connection if the old one was lost.

        Raises MilvusUnavailable when nothing answers in time, StorageError when the disk is full,
        and ServiceError when Milvus refuses the call.
        """
        with span(f"milvus.{method}", operation=method) as now:
            answer = self._call(method, *arguments, timeout_s=timeout_s, **options)
            if isinstance(answer, list):
                lists = (found for found in answer if isinstance(found, list))
                now.set(rows=sum(map(len, lists)) or len(answer))
            return answer

    def _call(self, method: str, *arguments: Any, timeout_s: float | None, **options: Any) -> Any:
        self.begin()
        import_pymilvus()
        import grpc  # type: ignore[import-untyped]
        from pymilvus.exceptions import MilvusException

        timeout_s = timeout_s or (READ_S if self.embedded else SERVER_READ_S)
        if self._waiting is not None and timeout_s <= WRITE_S:
            timeout_s = min(timeout_s, TRY_S)
        began = time.monotonic()
        failed_at: float | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            client = None
            try:
                client = self.client
                found = getattr(client, method)(*arguments, timeout=timeout_s, **options)
            except (MilvusException, grpc.RpcError) as error:
                if failed_at is None:
                    # pymilvus has called a server again and again: it has been gone all the time
                    at_once = self.embedded or timeout_s > WRITE_S
                    failed_at = time.monotonic() if at_once else began
                failure = failure_of(error)
                if self.embedded and failure == "denied":
                    failure = "lost"  # another library's owner took over the address
                elif client is None and failure != "denied":
                    failure = "lost"
                if failure == "lost" or (failure == "silent" and not self.embedded):
                    self._forget(client)
                gone_s = time.monotonic() - failed_at
                if not self._waits(failure, error, gone_s + pause_s):
                    raise self._translated(method, error, failure, timeout_s, gone_s) from error
                level = logging.INFO if pause_s == FIRST_PAUSE_S else logging.DEBUG
                _log.log(level, "Milvus has gone; trying again", extra={"operation": method})
                if failure == "unloaded" and method != "load_collection":
                    self._load(arguments[0])
            else:
                self._answered = True
                if failed_at is not None:
                    away_s = round(time.monotonic() - failed_at, 3)
                    level = logging.INFO if self.embedded else logging.WARNING
                    _log.log(
                        level, "Milvus was away", extra={"away_s": away_s, "operation": method}
                    )
                    if self._waiting is not None:
                        self._waiting("")
                return found
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.8)

    def _waits(self, failure: Failure, error: Exception, gone_s: float) -> bool:
        """Whether a call that failed is made again; who wants to know hears why."""
        if self._waiting is None:
            return failure in PASSING and gone_s <= RECONNECT_S
        patience_s = PATIENCE_S if self._answered else min(PATIENCE_S, FIRST_PATIENCE_S)
        if failure not in (*PASSING, "silent") or gone_s > patience_s:
            return False
        if gone_s >= WAITED_FOR_S:
            left_s = patience_s - gone_s
            self._waiting(
                f"{self._about(failure, error)} It is waited for, {left_s:.0f} s more at most."
            )
        return True

    def _load(self, collection: str) -> None:
        """Have a collection loaded that nobody has loaded since its server started."""
        import grpc
        from pymilvus.exceptions import MilvusException

        with suppress(MilvusException, grpc.RpcError):  # else the call that needs it says so
            self.client.load_collection(collection, timeout=SERVER_READ_S, _async=True)

    def capabilities(self) -> Capabilities:
        """Ask (once) what this Milvus can do."""
        if self._capabilities is None:
            self._capabilities = capabilities_of(self._version(), embedded=self.embedded)
        return self._capabilities

    def _version(self) -> str:
        try:
            return str(self.call("get_server_version"))
        except UnknownCall:
            return CORE_OF_OLD_LITE

    def describe(self) -> dict[str, object]:
        """What ``status`` shows: address, version, and what is turned off."""
        known = self.capabilities()
        return {
            "address": self.address,
            "embedded": known.embedded,
            "version": known.version,
            "turned_off": list(known.turned_off),
        }

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        self._forget(self._milvus)

    def _open(self) -> Any:
        # a channel shared with others would share their back-off too
        grpc_options = {"grpc.use_local_subchannel_pool": 1}
        options: dict[str, Any]
        if self.server is not None:
            uri, options = self.server.uri, {**self.server.options(), "timeout": CONNECT_S}
            grpc_options["grpc.max_reconnect_backoff_ms"] = 1000
            from pymilvus import MilvusClient
        else:
            assert self._directory is not None
            from pymilvus import MilvusClient

            begun, self._begun = self._begun, None
            owner = begun.result() if begun else connect(self._directory, idle_s=self._idle_s)
            uri, options = owner.uri, {"token": owner.token, "timeout": OWNER_CONNECT_S}
        _silence_pymilvus()
        read_by_columns()
        return MilvusClient(uri=uri, dedicated=True, grpc_options=grpc_options, **options)

    def _forget(self, client: Any) -> None:
        with self._lock:
            if client is None or client is not self._milvus:
                return  # another thread has replaced it already
            self._milvus = None
        client.close()

    def _translated(
        self, method: str, error: Exception, failure: Failure, timeout_s: float, gone_s: float
    ) -> Exception:
        """Say it in the words of our family of errors."""
        told = f"Milvus at {self.address}"
        if failure in ("full", "refused", "unknown", "denied"):
            reason = reason_of(error)
            answers = {
                "full": StorageError(
                    f"{told} can't write: {reason}.", "Free some space and run again."
                ),
                "refused": ServiceError(f"{told} refused {method}: {reason}."),
                "unknown": UnknownCall(f"{told} does not know {method}."),
                "denied": MilvusUnavailable(
                    f"{told} refuses the token.", "Set MMRAG_MILVUS_TOKEN to a valid one."
                ),
            }
            return answers[failure]
        message = self._about(failure, error)
        if failure == "silent":
            message = f"{told} did not answer {method} within {timeout_s:.0f} s."
        remedy = self._remedy(failure)
        if self._waiting is not None:
            message += f" It was waited for {gone_s:.0f} s."
            remedy += " The next run goes on; nothing is lost."
        return MilvusUnavailable(message, remedy)

    def _remedy(self, failure: Failure) -> str:
        if self.embedded:
            return (
                "Try again; if that does not help, end the process named in "
                f"{self._directory}/owner.lock."
            )
        if failure in ("unready", "unloaded"):
            return "It may be starting, or making an index: try again in a minute."
        return "Start the server, or mend MMRAG_MILVUS_URI and MMRAG_MILVUS_TOKEN."

    def _about(self, failure: Failure, error: Exception) -> str:
        """What is the matter with Milvus, as a sentence."""
        wrong = {
            "silent": "does not answer",
            "unready": "is not ready",
            "unloaded": "has not loaded the library",
        }.get(failure, "can't be reached")
        return f"Milvus at {self.address} {wrong}: {reason_of(error)}."


def _silence_pymilvus() -> None:
    """Keep pymilvus from printing a traceback for each error that is handled here."""
    for name in ("pymilvus", "pymilvus.milvus_client"):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            if type(handler) is logging.StreamHandler:  # what pymilvus sets up when imported
                log.removeHandler(handler)
        if not log.handlers:
            log.addHandler(logging.NullHandler())
