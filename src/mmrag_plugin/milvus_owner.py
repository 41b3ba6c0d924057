"""The owner process of an embedded Milvus, and the way to find or start it.

Milvus Lite admits one process to a directory, and loses acknowledged rows when several writers
meet in it. So one small process holds ``DIRECTORY/milvus`` and serves it to the others on a unix
socket: whoever comes first starts it, and it leaves when nobody has called for a while.

Safety rests on three things. A file lock names the owner, so of several starters one wins. The
address (with a new random token for each owner) is published only once every collection is open
and loaded, so no two calls open one twice. And one lock lets a single call into the engine at a
time: its writes, its look-up of collections and its filter cache are not made for threads, and in
CPython its searches would take turns anyway.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import errno
import json
import logging
import logging.handlers
import os
import re
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag_plugin.errors import MilvusUnavailable, MmragError, StorageError
from mmrag_plugin.priority import at_usual_priority

MILVUS_DIRECTORY = "milvus"
ADDRESS_FILE = "owner.json"
LOCK_FILE = "owner.lock"
LOG_FILE = "owner.log"
IDLE_S = 120.0
PROBE_S = 2.0
FROZEN_S = 6.0  # how long a published owner may leave every probe unanswered
LOG_BYTES = 256 * 1024

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
    directory = Path(directory).resolve()
    deadline = time.monotonic() + start_timeout_s
    silent_since: float | None = None
    while True:
        if not _is_owned(directory):
            silent_since = None
            if address := _start(directory, deadline, idle_s):
                return address
        elif published := _published(directory):
            address = Address(published["uri"], published["token"])
            if _answers(address, PROBE_S):
                return address
            silent_since = silent_since or time.monotonic()
        now = time.monotonic()
        if now > deadline or (silent_since is not None and now - silent_since > FROZEN_S):
            raise MilvusUnavailable(
                f"The process that holds {directory / MILVUS_DIRECTORY} "
                f"(pid {_lock_holder(directory)}) does not answer.",
                "It may be starting, stopping or frozen: try again, or end that process.",
            )
        time.sleep(0.02)


@contextlib.contextmanager
def paused(directory: Path, *, timeout_s: float = 20.0) -> Iterator[None]:
    """End the owner and keep a new one from starting while the block runs, to copy its files.

    Others wait meanwhile. Raises MilvusUnavailable when the owner doesn't end in time.
    """
    deadline = time.monotonic() + timeout_s
    asked = ""
    while (lock := _take_lock(directory)) is None:
        holder = _lock_holder(directory)
        if holder.isdigit() and holder != asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(holder), signal.SIGTERM)
            asked = holder
        if time.monotonic() > deadline:
            raise MilvusUnavailable(
                f"The process that holds {directory / MILVUS_DIRECTORY} (pid {holder}) does not "
                "end.",
                "Stop other mmrag processes of this library, then try again.",
            )
        time.sleep(0.05)
    try:
        yield
    finally:
        os.close(lock)


def _is_owned(directory: Path) -> bool:
    """Whether an owner is alive: its lock falls with it, however it ended."""
    with _storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        lock = _take_lock(directory)
        if lock is None:
            return True
        os.ftruncate(lock, 0)  # a dead owner's pid may be another process's by now
    os.close(lock)
    return False


def _take_lock(directory: Path) -> int | None:
    """Take the owner's lock without waiting; None when somebody has it."""
    import fcntl

    descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _lock_holder(directory: Path) -> str:
    with contextlib.suppress(OSError):
        return (directory / LOCK_FILE).read_text().strip() or "unknown"
    return "unknown"


def _published(directory: Path) -> dict[str, Any] | None:
    """What the last owner published, or None; it may be dead."""
    try:
        published = json.loads((directory / ADDRESS_FILE).read_text())
        if isinstance(published["uri"], str) and isinstance(published["token"], str):
            return dict(published)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


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


# Not ``-m``: that would put the current directory first, and code found there would be run.
_BOOTSTRAP = (
    "import sys; sys.path = [*filter(None, sys.path), sys.argv.pop(1)]; "
    "from mmrag_plugin.milvus_owner import main; sys.exit(main())"
)


