"""search_media: moments by what they show and say."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult

from mmrag_mcp import rendering
from mmrag_mcp.app import SHOWN_IN_GALLERY
from mmrag_mcp.arguments import (
    Camera,
    Cursor,
    Folder,
    HasText,
    Limit,
    MinConfidence,
    OnlyKind,
    Query,
    Since,
    Until,
)
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import SearchMediaResult, hit_results, links_to, understood
from mmrag_mcp.tools.base import MediaTool, answer, filters_of, given, page_of


class SearchMedia(MediaTool):
    """The tool that most questions begin with."""

    name = "search_media"
    title = "Search photos and videos"
    meta = SHOWN_IN_GALLERY

    async def run(
        self,
        ctx: Ctx,
        query: Query,
        limit: Limit = 10,
        cursor: Cursor = None,
        kind: OnlyKind = None,
        since: Since = None,
        until: Until = None,
        folder: Folder = None,
        camera: Camera = None,
        has_text: HasText = None,
        min_confidence: MinConfidence = "none",
    ) -> Annotated[CallToolResult, SearchMediaResult]:
        """Find photos, screenshots and moments of videos by what they show and say.

        Start here. Searches pictures, text in them, captions, subtitles, speech, names, dates and
        places at once; "receipts from Lisbon last spring", "what happens after the toast", "exact
        words", -unwanted, one:year and in:MEDIA_ID (one video) are understood. Returns ranked
        moments with a media_id for the other tools. To list or count by month, place or folder use
        browse_media; for more like one picture find_similar.
        """
        call = self.call(ctx)
        where = given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)
        asked = {
            "tool": self.name,
            "query": query,
            "folder": folder,
            "min": min_confidence,
            **where,
        }

        async def work() -> SearchMediaResult:
            found, next_cursor = await page_of(
                call,
                asked,
                cursor,
                lambda library, offset: library.search_question(
                    query,
                    limit=limit,
                    offset=offset,
                    filters=filters_of(library, folder, where),
                    min_confidence=min_confidence,
                ),
            )
            return SearchMediaResult(
                hits=hit_results(found.hits),
                next_cursor=next_cursor,
                count=found.count,
                understood=understood(found.plan),
                warnings=found.warnings,
            )

        result = await call.run(work())
        return answer(result, rendering.search_text, links=links_to(result.hits))
