"""`mmrag ask` and `mmrag describe`: let the VLM look."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import output, print_json, warn
from mmrag_plugin.cli.finding import remember, require, resolve_hit
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.media import Moment, kind_of
from mmrag_plugin.results import SearchResult
from mmrag_plugin.walking import expand

if TYPE_CHECKING:
    from PIL.Image import Image


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
    min_confidence: options.MinConfidence = "none",
    rerank: options.Rerank = False,
    rerank_first: options.RerankFirst = None,
    rerank_seconds: options.RerankSeconds = None,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Answer a question from the library, with numbered sources. Needs Ollama."""
    from mmrag_plugin.cli.hits import print_hits

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
    with options.open_library(
        library=library,
        home=home,
        vlm=vlm,
        allow_remote=allow_remote,
        visual_model=visual_model,
        milvus_uri=milvus_uri,
    ) as opened:
        answer = opened.as_query_engine(**asked).ask(question)
        if answer.sources:  # `mmrag open` takes the numbers that are shown
            hits = list(answer.sources)
            if not json:
                hits = [replace(hit, rank=number) for number, hit in enumerate(hits, start=1)]
            remember(opened, SearchResult(question, hits))
    if json:
        print_json(answer.as_dict())
    else:
        output.print(answer.text)
        if answer.sources:
            output.print()
            print_hits(output, answer.sources, cited=True)
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
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Describe a picture or a film in words. Needs Ollama."""
    from mmrag_plugin.describing import stream_describe
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.library_models import vlm_of
    from mmrag_plugin.library_place import names
    from mmrag_plugin.pictures import open_picture
    from mmrag_plugin.settings import load_settings

    if detail not in ("short", "normal", "long"):
        raise UsageError(f"--detail {detail} is not known.", "Choose short, normal or long.")
    settings = load_settings(library=library, home=home, vlm=vlm, allow_remote=allow_remote)
    llm = vlm_of(settings)
    file = expand(target)
    is_picture = kind_of(file) == "image" and file.is_file()
    pictures: list[tuple[float | None, Image]] = []
    words = ""
    if not is_picture or settings.library in names(settings):  # a picture needs no library
        with MediaLibrary.open(settings) as opened:
            target, span = resolve_hit(opened, target)
            row = opened.find(target)
            if row is not None:
                moment = Moment(row.media_id, row.kind, *span)
                pictures, words = opened.moment_pictures(moment), opened.words_of(moment)
            elif not is_picture:
                require(opened, target)
                raise NotFound(
                    f"{target} is neither in library {settings.library!r} nor a picture.",
                    "Search for it first, or index its folder.",
                )
    pieces = stream_describe(
        llm,
        pictures or [(None, open_picture(file))],
        detail=detail,  # type: ignore[arg-type]
        known=words,
    )
    if json:
        print_json({"answer": "".join(pieces), "model": settings.vlm, "warnings": []})
        return
    for piece in pieces:
        output.print(piece, end="", soft_wrap=True)
    output.print()
