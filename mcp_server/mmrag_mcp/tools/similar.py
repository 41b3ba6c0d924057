"""find_similar: what looks like a media, or like a picture that was pasted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field

from mmrag_mcp import pasted, rendering
from mmrag_mcp.app import SHOWN_IN_GALLERY
from mmrag_mcp.arguments import (
    Cursor,
    Folder,
    Limit,
    MediaId,
    OnlyKind,
    Since,
    Time,
    Until,
)
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import FoundResult, hit_results, links_to
from mmrag_mcp.tools.base import (
    MediaTool,
    answer,
    filters_of,
    given,
    page_of,
    row_of,
    time_of,
)
from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.results import SearchResult

_SEEN_PX = 1024
_Picture = Annotated[
    str | None,
    BeforeValidator(lambda value: value or None),
    Field(
        description="Or a picture: base64 or data URI, up to 3 MB; no path, no URL.",
        json_schema_extra={"maxLength": pasted.MAX_CHARS},
    ),
]


class FindSimilar(MediaTool):
    """The tool that is asked with a picture."""

    name = "find_similar"
    title = "Find what looks like a picture"
    meta = SHOWN_IN_GALLERY

    async def run(
        self,
        ctx: Ctx,
        media_id: Annotated[MediaId | None, BeforeValidator(lambda value: value or None)] = None,
        at: Annotated[
            Time, Field(description="If it is a video: the time of the picture, like 0:05.")
        ] = None,
        picture: _Picture = None,
        limit: Limit = 10,
        cursor: Cursor = None,
        kind: OnlyKind = None,
        since: Since = None,
        until: Until = None,
        folder: Folder = None,
    ) -> Annotated[CallToolResult, FoundResult]:
        """Find photos and moments of videos that look like a media, or like a given picture.

        Give media_id or picture, not both. Compares looks alone: for words, names or dates use
        search_media. Returns what search_media does.
        """
        call = self.call(ctx)
        where = given(kind=kind, since=since, until=until)
        shown = hashlib.sha256(picture.encode()).hexdigest() if picture else None
        asked = {"tool": self.name, "id": media_id, "at": at, "picture": shown, "folder": folder}

        def find(library: MediaLibrary, offset: int) -> SearchResult:
            from mmrag_plugin.pictures import open_picture

            filters = filters_of(library, folder, where) or Filters()
            if media_id and picture:
                raise UsageError("There are a media_id and a picture.", "Give one of them.")
            if media_id:
                row = row_of(library, media_id)
                seen = open_picture(
                    library.thumbnail(media_id, time_of(row, at), long_side_px=_SEEN_PX)
                )
                filters = replace(filters, leave_out=frozenset({media_id}))
            elif picture:
                seen = pasted.picture_of(pasted.bytes_of(picture))
            else:
                raise UsageError(
                    "There is nothing to compare with.",
                    "Give a media_id that search_media returned, or a picture as base64.",
                )
            return library.search("", picture=seen, limit=limit, offset=offset, filters=filters)

        async def work() -> FoundResult:
            found, next_cursor = await page_of(call, asked | where, cursor, find)
            return FoundResult(
                hits=hit_results(found.hits), next_cursor=next_cursor, warnings=found.warnings
            )

        result = await call.run(work())
        return answer(result, rendering.found_text, links=links_to(result.hits))
