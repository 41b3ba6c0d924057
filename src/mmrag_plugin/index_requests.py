"""Requests to a model about pictures: side by side, ahead of their turn, and what fails of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from types import TracebackType
from typing import Any, TypeVar

from mmrag_plugin.errors import (
    MediaError,
    MmragError,
    ModelError,
    OllamaUnavailable,
    RemoteNotAllowed,
    ServiceError,
)
from mmrag_plugin.index_run import Run
from mmrag_plugin.index_shots import Picture, pictures_of
from mmrag_plugin.ledger import MediaRow

COMMIT_S = 5.0  # within which what is answered can be searched
WIND_UP_S = 5.0  # for connections to close
FAILURES_IN_A_ROW = 5  # then it is the model or its server, not the picture

_T = TypeVar("_T")
LOOK_S = 1.0  # how often somebody who waits for an answer looks about


class StoppedError(Exception):
    """The model or its server can't go on, whatever picture comes next."""

    def __init__(self, error: MmragError) -> None:
        super().__init__(error)
        self.error = error


class Requests:
    """Asks up to ``workers`` things at once. Use it as a context manager.

    The loop runs in a thread, so that the caller may be in a loop already. Leaving the block gives
    up what is still under way.
    """

    def __init__(self, workers: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._free = asyncio.Semaphore(workers)
        self._asked: set[Future[Any]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="mmrag-requests", daemon=True
        )

    def __enter__(self) -> Requests:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for request in list(self._asked):
            request.cancel()
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def ask(self, request: Callable[[], Coroutine[Any, Any, _T]]) -> Future[_T]:
        """Begin a request once a place is free; its answer is to come."""

        async def in_turn() -> _T:
            async with self._free:
                return await request()

        asked = asyncio.run_coroutine_threadsafe(in_turn(), self._loop)
        self._asked.add(asked)
        asked.add_done_callback(self._asked.discard)
        return asked

    async def _wind_up(self) -> None:
        """Let what was given up hang up in its own way; what does not is ended."""
        while others := asyncio.all_tasks(self._loop) - {asyncio.current_task()}:
            _, left = await asyncio.wait(others, timeout=WIND_UP_S)
            for task in left:
                task.cancel()
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()


class Asking:
    """Asks about the pictures of media in one run; ``meanwhile`` is called now and then."""

    def __init__(self, run: Run, meanwhile: Callable[[], None]) -> None:
        self.run, self._meanwhile = run, meanwhile
        self.broken: set[str] = set()  # media of which some picture could not be decoded or asked
        self._in_a_row = 0

    def begin(self, check: Callable[[], None]) -> None:
        """Check the model before the first picture. Raises StoppedError."""
        try:
            check()
        except MmragError as error:
            raise StoppedError(error) from error

    def ahead(
        self,
        media_ids: Sequence[str],
        workers: int,
        ask: Callable[[Picture], Future[_T] | None],
    ) -> Iterator[tuple[MediaRow, Picture | None, Future[_T] | None]]:
        """The pictures of media, each with an answer that was asked for ahead; None ends a media.

        While answers are waited for, the next pictures are decoded.
        """
        ahead: list[tuple[MediaRow, Picture | None, Future[_T] | None]] = []
        for media in self.run.rows(media_ids):
            decoded = False
            with self.run.failing("caption", media):
                for picture in pictures_of(self.run, media):
                    ahead.append((media, picture, ask(picture)))
                    if len(ahead) > 2 * workers:
                        yield ahead.pop(0)
                decoded = True
            if not decoded:
                self.broken.add(media.media_id)
            ahead.append((media, None, None))
            if len(ahead) > 2 * workers:
                yield ahead.pop(0)
        yield from ahead

    def answer_of(self, media: MediaRow, answer: Future[_T]) -> _T | None:
        """An answer; None where it fails for this picture, which is noted."""
        try:
            return self.wait(answer)
        except MediaError as error:
            self.broken.add(media.media_id)
            with self.run.failing("caption", media):
                raise error
        return None

    def wait(self, answer: Future[_T]) -> _T:
        """Wait for an answer.

        Raises MediaError when it fails for this picture, StoppedError when it would for any.
        """
        while True:
            try:
                found = answer.result(timeout=min(COMMIT_S, LOOK_S))
            except (OllamaUnavailable, ModelError, RemoteNotAllowed) as error:
                raise StoppedError(error) from error
            except NotYet as error:
                if not answer.done():
                    self._meanwhile()
                    continue
                failure = _failure_of(error)
            except Exception as error:  # any LLM may be asked, and each has errors of its own
                failure = _failure_of(error)
            else:
                self._in_a_row = 0
                return found
            self._in_a_row += 1
            if self._in_a_row >= FAILURES_IN_A_ROW:
                row = f"{self._in_a_row} pictures in a row failed, the last because: "
                raise StoppedError(ServiceError(f"{row}{failure.message}", failure.remedy))
            raise failure


def at_hand(found: _T) -> Future[_T]:
    """An answer that need not be asked for."""
    future: Future[_T] = Future()
    future.set_result(found)
    return future


def _failure_of(error: Exception) -> MediaError:
    if isinstance(error, MmragError):
        return MediaError(error.message, error.remedy)
    return MediaError(
        f"The model failed on this picture ({type(error).__name__}: {error!s:.200}).",
        "Try again with mmrag index --retry, or name another model with --vlm.",
    )
