"""`mmrag hide` and `mmrag show`: what assistants don't get to see."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from mmrag_plugin.cli import options
from mmrag_plugin.cli.console import on_one_line, output, print_json, warn
from mmrag_plugin.errors import UsageError

Targets = Annotated[
    list[str] | None,
    typer.Argument(help="Folders, media (id or path), tag:NAME or person:NAME.", metavar="TARGET"),
]


def add_to(app: typer.Typer) -> None:
    """Enter the commands."""
    app.command()(hide)
    app.command()(show)


def hide(
    targets: Targets = None,
    leave_out: Annotated[
        bool,
        typer.Option(
            "--leave-out", help="Take them out of the index, and don't index them until shown."
        ),
    ] = False,
    list_rules: Annotated[bool, typer.Option("--list", help="Say what is hidden.")] = False,
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Hide folders, media, tags or people from assistants; you still find them yourself.

    It is a rule: what comes into a folder later is hidden too, and what leaves it is shown again.
    """
    if not targets and not list_rules:
        raise UsageError("Nothing is named to be hidden.", "Name a folder, or see --list.")
    from mmrag_plugin import upkeep
    from mmrag_plugin.library import MediaLibrary

    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        hiding = upkeep.leave_out if leave_out else MediaLibrary.hide
        hidden = {target: hiding(opened, target) for target in targets or ()}
        rules = rules_of(opened) if list_rules else []
    warn([f"{target} is about nothing yet." for target, count in hidden.items() if not count])
    if json:
        print_json({"hidden": hidden} if targets else {"rules": rules})
        return
    where = "of the index" if leave_out else "from assistants"
    for target, count in hidden.items():
        verb = "left out" if leave_out else "hidden"
        output.print(f"{on_one_line(target)}: {count} media are {verb} {where}.", soft_wrap=True)
    if list_rules:
        show_rules(rules)


def show(
    targets: Annotated[
        list[str],
        typer.Argument(help="What was hidden, as mmrag hide --list names it.", metavar="TARGET"),
    ],
    milvus_uri: options.MilvusUri = None,
    library: options.Library = None,
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Show assistants again what was hidden from them; what was left out may be indexed again."""
    with options.open_library(library=library, home=home, milvus_uri=milvus_uri) as opened:
        shown = {target: opened.show(target) for target in targets}
    if json:
        print_json({"shown": shown})
        return
    for target, count in shown.items():
        text = f"hides {count} media no more" if count else "hides nothing more"
        line = f"{on_one_line(target)} {text}; what was left out comes back with mmrag index."
        output.print(line, soft_wrap=True)


def rules_of(library: Any) -> list[dict[str, Any]]:
    """The rules as JSON has them."""
    return [
        {"kind": rule.kind, "name": rule.name, "level": rule.level, "media": count}
        for rule, count in library.hidden()
    ]


def show_rules(rules: list[dict[str, Any]]) -> None:
    """Print rules, one a line."""
    if not rules:
        output.print("Nothing is hidden.")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for rule in rules:
        level = "left out" if rule["level"] == "left_out" else "hidden"
        name = rule["name"] if rule["kind"] == "folder" else f"{rule['kind']}:{rule['name']}"
        table.add_row(level, str(rule["media"]), on_one_line(name))
    output.print(table)