def _start(directory: Path, deadline: float, idle_s: float) -> Address | None:
    """Start an owner; None when another one won the race. Raises what the owner reports."""
    code_folder = str(Path(__file__).resolve().parents[1])
    command = [sys.executable, "-c", _BOOTSTRAP, code_folder, str(directory)]
    command += ["--detach", "--idle-s", str(idle_s)]
    process = at_usual_priority(  # searches go through it as well
        lambda: subprocess.Popen(  # noqa: S603  (our own interpreter, our own module)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
        )
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        received = b""
        while not received.endswith(b"\n"):
            readable, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(pipe.fileno(), 65536) if readable else b""
            if not chunk:
                break
            received += chunk
    process.wait()  # it left as soon as the owner was detached
    if not received.endswith(b"\n"):
        raise MilvusUnavailable(
            f"The owner process of {directory / MILVUS_DIRECTORY} did not start.",
            f"See {directory / LOG_FILE}, and try again.",
        )
    report = json.loads(received)
    if "uri" in report:
        return Address(report["uri"], report["token"])
    if "message" in report:
        family = StorageError if report["kind"] == StorageError.kind else MilvusUnavailable
        raise family(report["message"], report["remedy"])
    return None


@contextlib.contextmanager
def _storage_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{directory} can't be written: {error.strerror or error}.",
            "Free some space, give yourself write permission, or choose another folder "
            "with MMRAG_HOME.",
        ) from error


# ------------------------------------------------------------------------- being the owner


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an owner: ``python -m mmrag_plugin.milvus_owner DIRECTORY``.

    The first line on stdout is JSON: the address, or what went wrong, or ``{}`` when there is an
    owner already. After that the process holds no stdio.
    """
    parser = argparse.ArgumentParser(prog="milvus_owner", description="Hold and serve a library.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--idle-s", type=float, default=IDLE_S)
    parser.add_argument("--detach", action="store_true", help="leave the starter's process tree")
    options = parser.parse_args(arguments)
    if options.detach and os.fork():
        os._exit(0)  # the starter must not have to reap the owner
    directory = options.directory.resolve()
    os.umask(0o077)
    try:
        lock = None
        with _storage_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            lock = _take_lock(directory)
        if lock is None:
            _report({})
            return 0
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        _log_to(directory / LOG_FILE)
        _Owner(directory, options.idle_s).run()
    except MmragError as error:
        logger.error("%s", error)
        _report(error.as_dict())
        return error.exit_code
    except Exception as error:
        logger.exception("the owner failed")
        _report(MilvusUnavailable(f"The owner process failed: {error}.").as_dict())
        return MilvusUnavailable.exit_code
    return 0


def _report(content: dict[str, Any]) -> None:
    """Tell the starter, then let go of its stdio; it may be gone already."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(content).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)


def _log_to(path: Path) -> None:
    handler = logging.handlers.RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=1)
    if os.environ.get("MMRAG_LOG_FORMAT", "").lower() == "json":
        from mmrag_plugin.logs import JsonLines

        handler.setFormatter(JsonLines())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


class _Owner:
    """Opens the engine, serves it, watches for the end and closes it."""

    def __init__(self, directory: Path, idle_s: float) -> None:
        self._directory = directory
        self._idle_s = idle_s
        self._stop = threading.Event()

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        started = time.monotonic()
        self._remove_old_socket()
        from mmrag_plugin.milvus_engine import Gate, open_engine, serve

        data = self._directory / MILVUS_DIRECTORY
        with _storage_errors(data):
            engine = open_engine(data)
        token = secrets.token_urlsafe(32)
        gate = Gate(Address("", token).metadata[0][1], on_broken=self._stop.set)
        server, uri, socket_path = serve(engine, gate)
        published = {"uri": uri, "token": token, "pid": os.getpid()}
        try:
            with _storage_errors(self._directory):
                _write_private(self._directory / ADDRESS_FILE, json.dumps(published))
            logger.info("serving at %s after %.2f s", uri, time.monotonic() - started)
            _report(published)
            self._wait(gate, published, socket_path)
        finally:
            self._close(engine, server, gate, published, socket_path)

    def _wait(self, gate: Any, published: dict[str, Any], socket_path: Path | None) -> None:
        while not self._stop.wait(min(1.0, self._idle_s / 4)):
            if gate.idle_s() >= self._idle_s:
                logger.info("nobody has called for %.0f s", self._idle_s)
                return
            if socket_path is not None and not socket_path.exists():
                logger.info("%s is gone", socket_path)
                return
            if _published(self._directory) != published:
                logger.info("%s is gone or another's", self._directory / ADDRESS_FILE)
                return

    def _close(
        self,
        engine: Any,
        server: Any,
        gate: Any,
        published: dict[str, Any],
        socket_path: Path | None,
    ) -> None:
        if _published(self._directory) == published:
            (self._directory / ADDRESS_FILE).unlink(missing_ok=True)
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

    def _remove_old_socket(self) -> None:
        """Remove what a killed owner left behind; our lock says that it is dead."""
        published = _published(self._directory)
        if published and published["uri"].startswith("unix:"):
            folder = Path(published["uri"].removeprefix("unix:")).parent
            with contextlib.suppress(OSError):
                if folder.name.startswith("mmrag-") and folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder)
        (self._directory / ADDRESS_FILE).unlink(missing_ok=True)


def _write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    sys.exit(main())
