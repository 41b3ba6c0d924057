"""`mmrag migrate`: a library's rows to another Milvus, its ledger to another database."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import errors, on_one_line, output, print_json, warn
from mmrag_plugin.cli.interrupting import INTERRUPTED, stopped_by_ctrl_c
from mmrag_plugin.errors import IndexStopped, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.migrating import Report
    from mmrag_plugin.migrating_ledger import LedgerReport
    from mmrag_plugin.settings import Settings

EMBEDDED, IN_A_FILE = "lite", "sqlite"


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
        bool,
        typer.Option(
            "--keep-token", help="Write the token, or the ledger's password, into config.toml, too."
        ),
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
    ledger_to: Annotated[
        str | None,
        typer.Option(
            "--ledger-to",
            help="Where the ledger goes: postgresql://USER@HOST/DATABASE, or sqlite.",
            metavar="URL",
        ),
    ] = None,
    library: options.Library = None,
    home: options.Home = None,
    milvus_uri: options.MilvusUri = None,
    json: options.Json = False,
) -> None:
    """Move the library's vectors to a Milvus server, back (--to lite), or to another server.

    Rows are copied and then compared one by one, with their vectors; only then does the library's
    config.toml name the new place. What is broken off goes on when the command is run again.
    Searching works meanwhile. The old rows are kept unless you say otherwise. The ledger moves to
    PostgreSQL, which several machines share, or back, by --ledger-to.
    """
    from mmrag_plugin.cli.progress import StepBars
    from mmrag_plugin.migrating import Migration
    from mmrag_plugin.settings import load_settings

    _check_places(to, ledger_to)
    if no_copy and ledger_to is not None:
        _use_left_ledger(to, ledger_to, load_settings(library=library, home=home), json=json)
        return
    vectors: Report | None = None
    ledger: LedgerReport | None = None
    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        with stopped_by_ctrl_c() as stop, StepBars(errors) as bars:
            if to is not None:
                target = _target(opened.settings, to, token, database, ca_file)
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
                        vectors = moving.switch_alone()
                    elif remove_old and moving.was_left:
                        vectors = moving.remove_old()
                    else:
                        vectors = moving.move(remove_old=remove_old)
                except IndexStopped:
                    raise typer.Exit(INTERRUPTED) from None
            if ledger_to is not None:
                from mmrag_plugin.migrating_ledger import move_ledger

                url = "" if ledger_to == IN_A_FILE else ledger_to
                step = "copying the ledger"
                bars.begin(step, None)
                ledger = move_ledger(
                    opened, url, partial(bars.advance, step), keep_password=keep_token
                )
        old = opened.connection.address if opened.settings.milvus_uri else EMBEDDED
        flags = opened.settings.flags
    if json:
        found = {} if vectors is None else vectors.as_dict()
        print_json(found if ledger is None else {**found, "ledger": asdict(ledger)})
        return
    if vectors is not None:
        _show(vectors)
        if vectors.old == "kept" and not no_copy:
            line = (
                f"The old rows are kept: mmrag migrate --to {old} --remove-old{flags} removes them."
            )
            output.print(on_one_line(line), soft_wrap=True)
        warn(vectors.warnings)
    if ledger is not None:
        line = f"The ledger ({ledger.rows} lines) is {ledger.target} now; {ledger.origin} is kept."
        output.print(on_one_line(line), soft_wrap=True)
        warn(ledger.warnings)


def _use_left_ledger(to: str | None, ledger_to: str, settings: Settings, *, json: bool) -> None:
    from mmrag_plugin.migrating_ledger import back_to_file

    if to is not None or ledger_to != IN_A_FILE:
        raise UsageError(
            "--no-copy with --ledger-to goes back to the library's own file alone.",
            "Write: mmrag migrate --ledger-to sqlite --no-copy",
        )
    report = back_to_file(settings)
    if json:
        print_json({"ledger": asdict(report)})
        return
    output.print(
        on_one_line(f"The ledger is {report.target} again, as it was left: mmrag index goes on."),
        soft_wrap=True,
    )


def _check_places(to: str | None, ledger_to: str | None) -> None:
    if to is None and ledger_to is None:
        raise UsageError(
            "Nothing says where to.",
            "Name a server: mmrag migrate --to URI, or --ledger-to URL for the ledger.",
        )
    if to is not None and "@" in to:  # config.toml would keep it
        raise UsageError(
            "The address in --to holds a user or a password.",
            "Leave it out there, and give it by --with-token USER:PASSWORD.",
        )


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
