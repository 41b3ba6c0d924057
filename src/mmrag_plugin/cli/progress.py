"""Progress bars: stage, rate and time left."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType

from rich.console import Console, ConsoleOptions, RenderableType
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
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from mmrag_plugin.cli.console import on_one_line, warn
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


class _WithRoom:
    """Leaves room for the "^C" that a terminal echoes: on a line of its own it shifts the bars."""

    def __init__(self, bars: Table) -> None:
        self._bars = bars

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        return console.render(self._bars, options.update_width(options.max_width - len("^C ")))


class _Bars(Bars):
    def get_renderables(self) -> Iterable[RenderableType]:
        yield _WithRoom(self.make_tasks_table(self.tasks))


def _bars(console: Console) -> Bars:
    """Bars as wide as the terminal; on a pipe none are shown."""
    wide = console.width >= BAR_FITS_COLUMNS
    # on a narrow terminal the label gives way
    label = Column(no_wrap=True, overflow="ellipsis", ratio=None if wide else 1)
    columns: list[ProgressColumn] = [
        SpinnerColumn(),
        TextColumn("{task.description}", table_column=label),
    ]
    if wide:
        columns += [BarColumn(bar_width=None)]
    columns += [MofNCompleteColumn(table_column=Column(no_wrap=True))]
    if wide:
        columns += [_Rate()]
    columns += [TimeRemainingColumn(compact=True)]
    return _Bars(*columns, console=console, disable=not console.is_terminal, expand=not wide)


class StepBars:
    """A bar for each step of something that is no indexing run."""

    def __init__(self, console: Console) -> None:
        self._bars = _bars(console)
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> StepBars:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._bars.live.transient = kind is not None
        self._bars.stop()

    def begin(self, step: str, total: int | None) -> None:
        """Show a step's bar, or begin it again; its length may not be known."""
        if step in self._tasks:
            self._bars.reset(self._tasks[step], total=total)
        else:
            self._tasks[step] = self._bars.add_task(step, total=total)

    def advance(self, step: str, count: int) -> None:
        """Move a step's bar."""
        self._bars.advance(self._tasks[step], count)

    def note(self, text: str) -> None:
        """Say something above the bars."""
        if text:
            warn([text])


class IndexBars(Progress):
    """Bars for one indexing run; a pipe hears what is waited for, and the report follows."""

    def __init__(self, console: Console) -> None:
        self._bars = _bars(console)
        self._tasks: dict[Stage, TaskID] = {}
        self._waits = False

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

    def note(self, stage: Stage, text: str) -> None:
        """Show beside a stage's bar how far it is with one media."""
        if stage in self._tasks:
            self._bars.update(self._tasks[stage], description=f"{_LABELS[stage]} ({text})")

    def waiting(self, text: str) -> None:
        """Say once what is waited for, and when that is over."""
        if bool(text) != self._waits:
            self._waits = bool(text)
            told = on_one_line(text) if text else "It goes on."
            self._bars.console.print(f"note: {told}", style="yellow", markup=False, highlight=False)

    def end(self, stage: Stage) -> None:
        """Fill a bar whose length was not known."""
        if stage in self._tasks:
            task = self._bars.tasks[self._tasks[stage]]
            if task.total is None:
                self._bars.update(self._tasks[stage], total=task.completed)
