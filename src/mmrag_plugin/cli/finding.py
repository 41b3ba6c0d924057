"""`mmrag search`, `mmrag similar` and `mmrag open`: find media and look at them."""

from __future__ import annotations

import codecs
import errno
import json as json_module
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn
from mmrag_plugin.errors import NoSuchPath, NotFound, UsageError
from mmrag_plugin.media import kind_of
from mmrag_plugin.walking import expand, is_there

if TYPE_CHECKING:
    from mmrag_plugin.filters import Filters
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.results import SearchResult

REFUSES_WITHIN_S = 1.0  # an opener that finds no program says so at once
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
    limit: options.LimitOr = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    generated: options.Generated = False,
    inside: options.Inside = None,
    in_order: options.InOrder = False,
    channels: options.Channels = None,
    min_confidence: options.MinConfidence = "none",
    rerank: options.Rerank = False,
    rerank_first: options.RerankFirst = None,
    rerank_seconds: options.RerankSeconds = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show how the question was understood, and ranks by channel."
        ),
    ] = False,
    literal: options.Literal = False,
    ungrouped: Annotated[
        bool,
        typer.Option("--ungrouped", help="Show twins and photos of one burst one by one."),
    ] = False,
    export: Export = None,
    pictures: options.Pictures = None,
    batch: Annotated[
        Path | None,
        typer.Option(
            help="Search for each line of a file (- for stdin); prints JSON lines.",
            metavar="FILE",
        ),
    ] = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Find photos and moments of films by what they show and what is known about them.

    Dates, places, people and the like in the question become filters, as do after:2024-05,
    near:Lisbon, "exact words" and -unwanted: docs/asking.md.
    """
    from mmrag_plugin.cli.hits import check_export

    asked = options.search_options(
        limit=limit or 10,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=has_text,
        generated=generated,
        channels=channels,
        min_confidence=min_confidence,
        rerank=rerank,
        rerank_first=rerank_first,
        rerank_seconds=rerank_seconds,
    )
    if ungrouped:
        asked["grouped"] = False
    if query is None and batch is None:
        raise UsageError("Nothing to search for.", "Give words, or --batch FILE.")
    if batch is not None and (query is not None or explain or export is not None):
        other = "words" if query is not None else "--explain" if explain else "--export"
        raise UsageError(
            f"--batch and {other} don't go together: it prints one JSON object a line.",
            f"Leave {other} or --batch out.",
        )
    if export is not None:
        check_export(export)
    with options.open_library(
        kept_models=True,
        library=library,
        home=home,
        vlm=vlm,
        allow_remote=allow_remote,
        visual_model=visual_model,
        milvus_uri=milvus_uri,
    ) as opened:
        asked["filters"] = inside_of(opened, inside, asked["filters"])
        said: dict[str, Any] = {"literal": literal, "limit": limit, "in_order": in_order}
        if batch is not None:
            _search_batch(opened, batch, asked, said)
            return
        result = _searched(opened, query or "", asked, **said)
        _show(opened, result, explain=explain, export=export, pictures=pictures, json=json)


def similar(
    target: Annotated[
        str,
        typer.Argument(
            help="A picture's file, the number of a hit that was shown last, or a media id."
        ),
    ],
    limit: options.Limit = 10,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    generated: options.Generated = False,
    min_confidence: options.MinConfidence = "none",
    explain: options.Explain = False,
    export: Export = None,
    pictures: options.Pictures = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Find what looks like a picture."""
    from mmrag_plugin.cli.hits import check_export

    asked = options.search_options(
        limit=limit,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=has_text,
        generated=generated,
        channels=None,
        min_confidence=min_confidence,
    )
    if export is not None:
        check_export(export)
    with options.open_library(
        kept_models=True,
        library=library,
        home=home,
        visual_model=visual_model,
        milvus_uri=milvus_uri,
    ) as opened:
        target, (start_s, end_s) = resolve_hit(opened, target)
        require(opened, target)
        at_s = None if start_s is None or end_s is None else (start_s + end_s) / 2
        result = opened.similar(target, at_s=at_s, **asked)
        _show(opened, result, explain=explain, export=export, pictures=pictures, json=json)


