"""`mmrag eval`: how well the library is searched, measured, and two such runs compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from typer.core import TyperGroup

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.errors import UsageError

if TYPE_CHECKING:
    from mmrag_plugin.evaluation.comparing import Compared
    from mmrag_plugin.evaluation.runs import Run

_SHORT = ("R@1", "R@5", "R@10", "RR", "nDCG@10")
_MOMENTS = ("R@1 IoU 0.3", "R@1 IoU 0.5", "R@1 IoU 0.7")
_PERCENT = 100  # figures are shares of queries
_GROUPS = {"right": "right", "wrong": "wrong", "nothing": "nothing to find"}
_LEVELS = ("strong", "weak", "none", "no hit")


class _RunByDefault(TyperGroup):
    """A group whose first word need not be a command: what else stands there is for ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, "--help", "-h"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    group = typer.Typer(
        cls=_RunByDefault,
        no_args_is_help=True,
        help="Measure how well the library is searched, and compare measurements. "
        "`mmrag eval SET` is short for `mmrag eval run SET`.",
    )
    group.command("run")(run)
    group.command("compare")(compare)
    app.add_typer(group, name="eval")


Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        help="mmrag, captions, coco, karpathy, msrvtt, didemo or qvhighlights; else it is guessed.",
        metavar="NAME",
    ),
]
Split = Annotated[
    str | None, typer.Option("--split", help="Only this part of the set.", metavar="NAME")
]
Own = Annotated[
    bool, typer.Option("--own", help="Make the queries of what is annotated in this library.")
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", min=1, help="Ask only so many queries, drawn by chance.", metavar="N"),
]
Seed = Annotated[int, typer.Option("--seed", help="What chance goes by.", metavar="N")]


