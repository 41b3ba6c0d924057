"""`mmrag ask` and `mmrag describe`: let the VLM look."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import output, print_json, warn
from mmrag_plugin.cli.finding import inside_of, remember, require, resolve_hit
from mmrag_plugin.cli.observing import observing
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.media import Moment, kind_of
from mmrag_plugin.results import SearchResult
from mmrag_plugin.timecode import parse_span
from mmrag_plugin.walking import expand

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    from mmrag_plugin.describing import TimedPicture
    from mmrag_plugin.settings import Settings

    _Times: TypeAlias = tuple[str | None, str | None]  # as --from and --to have them


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(ask)
    app.command()(describe)


def ask(
    question: Annotated[str, typer.Argument(help="A question about your pictures and films.")],
    limit: options.Limit = 6,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    has_text: options.HasText = None,
    inside: options.Inside = None,
    min_confidence: options.MinConfidence = "none",
    rerank: options.Rerank = False,
    rerank_first: options.RerankFirst = None,
    rerank_seconds: options.RerankSeconds = None,
    plan: Annotated[
        str,
        typer.Option(
            help="How the question becomes filters: by rules, by the model (seconds more), or not "
            "at all (literal).",
            metavar="WAY",
        ),
    ] = "rules",
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    pictures: options.Pictures = None,
    json: options.Json = False,
) -> None:
    """Answer a question from the library, with numbered sources. Needs Ollama."""
    from mmrag_plugin.cli.hits import print_hits
    from mmrag_plugin.cli.streaming import print_stream
    from mmrag_plugin.cli.thumbnails import Thumbnails

    asked = options.search_options(
        limit=limit,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=has_text,
        channels=None,
        min_confidence=min_confidence,
        rerank=rerank,
        rerank_first=rerank_first,
        rerank_seconds=rerank_seconds,
    )
    if plan not in ("rules", "model", "literal"):
        raise UsageError(f"--plan {plan} is not known.", "Choose rules, model or literal.")
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
        asked["planned"] = plan != "literal"
        asked["planner"] = opened.vlm() if plan == "model" else None
        stream = opened.as_query_engine(**asked).stream_ask(question)
        if json:
            deque(stream, maxlen=0)
            print_json(stream.answer.as_dict())
        else:
            print_stream(stream)
        answer = stream.answer
        if answer.sources:  # `mmrag open` takes the numbers that are shown
            hits = list(answer.sources)
            if not json:
                hits = [replace(hit, rank=number) for number, hit in enumerate(hits, start=1)]
                output.print()
                Thumbnails(pictures).show(
                    output, [(f"[{hit.rank}]", hit) for hit in hits], opened.picture_of
                )
                print_hits(output, hits, cited=True)
            remember(opened, SearchResult(question, hits))
        if not json:
            warn(list(answer.warnings))
    if not answer.sources:
        raise typer.Exit(1)


def describe(
    target: Annotated[
        str,
        typer.Argument(help="The number of a hit that was shown last, a media id, or a file."),
    ],
    detail: Annotated[
        str, typer.Option(help="short, normal or long.", metavar="LENGTH")
    ] = "normal",
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Of a film: where to begin, like 0:05 or 5.2.", metavar="TIME"),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option("--to", help="Of a film: where to stop, like 0:09 or 9.4.", metavar="TIME"),
    ] = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Describe a picture, a moment or a whole film in words. Needs Ollama.

    A film is shown to the model in several pictures with their times. Files need not be in a
    library.
    """
    from mmrag_plugin.cli.streaming import print_stream
    from mmrag_plugin.describing import FILM_PICTURES, stream_describe
    from mmrag_plugin.library_models import vlm_of
    from mmrag_plugin.library_place import names
    from mmrag_plugin.settings import load_settings

    if detail not in FILM_PICTURES:
        raise UsageError(f"--detail {detail} is not known.", "Choose short, normal or long.")
    settings = load_settings(library=library, home=home, vlm=vlm, allow_remote=allow_remote)
    observing.settle(settings)
    count = FILM_PICTURES[detail]
    file = expand(target)
    is_file = kind_of(file) is not None and file.is_file()
    found = None
    if not is_file or settings.library in names(settings):  # a file needs no library
        found = _from_library(settings, target, (begin, end), count, is_file=is_file)
    pictures, words = found or (_from_file(file, (begin, end), count), "")
    llm = vlm_of(settings)
    pieces = stream_describe(llm, pictures, detail=detail, known=words)
    if json:
        print_json({"answer": "".join(pieces), "model": settings.vlm, "warnings": []})
    else:
        print_stream(pieces)


def _from_library(
    settings: Settings, target: str, times: _Times, count: int, *, is_file: bool
) -> tuple[list[TimedPicture], str] | None:
    """Pictures and words of what a library knows; None for a file that it doesn't."""
    from mmrag_plugin.library import MediaLibrary

    with MediaLibrary.open(settings) as opened:
        target, (start_s, end_s) = resolve_hit(opened, target)
        row = opened.find(target)
        if row is None:
            if is_file:
                return None
            require(opened, target)
            raise NotFound(
                f"{target} is neither in library {settings.library!r} nor a picture or a film.",
                "Search for it first, or index its folder.",
            )
        if any(times):
            start_s, end_s = _span(row.kind, times, row.duration_s)
        moment = Moment(row.media_id, row.kind, start_s, end_s)
        return opened.moment_pictures(moment, count), opened.words_of(moment)


def _from_file(file: Path, times: _Times, count: int) -> list[TimedPicture]:
    from mmrag_plugin.films import open_film
    from mmrag_plugin.library_media import film_pictures
    from mmrag_plugin.pictures import open_picture

    if kind_of(file) == "image":
        _span("image", times, None)
        return [(None, open_picture(file, at_least_px=1024))]
    with open_film(file) as film:
        duration_s = film.duration_s or film.measured_duration_s()
    start_s, end_s = _span("video", times, duration_s)
    return list(film_pictures(file, start_s or 0.0, duration_s if end_s is None else end_s, count))


def _span(kind: str, times: _Times, duration_s: float | None) -> tuple[float | None, float | None]:
    if kind == "image" and any(times):
        raise UsageError("A picture has no times.", "Leave out --from and --to.")
    return parse_span(*times, duration_s=duration_s)
