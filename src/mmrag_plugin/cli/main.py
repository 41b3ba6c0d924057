"""The `mmrag` command: its commands, and what becomes of errors."""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper
from typing import Any

import typer

from mmrag_plugin import __version__
from mmrag_plugin.cli.console import OutputLost, errors, on_one_line, print_json
from mmrag_plugin.cli.interrupting import INTERRUPTED
from mmrag_plugin.cli.loaded_later import LoadedLater
from mmrag_plugin.cli.observing import in_front, observing
from mmrag_plugin.cli.summaries import COMMANDS
from mmrag_plugin.errors import MmragError, UsageError

# Its base is what all wrong usage has in common, and typer exports only this one of the family
_WRONG_USAGE: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(LoadedLater):
    """The commands, by the module that holds them."""

    table = COMMANDS


app = typer.Typer(
    cls=_Commands,
    help="Talk to your own images and videos, on your own machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmrag {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
    profile: bool = typer.Option(
        False, "--profile", help="Print where the time went, to stderr. Before or after a command."
    ),
    verbose: int = typer.Option(
        0,
        "--verbose",
        "-v",
        count=True,
        help="Log what is done to stderr; twice: every part of it. Before or after a command.",
    ),
) -> None:
    """Take the options that stand before a command."""
    observing.begin(verbose=verbose, profile=profile)


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    for stream in (sys.stdout, sys.stderr):  # a name that the terminal can't show is no failure
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run()
    finally:
        observing.end(as_json="--json" in sys.argv[1:])
    sys.exit(code)


def _run() -> int:
    try:
        code = int(app(in_front(sys.argv[1:]), prog_name="mmrag", standalone_mode=False) or 0)
    except MmragError as error:
        code = _report(error)
    except _WRONG_USAGE as error:
        code = _report(_usage_error(error))
    except typer.Abort:  # "no" to a question
        code = 1
    except Exception as error:  # the last net: no traceback reaches a person
        if os.environ.get("MMRAG_DEBUG"):
            raise
        code = _report(_Unexpected(error))
    if code == INTERRUPTED:
        errors.print("Stopped. Nothing is lost: run the same command again to go on.")
    return code


class _Unexpected(MmragError):
    kind = "unexpected"

    def __init__(self, error: Exception) -> None:
        super().__init__(
            f"Something unexpected happened ({type(error).__name__}: {error}).",
            "Run it again with MMRAG_DEBUG=1 and report what it prints.",
        )


def _usage_error(error: Any) -> UsageError:
    path = error.ctx.command_path if error.ctx else "mmrag"
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the whole help
        return UsageError(f"{path} wants a command.", f"See {path} --help.")
    return UsageError(error.format_message(), f"See {path} --help.")


def _report(error: MmragError) -> int:
    if "--json" in sys.argv[1:] and not isinstance(error, OutputLost):
        try:
            print_json({"error": error.as_dict()})
        except OutputLost as lost:
            return _report(lost)
        except SystemExit:  # nobody reads it; it has failed all the same
            pass
    else:
        errors.print(on_one_line(error.message), style="red")
        if error.remedy:
            errors.print(on_one_line(error.remedy))
    return error.exit_code
