"""What every tool has: its names, its hints, its way to the library; and what tools share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import anyio
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ImageContent, ResourceLink, TextContent, ToolAnnotations

from mmrag_mcp.arguments import strict_tool
from mmrag_mcp.calls import Call, Ctx
from mmrag_mcp.cursors import cursor_to, place_in
from mmrag_mcp.results import Result
from mmrag_mcp.rights import Rights
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Moment
from mmrag_plugin.timecode import parse_span

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.results import SearchResult

_SPAN = re.compile("([^-\u2013]+)[-\u2013]([^-\u2013]+)")  # 0:05-0:09, as results show it

_R = TypeVar("_R", bound=Result)


class MediaTool:
    """A tool over one library.

    ``run`` is what the assistant meets: its docstring is the tool's description, its annotated
    arguments the schema of what it takes, and ``Annotated[CallToolResult, R]`` names the model of
    its structured result. A tool that writes is there only where the person allows it.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    writes: ClassVar[bool] = False
    destroys: ClassVar[bool] = False  # may lose something that can't be had back
    repeats_safely: ClassVar[bool] = True  # a second call with the same arguments changes nothing
    meta: ClassVar[dict[str, Any] | None] = None  # for extensions, such as a page that shows it

    def __init__(
        self, warm: WarmLibrary, limiter: anyio.CapacityLimiter, rights: Rights | None = None
    ) -> None:
        self.warm = warm
        self.rights = rights or Rights()
        self._limiter = limiter

    run: Callable[..., Any]

    def as_tool(self) -> Tool:
        """Make the SDK's tool of it."""
        hints = ToolAnnotations(
            read_only_hint=not self.writes,
            destructive_hint=self.destroys,
            idempotent_hint=self.repeats_safely,
            open_world_hint=False,  # only the person's own files
        )
        return strict_tool(self.run, self.name, self.title, hints, self.meta)

    def call(self, ctx: Ctx, doing: str = "") -> Call:
        """Begin a call; ``doing`` is what its progress says at first."""
        call = Call(self.warm, self._limiter, ctx)
        call.doing = doing
        return call


def answer(
    result: _R,
    render: Callable[[_R], str],
    pictures: Sequence[ImageContent] = (),
    links: Sequence[ResourceLink] = (),
) -> CallToolResult:
    """A result as text for a model, as data for a program, and as pictures where asked for."""
    return CallToolResult(
        content=[TextContent(type="text", text=render(result)), *pictures, *links],
        structured_content=result.lean(),
    )


def given(**arguments: Any) -> dict[str, Any]:
    """What was asked for: assistants also write "" for nothing."""
    return {name: value for name, value in arguments.items() if value not in (None, "")}


def filters_of(library: MediaLibrary, folder: str | None, where: dict[str, Any]) -> Filters | None:
    """The filters that a call's arguments mean; library_info calls a root by its last name."""
    if ".." in PurePath(folder or "").parts:  # what lies beside this process is nobody's affair
        raise UsageError(f"{folder!r} is no folder here.", "Name one that library_info lists.")
    if folder:
        named = [root for root in library.ledger.roots() if PurePath(root).name == folder]
        where = {**where, "folder": named[0] if len(named) == 1 else folder}
    return Filters(**where) if where else None


def row_of(library: MediaLibrary, media_id: str) -> MediaRow:
    """The ledger's row of a media. Raises NotFound where there is none."""
    row = library.ledger.media_rows([media_id]).get(media_id)
    if row is None:
        raise NotFound(
            f"There is no media {media_id!r} in this library.",
            "Take a media_id from search_media.",
        )
    return row


def moment_of(row: MediaRow, start: str | None, end: str | None) -> Moment:
    """The part of a media that is meant; times mean nothing for an image."""
    if row.kind == "image":
        return Moment(row.media_id, row.kind)
    if start and not end and (both := _SPAN.fullmatch(start)):
        start, end = both.groups()
    span = parse_span(start, end, duration_s=row.duration_s)
    return Moment(row.media_id, row.kind, *span)


def time_of(row: MediaRow, at: str | None) -> float | None:
    """The time that is meant, the middle of a span; None for an image and for nothing said."""
    if not at or row.kind == "image":
        return None
    both = _SPAN.fullmatch(at)
    start_s, end_s = parse_span(*(both.groups() if both else (at, at)), duration_s=row.duration_s)
    return ((start_s or 0.0) + (end_s or 0.0)) / 2


async def page_of(
    call: Call,
    asked: Mapping[str, object],
    cursor: str | None,
    find: Callable[[MediaLibrary, int], SearchResult],
) -> tuple[SearchResult, str | None]:
    """Search for the page that a cursor marks, and mark the next one.

    ``asked`` is all that must be asked again for the cursor to hold.
    """
    library = await call.library()
    call.doing = "searching"

    def work() -> tuple[SearchResult, str | None]:
        offset = int(place_in(cursor, library.ledger.fact("id"), asked)) if cursor else 0
        found = find(library, offset)
        if found.next_offset is None:
            return found, None
        return found, cursor_to(str(found.next_offset), library.ledger.fact("id"), asked)

    return await call.in_thread(work)
