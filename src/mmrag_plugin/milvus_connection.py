"""One way to talk to Milvus, embedded or a server: late, with timeouts, and again when it breaks.

pymilvus alone waits up to a minute on a frozen process, and knows nothing of owner processes that
come and go. Here every call has a timeout; when the other side has gone, a new owner (or the
server) is looked for and the call is made again, which is safe because every call is idempotent:
rows are upserted, deleted and read, never appended.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag_plugin.errors import MilvusUnavailable, ServiceError, StorageError, UsageError
from mmrag_plugin.milvus_answers import read_by_columns
from mmrag_plugin.milvus_owner import IDLE_S, Address, connect, is_disk_error
from mmrag_plugin.tracing import span

READ_S = 15.0
WRITE_S = 60.0
BUILD_S = 600.0  # creating an index or loading a large collection builds its graph
CONNECT_S = 5.0
# pymilvus waits as long for an owner that was killed before it says so, and nobody waits over five
OWNER_CONNECT_S = 2.0
RECONNECT_S = 5.0  # how long a lost connection is tried for

_log = logging.getLogger("mmrag.milvus")


@dataclass(frozen=True)
class Capabilities:
    """What a Milvus can do.

    ``words`` is sparse vectors, ``column_index`` an inverted index of the columns that filters use
    (servers have both from 2.4).
    """

    version: str
    embedded: bool
    words: bool
    column_index: bool

    @property
    def turned_off(self) -> tuple[str, ...]:
        """What has to be done without on this server, in words."""
        missing = {
            "search by words (BM25) needs Milvus 2.4 or newer": self.words,
            "fast filters need Milvus 2.4 or newer": self.column_index,
        }
        return tuple(text for text, present in missing.items() if not present)


class MilvusConnection:
    """A connection to the embedded Milvus of ``directory``, or to the server at ``uri``.

    Nothing is opened before the first call. Safe to use from several threads.
    """

    def __init__(
        self, directory: Path | None, uri: str = "", token: str = "", *, idle_s: float = IDLE_S
    ) -> None:
        if not uri and directory is None:
            raise UsageError("Neither a directory nor a Milvus address is given.")
        if uri and not re.match(r"(https?|tcp)://|unix:", uri):
            raise UsageError(
                f"{_without_password(uri)!r} is not a Milvus address.",
                "Write http://HOST:19530, or leave it out for the embedded Milvus.",
            )
        self._directory = directory
        self._uri = uri
        self._token = token
        self._idle_s = idle_s
        self._lock = threading.RLock()
        self._milvus: Any = None
        self._capabilities: Capabilities | None = None

    @property
    def embedded(self) -> bool:
        """Whether this is the Milvus inside the library's directory."""
        return not self._uri

    @property
    def address(self) -> str:
        """The address as people may see it."""
        return str(self._directory) if self.embedded else _without_password(self._uri)

    @property
    def client(self) -> Any:
        """The pymilvus MilvusClient, connected now if it was not."""
        with self._lock:
            if self._milvus is None:
                with span("milvus.connect", embedded=self.embedded):
                    self._milvus = self._open()
            return self._milvus

    def call(self, method: str, *arguments: Any, timeout_s: float = READ_S, **options: Any) -> Any:
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

    def _call(self, method: str, *arguments: Any, timeout_s: float, **options: Any) -> Any:
        import grpc  # type: ignore[import-untyped]
        from pymilvus.exceptions import MilvusException

        lost_at: float | None = None
        pause_s = 0.05
        while True:
            client = None
            try:
                client = self.client
                answer = getattr(client, method)(*arguments, timeout=timeout_s, **options)
                if lost_at is not None:
                    away_s = round(time.monotonic() - lost_at, 3)
                    _log.warning("Milvus was away", extra={"away_s": away_s, "operation": method})
                return answer
            except (MilvusException, grpc.RpcError) as error:
                lost = client is None or self._is_lost(error)
                if lost:
                    if lost_at is None:
                        _log.info("Milvus has gone; trying again", extra={"operation": method})
                    self._forget(client)
                lost_at = lost_at or time.monotonic()
                if not lost or time.monotonic() - lost_at + pause_s > RECONNECT_S:
                    raise self._translated(method, error, timeout_s) from error
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 0.8)

    def capabilities(self) -> Capabilities:
        """Ask (once) what this Milvus can do."""
        if self._capabilities is None:
            version = str(self.call("get_server_version"))
            # Lite calls itself milvus_lite-3.2.2; an unknown spelling is taken for a new server
            found = re.search(r"(\d+)\.(\d+)", version)
            release = (int(found[1]), int(found[2])) if found else (3, 0)
            self._capabilities = Capabilities(
                version=version,
                embedded=self.embedded,
                words=release >= (2, 4),
                column_index=release >= (2, 4),
            )
        return self._capabilities

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
        if not self.embedded:
            address = Address(self._uri, self._token)
            from pymilvus import MilvusClient
        else:
            assert self._directory is not None
            # the owner starts while this process spends as long on importing pymilvus
            with ThreadPoolExecutor(1) as pool:
                starting = pool.submit(connect, self._directory, idle_s=self._idle_s)
                from pymilvus import MilvusClient
            address = starting.result()
        _silence_pymilvus()
        read_by_columns()
        return MilvusClient(
            uri=address.uri,
            token=address.token,
            timeout=OWNER_CONNECT_S if self.embedded else CONNECT_S,
            dedicated=True,
            # a channel shared with others would share their back-off too
            grpc_options={"grpc.use_local_subchannel_pool": 1},
        )

    def _forget(self, client: Any) -> None:
        with self._lock:
            if client is None or client is not self._milvus:
                return  # another thread has replaced it already
            self._milvus = None
        client.close()

    def _is_lost(self, error: Exception) -> bool:
        """Whether the other side has gone, rather than answered or kept us waiting."""
        import grpc

        code = _code(error)
        if code == grpc.StatusCode.UNAUTHENTICATED:
            return self.embedded  # another library's owner took over the address
        gone = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        return code in gone or "closed channel" in str(error) or _could_not_connect(error)

    def _translated(self, method: str, error: Exception, timeout_s: float) -> Exception:
        import grpc

        text = _message(error)
        if is_disk_error(text):
            return StorageError(
                f"Milvus at {self.address} can't write: {text}.", "Free some space and run again."
            )
        remedy = (
            "Try again; if that does not help, end the process named in "
            f"{self._directory}/owner.lock."
            if self.embedded
            else "Start the server, or mend MMRAG_MILVUS_URI and MMRAG_MILVUS_TOKEN."
        )
        code = _code(error)
        if code == grpc.StatusCode.DEADLINE_EXCEEDED or "timeout" in text.lower():
            return MilvusUnavailable(
                f"Milvus at {self.address} did not answer {method} within {timeout_s:.0f} s.",
                remedy,
            )
        if self._is_lost(error) or isinstance(error, grpc.RpcError):
            return MilvusUnavailable(f"Milvus at {self.address} can't be reached: {text}.", remedy)
        return ServiceError(f"Milvus at {self.address} refused {method}: {text}.")


def _code(error: Any) -> Any:
    code = error.code
    return code() if callable(code) else code


def _message(error: Any) -> str:
    details = error.details() if hasattr(error, "details") else error.message
    return str(details).strip().rstrip(".")


def _could_not_connect(error: Any) -> bool:
    return _code(error) == 2 and "connect" in _message(error).lower()  # Status.CONNECT_FAILED


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def _silence_pymilvus() -> None:
    """Keep pymilvus from printing a traceback for each error that is handled here."""
    for name in ("pymilvus", "pymilvus.milvus_client"):
        log = logging.getLogger(name)
        for handler in list(log.handlers):
            if type(handler) is logging.StreamHandler:  # what pymilvus sets up when imported
                log.removeHandler(handler)
        if not log.handlers:
            log.addHandler(logging.NullHandler())
