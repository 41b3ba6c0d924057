"""browse_media: what there is, by month, place, folder and more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from mcp_types import CallToolResult
from pydantic import BeforeValidator, Field

from mmrag_mcp import rendering
from mmrag_mcp.arguments import (
    Camera,
    Cursor,
    Folder,
    HasText,
    OnlyKind,
    Since,
    Until,
    as_date,
    as_kind,
)
from mmrag_mcp.calls import Ctx
from mmrag_mcp.cursors import cursor_to, place_in
from mmrag_mcp.results import (
    PATH_CHARS,
    BrowseMediaResult,
    FacetResult,
    ListedResult,
    date_only,
)
from mmrag_mcp.tools.base import MediaTool, answer, filters_of, given
from mmrag_plugin.untrusted import escape_media_text

if TYPE_CHECKING:
    from mmrag_plugin.filters import Filters
    from mmrag_plugin.library import MediaLibrary

_PERIODS = ("year", "month", "day")
_LABEL_CHARS = 200
_By = Literal[
    "year", "month", "day", "place", "country", "city", "folder", "kind", "camera", "person", "tag"
]


class BrowseMedia(MediaTool):
    """The tool that looks through a library without a question."""

    name = "browse_media"
    title = "Look through the library"

    async def run(
        self,
        ctx: Ctx,
        by: Annotated[_By, Field(description="What to count or list by.")] = "month",
        value: Annotated[
            Annotated[str, Field(max_length=500)] | None,
            BeforeValidator(lambda value: str(value) if value else None),
            Field(description="List the media of this one, like 2019-05 or Lisbon."),
        ] = None,
        examples: Annotated[
            int, Field(ge=0, le=5, description="How many media ids to give with each count.")
        ] = 0,
        limit: Annotated[int, Field(ge=1, le=100, description="How many to return.")] = 30,
        cursor: Cursor = None,
        kind: OnlyKind = None,
        since: Since = None,
        until: Until = None,
        folder: Folder = None,
        camera: Camera = None,
        has_text: HasText = None,
    ) -> Annotated[CallToolResult, BrowseMediaResult]:
        """Count the media of each month, place, folder, camera or person; or list those of one.

        Fast and exact: for "how many", "from when", "which places", and to see what there is.
        Without value it counts; with value it lists media, newest first. To find something by what
        it shows use search_media.
        """
        call = self.call(ctx, "counting")
        where = given(kind=kind, since=since, until=until, camera=camera, has_text=has_text)
        asked = {"tool": self.name, "by": by, "value": value, "folder": folder, **where}

        def work() -> BrowseMediaResult:
            library = self.warm.open()
            library_id = library.ledger.fact("id")
            filters = filters_of(library, folder, where)
            place = place_in(cursor, library_id, asked) if cursor else None
            if value is None:
                inside = folder if by == "folder" else None
                result, after = _counted(
                    library, by, filters, inside, limit, int(place or 0), examples
                )
            else:
                result, after = _listed(library, by, value, filters, limit, place)
            if after is not None:
                result.next_cursor = cursor_to(after, library_id, asked)
            return result

        return answer(await call.run(call.in_thread(work, light=True)), rendering.browse_text)


def _counted(
    library: MediaLibrary,
    by: _By,
    filters: Filters | None,
    folder: str | None,
    limit: int,
    offset: int,
    examples: int,
) -> tuple[BrowseMediaResult, str | None]:
    found = library.browse(
        by, filters, folder=folder, limit=limit, offset=offset, examples=examples
    )
    values = [
        FacetResult(
            label=escape_media_text(value.label, _LABEL_CHARS),
            count=value.count,
            media_ids=list(value.media_ids),
        )
        for value in found.values
    ]
    result = BrowseMediaResult(by=by, values=values, total=found.total, without=found.without)
    after = offset + len(values)
    return result, str(after) if after < found.distinct else None


def _listed(
    library: MediaLibrary,
    by: _By,
    value: str,
    filters: Filters | None,
    limit: int,
    place: str | None,
) -> tuple[BrowseMediaResult, str | None]:
    if by in _PERIODS:
        value = str(as_date(value))
    elif by == "kind":
        value = str(as_kind(value))
    found = library.browse_media(filters, by=by, value=value, limit=limit, after=place)
    media = [
        ListedResult(
            media_id=row.media_id,
            kind=row.kind,
            path=escape_media_text(row.path, PATH_CHARS),
            taken_at=date_only(row.taken_at),
        )
        for row in found.media
    ]
    return BrowseMediaResult(by=by, value=value, media=media, total=found.total), found.next
