"""`mmrag search`, `mmrag similar` and `mmrag open`: find media and look at them."""

from __future__ import annotations

import json as json_module
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn
from mmrag_plugin.errors import NotFound, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.results import SearchResult

LAST_SEARCH = "last_search.json"  # what `mmrag open 3` refers to

Export = Annotated[
    Path | None,
    typer.Option(
        help="Write the hits to a new .csv or .json file, or as a new folder of links.",
        metavar="PATH",
    ),
]


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(search)
    app.command()(similar)
    app.command("open")(open_hit)


def search(
    query: Annotated[str | None, typer.Argument(help="What to look for, in words.")] = None,
    limit: options.Limit = 10,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    channels: options.Channels = None,
    min_confidence: options.MinConfidence = "none",
    explain: options.Explain = False,
    export: Export = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="Search for each line of a file (- for stdin); prints JSON lines.",
            metavar="FILE",
        ),
    ] = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Find photos and moments of films by what they show and what is known about them."""
    asked = options.search_options(
        limit=limit,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=has_text,
        channels=channels,
        min_confidence=min_confidence,
    )
    if (query is None) == (batch is None):
        raise UsageError("Nothing to search for.", "Give words, or --batch FILE (one of the two).")
    with options.open_library(
        library=library, home=home, visual_model=visual_model, milvus_uri=milvus_uri
    ) as opened:
        if batch is not None:
            _search_batch(opened, batch, asked)
            return
        result = opened.search(query or "", **asked)
        _show(opened, result, explain=explain, export=export, json=json)


def similar(
    target: Annotated[str, typer.Argument(help="A picture's file, or the id of a media.")],
    limit: options.Limit = 10,
    kind: options.KindOption = None,
    explain: options.Explain = False,
    export: Export = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Find what looks like a picture."""
    from mmrag_plugin.filters import Filters

    with options.open_library(
        library=library, home=home, visual_model=visual_model, milvus_uri=milvus_uri
    ) as opened:
        result = opened.similar(target, limit=limit, filters=Filters(kind))  # type: ignore[arg-type]
        _show(opened, result, explain=explain, export=export, json=json)


def open_hit(
    hit: Annotated[str, typer.Argument(help="A hit's number in the last search, or a media id.")],
    library: options.Library = None,
    home: options.Home = None,
) -> None:
    """Open a hit in the program that the system has for it."""
    with options.open_library(library=library, home=home) as opened:
        row = opened.find(resolve_hit(opened, hit)[0])
        paths = opened.ledger.paths_of([row.media_id])[row.media_id] if row else []
    path = next((path for path in paths if Path(path).exists()), None)
    if path is None:
        raise NotFound(f"The file of {hit} is not there any more.", "Run mmrag index.")
    opener = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    try:
        subprocess.run([opener, path], check=True, timeout=30)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        raise UsageError(
            f"No program opened {path}.", f"Open it yourself, or install {opener}."
        ) from None
    output.print(on_one_line(path))


def resolve_hit(library: MediaLibrary, hit: str) -> tuple[str, tuple[float | None, float | None]]:
    """The media id and the span of a hit's number in the last search.

    Anything else is returned as it is, without a span.
    """
    if not (hit.isascii() and hit.isdecimal()) or len(hit) > 4:
        return hit, (None, None)
    try:
        hits = json_module.loads((library.directory / LAST_SEARCH).read_text())["hits"]
    except (OSError, ValueError, KeyError):
        hits = []
    for entry in hits:
        if entry["rank"] == int(hit):
            return str(entry["media_id"]), (entry["start_s"], entry["end_s"])
    raise NotFound(f"The last search has no hit {hit}.", "Search first, or name a media id.")


def _search_batch(library: MediaLibrary, batch: Path, asked: dict[str, Any]) -> None:
    try:
        text = sys.stdin.read() if str(batch) == "-" else batch.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{batch} can't be read: {error}.", "Name a UTF-8 text file.") from None
    text = text.replace("\r\n", "\n").removesuffix("\n")
    for line in text.split("\n") if text else ():  # a query may hold other line ends
        try:
            print_json(library.search(line, **asked).as_dict())
        except UsageError as error:  # an empty line must not shift the answers
            print_json({"query": line, "hits": [], "warnings": [str(error)]})


def _show(
    library: MediaLibrary,
    result: SearchResult,
    *,
    explain: bool,
    export: Path | None,
    json: bool,
) -> None:
    from mmrag_plugin.cli.hits import export as export_hits
    from mmrag_plugin.cli.hits import print_hits

    _remember(library, result)
    if json:
        print_json(result.as_dict())
    else:
        print_hits(output, result.hits, explain=explain)
        warn(result.warnings)
    if export is not None:
        line = export_hits(result.hits, export)
        if not json:
            output.print(on_one_line(line))
    if not result.hits:
        if not json:
            output.print("Nothing found.")
        raise typer.Exit(1)


def _remember(library: MediaLibrary, result: SearchResult) -> None:
    try:
        content = json_module.dumps(result.as_dict(), ensure_ascii=False)
        (library.directory / LAST_SEARCH).write_text(content, encoding="utf-8")
    except OSError as error:  # a full disk must not take the answer away
        warn([f"`mmrag open` will not know these hits: {error.strerror}."])
