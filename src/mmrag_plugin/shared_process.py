"""One small process that several others share: who comes first starts it, idle it leaves.

Its safety rests on two things. A file lock names it, so of several starters one wins, and the lock
falls with it, however it ended. Its address, with a random token that every call must carry, stands
in a file that only its user can read, and is published only once it serves.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmrag_plugin.errors import MmragError, ServiceError, StorageError
from mmrag_plugin.priority import at_usual_priority

LOG_BYTES = 256 * 1024
SOCKET_PATH_BYTES = 103  # the shortest limit among systems (macOS); Linux allows 107

logger = logging.getLogger("mmrag.process")


# Not ``-m``: that would put the current directory first, and code found there would be run.
_BOOTSTRAP = (
    "import sys; sys.path = [*filter(None, sys.path), sys.argv.pop(1)]; "
    "from {module} import main; sys.exit(main())"
)


@dataclass(frozen=True)
class SharedProcess:
    """The process of a ``directory``, whose files there begin with ``name``.

    ``module`` holds its ``main``, which takes the directory, ``--detach`` and ``--idle-s``. Its
    first line on stdout is JSON: what it published, or what went wrong, or ``{}`` when there is one
    already. ``does`` is what it is known by in errors, all of the family ``unavailable``.
    """

    directory: Path
    name: str
    module: str
    does: str
    unavailable: type[ServiceError] = ServiceError

    @property
    def address_file(self) -> Path:
        """Where it publishes its address."""
        return self.directory / f"{self.name}.json"

    @property
    def lock_file(self) -> Path:
        """The file whose lock it holds, with its process id."""
        return self.directory / f"{self.name}.lock"

    @property
    def log_file(self) -> Path:
        """Where it logs."""
        return self.directory / f"{self.name}.log"

    # ------------------------------------------------------------ from outside

    def find_or_start(
        self,
        answers: Callable[[dict[str, Any]], bool],
        *,
        start_timeout_s: float,
        frozen_s: float,
        idle_s: float,
    ) -> dict[str, Any]:
        """Find the process, or start one and wait until it serves; returns what it published.

        ``answers`` probes it; all probes unanswered for ``frozen_s`` mean that it is frozen. Raises
        ``unavailable`` when it is, or doesn't start in time, and StorageError when the directory
        can't be written.
        """
        deadline = time.monotonic() + start_timeout_s
        silent_since: float | None = None
        while True:
            if not self.is_running():
                silent_since = None
                if published := self._start(deadline, idle_s):
                    return published
            elif (published := self.published()) is None:
                silent_since = None  # it is starting or leaving; what was asked may be a dead one
            elif answers(published):
                return published
            else:
                silent_since = silent_since or time.monotonic()
            now = time.monotonic()
            if now > deadline or (silent_since is not None and now - silent_since > frozen_s):
                raise self.unavailable(
                    f"The process that {self.does} (pid {self.holder()}) does not answer.",
                    "It may be starting, stopping or frozen: try again, or end that process.",
                )
            time.sleep(0.02)

    @contextlib.contextmanager
    def paused(self, *, timeout_s: float = 20.0) -> Iterator[None]:
        """End the process and keep a new one from starting while the block runs.

        Others wait meanwhile. Raises ``unavailable`` when it doesn't end in time.
        """
        deadline = time.monotonic() + timeout_s
        asked = ""
        while (lock := self.take_lock()) is None:
            holder = self.holder()
            if holder.isdigit() and holder != asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(holder), signal.SIGTERM)
                asked = holder
            if time.monotonic() > deadline:
                raise self.unavailable(
                    f"The process that {self.does} (pid {holder}) does not end.",
                    "Stop other mmrag processes of this library, then try again.",
                )
            time.sleep(0.05)
        try:
            yield
        finally:
            os.close(lock)

    def is_running(self) -> bool:
        """Whether the process is alive: its lock falls with it, however it ended."""
        with storage_errors(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            lock = self.take_lock()
            if lock is None:
                return True
            os.ftruncate(lock, 0)  # a dead process's pid may be another's by now
        os.close(lock)
        return False

    def take_lock(self) -> int | None:
        """Take the process's lock without waiting; None when somebody has it."""
        import fcntl

        descriptor = os.open(self.lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def holder(self) -> str:
        """The process id of who holds the lock, as far as it is known."""
        with contextlib.suppress(OSError):
            return self.lock_file.read_text().strip() or "unknown"
        return "unknown"

    def published(self) -> dict[str, Any] | None:
        """What the last process published, or None; it may be dead."""
        try:
            published = json.loads(self.address_file.read_text())
            if isinstance(published["uri"], str) and isinstance(published["token"], str):
                return dict(published)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None

    def _start(self, deadline: float, idle_s: float) -> dict[str, Any] | None:
        """Start one; None when another one won the race. Raises what it reports."""
        code_folder = str(Path(__file__).resolve().parents[1])
        bootstrap = _BOOTSTRAP.format(module=self.module)
        command = [sys.executable, "-c", bootstrap, code_folder, str(self.directory)]
        command += ["--detach", "--idle-s", str(idle_s)]
        process = at_usual_priority(  # people wait for it
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
                left_s = max(0.0, deadline - time.monotonic())
                readable, _, _ = select.select([pipe], [], [], left_s)
                chunk = os.read(pipe.fileno(), 65536) if readable else b""
                if not chunk:
                    break
                received += chunk
        process.wait()  # it left as soon as the shared process was detached
        if not received.endswith(b"\n"):
            raise self.unavailable(
                f"The process that {self.does} did not start.",
                f"See {self.log_file}, and try again.",
            )
        report = json.loads(received)
        if "uri" in report:
            return dict(report)
        if "message" in report:
            family = StorageError if report["kind"] == StorageError.kind else self.unavailable
            raise family(report["message"], report["remedy"])
        return None

    # ------------------------------------------------------------ from inside

    def become(self, serve: Callable[[], None], *, detach: bool) -> int:
        """Be this process, if there is none: ``serve`` until it returns; gives the exit code."""
        if detach and os.fork():
            os._exit(0)  # the starter must not have to reap it
        os.umask(0o077)
        try:
            lock = None
            with storage_errors(self.directory):
                self.directory.mkdir(parents=True, exist_ok=True)
                lock = self.take_lock()
            if lock is None:
                _report({})
                return 0
            os.ftruncate(lock, 0)
            os.write(lock, str(os.getpid()).encode())
            self._log()
            self._remove_old_socket()
            serve()
        except MmragError as error:
            logger.error("%s", error)
            _report(error.as_dict())
            return error.exit_code
        except Exception as error:
            logger.exception("the %s failed", self.name)
            _report(self.unavailable(f"The {self.name} process failed: {error}.").as_dict())
            return self.unavailable.exit_code
        return 0

    def publish(self, uri: str, token: str) -> dict[str, Any]:
        """Say where it serves, to its starter and to whoever comes later."""
        published = {"uri": uri, "token": token, "pid": os.getpid()}
        with storage_errors(self.directory):
            write_private(self.address_file, json.dumps(published))
        _report(published)
        return published

    def wait(
        self,
        stop: threading.Event,
        idle_s: Callable[[], float],
        limit_s: Callable[[], float],
        published: dict[str, Any],
        socket_path: Path | None,
    ) -> None:
        """Return when it is to leave: told to, idle for so long, or its files are gone."""
        while not stop.wait(min(1.0, limit_s() / 4)):
            if idle_s() >= limit_s():
                logger.info("nobody has called for %.0f s", limit_s())
                return
            if socket_path is not None and not socket_path.exists():
                logger.info("%s is gone", socket_path)
                return
            if self.published() != published:
                logger.info("%s is gone or another's", self.address_file)
                return

    def withdraw(self, published: dict[str, Any]) -> None:
        """Take the address back, unless it is another's by now."""
        if self.published() == published:
            self.address_file.unlink(missing_ok=True)

    def _log(self) -> None:
        handler = logging.handlers.RotatingFileHandler(
            self.log_file, maxBytes=LOG_BYTES, backupCount=1
        )
        if os.environ.get("MMRAG_LOG_FORMAT", "").lower() == "json":
            from mmrag_plugin.logs import JsonLines

            handler.setFormatter(JsonLines())
        else:
            handler.setFormatter(logging.Formatter("%(asctime)s %(process)d %(name)s %(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])

    def _remove_old_socket(self) -> None:
        """Remove what a killed process left behind; our lock says that it is dead."""
        published = self.published()
        if published and published["uri"].startswith("unix:"):
            folder = Path(published["uri"].removeprefix("unix:")).parent
            with contextlib.suppress(OSError):
                if folder.name.startswith("mmrag-") and folder.stat().st_uid == os.getuid():
                    shutil.rmtree(folder)
        self.address_file.unlink(missing_ok=True)


def stop_by_signals(stop: threading.Event) -> None:
    """Have SIGTERM and SIGINT set the event."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def new_token() -> str:
    """What every call to the process must carry."""
    return secrets.token_urlsafe(32)


def new_socket_path(name: str) -> Path | None:
    """A new path in a new folder that only we may enter; None where it can't be had."""
    import socket

    if not hasattr(socket, "AF_UNIX"):
        return None
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108
        if base and len(os.fsencode(base)) + len(f"/mmrag-12345678/{name}") <= SOCKET_PATH_BYTES:
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="mmrag-", dir=base)) / name
    return None


@contextlib.contextmanager
def storage_errors(directory: Path) -> Iterator[None]:
    """Turn an OSError into a StorageError about a directory."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{directory} can't be written: {error.strerror or error}.",
            "Free some space, give yourself write permission, or choose another folder "
            "with MMRAG_HOME.",
        ) from error


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise


def _report(content: dict[str, Any]) -> None:
    """Tell the starter, then let go of its stdio; it may be gone already."""
    with contextlib.suppress(OSError):
        os.write(1, json.dumps(content).encode() + b"\n")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    os.close(null)
