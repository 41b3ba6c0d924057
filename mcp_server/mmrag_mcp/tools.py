"""The tools. Their docstrings and argument descriptions are what the assistant reads."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import anyio
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, ImageContent, TextContent
from pydantic import Field

from mmrag_mcp import rendering
from mmrag_mcp.arguments import (
    Camera,
    Folder,
    HasText,
    Limit,
    MediaId,
    MinConfidence,
    OnlyKind,
    Query,
    Question,
    Since,
    Sources,
    Time,
    Until,
    strict_tool,
)
from mmrag_mcp.calls import THREADS, Call, Ctx
from mmrag_mcp.results import (
    ANSWER_CHARS,
    PATH_CHARS,
    AskMediaResult,
    DescribeMediaResult,
    GetMediaResult,
    LibraryInfoResult,
    Models,
    Result,
    SearchMediaResult,
    SignalResult,
    TakenAt,
    hit_results,
    understood,
)
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import MmragError, NotFound
from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Moment
from mmrag_plugin.pictures import to_jpeg
from mmrag_plugin.timecode import parse_span
from mmrag_plugin.untrusted import escape_media_text

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.library import MediaLibrary

MAX_PICTURE_BYTES = 200_000  # what a client's token limit bears; base64 adds a third
_LONG_SIDES_PX = (1024, 768, 512, 384, 256)

_R = TypeVar("_R", bound=Result)


class Tools:
    """The tools over one library."""

    def __init__(self, warm: WarmLibrary) -> None:
        self._warm = warm
        self._limiter = anyio.CapacityLimiter(THREADS)

    def all(self) -> list[Tool]:
        """Every tool, in the order in which an assistant would meet them."""
        return [
            strict_tool(self.search_media, "Search photos and videos"),
            strict_tool(self.get_media, "Look at one photo or video"),
            strict_tool(self.describe_media, "Describe a photo or video"),
            strict_tool(self.ask_media, "Ask about photos and videos"),
            strict_tool(self.library_info, "What the library holds"),
        ]

    async def search_media(
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
        call = self._call(ctx)
        where = _given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)

        async def work() -> SearchMediaResult:
            library = await call.library()
            call.doing = "searching"
            found = await call.in_thread(
                lambda: library.search_question(
                    query,
                    limit=limit,
                    filters=_filters(library, folder, where),
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

        return _answer(await call.run(work()), rendering.search_text)

    async def get_media(
        self,
        ctx: Ctx,
        media_id: MediaId,
        include_picture: Annotated[
            bool, Field(description="Also return the picture itself, as a small JPEG.")
        ] = False,
        at: Annotated[
            Time, Field(description="Of a video: the time of the picture, like 0:05 or 5.2.")
        ] = None,
    ) -> Annotated[CallToolResult, GetMediaResult]:
        """Get everything known about one photo or video: paths, date, camera, size, all its texts.

        Set include_picture only when you have to see it yourself: pictures cost many tokens.
        """
        call = self._call(ctx)
        call.doing = "opening the media"

        def work() -> tuple[GetMediaResult, list[ImageContent]]:
            library = self._warm.open()
            row = _row(library, media_id)
            result = _details(library, row)
            if not include_picture:
                return result, []
            moment = _moment(row, at, at)
            try:
                picture = _picture(library, moment)
            except MmragError as error:  # what is known is known without the file, too
                result.warnings.append(str(error))
                return result, []
            return result, [picture]

        result, pictures = await call.run(call.in_thread(work))
        return _answer(result, rendering.media_text, pictures)

    async def describe_media(
        self,
        ctx: Ctx,
        media_id: MediaId,
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
        """Have the vision model on this machine describe a photo, a video or a part of a video.

        Slow (it may take a minute) and needs Ollama; get_media is fast and often enough.
        """
        call = self._call(ctx)
        call.doing = "opening the media"

        def prepare() -> tuple[Any, ...]:
            library = self._warm.open()
            row = _row(library, media_id)
            moment = _moment(row, start, end)
            pictures, words = library.moment_pictures(moment), library.words_of(moment)
            from mmrag_plugin.describing import adescribe

            return adescribe, library.vlm(), pictures, words, library.settings.vlm

        async def work() -> DescribeMediaResult:
            describe, vlm, pictures, known, model = await call.in_thread(prepare)
            call.doing = f"waiting for {model}"
            text = await describe(vlm, pictures, detail=detail, known=known)
            return DescribeMediaResult(
                media_id=media_id,
                answer=escape_media_text(text, ANSWER_CHARS),
                model=model,
                warnings=[],
            )

        return _answer(await call.run(work()), rendering.describe_text)

    async def ask_media(
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

        The answer cites its sources as [1], [2]. Dates and names in the question become filters.
        Slow and needs Ollama; if you can look at
        pictures yourself, search_media and get_media give you more control.
        """
        call = self._call(ctx)
        where = _given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)

        async def work() -> AskMediaResult:
            library = await call.library()
            call.doing = f"waiting for {library.settings.vlm}"
            engine = await call.in_thread(
                lambda: library.as_query_engine(
                    limit=limit, filters=_filters(library, folder, where)
                )
            )
            answer = await engine.aask(question)
            return AskMediaResult(
                answer=escape_media_text(answer.text, ANSWER_CHARS),
                sources=hit_results(answer.sources),
                model=answer.model,
                warnings=list(answer.warnings),
            )

        return _answer(await call.run(work()), rendering.ask_text)

    async def library_info(self, ctx: Ctx) -> Annotated[CallToolResult, LibraryInfoResult]:
        """Say what the library holds: how many images and videos, dates, folders, cameras, models.

        Fast. Call it first when you don't know what can be asked for.
        """
        call = self._call(ctx)
        call.doing = "counting"
        result = await call.run(call.in_thread(lambda: _info(self._warm)))
        return _answer(result, rendering.info_text)

    def _call(self, ctx: Ctx) -> Call:
        return Call(self._warm, self._limiter, ctx)


