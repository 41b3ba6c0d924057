"""`mmrag index` and `mmrag demo`: fill a library."""

from __future__ import annotations

import gc
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.cli.failures import show_failures
from mmrag_plugin.cli.interrupting import INTERRUPTED, stopped_by_ctrl_c
from mmrag_plugin.errors import IndexStopped, UsageError
from mmrag_plugin.ignoring import in_words

if TYPE_CHECKING:
    from mmrag_plugin.indexing import IndexReport
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.library_indexing import IndexPlan
    from mmrag_plugin.media import Stage

_PLANNED: dict[Stage, str] = {
    "read": "read what is written in and about",
    "embed": "look at",
    "ocr": "read the text in the pictures of",
    "speech": "listen to",
    "caption": "have a model caption",
}


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(index)
    app.command()(demo)


def index(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders or files; without any, the library's own folders again."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try unchanged files again that failed.")
    ] = False,
    no_ocr: Annotated[bool, typer.Option("--no-ocr", help="Don't read text in pictures.")] = False,
    speech: Annotated[
        str | None,
        typer.Option(
            help="Who writes down what is said in films: auto, off, a model's name or folder.",
            metavar="MODEL",
        ),
    ] = None,
    ocr_all: Annotated[
        bool,
        typer.Option("--ocr-all", help="Read text in every picture, also in a large library."),
    ] = False,
    keyframes: Annotated[
        str | None,
        typer.Option(
            help="iframes, scenes or uniform: which frames of films are taken, from now on.",
            metavar="METHOD",
        ),
    ] = None,
    captions: Annotated[
        str | None,
        typer.Option(
            help="off, new, missing or all: which media a VLM captions, after everything else.",
            metavar="WHICH",
        ),
    ] = None,
    caption_workers: Annotated[
        int | None, typer.Option(help="How many captions are asked for at once.", metavar="N")
    ] = None,
    verify_with: Annotated[
        str | None,
        typer.Option(help="A second Ollama model, which checks the captions.", metavar="MODEL"),
    ] = None,
    personal: Annotated[
        bool | None,
        typer.Option(
            "--personal/--no-personal",
            help="Caption beside your annotated photos that look alike, with your names (yes).",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            help="Have the nodes of a Ray cluster look at media: HOST:PORT, or auto.",
            metavar="ADDRESS",
        ),
    ] = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    text_model: options.TextModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Take folders of photos and films in, or bring them up to date.

    Only what is new or changed is read. Ctrl-C stops it, and what is done is kept: the next run
    goes on. A second Ctrl-C ends it at once.
    What was taken out with mmrag forget stays out, unless it is named here itself.
    """
    from mmrag_plugin.priority import give_way
    from mmrag_plugin.walking import resolve_root

    if no_ocr and ocr_all:
        raise UsageError("--no-ocr and --ocr-all don't go together.", "Leave one of them out.")
    paths = paths or []
    for path in paths:  # a wrong one must not leave an empty library behind
        resolve_root(path)
    with options.open_library(
        create=bool(paths),
        dry_run=dry_run,
        library=library,
        home=home,
        visual_model=visual_model,
        text_model=text_model,
        milvus_uri=milvus_uri,
        keyframes=keyframes,
        ocr="off" if no_ocr else "all" if ocr_all else None,
        speech=speech,
        captions=captions,
        caption_workers=caption_workers,
        verify_with=verify_with,
        personal=personal,
        ray=ray,
        vlm=vlm,
        allow_remote=allow_remote,
    ) as opened:
        if dry_run:
            _show_plan(opened.plan(paths), json=json)
            return
        if retry:
            with opened.ledger.writer("retrying"):
                opened.ledger.retry_failed()
        give_way()
        report = run_index(opened, paths)
    stopped = isinstance(report.stopped_by, IndexStopped)
    if json:
        print_json(report.as_dict())
    else:
        show_report(report)
        if not (report.failed or report.stages["scan"].done or stopped):
            places = ", ".join(map(str, paths)) if paths else "its folders"
            output.print(f"No photos or films in {on_one_line(places)}.")
    if stopped:
        raise typer.Exit(INTERRUPTED)
    if report.newly_failed:
        raise typer.Exit(1)
    if report.stopped_by is not None and not report.did_something:
        raise typer.Exit(report.stopped_by.exit_code)  # captions were all that was left to do


def run_index(library: MediaLibrary, paths: list[Path]) -> IndexReport:
    """Index with progress bars on a terminal, until it is done or Ctrl-C stops it."""
    from mmrag_plugin.cli.progress import IndexBars

    gc.freeze()  # what is loaded stays: collecting would look at it again in each large scan
    with stopped_by_ctrl_c() as stop, IndexBars(errors) as bars:
        return library.index(paths, bars, stop)


def show_report(report: IndexReport) -> None:
    """Print what a run did, and every file that it couldn't deal with."""
    counts = [
        f"{number} {word}"
        for word, number in (
            ("added", report.added),
            ("updated", report.updated),
            ("moved", report.moved),
            ("removed", report.removed),
            ("unchanged", report.unchanged),
            ("failed", len(report.newly_failed)),
        )
        if number or word == "added"
    ]
    seconds = sum(stage.seconds for stage in report.stages.values())
    output.print(f"{', '.join(counts)} in {seconds:.1f} s")
    if (listening := report.stages.get("speech")) and listening.real_time_factor is not None:
        output.print(
            f"Listened to {_duration(listening.sound_s)} of sound in "
            f"{_duration(listening.seconds)} (real-time factor {listening.real_time_factor:.2f})."
        )
    if ignored := in_words(report.ignored):
        output.print(f"Left out: {ignored}.")
    show_failures(report.newly_failed)
    if report.failed_before:
        number = len(report.failed_before)
        output.print(
            f"{number} file{'s' * (number != 1)} failed earlier and {_have(number)} not changed: "
            "mmrag status lists them, mmrag index --retry tries them again."
        )
    warn([warning for warning in report.warnings if warning != str(report.stopped_by)])


