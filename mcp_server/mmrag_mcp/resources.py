"""What can be read as a resource: the library's facts, each media, its pictures and clips."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError

from mmrag_mcp import rendering
from mmrag_mcp.arguments import as_time
from mmrag_mcp.calls import Call, Ctx
from mmrag_mcp.tools.base import moment_of, row_of, time_of
from mmrag_mcp.tools.get import bounded_picture, details
from mmrag_mcp.tools.info import info
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import NotFound, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.library import MediaLibrary

LIBRARY_URI = "mmrag://library"
THUMBNAIL_PX = 320
CLIP_BYTES = 4_000_000  # some clients drop a connection over which more comes at once
CLIPS_AT_ONCE = 2  # as many as are made at once
_ID = re.compile(r"[0-9a-f]{1,32}(?:-\d{1,9})?")

_T = TypeVar("_T")


class Resources:
    """The resources over one library."""

    def __init__(self, warm: WarmLibrary, limiter: anyio.CapacityLimiter) -> None:
        self._warm, self._limiter = warm, limiter
        self._clips = anyio.CapacityLimiter(CLIPS_AT_ONCE)  # others wait, and take no thread

    def add_to(self, server: MCPServer[Any]) -> None:
        """Have a server list them."""
        server.resource(
            LIBRARY_URI,
            name="library",
            title="What the library holds",
            description="Counts, dates, folders, people, models, and how to phrase a search.",
        )(self.library)
        media = f"mmrag://media/{'{id}'}"
        for function, uri, title, mime_type in (
            (self.media, media, "All that is known about a media", "text/plain"),
            (self.thumbnail, f"{media}/thumbnail", "A small picture of a media", "image/jpeg"),
            (self.frame, f"{media}/frame/{{time}}", "A video's picture at a time", "image/jpeg"),
            (self.clip, f"{media}/clip/{{span}}", "A part of a video as a small MP4", "video/mp4"),
        ):
            server.resource(
                uri,
                name=function.__name__,
                title=title,
                description=" ".join((function.__doc__ or "").split()),
                mime_type=mime_type,
            )(function)

    async def library(self) -> str:
        """Counts, dates, folders, people, models, and how to phrase a search."""
        call = Call(self._warm, self._limiter, None)  # what has no parameters gets no context
        facts = call.in_thread(lambda: rendering.info_text(info(self._warm)), light=True)
        return await _read(call, facts)

    async def media(self, id: str, ctx: Ctx) -> str:
        """All that is known about a media, as text. The id comes from a tool's result."""
        return await self._of(
            ctx, id, lambda library, row: rendering.media_text(details(library, row)), light=True
        )

    async def thumbnail(self, id: str, ctx: Ctx) -> bytes:
        """A JPEG of 320 pixels, without metadata."""
        return await self._of(
            ctx,
            id,
            lambda library, row: library.thumbnail(row.media_id, long_side_px=THUMBNAIL_PX),
        )

    async def frame(self, id: str, time: str, ctx: Ctx) -> bytes:
        """A JPEG of up to 1024 pixels at a time like 0:05 or 5.2."""
        return await self._of(
            ctx,
            id,
            lambda library, row: bounded_picture(library, row.media_id, _time(row, time)),
        )

    async def clip(self, id: str, span: str, ctx: Ctx) -> bytes:
        """An MP4 of up to 4 MB of a span like 0:05-0:09; longer spans are shortened."""
        stop = threading.Event()

        def make(library: MediaLibrary, row: MediaRow) -> bytes:
            part = moment_of(row, span, None)
            return library.preview(
                row.media_id,
                part.start_s,
                part.end_s,
                max_bytes=CLIP_BYTES,
                stopped=stop.is_set,
            )

        try:
            return await self._of(ctx, id, make, turn=self._clips)
        finally:
            stop.set()  # of a call that was cancelled, the thread goes on until it hears of it

    async def _of(
        self,
        ctx: Ctx,
        media_id: str,
        make: Callable[[MediaLibrary, MediaRow], _T],
        *,
        light: bool = False,
        turn: anyio.CapacityLimiter | None = None,
    ) -> _T:
        """Make something of a media, with progress, in a thread that a cancelled call leaves."""
        call = Call(self._warm, self._limiter, ctx)

        def work() -> _T:
            if not _ID.fullmatch(media_id):
                raise NotFound("There is no such media.", "Take a media_id from search_media.")
            library = self._warm.open()
            return make(library, row_of(library, media_id))

        async def in_turn() -> _T:
            call.doing = "waiting for others that are shown"
            async with turn or contextlib.nullcontext():
                call.doing = "opening the media"
                return await call.in_thread(work, light=light)

        return await _read(call, in_turn())


async def _read(call: Call, work: Awaitable[_T]) -> _T:
    """Await what is read, with progress; what goes wrong becomes an error about a resource."""
    try:
        return await call.run(work)
    except ToolError as error:
        if isinstance(error.__cause__, (NotFound, UsageError)):
            raise ResourceNotFoundError(str(error)) from error
        raise ResourceError(str(error)) from error


def _time(row: MediaRow, time: str) -> float | None:
    return time_of(row, str(as_time(time)))
