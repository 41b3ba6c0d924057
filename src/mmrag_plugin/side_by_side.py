"""Do several things that mostly wait at once, each in a thread, and get all their results."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

_THREADS = 32  # of all callers together; more work than that waits
_T = TypeVar("_T")


def side_by_side(works: Sequence[Callable[[], _T]]) -> list[_T]:
    """Run all, the last in this thread; their results in order.

    Each sees the context variables of the caller. All have ended on return, also where one raises:
    the error is the first one's in order. A work must not call this itself: it would wait for a
    thread while it holds one.
    """
    if not works:
        return []
    *others, last = works
    started = [_pool().submit(contextvars.copy_context().run, work) for work in others]
    try:
        result = last()
    except Exception:
        wait(started)
        for other in started:
            other.result()  # one that comes before it in order
        raise
    wait(started)
    return [*(other.result() for other in started), result]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="mmrag-side-by-side")
