"""The owner process of an embedded Milvus, and the way to find or start it.

Milvus Lite admits one process to a directory, and loses acknowledged rows when several writers
meet in it. So one small process holds ``DIRECTORY/milvus`` and serves it to the others on a unix
socket: whoever comes first starts it, and it leaves when nobody has called for a while.

Besides what makes a ``SharedProcess`` safe, the address is published only once every collection is
open and loaded, so no two calls open one twice. And into the engine, whose writes are not made for
threads, calls go one at a time, but for searches, which go together (``milvus_engine``).
"""

from __future__ import annotations

import argparse
import base64
import errno
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag_plugin.errors import MilvusUnavailable, StorageError
from mmrag_plugin.shared_process import (
    SharedProcess,
    new_token,
    stop_by_signals,
    storage_errors,
)

MILVUS_DIRECTORY = "milvus"
IDLE_S = 120.0
PROBE_S = 2.0
FROZEN_S = 6.0  # how long a published owner may leave every probe unanswered

# errno values after which the engine's memory and its disk may disagree
_DISK_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}

logger = logging.getLogger("mmrag.owner")


@dataclass(frozen=True)
class Address:
    """Where an owner listens, and the token that it wants with each call."""

    uri: str
    token: str

    @property
    def target(self) -> str:
        """The address in gRPC's spelling."""
        return self.uri.removeprefix("http://")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The call metadata that pymilvus makes of a token."""
        return (("authorization", base64.b64encode(self.token.encode()).decode()),)


def is_disk_error(message: str) -> bool:
    """Whether an engine's error text tells of a disk that is full, read-only or broken."""
    return any(int(number) in _DISK_ERRNOS for number in re.findall(r"\[[Ee]rrno (\d+)\]", message))


# ---------------------------------------------------------------- finding or starting an owner


def connect(directory: Path, *, start_timeout_s: float = 20.0, idle_s: float = IDLE_S) -> Address:
    """Find the owner of ``directory/milvus``, or start one and wait until it serves.

    Raises MilvusUnavailable when another program holds the directory, when the owner is frozen or
    doesn't start in time, and StorageError when the directory can't be written.
    """
    if sys.platform == "win32":
        raise MilvusUnavailable(
            "The embedded Milvus does not run on Windows.",
            "Set MMRAG_MILVUS_URI to a Milvus server, or use WSL.",
        )
    published = _owner(directory).find_or_start(
        lambda found: _answers(Address(found["uri"], found["token"]), PROBE_S),
        start_timeout_s=start_timeout_s,
        frozen_s=FROZEN_S,
        idle_s=idle_s,
    )
    return Address(published["uri"], published["token"])


@contextmanager
def paused(directory: Path, *, timeout_s: float = 20.0) -> Iterator[None]:
    """End the owner and keep a new one from starting while the block runs, to copy its files.

    Others wait meanwhile. Raises MilvusUnavailable when the owner doesn't end in time.
    """
    with _owner(directory).paused(timeout_s=timeout_s):
        yield


def _owner(directory: Path) -> SharedProcess:
    directory = Path(directory).resolve()
    return SharedProcess(
        directory,
        "owner",
        "mmrag_plugin.milvus_owner",
        does=f"holds {directory / MILVUS_DIRECTORY}",
        unavailable=MilvusUnavailable,
    )


def _is_owned(directory: Path) -> bool:
    """Whether an owner is alive."""
    return _owner(directory).is_running()


def _answers(address: Address, timeout_s: float) -> bool:
    """Ask for the version: only a live owner with this token answers."""
    import grpc  # type: ignore[import-untyped]

    options = [("grpc.use_local_subchannel_pool", 1)]
    channel = grpc.insecure_channel(address.target, options=options)
    try:
        get_version = channel.unary_unary("/milvus.proto.milvus.MilvusService/GetVersion")
        get_version(b"", timeout=timeout_s, metadata=address.metadata)
    except grpc.RpcError:
        return False
    finally:
        channel.close()
    return True


# ------------------------------------------------------------------------- being the owner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an owner: ``python -m mmrag_plugin.milvus_owner DIRECTORY``."""
    parser = argparse.ArgumentParser(prog="milvus_owner", description="Hold and serve a library.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    parser.add_argument("--detach", action="store_true", help="leave the starter's process tree")
    options = parser.parse_args(arguments)
    shared = _owner(options.directory)
    owner = _Owner(shared, options.idle_s)
    return shared.become(owner.run, detach=options.detach)


class _Owner:
    """Opens the engine, serves it, watches for the end and closes it."""

    def __init__(self, shared: SharedProcess, idle_s: float) -> None:
        self._shared = shared
        self._directory = shared.directory
        self._idle_s = idle_s
        self._stop = threading.Event()

    def run(self) -> None:
        stop_by_signals(self._stop)
        started = time.monotonic()
        from mmrag_plugin.milvus_engine import Gate, open_engine, serve

        data = self._directory / MILVUS_DIRECTORY
        with storage_errors(data):
            engine = open_engine(data)
        token = new_token()
        gate = Gate(Address("", token).metadata[0][1], on_broken=self._stop.set)
        server, uri, socket_path = serve(engine, gate)
        published: dict[str, Any] = {}
        try:
            published = self._shared.publish(uri, token)
            logger.info("serving at %s after %.2f s", uri, time.monotonic() - started)
            self._shared.wait(self._stop, gate.idle_s, lambda: self._idle_s, published, socket_path)
        finally:
            self._close(engine, server, gate, published, socket_path)

    def _close(
        self,
        engine: Any,
        server: Any,
        gate: Any,
        published: dict[str, Any],
        socket_path: Path | None,
    ) -> None:
        self._shared.withdraw(published)
        server.stop(grace=5).wait()
        if socket_path is not None:
            shutil.rmtree(socket_path.parent, ignore_errors=True)
        if gate.broken:
            # A flush that failed has left rows in the log only, and a later flush (closing does
            # one) would delete that log. The next owner replays it.
            logger.error("leaving without closing after a disk error")
            os._exit(StorageError.exit_code)
        if not (self._directory / MILVUS_DIRECTORY).is_dir():
            os._exit(0)  # the library was deleted; closing would make its directory again
        engine.close()
        logger.info("closed")


if __name__ == "__main__":
    sys.exit(main())
