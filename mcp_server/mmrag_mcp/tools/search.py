"""search_media: moments by what they show and say."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult

from mmrag_mcp import rendering
from mmrag_mcp.arguments import (
    Camera,
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
from mmrag_mcp.results import SearchMediaResult, hit_results, understood
from mmrag_mcp.tools.base import MediaTool, answer, filters_of, given


class SearchMedia(MediaTool):
    """The tool that most questions begin with."""

    name = "search_media"
    title = "Search photos and videos"

    async def run(
        self,
        ctx: Ctx,
        query: Query,
        limit: Limit = 10,
        kind: OnlyKind = None,
        since: Since = None,
        until: Until = None,
        folder: Folder = None,
        camera: Camera = None,
        has_text: HasText = None,
        min_confidence: MinConfidence = "none",
    ) -> Annotated[CallToolResult, SearchMediaResult]:
        """Find photos, screenshots and moments of videos by what they show and say.

        Searches pictures, text in pictures, captions, subtitles, names, dates and cameras at once.
        Dates and names in the query become filters ("receipts from Lisbon last spring"), as do
        "exact words", -unwanted and one:year. Returns ranked moments, each with a media_id for the
        other tools, and why it matched.
        """
        call = self.call(ctx)
        where = given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)

        async def work() -> SearchMediaResult:
            library = await call.library()
            call.doing = "searching"
            found = await call.in_thread(
                lambda: library.search_question(
                    query,
                    limit=limit,
                    filters=filters_of(library, folder, where),
                    min_confidence=min_confidence,
                )
            )
            return SearchMediaResult(
                query=query,
                hits=hit_results(found.hits),
                count=found.count,
                understood=understood(found.plan),
                warnings=found.warnings,
            )

        return answer(await call.run(work()), rendering.search_text)
