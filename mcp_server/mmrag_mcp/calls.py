"""How a tool call does its work: off the event loop, with progress, cancelled at once."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from mmrag_mcp.warming import WarmLibrary, import_llama_index, without_home
from mmrag_plugin.errors import MmragError

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

Ctx = Context[Any, Any]
_T = TypeVar("_T")

THREADS = 8  # that calls wait for at once
_POOL = ThreadPoolExecutor(4 * THREADS, "mmrag-call")  # with those that nobody waits for any more
PROGRESS_EVERY_S = 1.0


class Call:
    """One call of a tool; ``doing`` is what its progress notifications say, if it has a context."""

    def __init__(self, warm: WarmLibrary, limiter: anyio.CapacityLimiter, ctx: Ctx | None) -> None:
        self._warm, self._limiter, self._ctx = warm, limiter, ctx
        self.doing = ""

    async def library(self) -> MediaLibrary:
        """The library with everything loaded; an early call waits for it."""
        return await asyncio.wrap_future(self._warm.warm())

    async def in_thread(self, work: Callable[[], _T], *, light: bool = False) -> _T:
        """Do blocking work in a thread, which a cancelled call leaves to itself.

        ``light`` work asks the ledger alone, and waits for no import.
        """

        def done() -> _T:
            if not light:
                import_llama_index()
            return work()

        return await in_bounded_thread(done, self._limiter)

    async def run(self, work: Awaitable[_T]) -> _T:
        """Await the work of a tool, telling the client now and then that it goes on.

        Raises ToolError with message and remedy of what mmrag raises; anything else is a crash,
        which the SDK logs and keeps to itself.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:
            if self._ctx is not None:
                tasks.start_soon(self._report, self._ctx)
            try:
                result = await work
            except Exception as error:  # a task group would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if isinstance(failure, MmragError):
            opened = self._warm.opened
            shown = failure if opened is None else without_home(failure, opened.settings.home)
            raise ToolError(str(shown)) from failure
        if failure is not None:
            raise failure
        return result

    async def _report(self, ctx: Ctx) -> None:
        began = time.monotonic()
        while True:
            await anyio.sleep(PROGRESS_EVERY_S)
            elapsed_s = round(time.monotonic() - began, 1)
            doing = self._warm.phase or self.doing
            await ctx.report_progress(elapsed_s, None, f"{doing} ({elapsed_s:.0f} s)")


async def in_bounded_thread(work: Callable[[], _T], limiter: anyio.CapacityLimiter) -> _T:
    """Do blocking work in a thread; cancelling leaves it to itself, or out if it has not begun.

    anyio's own would start a thread for every call, as often as somebody calls and cancels.
    """
    async with limiter:
        return await asyncio.wrap_future(_POOL.submit(contextvars.copy_context().run, work))
