"""ask_media: a vision model searches, looks and answers."""

from __future__ import annotations

from typing import Annotated

from mcp_types import CallToolResult

from mmrag_mcp import rendering
from mmrag_mcp.app import SHOWN_IN_GALLERY
from mmrag_mcp.arguments import (
    Camera,
    Folder,
    HasText,
    OnlyKind,
    Question,
    Since,
    Sources,
    Until,
)
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import ANSWER_CHARS, AskMediaResult, hit_results, links_to
from mmrag_mcp.tools.base import MediaTool, answer, filters_of, given
from mmrag_plugin.untrusted import escape_media_text


class AskMedia(MediaTool):
    """The tool for assistants that can't look at pictures themselves."""

    name = "ask_media"
    title = "Ask about photos and videos"
    meta = SHOWN_IN_GALLERY

    async def run(
        self,
        ctx: Ctx,
        question: Question,
        limit: Sources = 6,
        kind: OnlyKind = None,
        since: Since = None,
        until: Until = None,
        folder: Folder = None,
        camera: Camera = None,
        has_text: HasText = None,
    ) -> Annotated[CallToolResult, AskMediaResult]:
        """Have the vision model on this machine search, look at what it finds, and answer.

        For a question about many media; its answer cites sources as [1], [2]. Slow, needs Ollama.
        For one media use describe_media with a question; if you can look at pictures yourself,
        search_media and get_media give you more control.
        """
        call = self.call(ctx)
        where = given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)

        async def work() -> AskMediaResult:
            library = await call.library()
            call.doing = f"waiting for {library.settings.vlm}"
            engine = await call.in_thread(
                lambda: library.as_query_engine(
                    limit=limit, filters=filters_of(library, folder, where)
                )
            )
            said = await engine.aask(question)
            return AskMediaResult(
                answer=escape_media_text(said.text, ANSWER_CHARS),
                sources=hit_results(said.sources),
                model=said.model,
                warnings=list(said.warnings),
            )

        result = await call.run(work())
        return answer(result, rendering.ask_text, links=links_to(result.sources))
