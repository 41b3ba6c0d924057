"""The process that makes things for another one: ``python -c BOOTSTRAP``, its work on its stdin.

The kernel ends it when nothing gets on for too long, even where a decoder holds Python's lock, and
refuses it more memory than it may have. It ends with the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from mmrag_plugin.errors import MediaError, MmragError
from mmrag_plugin.makers.base import Told


@dataclass(frozen=True)
class Limits:
    """What the work may take: seconds without progress and in all, and memory."""

    stall_s: float = 60.0
    in_all_s: float = 12 * 3600.0
    memory_bytes: int = 4 * 2**30


class Job(Protocol):
    """Work that can be sent to another process."""

    def run(self, tell: Told) -> Any:
        """Do it, and tell how far it is."""


class Voice:
    """Tells the other process how far the work is, and has the kernel wait that long again."""

    def __init__(self, connection: Connection, limits: Limits) -> None:
        self._connection, self._limits = connection, limits
        self._told = -1.0

    def __call__(self, done: float) -> None:
        """Say what share is done, not more often than makes a difference."""
        signal.setitimer(signal.ITIMER_REAL, self._limits.stall_s)
        if done - self._told >= 0.01 or done < self._told:
            self._told = done
            self._connection.send(("share", min(max(done, 0.0), 1.0)))

    def begin(self, place: int) -> None:
        """Say which piece comes next."""
        signal.setitimer(signal.ITIMER_REAL, self._limits.stall_s)
        self._connection.send(("piece", place))


def serve(connection: Connection) -> None:
    """Do the work that the other side sends, once."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    job, limits = connection.recv()
    _limit_memory(limits.memory_bytes)
    voice = Voice(connection, limits)
    signal.setitimer(signal.ITIMER_REAL, limits.stall_s)
    try:
        answer = "done", job.run(voice)
    except BrokenPipeError:
        raise  # nobody waits for it any more
    except MmragError as error:
        answer = "error", error
    except MemoryError:
        answer = "error", _too_much_memory(limits)
    except Exception as error:
        answer = "error", _unexpected(error)
    signal.setitimer(signal.ITIMER_REAL, 0)
    connection.send(answer)


def _limit_memory(limit_bytes: int) -> None:
    """Bound what this process may allocate; systems without such a limit go on without."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def _too_much_memory(limits: Limits) -> MediaError:
    return MediaError(
        f"It takes more memory than the {limits.memory_bytes / 2**30:g} GiB that it may take.",
        "Make it of fewer or smaller media.",
    )


def _unexpected(error: Exception) -> MediaError:
    return MediaError(
        f"It can't be made ({type(error).__name__}: {error}).",
        "Open the media in another program; report it if they look fine there.",
    )


def main() -> None:
    """Serve the process that started this one."""
    with contextlib.suppress(OSError, EOFError), Connection(os.dup(0)) as connection:
        serve(connection)
    os._exit(0)  # decoders may hold threads that never end