def open_hit(
    hit: Annotated[
        str, typer.Argument(help="The number of a hit that was shown last, or a media id.")
    ],
    library: options.Library = None,
    home: options.Home = None,
) -> None:
    """Open a hit in the program that the system has for it."""
    with options.open_library(library=library, home=home) as opened:
        target, _ = resolve_hit(opened, hit)
        require(opened, target)
        row = opened.find(target)
        if row is None:
            raise NotFound(
                f"{target} is not in library {opened.settings.library!r}.",
                "mmrag open is for hits: open the file yourself, or index its folder.",
            )
        paths = opened.ledger.paths_of([row.media_id])[row.media_id]
    path = next(filter(is_there, paths), None)
    if path is None:
        raise NotFound(
            f"{row.path} is not there any more.",
            "Mount its drive, or run mmrag index, or mmrag relocate OLD NEW if it moved.",
        )
    start_viewer(path)
    output.print(on_one_line(path), soft_wrap=True)


def start_viewer(path: str) -> None:
    """Have the system's program show a file; it goes on when mmrag ends."""
    opener, package = ("open", "macOS") if sys.platform == "darwin" else ("xdg-open", "xdg-utils")
    program = shutil.which(opener)
    if program is None:
        raise UsageError(
            f"{path} can't be opened: {opener} is not installed.",
            f"Install {package}, or open the file yourself.",
        )
    nowhere = subprocess.DEVNULL
    process = subprocess.Popen(  # noqa: S603
        [program, path], stdin=nowhere, stdout=nowhere, stderr=nowhere, start_new_session=True
    )
    with suppress(subprocess.TimeoutExpired):  # some viewers only end when they are closed
        if process.wait(REFUSES_WITHIN_S):
            raise UsageError(
                f"No program here opens {path}.", "Open it yourself, or install one that does."
            )


def resolve_hit(library: MediaLibrary, hit: str) -> tuple[str, tuple[float | None, float | None]]:
    """The media id and the span of a hit's number in the last search.

    Anything else is returned as it is, without a span.
    """
    if not (hit.isascii() and hit.isdecimal()) or len(hit) > 4:
        return hit, (None, None)
    with suppress(OSError, ValueError, KeyError, TypeError):  # none, or a damaged one
        for entry in json_module.loads((library.directory / LAST_SEARCH).read_text())["hits"]:
            if entry["rank"] == int(hit):
                return str(entry["media_id"]), (entry["start_s"], entry["end_s"])
    raise NotFound(f"Among the hits shown last is no {hit}.", "Search first, or name a media id.")


def require(library: MediaLibrary, target: str) -> None:
    """Raise NotFound for a media that the library does not know, NoSuchPath for no such file."""
    if library.find(target) is not None or is_there(expand(target)):
        return
    if "/" in target or kind_of(target) is not None:
        raise NoSuchPath(f"{target} does not exist.", "Check the path.")
    raise NotFound(
        f"Nothing in library {library.settings.library!r} is known as {target}.",
        "Name the number of a hit that was shown last, a media id or a file.",
    )


def inside_of(library: MediaLibrary, target: str | None, filters: Filters) -> Filters:
    """Restrict a search to the one media that ``--in`` names. Raises NotFound."""
    if target is None:
        return filters
    target, _ = resolve_hit(library, target)
    row = library.find(target)
    if row is None:
        raise NotFound(
            f"Nothing in library {library.settings.library!r} is known as {target}.",
            "Name the number of a hit that was shown last, a media id or a file of the library.",
        )
    return replace(filters, inside=row.media_id)


