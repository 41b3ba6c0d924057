"""`mmrag watch`: follow the library's folders."""

from __future__ import annotations

import signal
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json
from mmrag_plugin.cli.taking_in import show_report


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(watch)


def watch(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders to take in and watch beside those of the library."),
    ] = None,
    settle: Annotated[
        float,
        typer.Option(
            min=0.1, help="How long nothing must change before it is indexed.", metavar="S"
        ),
    ] = 2.0,
    rescan: Annotated[
        float,
        typer.Option(
            min=0.01, help="Every so many minutes, look for what no event told.", metavar="MINUTES"
        ),
    ] = 60.0,
    polling: Annotated[
        bool, typer.Option("--polling", help="Ask the folders: network drives tell no events.")
    ] = False,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    text_model: options.TextModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Keep the library up to date with its folders, until Ctrl-C.

    What is new, changed, moved or gone is indexed once it has come to rest; a line tells of each
    run, with --json an object.
    """
    from mmrag_plugin.priority import give_way
    from mmrag_plugin.walking import resolve_root
    from mmrag_plugin.watching import Watcher

    paths = paths or []
    for path in paths:  # a wrong one must not leave an empty library behind
        resolve_root(path)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with options.open_library(
        create=bool(paths),
        library=library,
        home=home,
        visual_model=visual_model,
        text_model=text_model,
        milvus_uri=milvus_uri,
        vlm=vlm,
        allow_remote=allow_remote,
    ) as opened:
        give_way()
        watcher = Watcher(opened, settle_s=settle, rescan_s=60.0 * rescan, polling=polling)
        if not json:
            errors.print("Watching. Ctrl-C ends it.", style="dim")
        try:
            for news in watcher.run(paths, stop):
                if isinstance(news, str):
                    errors.print(on_one_line(news))
                elif json:
                    print_json(news.as_dict())
                elif news.did_something or news.newly_failed:
                    output.print(f"{datetime.now():%H:%M:%S}", end=" ", style="dim")
                    show_report(news)
        except KeyboardInterrupt:
            return