def _show_plan(plan: IndexPlan, *, json: bool) -> None:
    found = plan.scan
    if json:
        print_json(
            {
                "added": found.added,
                "updated": found.updated,
                "moved": found.moved,
                "removed": len(found.removed),
                "failed": [vars(problem) for problem in found.problems],
                "stages": {
                    stage: {"done": 0, "pending": count, "seconds": round(plan.seconds[stage], 1)}
                    for stage, count in plan.pending.items()
                },
                "disk_bytes": plan.disk_bytes,
                "warnings": [*plan.warnings, *found.warnings],
            }
        )
        return
    output.print(
        f"Would add {found.added}, update {found.updated}, move {found.moved} and remove "
        f"{len(found.removed)} media ({_size(found.new_bytes)} to read)."
    )
    for stage, count in plan.pending.items():
        if count:
            output.print(f"  {_PLANNED[stage]} {count}: about {_duration(plan.seconds[stage])}")
    output.print(f"The library would need about {_size(plan.disk_bytes)} more.")
    if ignored := in_words(found.ignored):
        output.print(f"It would leave out {ignored}.")
    show_failures(found.problems)
    warn([*plan.warnings, *found.warnings])


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.0f} MB" if size_bytes >= 1e7 else f"{size_bytes / 1e6:,.1f} MB"


def _have(number: int) -> str:
    return "has" if number == 1 else "have"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


DEMO_SEARCHES = (
    ("pink blossom", "what pictures show, in a photo and in a film"),
    ("red barn", "what a picture shows, and somebody's own words about it"),
    ("gate B42", "the text in a screenshot"),
    ("espresso in Lisbon", "a folder's name and the text on a receipt, together"),
    ("Biscuit in the meadow", "a film's subtitles"),
)
DEMO_HITS = 2


def demo(home: options.Home = None, library: options.Library = "demo") -> None:
    """Index the demo media that come with mmrag and search them. Needs no model and no Ollama."""
    from importlib.resources import as_file, files

    from mmrag_plugin.cli.hits import print_hits

    output.rule(Text("mmrag demo", "bold"))
    with (
        as_file(files("mmrag_plugin") / "demo_media") as folder,
        options.open_library(
            create=True, library=library, home=home, milvus_uri="", ledger_url="", captions="off"
        ) as opened,  # whatever the environment says of the person's own libraries
    ):
        output.print(f"Indexing {_typed(folder, str(folder))}")
        report = run_index(opened, [folder])
        show_report(report)
        if isinstance(report.stopped_by, IndexStopped):
            raise typer.Exit(INTERRUPTED)
        for query, purpose in DEMO_SEARCHES:
            output.print()
            output.print(f'mmrag search "{query}"', style="bold")
            output.print(purpose, style="dim")
            print_hits(output, opened.search(query, limit=DEMO_HITS).hits)
        where = opened.settings.home
    program = _typed(Path(sys.argv[0]), "mmrag")
    output.print()
    for line in (
        f"Search them: {program} search WORDS -l {library} --home {_typed(where, str(where))}",
        f"Your own:    {program} index FOLDER, then {program} search WORDS",
    ):
        output.print(line, soft_wrap=True)


def _typed(path: Path, otherwise: str) -> str:
    """A path as one would type it here, if it lies below the working directory."""
    here = Path.cwd()
    path = path.absolute()
    return shlex.quote(str(path.relative_to(here))) if path.is_relative_to(here) else otherwise