def _searched(
    library: MediaLibrary,
    query: str,
    asked: dict[str, Any],
    *,
    literal: bool,
    limit: int | None,
    in_order: bool,
) -> SearchResult:
    """Search for what a question asks, or for its words; what was given by flags wins."""
    from mmrag_plugin.plan import literal as as_it_is

    if not query.strip() or (literal and not in_order):
        return library.search(query, **asked)
    plan = as_it_is(query) if literal else library.plan_question(query)
    plan = plan if limit is None else replace(plan, limit=limit)
    return library.search_plan(replace(plan, order="time") if in_order else plan, **asked)


def _search_batch(
    library: MediaLibrary,
    batch: Path,
    asked: dict[str, Any],
    said: dict[str, Any],
) -> None:
    asked["filters"].resolve(library.ledger)  # what nothing can pass is wrong for every line
    for line in lines_of(batch):
        query = line.decode(errors="backslashreplace")
        if query.encode() != line:  # a line that is none must not shift the answers
            print_json({"query": query, "hits": [], "warnings": ["This line is no UTF-8 text."]})
        elif not query.strip():
            print_json({"query": query, "hits": [], "warnings": ["This line is empty."]})
        else:
            try:
                found = _searched(library, query, asked, **said)
            except UsageError as error:  # of this line's own grammar
                print_json({"query": query, "hits": [], "warnings": [str(error)]})
            else:
                print_json(found.as_dict())


def lines_of(batch: Path) -> Iterator[bytes]:
    """The lines of a file or of stdin as they come; a query may hold other line ends."""
    piped = str(batch) == "-"
    try:
        if piped and sys.stdin is None:
            raise OSError(errno.EBADF, "it is closed")
        with nullcontext(sys.stdin.buffer) if piped else batch.open("rb") as file:
            for number, line in enumerate(file):
                begins = line if number else line.removeprefix(codecs.BOM_UTF8)
                yield begins.removesuffix(b"\n").removesuffix(b"\r")
    except OSError as error:
        raise UsageError(
            f"{'stdin' if piped else batch} can't be read: {error.strerror}.",
            "Name a text file with a query a line.",
        ) from None


def _show(
    library: MediaLibrary,
    result: SearchResult,
    *,
    explain: bool,
    export: Path | None,
    pictures: bool | None,
    json: bool,
) -> None:
    from mmrag_plugin.cli.hits import export as export_hits
    from mmrag_plugin.cli.hits import print_hits
    from mmrag_plugin.cli.thumbnails import Thumbnails
    from mmrag_plugin.planning.explaining import explained, plan_as_dict

    remember(library, result)
    if json:
        planned = {"plan": plan_as_dict(result.plan)} if explain and result.plan else {}
        print_json({**result.as_dict(), **planned})
    else:
        if explain and result.plan is not None:
            output.print(on_one_line(f"Understood: {'; '.join(explained(result.plan))}"))
        if result.count is not None:
            output.print(f"{result.count} {'media' if result.count != 1 else 'media file'}")
        labelled = [(str(hit.rank), hit) for hit in result.hits]
        Thumbnails(pictures).show(output, labelled, library.picture_of)
        print_hits(output, result.hits, explain=explain)
        warn(result.warnings)
    if export is not None and (result.hits or export.suffix):  # no folder for nothing
        line = export_hits(result.hits, export)
        if not json:
            output.print(on_one_line(line))
    if not result.hits:
        if not json:
            output.print("Nothing found.")
        raise typer.Exit(1)


def remember(library: MediaLibrary, result: SearchResult) -> None:
    """Keep hits, so that later commands know them by their numbers."""
    try:
        content = json_module.dumps(result.as_dict())  # ASCII: a query may be no valid text
        (library.directory / LAST_SEARCH).write_text(content, encoding="utf-8")
    except OSError as error:  # a full disk must not take the answer away
        warn([f"`mmrag open` will not know these hits: {error.strerror}."])
