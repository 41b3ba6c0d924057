"""`mmrag migrate`: a library's rows to another Milvus, its ledger to another database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.cli.interrupting import INTERRUPTED, stopped_by_ctrl_c
from mmrag_plugin.errors import IndexStopped, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.migrating import Report
    from mmrag_plugin.settings import Settings

EMBEDDED = "lite"


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(migrate)


def migrate(
    to: Annotated[
        str | None,
        typer.Option(
            "--to", help="Where the vectors go: http://HOST:19530, or lite.", metavar="URI"
        ),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            "--with-token",
            envvar="MMRAG_MIGRATE_TOKEN",
            help="The token or user:password of the new server.",
            metavar="TOKEN",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--database", help="The database on the new server.", metavar="NAME"),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(
            "--ca-file",
            help="A PEM file that vouches for the new server (https://).",
            metavar="FILE",
        ),
    ] = None,
    keep_token: Annotated[
        bool, typer.Option("--keep-token", help="Write the token into config.toml, too.")
    ] = False,
    without_words: Annotated[
        bool,
        typer.Option("--without-words", help="Take a server that can't be searched by words."),
    ] = False,
    no_copy: Annotated[
        bool,
        typer.Option(
            "--no-copy",
            help="Only switch: the old server is lost. mmrag status --repair makes rows anew.",
        ),
    ] = False,
    remove_old: Annotated[
        bool,
        typer.Option(
            "--remove-old", help="Remove the rows at the old place; later: with its URI as --to."
        ),
    ] = False,
    library: options.Library = None,
    home: options.Home = None,
    milvus_uri: options.MilvusUri = None,
    json: options.Json = False,
) -> None:
    """Move the library's vectors to a Milvus server, back (--to lite), or to another server.

    Rows are copied and then compared one by one, with their vectors; only then does the library's
    config.toml name the new place. What is broken off goes on when the command is run again.
    Searching works meanwhile. The old rows are kept unless you say otherwise.
    """
    from mmrag_plugin.cli.progress import StepBars
    from mmrag_plugin.migrating import Migration

    if to is None:
        raise UsageError("Nothing says where to.", "Name a server: mmrag migrate --to URI")
    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        target = _target(opened.settings, to, token, database, ca_file)
        with stopped_by_ctrl_c() as stop, StepBars(errors) as bars:
            moving = Migration(
                opened,
                target,
                without_words=without_words,
                keep_token=keep_token,
                watcher=bars,
                stop=stop,
            )
            try:
                if no_copy:
                    report = moving.switch_alone()
                elif remove_old and moving.was_left:
                    report = moving.remove_old()
                else:
                    report = moving.move(remove_old=remove_old)
            except IndexStopped:
                raise typer.Exit(INTERRUPTED) from None
        flags = opened.settings.flags
    if json:
        print_json(report.as_dict())
        return
    _show(report)
    if report.old == "kept" and not no_copy:
        old = "lite" if opened.settings.milvus_uri == "" else opened.settings.milvus_uri
        line = f"The old rows are kept: mmrag migrate --to {old} --remove-old{flags} removes them."
        output.print(on_one_line(line), soft_wrap=True)
    warn(report.warnings)


def _target(
    settings: Settings, to: str, token: str | None, database: str | None, ca_file: Path | None
) -> Settings:
    """The settings of the library at its new place.

    What settings say of a server while the vectors are in none must be meant for this one.
    """
    from mmrag_plugin.library_milvus import OF_A_SERVER

    known = dict.fromkeys(OF_A_SERVER, "") if settings.milvus_uri else {}
    given = {
        "milvus_token": token,
        "milvus_database": database,
        "milvus_ca_file": None if ca_file is None else str(ca_file.absolute()),
    }
    known |= {name: value for name, value in given.items() if value is not None}
    return settings.model_copy(update={**known, "milvus_uri": "" if to == EMBEDDED else to})


def _show(report: Report) -> None:
    for moved in report.collections:
        said = f"{moved.collection}: {moved.same} rows are the same on both sides"
        if moved.mended or moved.removed:
            said += f" ({moved.mended} were mended, {moved.removed} removed)"
        output.print(on_one_line(said))
    if report.old == "removed" and not report.switched:
        output.print(on_one_line(f"Nothing of the library is in {report.target} any more."))
        return
    output.print(on_one_line(f"The vectors are in {report.target} now."))
    if report.words_to_make:
        output.print("The words are to be made there yet: mmrag index does that.")
