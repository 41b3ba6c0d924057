"""get_media: what is known about one media, and its picture on request."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated

from mcp_types import CallToolResult, ImageContent, ResourceLink
from pydantic import Field

from mmrag_mcp import rendering
from mmrag_mcp.arguments import MediaId, Time
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import (
    PATH_CHARS,
    GetMediaResult,
    SignalResult,
    date_only,
    media_uri,
)
from mmrag_mcp.tools.base import MediaTool, answer, row_of, time_of
from mmrag_plugin.errors import MmragError
from mmrag_plugin.untrusted import escape_media_text

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.library import MediaLibrary

MAX_PICTURE_BYTES = 200_000  # what a client's token limit bears; base64 adds a third
_LONG_SIDES_PX = (1024, 768, 512, 384, 256)


class GetMedia(MediaTool):
    """The tool that opens one photo or video."""

    name = "get_media"
    title = "Look at one photo or video"

    async def run(
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
        """Get all that is known about one photo or video: paths, date, camera, size, its texts.

        Fast. Set include_picture only when you have to see it yourself: pictures cost many tokens.
        To have a model look at it instead: describe_media.
        """
        call = self.call(ctx, "opening the media")

        def work() -> tuple[GetMediaResult, list[ImageContent]]:
            library = self.warm.open()
            row = row_of(library, media_id)
            result = details(library, row)
            at_s = time_of(row, at)
            if not include_picture:
                return result, []
            try:
                jpeg = bounded_picture(library, media_id, at_s)
            except MmragError as error:  # what is known is known without the file, too
                result.warnings.append(str(error))
                return result, []
            data = base64.b64encode(jpeg).decode()
            return result, [ImageContent(type="image", data=data, mime_type="image/jpeg")]

        result, pictures = await call.run(call.in_thread(work))
        return answer(result, rendering.media_text, pictures, resources_of(result))


def bounded_picture(library: MediaLibrary, media_id: str, at_s: float | None) -> bytes:
    """A JPEG of a media, of a film at a time, as large as an assistant can take."""
    for long_side_px in _LONG_SIDES_PX:
        jpeg = library.thumbnail(media_id, at_s, long_side_px=long_side_px)
        if len(jpeg) <= MAX_PICTURE_BYTES:
            break
    return jpeg


def resources_of(result: GetMediaResult) -> list[ResourceLink]:
    """Links to what a media looks like."""
    uri = media_uri(result.media_id, "thumbnail")
    return [ResourceLink(uri=uri, name=f"thumbnail of the {result.kind}", mime_type="image/jpeg")]


def details(library: MediaLibrary, row: MediaRow) -> GetMediaResult:
    """Everything that is known about a media."""
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
        taken_at=date_only(row.taken_at),
        camera=escape_media_text(row.camera),
        width_px=row.width_px,
        height_px=row.height_px,
        duration_s=row.duration_s,
        signals=signals,
        warnings=[f"{left_out} more texts are left out."] if left_out else [],
    )
