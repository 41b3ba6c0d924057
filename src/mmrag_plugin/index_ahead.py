"""Iterators that run ahead of who consumes them, in threads, and never further than a bound."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Generic, TypeVar

from mmrag_plugin.tracing import carried

_T = TypeVar("_T")
_R = TypeVar("_R")


class _ClosedError(Exception):
    """Nobody listens any more."""


class _Stream(Generic[_R]):
    """Results on their way from one thread to another, at most ``size`` at once."""

    def __init__(self, size: int) -> None:
        self._room = threading.Semaphore(size)
        self._results: SimpleQueue[tuple[list[_R], BaseException | None]] = SimpleQueue()
        self._is_closed = False

    def fill(self, results: Callable[[], Iterable[_R]]) -> None:
        """Send all of some results, and what is raised on the way, until nobody listens."""
        ending: BaseException | None = None
        try:
            with _ended_with(results()) as found:
                for result in found:
                    self._room.acquire()
                    if self._is_closed:
                        break
                    self._results.put(([result], None))
        except BaseException as error:  # it belongs to who waits for the results
            ending = error
        self._results.put(([], ending or _ClosedError()))

    def close(self) -> None:
        """Have the other side send no more."""
        self._is_closed = True
        self._room.release()

    def __iter__(self) -> Generator[_R, None, None]:
        while True:
            results, ending = self._results.get()
            if isinstance(ending, _ClosedError):
                return
            if ending is not None:
                raise ending
            yield from results
            self._room.release()


@contextmanager
def _ended_with(results: Iterable[_R]) -> Iterator[Iterable[_R]]:
    """Close an iterator, if it is one that can be closed, in the thread that goes through it."""
    try:
        yield results
    finally:
        if isinstance(results, Generator):
            results.close()


def ahead(results: Iterable[_R], size: int) -> Generator[_R, None, None]:
    """Iterate in a thread of its own, which is at most ``size`` results ahead."""
    yield from each_ahead(lambda all_of_them: all_of_them, [results], threads=1, pieces=size)


def each_ahead(
    work: Callable[[_T], Iterable[_R]],
    items: Iterable[_T],
    *,
    threads: int,
    waiting: int = 1,
    pieces: int = 1,
) -> Generator[_R, None, None]:
    """Yield what ``work`` yields of each item, in the order of the items.

    So many ``threads`` work on as many items; up to ``waiting`` items are begun or done ahead, and
    up to ``pieces`` results of each. What one raises is raised when its turn comes. Closing this
    iterator ends the threads once what they are at is done.
    """
    begun: deque[_Stream[_R]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="mmrag-ahead") as pool:

        def begin(item: _T) -> None:
            begun.append(stream := _Stream[_R](pieces))
            pool.submit(carried(stream.fill), lambda: work(item))

        try:
            for item in items:
                begin(item)
                if len(begun) >= waiting:
                    yield from begun[0]
                    begun.popleft()
            while begun:
                yield from begun[0]
                begun.popleft()
        finally:
            for stream in begun:
                stream.close()
            pool.shutdown(wait=False, cancel_futures=True)