def _answer(
    result: _R, render: Callable[[_R], str], pictures: Sequence[ImageContent] = ()
) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=render(result)), *pictures],
        structured_content=result.model_dump(mode="json"),
    )


def _given(**arguments: Any) -> dict[str, Any]:
    """What was asked for: assistants also write "" for nothing."""
    return {name: value for name, value in arguments.items() if value not in (None, "")}


def _filters(library: MediaLibrary, folder: str | None, where: dict[str, Any]) -> Filters | None:
    if folder:  # library_info calls a root by its last name
        named = [root for root in library.ledger.roots() if PurePath(root).name == folder]
        where = {**where, "folder": named[0] if len(named) == 1 else folder}
    return Filters(**where) if where else None


def _row(library: MediaLibrary, media_id: str) -> MediaRow:
    row = library.ledger.media_rows([media_id]).get(media_id)
    if row is None:
        raise NotFound(
            f"There is no media {media_id!r} in this library.",
            "Take a media_id from search_media.",
        )
    return row


def _moment(row: MediaRow, start: str | None, end: str | None) -> Moment:
    """The part of a media that is meant; times mean nothing for an image."""
    if row.kind == "image":
        return Moment(row.media_id, row.kind)
    span = parse_span(start, end, duration_s=row.duration_s)
    return Moment(row.media_id, row.kind, *span)


def _picture(library: MediaLibrary, moment: Moment) -> ImageContent:
    ((_, picture),) = library.moment_pictures(moment, 1)
    for long_side_px in _LONG_SIDES_PX:
        jpeg = to_jpeg(picture, long_side_px=long_side_px)
        if len(jpeg) <= MAX_PICTURE_BYTES:
            break
    return ImageContent(type="image", data=base64.b64encode(jpeg).decode(), mime_type="image/jpeg")


def _details(library: MediaLibrary, row: MediaRow) -> GetMediaResult:
    signals: list[SignalResult] = []
    left_chars = rendering.SIGNALS_CHARS
    known = library.ledger.signals_of([row.media_id])[row.media_id]
    for _, signal in known:
        text = escape_media_text(signal.text, min(rendering.SIGNAL_CHARS, max(left_chars, 1)))
        left_chars -= len(text)
        if left_chars < 0:
            break
        signals.append(
            SignalResult(
                source=signal.source,
                text=text,
                start_s=signal.start_s,
                end_s=signal.end_s,
                by_model=signal.source == "caption",
                doubtful=signal.doubtful,
            )
        )
    left_out = len(known) - len(signals)
    return GetMediaResult(
        media_id=row.media_id,
        kind=row.kind,
        paths=[
            escape_media_text(path, PATH_CHARS)
            for path in library.ledger.paths_of([row.media_id])[row.media_id]
        ],
        taken_at=row.taken_at,
        camera=escape_media_text(row.camera),
        width_px=row.width_px,
        height_px=row.height_px,
        duration_s=row.duration_s,
        signals=signals,
        warnings=[f"{left_out} more texts are left out."] if left_out else [],
    )


def _info(warm: WarmLibrary) -> LibraryInfoResult:
    library = warm.open()
    ledger = library.ledger
    counts = ledger.counts()
    first, last = ledger.dates()
    visual, words = library.recorded("visual"), library.recorded("words")
    return LibraryInfoResult.model_validate(
        {
            "library": library.settings.library,
            "media": counts["kinds"],
            "taken_at": TakenAt(first=first, last=last),
            "folders": [PurePath(root).name for root in ledger.roots()],
            "cameras": [escape_media_text(camera) for camera in ledger.cameras_like("") if camera],
            "signals": counts["signals"],
            "models": Models(
                visual=visual.setting if visual else None,
                text=words.setting if words else None,
                vlm=library.settings.vlm,
            ),
            "failed": len(ledger.failures()) + len(ledger.bad_sidecars()),
            "search": warm.state,
            "writer": ledger.lease_holder(),
        }
    )
