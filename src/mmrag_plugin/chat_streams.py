"""An answer of a conversation that is still being given.

The model is listened to beside whoever reads the answer: a turn ends on its own, even if nobody
reads it, and stops at once when the reader stops.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.chat_engine.types import StreamingAgentChatResponse
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.events.chat_engine import (
    StreamChatDeltaReceivedEvent,
    StreamChatEndEvent,
    StreamChatErrorEvent,
    StreamChatStartEvent,
)
from llama_index.core.schema import NodeWithScore

from mmrag_plugin.errors import UsageError
from mmrag_plugin.tracing import carried

_dispatcher = get_dispatcher(__name__)


class ChatStream(StreamingAgentChatResponse):
    """LlamaIndex's streaming response, without its busy waiting, and it can be stopped.

    Read ``response_gen`` of ``stream_chat``, ``async_response_gen()`` of ``astream_chat``; both
    raise what went wrong at the model. Closing the generator, or ``cancel()``, takes the turn back.
    ``response`` is what was said so far; ``metadata`` is as of ``MediaChatEngine.chat``.
    """

    def __init__(
        self,
        source_nodes: list[NodeWithScore],
        metadata: dict[str, Any],
        release: Callable[[], None],
    ) -> None:
        """``release`` is called once, when the turn is over, whichever way it ends."""
        super().__init__(source_nodes=source_nodes)
        self.metadata = metadata
        self._release = release
        self._claim = threading.Lock()
        self._over = False
        self._task: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return self.response

    def cancel(self) -> None:
        """Stop, and leave the conversation as it was; nothing where the answer is whole."""
        if self._ends():
            self._release()
        if self._task is not None:
            self._task.cancel()

    # ---- in threads ---------------------------------------------------------------------------

    def listen(self, pieces: Generator[str, None, None], finish: Callable[[str], None]) -> None:
        """Take the pieces in a thread of their own; ``finish`` keeps the whole answer."""
        listen = carried(self._listen)
        thread = threading.Thread(target=listen, args=(pieces, finish), daemon=True)
        self.write_response_to_history_thread = thread
        thread.start()

    def _listen(self, pieces: Generator[str, None, None], finish: Callable[[str], None]) -> None:
        _dispatcher.event(StreamChatStartEvent())
        try:
            with closing(pieces):
                for piece in pieces:
                    if self._over:
                        return
                    self._say(piece)
                    self.queue.put(piece)
            if self._ends():
                try:
                    finish(self._settled())
                finally:
                    self._release()
        except Exception as error:
            self._fail(error)
        finally:
            self.is_done = True
            _dispatcher.event(StreamChatEndEvent())
            self.queue.put(None)

    @property
    def response_gen(self) -> Generator[str, None, None]:
        """The pieces of the answer, as they come."""
        if self._task is not None:
            raise UsageError("This answer is an async one.", "Iterate over async_response_gen().")
        return self._pieces()

    def _pieces(self) -> Generator[str, None, None]:
        try:
            while (piece := self.queue.get()) is not None:
                yield piece
            self.queue.put(None)  # for whoever asks again
            if self.write_response_to_history_thread is not None:  # a program may end here
                self.write_response_to_history_thread.join()
            if self.exception is not None:
                raise self.exception
        finally:
            self.cancel()

    # ---- on an event loop ---------------------------------------------------------------------

    async def alisten(
        self, pieces: AsyncGenerator[str, None], finish: Callable[[str], Awaitable[None]]
    ) -> None:
        """Take the pieces in a task; ``finish`` keeps the whole answer."""
        self.aqueue = asyncio.Queue()
        self._task = asyncio.create_task(self._alisten(pieces, finish))
        try:
            await asyncio.sleep(0)  # a task that is cancelled before it began closes nothing
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _alisten(
        self, pieces: AsyncGenerator[str, None], finish: Callable[[str], Awaitable[None]]
    ) -> None:
        assert self.aqueue is not None
        _dispatcher.event(StreamChatStartEvent())
        try:
            async with aclosing(pieces):
                async for piece in pieces:
                    self._say(piece)
                    self.aqueue.put_nowait(piece)
            if self._ends():
                try:
                    await to_its_end(finish(self._settled()))
                finally:
                    self._release()
        except Exception as error:
            self._fail(error)
        finally:
            if self._ends():  # cancelled with its loop
                self._release()
            self.is_done = True
            self.aqueue.put_nowait(None)
            _dispatcher.event(StreamChatEndEvent())

    async def async_response_gen(self) -> AsyncGenerator[str, None]:
        """The pieces of the answer, as they come."""
        if self.aqueue is None or self._task is None:
            raise UsageError("This answer is no async one.", "Iterate over response_gen.")
        try:
            while (piece := await self.aqueue.get()) is not None:
                yield piece
            self.aqueue.put_nowait(None)
            if self.exception is not None:
                raise self.exception
        finally:
            self.cancel()

    # ---- both ---------------------------------------------------------------------------------

    def _say(self, piece: str) -> None:
        self.response += piece
        self.unformatted_response += piece
        _dispatcher.event(StreamChatDeltaReceivedEvent(delta=piece))

    def _settled(self) -> str:
        self.response = self.response.strip()
        return self.response

    def _fail(self, error: Exception) -> None:
        self.exception = error
        _dispatcher.event(StreamChatErrorEvent(exception=error))
        if self._ends():
            self._release()

    def _ends(self) -> bool:
        """Whether the turn ends here: true for one caller, who decides what becomes of it."""
        with self._claim:
            first, self._over = not self._over, True
            return first


async def to_its_end(work: Awaitable[None]) -> None:
    """Await what must not stop half-way, also when the waiting is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
