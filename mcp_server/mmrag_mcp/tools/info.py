"""library_info: what the library holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from mcp_types import CallToolResult

from mmrag_mcp import rendering
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import LibraryInfoResult, Models, TakenAt
from mmrag_mcp.tools.base import MediaTool, answer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.folder_names import root_names
from mmrag_plugin.untrusted import escape_media_text

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

_MOST = 8
_NAME_CHARS = 60


class LibraryInfo(MediaTool):
    """The tool that says what can be asked for."""

    name = "library_info"
    title = "What the library holds"

    async def run(self, ctx: Ctx) -> Annotated[CallToolResult, LibraryInfoResult]:
        """Say what the library holds, from when, which models it has, and how to phrase a search.

        Fast. Call it first when you don't know what can be asked for, and when searches find
        nothing. To count by month, place or person use browse_media.
        """
        call = self.call(ctx, "counting")
        result = await call.run(call.in_thread(lambda: info(self.warm), light=True))
        return answer(result, rendering.info_text)


def info(warm: WarmLibrary) -> LibraryInfoResult:
    """What a library holds, counted by the ledger."""
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
            "folders": list(root_names(ledger.roots()).values()),
            "cameras": _most(library, "camera"),
            "years": {value.label: value.count for value in library.browse("year").values},
            "places": _most(library, "place"),
            "people": _most(library, "person"),
            "signals": counts["signals"],
            "models": Models(
                visual=visual.setting if visual else None,
                text=words.setting if words else None,
                vlm=library.settings.vlm,
            ),
            "failed": len(ledger.failures()) + len(ledger.bad_sidecars()),
            "search": warm.state,
            "how_to_search": _phrasing(
                set(counts["signals"]),
                visual.setting if visual else "",
                words.setting if words else "",
                ledger.roots(),
            ),
            "writer": ledger.lease_holder(),
        }
    )


def _most(library: MediaLibrary, by: Literal["camera", "place", "person"]) -> list[str]:
    """The values that most media have."""
    found = library.browse(by, limit=_MOST).values
    return [escape_media_text(" ".join(value.label.split()), _NAME_CHARS) for value in found]


def _phrasing(signals: set[str], sight: str, words: str, roots: Sequence[str]) -> list[str]:
    """How to ask this library for something, by what it has."""
    if sight == "palette":
        said = ["by colour: red and white (its visual model knows colours alone)"]
    else:
        said = ["by what is to be seen: a red car in the snow"]
    if "ocr" in signals:
        said.append('by words in the picture: boarding pass, "gate B42"')
    if "caption" in signals or "annotation" in signals:
        meant = ", in other words too" if words not in ("", "off") else ""
        said.append(f"by what somebody wrote about it{meant}")
    if "subtitle" in signals or "speech" in signals:
        said.append("by what is said in a video")
    said.append("by names of people, places and files, with dates: Lisbon last spring")
    said.append("without something: beach -people; one of each year: one:year birthday")
    if len(roots) > 1:
        said.append("in one folder: its name as the argument folder")
    return said
