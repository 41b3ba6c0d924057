"""Hits on a terminal, and hits as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmrag_plugin.errors import StorageError, UsageError
from mmrag_plugin.media import Hit
from mmrag_plugin.timecode import format_span

_STYLES = {"strong": "green", "weak": "yellow", "none": "dim"}


def print_hits(console: Console, hits: Sequence[Hit], *, explain: bool = False) -> None:
    """Print one block a hit: where it is, when, how sure, and why; fits any width."""
    for hit in hits:
        console.print(_heading(hit))
        lines = [hit.reason] if hit.reason else []
        if explain:
            ranks = " · ".join(f"{channel} {rank}" for channel, rank in hit.why.items())
            lines.append(f"ranks: {ranks}   score {hit.score:.3f}   id {hit.moment.media_id}")
        for line in lines:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 4)))


def _heading(hit: Hit) -> Table:
    path = Path(hit.path)
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(width=3, justify="right")
    line.add_column(ratio=1, overflow="fold")
    line.add_column(justify="right", no_wrap=True)
    name = Text.assemble(
        (f"{path.parent.name}/", "dim"), (path.name, f"bold link file://{quote(str(path))}")
    )
    span = format_span(hit.moment.start_s, hit.moment.end_s)
    if span:
        name.append(f"  {span}", style="cyan")
    if hit.taken_at:
        name.append(f"  {hit.taken_at[:10]}", style="dim")
    line.add_row(str(hit.rank), name, Text(hit.confidence, style=_STYLES[hit.confidence]))
    return line


def export(hits: Sequence[Hit], target: Path) -> str:
    """Write hits as CSV, as JSON, or as a new folder of links; says what was written.

    Raises UsageError rather than overwriting anything.
    """
    if target.exists():
        raise UsageError(f"{target} exists already.", "Name a new file or folder.")
    try:
        if target.suffix.lower() == ".csv":
            _write_csv(hits, target)
        elif target.suffix.lower() == ".json":
            content = json.dumps([hit.as_dict() for hit in hits], ensure_ascii=False, indent=2)
            target.write_text(content + "\n", encoding="utf-8")
        elif target.suffix:
            raise UsageError(
                f"Hits can't be written as {target.suffix}.",
                "Name a .csv or .json file, or a folder for links.",
            )
        else:
            _link(hits, target)
    except OSError as error:
        raise StorageError(f"{target} can't be written: {error.strerror}.") from error
    return f"{len(hits)} hits in {target}"


def _write_csv(hits: Sequence[Hit], target: Path) -> None:
    with target.open("x", newline="", encoding="utf-8") as file:
        rows = [{**hit.as_dict(), "why": json.dumps(hit.why)} for hit in hits]
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["rank"])
        writer.writeheader()
        writer.writerows(rows)


def _link(hits: Sequence[Hit], target: Path) -> None:
    target.mkdir(parents=True)
    linked: set[str] = set()
    for hit in hits:
        if hit.path not in linked:
            linked.add(hit.path)
            (target / f"{hit.rank:03} {Path(hit.path).name}").symlink_to(hit.path)
