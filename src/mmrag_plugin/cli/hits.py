"""Hits on a terminal, and hits as files."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mmrag_plugin.cli.console import on_one_line
from mmrag_plugin.errors import StorageError, UsageError
from mmrag_plugin.media import Hit
from mmrag_plugin.timecode import format_span

_STYLES = {"strong": "green", "weak": "yellow", "none": "dim"}
_FIELDS = "rank media_id path kind start_s end_s score confidence why reason text taken_at".split()


def print_hits(
    console: Console,
    hits: Sequence[Hit],
    *,
    explain: bool = False,
    cited: bool = False,
    numbers: Sequence[int] | None = None,
) -> None:
    """Print one block a hit: where it is, when, how sure, and why; fits any width.

    ``cited`` hits are numbered as an answer cites them, ``[1]``: by their place, not by their rank,
    or by ``numbers``.
    """
    ends = _ends(hit.path for hit in hits)
    places = numbers or range(1, len(hits) + 1)
    labels = [
        f"[{place}]" if cited else str(hit.rank) for place, hit in zip(places, hits, strict=True)
    ]
    width = max([3, *map(len, labels)])
    for label, hit in zip(labels, hits, strict=True):
        console.print(_heading(label.rjust(width), hit, ends[hit.path]))
        lines = [on_one_line(hit.reason)] if hit.reason else []
        if explain:
            ranks = " · ".join(f"{channel} {rank}" for channel, rank in hit.why.items())
            lines.append(f"ranks: {ranks}   score {hit.score:.3f}   id {hit.moment.media_id}")
            lines.append(on_one_line(hit.path))
        for line in lines:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, width + 1), expand=False))


def _heading(label: str, hit: Hit, end: Path) -> Table:
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(no_wrap=True)
    line.add_column(ratio=1, overflow="fold")
    line.add_column(justify="right", no_wrap=True)
    name = Text.assemble(
        (on_one_line(f"{end.parent}/".lstrip("/")), "dim"),
        (on_one_line(end.name), f"bold link file://{quote(hit.path)}"),
    )
    span = format_span(hit.moment.start_s, hit.moment.end_s)
    if span:
        name.append(f"  {span}", style="cyan")
    if hit.hidden:
        name.append("  hidden from assistants", style="magenta")
    if hit.taken_at:
        name.append(f"  {on_one_line(hit.taken_at[:10])}", style="dim")
    if hit.alike:
        name.append(f"  and {len(hit.alike)} alike", style="dim")
    line.add_row(label, name, Text(hit.confidence, style=_STYLES[hit.confidence]))
    return line


def _ends(paths: Iterable[str]) -> dict[str, Path]:
    """The folder and name of each path, with as much before them as tells it from the others."""
    ends: dict[str, Path] = {}
    left = {path: Path(path).parts for path in paths}
    count = 2
    while left:
        same = Counter(parts[-count:] for parts in left.values())
        for path, parts in left.items():
            if same[parts[-count:]] == 1 or count >= len(parts):
                ends[path] = Path(*parts[-count:])
        left = {path: parts for path, parts in left.items() if path not in ends}
        count += 1
    return ends


def check_export(target: Path) -> None:
    """See that hits can be written there. Raises UsageError rather than overwriting anything."""
    if os.path.lexists(target):
        raise UsageError(f"{target} exists already.", "Name a new file or folder.")
    if target.suffix.lower() not in ("", ".csv", ".json"):
        raise UsageError(
            f"Hits can't be written as {target.suffix}.",
            "Name a .csv or .json file, or a folder for links.",
        )
    if target.suffix and not target.parent.is_dir():
        raise UsageError(
            f"{target} can't be written: there is no folder {target.parent}.",
            "Make the folder, or name another place.",
        )


def export(hits: Sequence[Hit], target: Path) -> str:
    """Write hits as CSV, as JSON, or as a new folder of links; says what was written."""
    check_export(target)
    try:
        if target.suffix.lower() == ".csv":
            _write_csv(hits, target)
        elif target.suffix.lower() == ".json":
            content = json.dumps([hit.as_dict() for hit in hits], ensure_ascii=False, indent=2)
            with target.open("x", encoding="utf-8") as file:
                file.write(content + "\n")
        else:
            _link(hits, target)
    except OSError as error:
        raise StorageError(
            f"{target} can't be written: {error.strerror or error}.",
            "Check its permissions and free space, or name another place.",
        ) from error
    return f"{len(hits)} hit{'s' * (len(hits) != 1)} in {target}"


def _write_csv(hits: Sequence[Hit], target: Path) -> None:
    with target.open("x", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=_FIELDS, extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**hit.as_dict(), "why": json.dumps(hit.why)} for hit in hits)


def _link(hits: Sequence[Hit], target: Path) -> None:
    target.mkdir(parents=True)
    linked: set[str] = set()
    for hit in hits:
        if hit.path not in linked:
            linked.add(hit.path)
            (target / f"{hit.rank:03} {Path(hit.path).name}").symlink_to(hit.path)
