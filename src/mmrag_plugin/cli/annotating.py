"""`mmrag annotate` and `mmrag annotations`: what a person writes about photos and films."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn
from mmrag_plugin.cli.finding import resolve_hit
from mmrag_plugin.errors import NotFound, StorageError, UsageError
from mmrag_plugin.timecode import format_span, parse_span

if TYPE_CHECKING:
    from mmrag_plugin.annotating import Annotated as Recorded

_SHOWN = 20  # lines of a file that were refused

exchange = typer.Typer(
    help="Export and import what you wrote about photos and films.", no_args_is_help=True
)


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(annotate)
    exchange.command("export")(export_annotations)
    exchange.command("import")(import_annotations)
    app.add_typer(exchange, name="annotations")


def annotate(
    target: Annotated[
        str,
        typer.Argument(help="A media id, a file, or the number of a hit that was shown last."),
    ],
    caption: Annotated[
        list[str] | None, typer.Option(help="What it shows, in your words.", metavar="TEXT")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag; several with commas.", metavar="NAME")
    ] = None,
    person: Annotated[
        list[str] | None, typer.Option(help="Who is to be seen.", metavar="NAME")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="Of a film: from here on, like 0:05.", metavar="TIME")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Of a film: up to here.", metavar="TIME")] = None,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Take back what is named; all of it if nothing is."),
    ] = False,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Write a caption, tags or people to a photo, a film or a part of one.

    It is kept in the library and found at once; the files are not touched. Without options it says
    what you wrote.
    """
    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        chosen, _ = resolve_hit(opened, target)
        row = opened.find(chosen)
        if row is None:
            raise NotFound(f"There is no media {target!r} in this library.", "Search for it first.")
        start_s, end_s = (
            parse_span(start, end, duration_s=row.duration_s) if start or end else (None, None)
        )
        done = opened.annotate(
            row.media_id,
            caption=caption,
            tags=tag or (),
            people=person or (),
            start_s=start_s,
            end_s=end_s,
            remove=remove,
        )
    if json:
        print_json(done.as_dict())
    else:
        _show(done)


def export_annotations(
    target: Annotated[
        Path | None, typer.Argument(help="A new .csv or .jsonl file; without it, to stdout.")
    ] = None,
    library: options.Library = None,
    home: options.Home = None,
) -> None:
    """Write all that you wrote about photos and films into a file, as JSON lines or CSV."""
    from mmrag_plugin.annotation_files import written

    if target is not None and target.suffix.lower() not in (".csv", ".jsonl"):
        raise UsageError(f"{target} is neither .csv nor .jsonl.", "Name such a file.")
    with options.open_library(library=library, home=home) as opened:
        kept = opened.ledger.kept_annotations()
    as_csv = target is not None and target.suffix.lower() == ".csv"
    text = written(kept, as_csv=as_csv)
    if target is None:
        for line in text.splitlines():
            output.print(line, soft_wrap=True)
        return
    try:
        with target.open("x", encoding="utf-8", newline="") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} exists already.", "Name a new file.") from None
    except OSError as error:
        raise StorageError(
            f"{target} can't be written: {error.strerror or error}.", "Name another place."
        ) from error
    output.print(f"{len(kept)} annotations in {on_one_line(target)}", soft_wrap=True)


def import_annotations(
    source: Annotated[Path, typer.Argument(help="A .csv file, or one of JSON lines.")],
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Take in annotations that were exported, or a file with path, caption, tags and people."""
    from mmrag_plugin.annotation_files import read

    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        done = opened.import_annotations(read(source))
    if json:
        print_json(vars(done))
    else:
        output.print(f"{done.added} annotations added, {done.known} were there already.")
        refused = done.refused[:_SHOWN]
        more = len(done.refused) - len(refused)
        warn([*refused, *([f"{more} more lines were refused."] if more else [])])
        warn([done.note] if done.note else [])
    if done.refused:
        raise typer.Exit(1)


def _show(done: Recorded) -> None:
    for item in done.annotations:
        when = format_span(item.start_s, item.end_s)
        line = f"{item.kind}{f' at {when}' if when else ''}: {item.text}"
        output.print(on_one_line(line), soft_wrap=True)
    if not done.annotations:
        output.print(f"You wrote nothing about {shlex.quote(done.media_id)}.")
    warn([done.note] if done.note else [])
