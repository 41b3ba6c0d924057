"""describe_media: a vision model describes one media."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp_types import CallToolResult
from pydantic import Field

from mmrag_mcp import rendering
from mmrag_mcp.arguments import MediaId, Time
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import ANSWER_CHARS, DescribeMediaResult
from mmrag_mcp.tools.base import MediaTool, answer, moment_of, row_of
from mmrag_plugin.untrusted import escape_media_text


class DescribeMedia(MediaTool):
    """The tool that looks at one photo, video or moment."""

    name = "describe_media"
    title = "Describe a photo or video"

    async def run(
        self,
        ctx: Ctx,
        media_id: MediaId,
        question: Annotated[
            Annotated[str, Field(max_length=2_000)] | None,
            Field(description="What to find out about it; without one it is described."),
        ] = None,
        detail: Annotated[
            Literal["short", "normal", "long"], Field(description="How much to say.")
        ] = "normal",
        start: Annotated[
            Time, Field(description="Of a video: where to begin, like 0:05 or 5.2.")
        ] = None,
        end: Annotated[
            Time, Field(description="Of a video: where to stop, like 0:09 or 9.4.")
        ] = None,
    ) -> Annotated[CallToolResult, DescribeMediaResult]:
        """Have the vision model on this machine look at one media and describe it or answer.

        For a photo, a video or a part of a video that search_media found. Slow (it may take a
        minute), needs Ollama; get_media is fast and often enough. About many media: ask_media.
        """
        call = self.call(ctx, "opening the media")

        def prepare() -> tuple[Any, ...]:
            library = self.warm.open()
            row = row_of(library, media_id)
            moment = moment_of(row, start, end)
            pictures, words = library.moment_pictures(moment), library.words_of(moment)
            from mmrag_plugin.describing import adescribe

            return adescribe, library.vlm(), pictures, words, library.settings.vlm

        async def work() -> DescribeMediaResult:
            describe, vlm, pictures, known, model = await call.in_thread(prepare)
            call.doing = f"waiting for {model}"
            text = await describe(
                vlm, pictures, detail=detail, known=known, question=question or ""
            )
            return DescribeMediaResult(
                media_id=media_id,
                answer=escape_media_text(text, ANSWER_CHARS),
                model=model,
                warnings=[],
            )

        return answer(await call.run(work()), rendering.describe_text)
