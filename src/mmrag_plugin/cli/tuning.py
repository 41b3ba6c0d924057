"""`mmrag tune`: learn how much each channel counts here, and when a hit is sure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn
from mmrag_plugin.cli.evaluating import AskingBar, Format, Own, Sample, Seed, Split, plain_table
from mmrag_plugin.errors import UsageError

if TYPE_CHECKING:
    from mmrag_plugin.evaluation.tuned import Tuning

_NAMES = {
    "weights": "fusion weights (MRR)",
    "without_text": "without text (MRR)",
    "confidence": "confidence (log-likelihood)",
}
_WHEN = {"before": "Now", "after": "As learned"}


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(tune)


def tune(
    source: Annotated[
        Path | None, typer.Argument(help="A file of queries, as of `mmrag eval`.")
    ] = None,
    own: Own = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Take back what was learned: search as shipped.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be learned, and keep nothing.")
    ] = False,
    format: Format = None,
    split: Split = None,
    sample: Sample = None,
    seed: Seed = 0,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Learn fusion weights and confidence for this library from queries with known answers.

    Half of the media teach, the other half judge: what is not better there, beyond chance, is not
    kept. mmrag status shows what is. A set that was learned from says nothing more about how well
    the library is searched.
    """
    if [own, source is not None, undo].count(True) != 1:
        raise UsageError(
            "What is to be learned from?", "Name a file of queries, or say --own, or --undo."
        )
    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        if undo:
            had = opened.untune()
            if json:
                print_json({"undone": had})
            else:
                output.print("Searches go by what ships again." if had else "Nothing was learned.")
            return
        queries = opened.query_set(source, format=format, split=split).some(sample, seed)
        with AskingBar(len(queries.queries)) as progress:
            found = opened.tune(queries, seed=seed, keep=not dry_run, progress=progress)
    if json:
        print_json(found.as_dict())
    else:
        _show(found, dry_run)


def _show(found: Tuning, dry_run: bool) -> None:
    from mmrag_plugin.evaluation.tuned import described

    table = plain_table("on held-out media", "", "before", "after", "change", "95 % interval")
    for name, trial in found.trials.items():
        change = trial.change
        table.add_row(
            _NAMES.get(name, name),
            "better" if trial.is_better else "left as it is",
            f"{trial.before:.3f}",
            f"{trial.after:.3f}",
            f"{change.value:+.3f}",
            f"{change.low:+.3f} to {change.high:+.3f}",
        )
    output.print(table)
    for when, (right, nothing) in found.strong.items():
        output.print(
            f"{_WHEN[when]}: strong are {100 * right:.0f} % of right first hits, "
            f"{100 * nothing:.0f} % of first hits where nothing was to be found"
        )
    if found.tuned.is_empty:
        output.print("Nothing was learned that is better than what is.")
    else:
        verb = "Would be kept" if dry_run else "Kept"
        output.print(on_one_line(f"{verb}: {described(found.tuned)}"), soft_wrap=True)
    warn(list(found.notes))
