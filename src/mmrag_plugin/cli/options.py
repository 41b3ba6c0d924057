"""Options that many commands take, and the library that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrag_plugin.cli.observing import observing
from mmrag_plugin.errors import UsageError
from mmrag_plugin.media import CHANNELS

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

Library = Annotated[
    str | None, typer.Option("--library", "-l", help="The library's name.", metavar="NAME")
]
Home = Annotated[
    Path | None, typer.Option("--home", help="Where libraries live.", metavar="FOLDER")
]
VisualModel = Annotated[
    str | None,
    typer.Option(
        "--visual-model",
        help="auto, palette, a catalogue name, a hub name or a folder.",
        metavar="MODEL",
    ),
]
TextModel = Annotated[
    str | None,
    typer.Option(
        "--text-model",
        help="auto, off, visual, ollama:NAME, a hub name or a folder.",
        metavar="MODEL",
    ),
]
Vlm = Annotated[
    str | None,
    typer.Option("--vlm", help="The Ollama model that looks at pictures.", metavar="MODEL"),
]
AllowRemote = Annotated[
    bool | None,
    typer.Option("--allow-remote", help="Let pictures go to a VLM on another machine."),
]
MilvusUri = Annotated[
    str | None,
    typer.Option(
        "--milvus-uri", help="A Milvus server instead of the library's own.", metavar="URI"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[
    int, typer.Option("--limit", "-n", min=1, max=1000, help="How many hits.", metavar="N")
]
LimitOr = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, max=1000, help="How many hits (10).", metavar="N"),
]
KindOption = Annotated[
    str | None, typer.Option("--kind", help="Only image, or only video.", metavar="KIND")
]
Since = Annotated[
    str | None,
    typer.Option(help="Taken then or later: 2019, 2019-05, 2019-05-20.", metavar="DATE"),
]
Until = Annotated[str | None, typer.Option(help="Taken then or earlier.", metavar="DATE")]
Folder = Annotated[str | None, typer.Option(help="Only in this folder.", metavar="FOLDER")]
Camera = Annotated[
    str | None, typer.Option(help="Only by cameras with this in their name.", metavar="NAME")
]
HasText = Annotated[
    bool | None,
    typer.Option("--has-text/--no-text", help="Only with, or only without, text in the picture."),
]
Generated = Annotated[
    bool, typer.Option("--generated", help="Also pictures that mmrag had a model make.")
]
Inside = Annotated[
    str | None,
    typer.Option(
        "--in",
        help="Only inside this film: the number of a hit that was shown last, an id, or a file.",
        metavar="FILM",
    ),
]
InOrder = Annotated[
    bool, typer.Option("--in-order", help="Show moments of a film in the order of their times.")
]
Channels = Annotated[
    str | None,
    typer.Option(help=f"Search only these, of {','.join(CHANNELS)}.", metavar="A,B"),
]
MinConfidence = Annotated[
    str, typer.Option(help="Leave out hits below strong or weak.", metavar="LEVEL")
]
Rerank = Annotated[
    bool, typer.Option("--rerank", help="Let the VLM put the first hits in order. Needs Ollama.")
]
RerankFirst = Annotated[
    int | None,
    typer.Option(min=1, max=100, help="Rerank so many hits (12).", metavar="N"),
]
RerankSeconds = Annotated[
    float | None,
    typer.Option(min=1, help="Spend so long on it (30), model loading included.", metavar="S"),
]
Pictures = Annotated[
    bool | None,
    typer.Option(
        "--pictures/--no-pictures",
        help="Show thumbnails. Without either: in a terminal that shows pictures.",
    ),
]
Explain = Annotated[bool, typer.Option("--explain", help="Show the rank in each channel.")]
Literal = Annotated[
    bool,
    typer.Option("--literal", help="Search for the words as they are: no dates, names or filters."),
]


def open_library(
    *, create: bool = False, dry_run: bool = False, kept_models: bool = False, **flags: Any
) -> MediaLibrary:
    """Open the library that flags and environment name; options as of ``MediaLibrary.open``."""
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.settings import load_settings

    settings = load_settings(**flags)
    library = MediaLibrary.open(settings, create=create, dry_run=dry_run, kept_models=kept_models)
    observing.settle(settings)
    return library


def search_options(
    *,
    limit: int,
    kind: str | None,
    since: str | None,
    until: str | None,
    folder: str | None,
    camera: str | None,
    has_text: bool | None,
    channels: str | None,
    min_confidence: str,
    rerank: bool = False,
    rerank_first: int | None = None,
    rerank_seconds: float | None = None,
    generated: bool = False,
) -> dict[str, Any]:
    """Turn flags into the options of a search. Raises UsageError for a wrong word."""
    from mmrag_plugin.filters import Filters

    one_of("--kind", kind, ("image", "video"))
    one_of("--min-confidence", min_confidence, ("strong", "weak", "none"))
    names = [name.strip() for name in channels.split(",")] if channels else None
    for name in names or ():
        one_of("--channels", name, CHANNELS)
    filters = Filters(
        kind,  # type: ignore[arg-type]
        since,
        until,
        folder,
        camera,
        has_text,
        generated=generated or None,
    )
    asked = {
        "limit": limit,
        "filters": filters,
        "channels": names,
        "min_confidence": min_confidence,
    }
    if rerank or rerank_first or rerank_seconds:
        asked |= {"rerank": rerank_first or True, "rerank_s": rerank_seconds}
    return asked


def one_of(flag: str, value: str | None, known: tuple[str, ...]) -> None:
    """Raise UsageError for a word that a flag does not know."""
    if value is not None and value not in known:
        raise UsageError(f"{flag} {value} is not known.", f"Choose among {', '.join(known)}.")
