"""Files that mmrag couldn't deal with, on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rich.padding import Padding
from rich.text import Text

from mmrag_plugin.cli.console import on_one_line, output

MAX_FAILURES_SHOWN = 20


class Failed(Protocol):
    """A file, why it failed, and what to do."""

    @property
    def path(self) -> str:
        """Where it lies."""

    @property
    def reason(self) -> str:
        """Why, in a sentence that may begin with the path."""

    @property
    def remedy(self) -> str:
        """What to do."""


def show_failures(failed: Sequence[Failed], *, most: int | None = MAX_FAILURES_SHOWN) -> None:
    """Print each file with its reason and remedy, at most so many."""
    for problem in failed[:most]:
        reason = problem.reason
        if reason.startswith(f"{problem.path} "):  # it stands in the line above
            reason = f"It{reason.removeprefix(problem.path)}"
        output.print(Padding(Text(on_one_line(problem.path), "red"), (0, 0, 0, 2), expand=False))
        said = on_one_line(f"{reason} {problem.remedy}".strip())
        output.print(Padding(Text(said), (0, 0, 0, 4), expand=False))
    if most is not None and len(failed) > most:
        output.print(f"  and {len(failed) - most} more: mmrag status --failures lists them")
