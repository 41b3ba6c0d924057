"""The `mmrag` command: its commands, and what becomes of errors."""

from __future__ import annotations

import json
import os
import sys

import typer

from mmrag_plugin import __version__
from mmrag_plugin.cli import asking, doctor, finding, keeping, models, taking_in
from mmrag_plugin.cli.console import errors
from mmrag_plugin.errors import MmragError

INTERRUPTED = 130  # what shells expect after Ctrl-C

app = typer.Typer(
    help="Talk to your own images and videos. Media never leave this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (taking_in, finding, asking, keeping, models, doctor):
    module.add_to(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmrag {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; errors become one sentence and an exit code."""
    try:
        app()
    except MmragError as error:
        _report(error.as_dict())
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        errors.print("Stopped. Nothing is lost: run the same command again to go on.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `mmrag search ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:  # the last net: no traceback reaches a person
        if os.environ.get("MMRAG_DEBUG"):
            raise
        _report(
            {
                "kind": "unexpected",
                "message": f"Something unexpected happened ({type(error).__name__}: {error}).",
                "remedy": "Run it again with MMRAG_DEBUG=1 and report what it prints.",
            }
        )
        sys.exit(1)


def _report(error: dict[str, str]) -> None:
    if "--json" in sys.argv[1:]:
        typer.echo(json.dumps({"error": error}, ensure_ascii=False))
    else:
        errors.print(f"[red]{_plain(error['message'])}[/red]", highlight=False)
        if error["remedy"]:
            errors.print(_plain(error["remedy"]), highlight=False)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
