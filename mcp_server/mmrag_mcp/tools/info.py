"""library_info: what the library holds."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated

from mcp_types import CallToolResult

from mmrag_mcp import rendering
from mmrag_mcp.calls import Ctx
from mmrag_mcp.results import LibraryInfoResult, Models, TakenAt
from mmrag_mcp.tools.base import MediaTool, answer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.untrusted import escape_media_text


class LibraryInfo(MediaTool):
    """The tool that says what can be asked for."""

    name = "library_info"
    title = "What the library holds"

    async def run(self, ctx: Ctx) -> Annotated[CallToolResult, LibraryInfoResult]:
        """Say what the library holds: how many images and videos, dates, folders, cameras, models.

        Fast. Call it first when you don't know what can be asked for.
        """
        call = self.call(ctx, "counting")
        result = await call.run(call.in_thread(lambda: _info(self.warm), light=True))
        return answer(result, rendering.info_text)


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
