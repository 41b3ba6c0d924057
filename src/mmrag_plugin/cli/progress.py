"""Progress bars: stage, rate and time left."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from mmrag_plugin.indexing import Progress
from mmrag_plugin.media import Stage

BAR_FITS_COLUMNS = 60  # of a terminal; on a narrower one numbers and time left matter more
_LABELS: dict[Stage, str] = {
    "scan": "looking through folders",
    "read": "reading what is written",
    "embed": "looking at pictures",
    "ocr": "reading text in pictures",
    "caption": "describing",
    "speech": "listening",
}


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="dim")


class IndexBars(Progress):
    """Bars for one indexing run; on a pipe it is silent, the report follows anyway."""

    def __init__(self, console: Console) -> None:
        columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}")]
        if console.width >= BAR_FITS_COLUMNS:
            columns += [BarColumn(bar_width=None)]
        columns += [MofNCompleteColumn()]
        if console.width >= BAR_FITS_COLUMNS:
            columns += [_Rate()]
        columns += [TimeRemainingColumn(compact=True)]
        self._bars = Bars(*columns, console=console, disable=not console.is_terminal)
        self._tasks: dict[Stage, TaskID] = {}

    def __enter__(self) -> IndexBars:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.live.transient = kind is not None  # bars of what was broken off tell nothing
        self._bars.stop()

    def begin(self, stage: Stage, total: int) -> None:
        """Show a stage's bar, or give it more to do."""
        if stage not in self._tasks:
            if total or stage == "scan":
                self._tasks[stage] = self._bars.add_task(_LABELS[stage], total=total or None)
        elif total:
            task = self._bars.tasks[self._tasks[stage]]
            self._bars.update(self._tasks[stage], total=(task.total or 0) + total)

    def advance(self, stage: Stage, count: int) -> None:
        """Move a stage's bar."""
        if stage in self._tasks:
            self._bars.advance(self._tasks[stage], count)

    def end(self, stage: Stage) -> None:
        """Fill a bar whose length was not known."""
        if stage in self._tasks:
            task = self._bars.tasks[self._tasks[stage]]
            if task.total is None:
                self._bars.update(self._tasks[stage], total=task.completed)
