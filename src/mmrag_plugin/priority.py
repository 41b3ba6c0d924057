"""Let work that takes minutes give way to what a person waits for, such as a search beside it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

STEPS_BACK = 10  # of the 19 that there are; such work still gets a tenth of a busy processor

_T = TypeVar("_T")
_usual: list[ThreadPoolExecutor] = []  # one, once this process gives way


def give_way() -> None:
    """Lower the priority of this thread and of what it starts, for good.

    For a process that does nothing else: a thread that others wait for must not give way. Linux
    counts priorities by thread, and so one is kept that ``at_usual_priority`` uses; elsewhere
    nothing happens.
    """
    if not sys.platform.startswith("linux") or _usual:
        return
    _usual.append(ThreadPoolExecutor(1, thread_name_prefix="mmrag-usual-priority"))
    _usual[0].submit(
        threading.get_native_id
    ).result()  # its thread begins before this one gives way
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, min(19, os.getpriority(os.PRIO_PROCESS, 0) + STEPS_BACK))


def at_usual_priority(work: Callable[[], _T]) -> _T:
    """Do something with the priority that the process had at first, as a process inherits it."""
    return _usual[0].submit(work).result() if _usual else work()
