"""`mmrag learn`, `mmrag models use` and `rollback`: learn from annotations, and take it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.index_report import Progress
from mmrag_plugin.media import Stage

if TYPE_CHECKING:
    from mmrag_plugin.learning_trial import Trial
    from mmrag_plugin.library_learning import Learned

_ABOUT = {
    "all": "all held-out searches",
    "own": "for texts that other photos have, too",
    "near": "that only share words with them",
}


class _Bar(Progress):
    """A bar for learning, which then shows how far embedding again is."""

    def __init__(self, label: str) -> None:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bars = Bars(*columns, console=errors, transient=True)
        self._bar = self._bars.add_task(label, total=None)

    def __enter__(self) -> _Bar:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def heard(self, done: int, total: int) -> None:
        """Hear how far learning is."""
        self._bars.update(self._bar, completed=done, total=total)

    def begin(self, stage: Stage, total: int) -> None:
        """Hear that a stage begins."""
        if stage == "embed":
            label = "looking at pictures again"
            self._bars.update(self._bar, completed=0, total=total, description=label)

    def advance(self, stage: Stage, count: int) -> None:
        """Hear that some media are done."""
        if stage == "embed":
            self._bars.advance(self._bar, count)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(learn)


def learn(
    lora: Annotated[
        bool,
        typer.Option(
            "--lora",
            help="Train the visual model itself, and embed every picture again once it is adopted.",
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="What chance begins with; the same gives the same.")
    ] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Try it and say what it gives, but adopt nothing.")
    ] = False,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Learn your names and things from what you wrote about photos and films.

    What was learned is tried on photos that were held out, and adopted only if searches for your
    own things surely get better and others stay as they were. Nothing is embedded again, unless
    --lora has the visual model itself trained, which takes long without a GPU. Take it back: mmrag
    models rollback.
    """
    with (
        options.open_library(
            library=library, home=home, milvus_uri=milvus_uri, visual_model=visual_model
        ) as opened,
        _Bar("learning and trying") as bar,
    ):
        done = opened.learn(lora=lora, seed=seed, dry_run=dry_run, heard=bar.heard, progress=bar)
    if json:
        print_json(done.as_dict())
    else:
        _show(done, dry_run=dry_run, lora=lora)
    if not done.trial.adopted:
        raise typer.Exit(1)


def use(
    version: Annotated[
        str, typer.Argument(help="v1, v2, ... of mmrag models list; or original, as it came.")
    ],
    visual_model: options.VisualModel = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Search with a version of what was learned, or with the model as it came."""
    with (
        options.open_library(library=library, home=home, visual_model=visual_model) as opened,
        _Bar("changing the model") as bar,
    ):
        before = opened.use_learned(version, bar)
    _say_in_use(version, before, json=json)


def roll_back(
    library: options.Library = None, home: options.Home = None, json: options.Json = False
) -> None:
    """Search as before the last time that learning or use changed the model."""
    with (
        options.open_library(library=library, home=home) as opened,
        _Bar("changing the model") as bar,
    ):
        before = opened.learned_in_use
        version = opened.roll_back_learned(bar)
    _say_in_use(version, before, json=json)


def _say_in_use(version: str, before: str, *, json: bool) -> None:
    if json:
        print_json({"in_use": version, "before": before})
    else:
        output.print(f"In use: {version}. Before: {before}.")


def _show(done: Learned, *, dry_run: bool, lora: bool) -> None:
    trial = done.trial
    output.print(
        f"Learned from {done.media} photos and films with {done.texts} texts; "
        f"{trial.queries} searches for held-out ones:"
    )
    output.print(_figures(trial))
    output.print(f"General searches kept {trial.kept:.0%} of what they found first.")
    if done.version and not done.in_use:
        output.print(f"{done.version} is to be used; embedding again stopped. Go on: mmrag index")
    elif done.version:
        output.print(f"Searches use {done.version} now. Take it back: mmrag models rollback")
    elif trial.adopted and dry_run:
        output.print(f"It would be adopted. Do it: mmrag learn{' --lora' if lora else ''}")
    else:
        output.print(f"Nothing was adopted: {'; '.join(trial.reasons)}.", soft_wrap=True)
        output.print("The model in use stays. More photos with the same words help most.")
    if done.page:
        output.print(on_one_line(f"Curves and examples: {done.page}"), soft_wrap=True)
    warn(done.warnings)


def _figures(trial: Trial) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("searches", "measure", "before", "after", "difference, 99 % interval"):
        table.add_column(column, justify="left" if column in ("searches", "measure") else "right")
    for name, about in _ABOUT.items():
        for place, (measure, change) in enumerate(getattr(trial, name).items()):
            table.add_row(
                "" if place else about,
                measure,
                f"{change.before:.3f}",
                f"{change.after:.3f}",
                f"{change.low:+.3f} to {change.high:+.3f}",
            )
    return table
