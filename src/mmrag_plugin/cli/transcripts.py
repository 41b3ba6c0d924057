"""`mmrag transcript`: what is said in a film, as a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json
from mmrag_plugin.cli.finding import require, resolve_hit
from mmrag_plugin.errors import NotFound, StorageError, UsageError


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(transcript)


def transcript(
    film: Annotated[
        str, typer.Argument(help="The number of a hit that was shown last, a media id or a file.")
    ],
    form: Annotated[
        str | None,
        typer.Option("--format", help="srt, vtt or txt; else as the file ends, else srt."),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The new file; else to stdout.", metavar="FILE"),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the file if it is there.")
    ] = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Write down what is said in a film: its subtitles, else what was heard in it."""
    from mmrag_plugin.transcripts import said_in
    from mmrag_plugin.transcripts import transcript as written

    form = form or (target.suffix.lower().removeprefix(".") if target else "srt")
    written([], form)  # a wrong format is told before anything is looked up
    if target is not None and os.path.lexists(target) and not force:
        raise UsageError(f"{target} exists already.", "Name a new file, or add --force.")
    with options.open_library(library=library, home=home) as opened:
        media_id, _ = resolve_hit(opened, film)
        require(opened, media_id)
        row = opened.find(media_id)
        if row is None:
            raise NotFound(f"{film} is not in the library.", "Take it in: mmrag index FILE")
        if target is not None and target.exists() and target.samefile(row.path):
            raise UsageError(f"{target} is the film itself.", "Name a new file.")
        known = opened.ledger.signals_of([row.media_id])[row.media_id]
        cues = said_in([signal for _, signal in known], Path(row.path).name)
    text = written(cues, form)
    if target is not None:
        _write(target, text, force=force)
    if json:
        said = [{"start_s": cue.start_s, "end_s": cue.end_s, "text": cue.text} for cue in cues]
        path = None if target is None else str(target)
        print_json({"media_id": row.media_id, "source": cues[0].source, "path": path, "cues": said})
    elif target is None:
        for line in text.splitlines():
            output.print(line, soft_wrap=True)
    else:
        output.print(f"{len(cues)} lines in {on_one_line(target)}", soft_wrap=True)


def _write(target: Path, text: str, *, force: bool) -> None:
    """Write a file whole; over another one only with ``force``."""
    try:
        if force and target.is_file():
            with TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
                part = Path(folder) / target.name
                part.write_text(text, encoding="utf-8")
                part.replace(target)
        else:
            with target.open("x", encoding="utf-8") as file:
                file.write(text)
    except FileExistsError:
        raise UsageError(f"{target} exists already.", "Name a new file.") from None
    except OSError as error:
        raise StorageError(
            f"{target} can't be written: {error.strerror or error}.", "Name another place."
        ) from error
