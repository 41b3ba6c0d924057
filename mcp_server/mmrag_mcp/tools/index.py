"""index_media: take a folder in, or bring it up to date."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Annotated

from mcp_types import CallToolResult
from pydantic import Field

from mmrag_mcp.calls import Call, Ctx
from mmrag_mcp.results import PATH_CHARS, Result
from mmrag_mcp.tools.base import MediaTool, answer
from mmrag_plugin.index_report import Progress
from mmrag_plugin.media import Stage
from mmrag_plugin.untrusted import escape_media_text, fenced

if TYPE_CHECKING:
    from mmrag_plugin.index_report import IndexReport

SHOWN = 10  # files that failed, and warnings
_REASON_CHARS = 300
_DOING: dict[Stage, str] = {
    "scan": "looking through folders",
    "read": "reading what is written",
    "embed": "looking at pictures",
    "ocr": "reading text in pictures",
    "caption": "describing",
    "speech": "listening",
}


class FailedFile(Result):
    """A file that can't be read, and what to do about it."""

    path: str = Field(description="Untrusted text.")
    reason: str = Field(description="Quotes untrusted text.")
    remedy: str


class IndexMediaResult(Result):
    """What a run did; counts are media."""

    added: int
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = Field(default=0, description="Files that can't be read.")
    failures: list[FailedFile] = Field(default_factory=list, description="The first of them.")
    warnings: list[str] = Field(default_factory=list)
    notice: str = ""


class IndexMedia(MediaTool):
    """The tool that takes media in."""

    name = "index_media"
    title = "Index a folder"
    writes = True

    async def run(
        self,
        ctx: Ctx,
        folder: Annotated[
            str,
            Field(
                min_length=1,
                max_length=1_000,
                pattern=r"^[^\x00-\x1f]*$",
                description="Its path, or like 'Photos/2019' in a folder that library_info names.",
            ),
        ],
    ) -> Annotated[CallToolResult, IndexMediaResult]:
        """Take a folder of photos and videos in, or bring it up to date after files have changed.

        Only when the person asks for it, or says that files are new: it may take minutes to hours.
        Only folders that the person has allowed. The files are not touched; a call that is
        cancelled keeps what is done.
        """
        call = self.call(ctx, "loading the models")
        stop = threading.Event()

        def work() -> IndexMediaResult:
            from mmrag_plugin.asked_index import index_for

            library = self.warm.open()
            report = index_for(library, folder, self.rights.roots, _Telling(call), stop)
            return _result(report)

        try:
            result = await call.run(call.in_thread(work))
        finally:
            stop.set()  # a call that is cancelled leaves its thread behind
        return answer(result, _text)


class _Telling(Progress):
    """Lets the progress of a call say how far the run is."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._done: dict[Stage, int] = {}
        self._total: dict[Stage, int] = {}

    def begin(self, stage: Stage, total: int) -> None:
        self._total[stage] = self._total.get(stage, 0) + total
        self._tell(stage)

    def advance(self, stage: Stage, count: int) -> None:
        self._done[stage] = self._done.get(stage, 0) + count
        self._tell(stage)

    def note(self, stage: Stage, text: str) -> None:
        self._tell(stage)
        self._call.doing += f" ({text})"

    def waiting(self, text: str) -> None:
        self._call.doing = text or "going on"

    def _tell(self, stage: Stage) -> None:
        done, total = self._done.get(stage, 0), self._total.get(stage, 0)
        of_all = f" of {total}" if total else ""
        self._call.doing = f"{_DOING[stage]}: {done}{of_all}" if done or total else _DOING[stage]


def _result(report: IndexReport) -> IndexMediaResult:
    def safe(text: str, chars: int = _REASON_CHARS) -> str:
        return escape_media_text(text, chars)

    return IndexMediaResult(
        added=report.added,
        updated=report.updated,
        moved=report.moved,
        removed=report.removed,
        unchanged=report.unchanged,
        failed=len(report.failed),
        failures=[
            FailedFile(
                path=safe(problem.path, PATH_CHARS),
                reason=safe(problem.reason),
                remedy=safe(problem.remedy),
            )
            for problem in report.failed[:SHOWN]
        ],
        warnings=[safe(warning) for warning in report.warnings[:SHOWN]],
    )


def _text(result: IndexMediaResult) -> str:
    counts = {
        "added": result.added,
        "updated": result.updated,
        "moved": result.moved,
        "removed": result.removed,
        "unchanged": result.unchanged,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    lines = [f"Indexed: {told or 'nothing is there'}."]
    if result.failed:
        lines.append(f"{result.failed} files can't be read:")
        lines += [
            f"- {fenced(failure.path)}: {fenced(f'{failure.reason} {failure.remedy}')}"
            for failure in result.failures
        ]
        if result.failed > len(result.failures):
            lines.append("mmrag status names the others.")
    lines += [f"Note: {fenced(warning)}" for warning in result.warnings]
    return "\n".join(lines)
