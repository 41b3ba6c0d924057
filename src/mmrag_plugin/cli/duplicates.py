"""`mmrag duplicates`: files that are the same or nearly the same."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.padding import Padding
from rich.text import Text

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json
from mmrag_plugin.errors import UsageError

if TYPE_CHECKING:
    from mmrag_plugin.duplicates import DuplicateFile

KINDS = {"copies": "exact copies", "twins": "smaller or recompressed twins", "burst": "a burst"}


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(duplicates)


def duplicates(
    kind: Annotated[
        str | None,
        typer.Option(help="Only copies, twins or burst.", metavar="KIND"),
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, help="How many groups to show.", metavar="N")
    ] = 50,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """List photos and films that are there several times: copies, twins, bursts.

    The file to keep stands first in its group: the one with most pixels, then with most bytes.
    mmrag deletes nothing. In search results only the best of a group is shown (--ungrouped).
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(f"--kind {kind} is not known.", f"Choose among {', '.join(KINDS)}.")
    with options.open_library(library=library, home=home) as opened:
        groups = [group for group in opened.duplicates() if kind in (None, group.kind)]
    if json:
        print_json({"groups": [group.as_dict() for group in groups]})
    elif not groups:
        output.print("Nothing is there twice, as far as was indexed.")
    else:
        for group in groups[:limit]:
            count = len(group.files)
            output.print(f"{KINDS[group.kind]}, {count} files", style="bold")
            for file in group.files:
                output.print(Padding(_line(file), (0, 0, 0, 2), expand=False))
        if len(groups) > limit:
            output.print(f"{len(groups) - limit} more groups: --limit, --kind or --json.")
        numbers = Counter(group.kind for group in groups)
        output.print(", ".join(f"{KINDS[of]}: {number} groups" for of, number in numbers.items()))
    if not groups:
        raise typer.Exit(1)


def _line(file: DuplicateFile) -> Text:
    facts = [f"{file.width_px} x {file.height_px} px"] if file.width_px else []
    facts.append(f"{file.size_bytes / 1e6:.1f} MB")
    if file.taken_at:
        facts.append(file.taken_at[:19].replace("T", " "))
    return Text.assemble(on_one_line(file.path), "  ", (on_one_line(", ".join(facts)), "dim"))
