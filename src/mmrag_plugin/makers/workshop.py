"""Make things in another process, which can be stopped, and which a hostile file can't take along.

A decoder that crashes, never ends or eats the memory ends that process only.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from mmrag_plugin.child_process import start_child
from mmrag_plugin.errors import MediaError
from mmrag_plugin.makers.base import Broken, Stopped
from mmrag_plugin.makers.workshop_process import Job, Limits

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mmrag_plugin.makers.workshop_process import main; main()"
)
LOOK_S = 0.1  # how often it is asked whether the work is still wanted
_GRACE_S = 15.0  # how much later than the kernel this side ends a process
_END_S = 5.0


def run(
    job: Job,
    *,
    limits: Limits | None = None,
    tell: Callable[[float], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Any:
    """Do a job in a process of its own and return what it returns.

    ``tell`` hears how much is done; ``stopped`` is asked often and ends the process when it says
    so. Raises what the job raises, Stopped, and Broken where the process did not survive.
    """
    limits = limits or Limits()
    process, connection = _started()
    place: int | None = None
    began = heard = time.monotonic()
    try:
        connection.send((job, limits))
        while time.monotonic() - began < limits.in_all_s:
            heed(stopped)
            if not connection.poll(LOOK_S):
                if time.monotonic() - heard > limits.stall_s + _GRACE_S:
                    raise EOFError  # it hangs in the kernel, say on a drive that is gone
                continue
            what, value = connection.recv()
            heard = time.monotonic()
            if what == "done":
                heed(stopped)
                return value
            if what == "error":
                raise value
            if what == "piece":
                place = value
            elif tell is not None:
                tell(value)
        raise Broken(f"takes longer than the {limits.in_all_s:g} s that it may take", place)
    except (EOFError, ConnectionError):
        if process.poll() is None and time.monotonic() - heard > limits.stall_s:
            process.kill()
        raise Broken(_ended(_status(process), limits), place) from None
    finally:
        connection.close()
        _end(process)


def run_whole(job: Job, path: Path, **more: Any) -> Any:
    """Do a job about one file; a process that did not survive is a MediaError about it."""
    try:
        return run(job, **more)
    except Broken as broken:
        raise MediaError(
            f"{path} {broken.reason}.",
            "Save it anew with another program if something should be made of it.",
            path=str(path),
        ) from None


def heed(stopped: Callable[[], bool] | None) -> None:
    """Raise Stopped where what is made is not wanted any more."""
    if stopped is not None and stopped():
        raise Stopped("It was stopped before it was finished.", "Nothing was written.")


def _started() -> tuple[subprocess.Popen[bytes], Connection]:
    return start_child(_BOOTSTRAP)


def _status(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return -signal.SIGKILL


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process; one that has done its work is gone by itself."""
    if process.poll() is None:
        process.terminate()
    _status(process)


def _ended(status: int, limits: Limits) -> str:
    if status == -signal.SIGALRM:
        return f"takes too long (the limit is {limits.stall_s:g} s without any progress)"
    if status == -signal.SIGKILL:
        return "takes too long, or more memory than there is"
    name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
    return f"makes its decoder crash ({name})"