def run(
    source: Annotated[
        Path | None, typer.Argument(help="A file of queries with the media that answer them.")
    ] = None,
    own: Own = False,
    format: Format = None,
    split: Split = None,
    sample: Sample = None,
    seed: Seed = 0,
    within: Annotated[
        bool,
        typer.Option("--within", help="Ask about the film that is meant: which moment is it?"),
    ] = False,
    rerank: options.Rerank = False,
    rerank_first: options.RerankFirst = None,
    rerank_seconds: options.RerankSeconds = None,
    save: Annotated[
        Path | None, typer.Option("--save", help="Keep the run in a new file.", metavar="FILE")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option("--plot", help="Draw it into a new .png or .svg file.", metavar="FILE"),
    ] = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Ask a set of queries by each channel and by all of them, and say how many found the answer.

    The set is a file (docs/quality.md lists the formats), or with --own what is annotated in the
    library. Words of a question are searched as they are, as with --literal.
    """
    from mmrag_plugin.evaluation.plots import check_target, draw
    from mmrag_plugin.evaluation.runs import check_new, write_run

    if own == (source is not None):
        raise UsageError("What is to be asked?", "Name a file of queries, or say --own.")
    if save is not None:
        check_new(save)
    if plot is not None:
        check_target(plot)
    with options.open_library(
        library=library, home=home, milvus_uri=milvus_uri, vlm=vlm, allow_remote=allow_remote
    ) as opened:
        queries = opened.query_set(source, format=format, split=split).some(sample, seed)
        with AskingBar(len(queries.queries)) as progress:
            found = opened.evaluate(
                queries,
                within=within,
                rerank=rerank_first or (rerank or rerank_seconds is not None),
                rerank_s=rerank_seconds,
                seed=seed,
                progress=progress,
            )
    if json:
        print_json(found.as_dict())
    else:
        _show(found)
    if save is not None:
        write_run(found, save)
    if plot is not None:
        draw(found, plot)


def compare(
    first: Annotated[Path, typer.Argument(help="A run that was kept: the one before.")],
    second: Annotated[Path, typer.Argument(help="Another: the one after.")],
    ways: Annotated[
        str | None,
        typer.Option(
            "--ways",
            help="Compare this way of the first with that of the second: visual,fused.",
            metavar="A,B",
        ),
    ] = None,
    seed: Seed = 0,
    json: options.Json = False,
) -> None:
    """Compare two runs query by query: what changed, and whether it may be chance.

    With the same file twice and --ways, two ways of searching are compared.
    """
    from mmrag_plugin.evaluation.comparing import compare as compare_runs
    from mmrag_plugin.evaluation.runs import read_run

    pair: tuple[str, str] | None = None
    if ways is not None:
        names = [name.strip() for name in ways.split(",", 1)]
        if len(names) != 2 or not all(names):
            raise UsageError(f"--ways {ways} names no two ways.", "Write --ways visual,fused.")
        pair = names[0], names[1]
    found = compare_runs(read_run(first), read_run(second), pair, seed=seed)
    if json:
        print_json({"compared": [one.as_dict() for one in found]})
        return
    for one in found:
        _show_compared(one)
    warn(list(found[0].warnings))


class AskingBar:
    """A bar that shows how many queries are asked; on a pipe it is silent."""

    def __init__(self, total: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        self._bar = Progress(
            "asking",
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=errors,
            disable=not errors.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("asking", total=total)

    def __enter__(self) -> AskingBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show how many are done, of how many."""
        self._bar.update(self._task, completed=done, total=total)


def _show(run: Run) -> None:
    about = run.about["set"]
    output.print(
        on_one_line(
            f"{about['answered']} queries of {about['name']}"
            + (
                f" and {about['queries'] - about['answered']} without an answer"
                if about["queries"] > about["answered"]
                else ""
            )
        )
    )
    output.print(_figures(run))
    output.print()
    table = plain_table("first hit", "by", "queries", *_LEVELS)
    for group, words in _GROUPS.items():
        having = {name: way.levels[group] for name, way in run.ways.items() if group in way.levels}
        for place, (name, levels) in enumerate(having.items()):
            total = sum(levels.values())
            shares = [f"{_PERCENT * levels.get(level, 0) / total:.0f} %" for level in _LEVELS]
            table.add_row("" if place else words, name, str(total), *shares)
    output.print(table)
    warn(list(run.warnings))


def _figures(run: Run) -> Table:
    table = plain_table("figure", "by", "percent", "95 % interval")
    for measure in (*_SHORT, *_MOMENTS):
        having = {
            name: way.figures[measure] for name, way in run.ways.items() if measure in way.figures
        }
        for place, (name, one) in enumerate(having.items()):
            low, high = _PERCENT * one.low, _PERCENT * one.high
            cells = f"{_PERCENT * one.value:.1f}", f"{low:.1f} to {high:.1f}"
            table.add_row("" if place else measure, name, *cells)
    for place, (name, way) in enumerate(run.ways.items()):
        rank = "not found" if way.median_rank is None else f"{way.median_rank:g}"
        table.add_row("" if place else "median rank", name, rank, "")
    return table


def plain_table(*columns: str) -> Table:
    """A table of two columns of words, then figures, which a narrow terminal never cuts off."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place < 2 else "right", overflow="fold")
    return table


def _show_compared(one: Compared) -> None:
    first, second = one.ways
    title = first if first == second else f"{first} against {second}"
    table = plain_table(
        "figure", "first", "second", "change", "95 % interval", "better", "worse", "p"
    )
    output.print(on_one_line(f"{title}, {one.queries} queries"))
    for row in one.differences:
        low, high = _PERCENT * row.change.low, _PERCENT * row.change.high
        table.add_row(
            row.measure,
            f"{_PERCENT * row.first:.1f}",
            f"{_PERCENT * row.second:.1f}",
            f"{_PERCENT * row.change.value:+.1f}",
            f"{low:+.1f} to {high:+.1f}",
            str(row.better),
            str(row.worse),
            f"{row.p:.4f}" + (" *" if row.is_significant else ""),
        )
    output.print(table)
    for query in one.changed:
        before, after = (str(rank or "not found") for rank in (query.before, query.after))
        output.print(on_one_line(f"  {before} -> {after}: {query.query}"), soft_wrap=True)
