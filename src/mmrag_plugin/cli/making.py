"""`mmrag clip`, `supercut`, `sheet` and `slideshow`: new media out of what is found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.cli.failures import show_failures
from mmrag_plugin.cli.finding import remember, require, resolve_hit
from mmrag_plugin.errors import UsageError
from mmrag_plugin.results import SearchResult
from mmrag_plugin.timecode import format_time, parse_time
from mmrag_plugin.walking import expand

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.library_making import Ingredients, Target, What
    from mmrag_plugin.makers.base import Made

Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The new file. Without it: a name of its own in this folder.",
        metavar="FILE",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")]
WithLocation = Annotated[
    bool, typer.Option("--with-location", help="Keep the date and the place in the file.")
]
LongSide = Annotated[
    int | None,
    typer.Option("--long-side", min=16, max=8192, help="At most so large.", metavar="PIXELS"),
]
Pieces = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=1, max=200, help="Of how many at most.", metavar="N"),
]
Each = Annotated[
    float | None,
    typer.Option("--each", min=0.5, max=600, help="Seconds of each at most.", metavar="SECONDS"),
]
Title = Annotated[
    str | None, typer.Option(help="Its title, instead of the question.", metavar="TEXT")
]
MinConfidence = Annotated[
    str, typer.Option(help="Leave out what matches less surely: strong, weak, none.")
]
Query = Annotated[str, typer.Argument(help="What to look for, in words.")]


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(clip)
    app.command()(supercut)
    app.command()(sheet)
    app.command()(slideshow)
    app.command()(imagine)


def clip(
    target: Annotated[
        str,
        typer.Argument(help="The number of a hit that was shown last, a media id, or a film."),
    ],
    begin: Annotated[
        str | None,
        typer.Option("--from", help="Where it begins: 83.5 or 1:23.5.", metavar="TIME"),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Where it ends.", metavar="TIME")] = None,
    gif: Annotated[bool, typer.Option("--gif", help="Make an animated GIF of it.")] = False,
    encode: Annotated[
        bool, typer.Option("--encode", help="Encode it as H.264, also where a copy would do.")
    ] = False,
    long_side: LongSide = None,
    output: Output = None,
    force: Force = False,
    with_location: WithLocation = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Cut a part out of a film, exact to the frame; a hit is a part already.

    It is copied bit by bit where it begins at a key frame and its codec fits, else encoded.
    """
    what: What = "gif" if gif else "clip"
    with options.open_library(library=library, home=home, kept_models=True) as opened:
        named = _target(opened, target, begin, end)
        found = opened.ingredients(what, targets=[named])
        _make(
            opened,
            found,
            json=json,
            output=output,
            force=force,
            encode=encode,
            long_side_px=long_side,
            with_location=with_location,
        )


