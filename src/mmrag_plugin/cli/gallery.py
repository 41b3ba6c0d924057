"""`mmrag browse`: the gallery in this machine's browser."""

from __future__ import annotations

from typing import Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output
from mmrag_plugin.cli.observing import observing
from mmrag_plugin.errors import UsageError


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(browse)


def browse(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Listen there; 0 is a free port.", metavar="N")
    ] = 0,
    no_open: Annotated[
        bool, typer.Option("--no-open", help="Only print the address; open no browser.")
    ] = False,
    vlm: options.Vlm = None,
    allow_remote: options.AllowRemote = None,
    visual_model: options.VisualModel = None,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
) -> None:
    """Look at the library in a browser: search, play moments, ask. Only on this machine.

    The address works once, for whoever opens it first. Ctrl-C ends it.
    """
    from mmrag_plugin.gallery.serving import serve

    observing.others = True  # what the web server has to say
    with options.open_library(
        library=library,
        home=home,
        vlm=vlm,
        allow_remote=allow_remote,
        visual_model=visual_model,
        milvus_uri=milvus_uri,
    ) as opened:

        def show(address: str) -> None:
            output.print(address, soft_wrap=True)
            errors.print("The address works once. Ctrl-C ends the gallery.", style="dim")
            if not no_open:
                _open_browser(address)

        serve(opened, port=port, opened=show)


def _open_browser(address: str) -> None:
    from mmrag_plugin.cli.finding import start_viewer

    try:
        start_viewer(address)
    except UsageError:
        errors.print(on_one_line("No browser could be started: open the address yourself."))