def supercut(
    query: Query,
    limit: Pieces = None,
    each: Each = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    min_confidence: MinConfidence = "weak",
    title: Title = None,
    long_side: LongSide = None,
    output: Output = None,
    force: Force = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Join the moments of films that show what you ask for, with their sound."""
    asked = _asked(limit, "video", since, until, folder, camera, min_confidence)
    with options.open_library(library=library, home=home, kept_models=True) as opened:
        found = opened.ingredients("supercut", query, **asked)
        _make(
            opened,
            found,
            json=json,
            output=output,
            force=force,
            title=title,
            each_s=each,
            long_side_px=long_side,
        )


def sheet(
    target: Annotated[
        str, typer.Argument(help="Words to look for, or a film: a hit's number, an id or a file.")
    ],
    limit: Pieces = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    min_confidence: MinConfidence = "weak",
    title: Title = None,
    captions: Annotated[
        bool, typer.Option("--captions/--no-captions", help="Write names and times under them.")
    ] = True,
    long_side: Annotated[
        int | None,
        typer.Option(
            "--long-side", min=16, max=2048, help="Of each picture (320).", metavar="PIXELS"
        ),
    ] = None,
    output: Output = None,
    force: Force = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Make a contact sheet: of what is found, or of one film with times."""
    asked = _asked(limit, kind, since, until, folder, camera, min_confidence)
    with options.open_library(library=library, home=home, kept_models=True) as opened:
        if _is_media(opened, target):
            named = _target(opened, target, None, None, whole=True)
            found = opened.ingredients("sheet", targets=[named], limit=limit)
        else:
            found = opened.ingredients("sheet", target, **asked)
        _make(
            opened,
            found,
            json=json,
            output=output,
            force=force,
            title=title,
            captions=captions,
            long_side_px=long_side,
        )


def slideshow(
    query: Query,
    limit: Pieces = None,
    each: Each = None,
    kind: options.KindOption = None,
    since: options.Since = None,
    until: options.Until = None,
    folder: options.Folder = None,
    camera: options.Camera = None,
    min_confidence: MinConfidence = "weak",
    title: Title = None,
    captions: Annotated[
        bool, typer.Option("--captions/--no-captions", help="Write what is known under them.")
    ] = True,
    long_side: LongSide = None,
    output: Output = None,
    force: Force = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Make a silent film of what is found, each picture fading into the next."""
    asked = _asked(limit, kind, since, until, folder, camera, min_confidence)
    with options.open_library(library=library, home=home, kept_models=True) as opened:
        found = opened.ingredients("slideshow", query, **asked)
        _make(
            opened,
            found,
            json=json,
            output=output,
            force=force,
            title=title,
            each_s=each,
            captions=captions,
            long_side_px=long_side,
        )


def imagine(
    prompt: Annotated[str, typer.Argument(help="What is to be seen, in words.")],
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            help="A picture that it should be like: a hit's number, an id, a file. Up to 8.",
            metavar="TARGET",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How far it goes from those pictures.", metavar="0-1"),
    ] = 0.6,
    size: Annotated[
        str | None, typer.Option(help="Its size, 512x512; else the model's.", metavar="WxH")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, max=500, help="Steps of the model.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="The same seed, the same picture.")
    ] = None,
    generator: Annotated[
        str | None,
        typer.Option(
            "--generator", help="A diffusers model: a folder or a hub name.", metavar="MODEL"
        ),
    ] = None,
    output: Output = None,
    force: Force = False,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Have a model on this machine make a new picture, of words or of pictures that are found.

    Needs a generator: pip install 'mmrag-plugin[generate]'. The picture says that a model made it.
    """
    with options.open_library(library=library, home=home, generator=generator) as opened:
        targets = [_target(opened, target, None, None) for target in like or ()]
        with _bar("picture") as tell:
            made = opened.imagine(
                prompt,
                like=targets,
                strength=strength,
                size=None if size is None else _size(size),
                steps=steps,
                seed=seed,
                output=output,
                force=force,
                tell=tell,
            )
    _report(made, json=json)


def _size(text: str) -> tuple[int, int]:
    wide, _, high = text.lower().partition("x")
    if not (wide.isascii() and wide.isdecimal() and high.isascii() and high.isdecimal()):
        raise UsageError(f"--size {text} is no size.", "Write it as 512x512.")
    return int(wide[:6]), int(high[:6])


def _asked(
    limit: int | None,
    kind: str | None,
    since: str | None,
    until: str | None,
    folder: str | None,
    camera: str | None,
    min_confidence: str,
) -> dict[str, Any]:
    asked = options.search_options(
        limit=limit or 0,
        kind=kind,
        since=since,
        until=until,
        folder=folder,
        camera=camera,
        has_text=None,
        channels=None,
        min_confidence=min_confidence,
    )
    return {
        "limit": limit,
        "filters": asked["filters"],
        "min_confidence": asked["min_confidence"],
    }


def _is_media(library: MediaLibrary, target: str) -> bool:
    number = target.isascii() and target.isdecimal() and len(target) <= 4
    return number or library.find(target) is not None or expand(target).is_file()


def _target(
    library: MediaLibrary,
    target: str,
    begin: str | None,
    end: str | None,
    *,
    whole: bool = False,
) -> Target:
    """The media and the part of it that are meant; times that are given win over those of a hit."""
    from mmrag_plugin.library_making import Target

    name, (start_s, end_s) = resolve_hit(library, target)
    require(library, name)
    if begin is not None or end is not None or whole:
        start_s = None if begin is None else parse_time(begin)
        end_s = None if end is None else parse_time(end)
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise UsageError(f"--to {end} does not come after --from {begin}.", "Swap them.")
    return Target(name, start_s, end_s)


def _make(library: MediaLibrary, found: Ingredients, *, json: bool, **wanted: Any) -> None:
    if found.hits and not json:
        from mmrag_plugin.cli.hits import print_hits

        output.print(f"Making a {found.what} of:")
        print_hits(output, found.hits)
    if found.hits:
        remember(library, SearchResult(found.words, list(found.hits)))
    with _bar(found.what) as tell:
        made = library.make_of(found, tell=tell, **wanted)
    _report(made, json=json)


def _report(made: Made, *, json: bool) -> None:
    if json:
        print_json(made.as_dict())
    else:
        _show(made)
    if made.failed:
        raise typer.Exit(1)


def _show(made: Made) -> None:
    said = [f"{made.width_px} x {made.height_px} pixels", f"{made.size_bytes / 1e6:.1f} MB"]
    if made.duration_s is not None:
        said.insert(0, f"{format_time(made.duration_s)} long")
    if made.how == "copied":
        said.append("copied bit by bit")
    if len(made.pieces) > 1:
        said.append(f"of {len(made.pieces)}")
    output.print(on_one_line(made.path), soft_wrap=True)
    output.print(f"{made.what}: {', '.join(said)}")
    if made.failed:
        output.print(f"{len(made.failed)} left out:")
        show_failures(made.failed)
    warn(list(made.warnings))


@contextmanager
def _bar(what: str) -> Iterator[Callable[[float], None]]:
    """A progress bar on a terminal; nothing on a pipe."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
    from rich.progress import TimeRemainingColumn as Left

    columns = (TextColumn("making the {task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(
        *columns, Left(compact=True), console=errors, disable=not errors.is_terminal, transient=True
    ) as bars:
        task = bars.add_task(what, total=1.0)
        yield lambda done: bars.update(task, completed=done)
