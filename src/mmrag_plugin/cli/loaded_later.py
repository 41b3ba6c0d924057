"""A group of commands whose modules are imported when one of them is called.

Help and completion need names and first sentences only. These stand in a table, so that `mmrag
--help` imports nothing of what the commands need, and a command nothing of what others need.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Mapping
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group


class LoadedLater(TyperGroup):
    """Commands by module, name and summary: subclasses state the ``table``.

    A module enters its commands by a function ``add_to``.
    """

    table: ClassVar[Mapping[str, Mapping[str, str]]]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._summaries = {
            name: summary for group in self.table.values() for name, summary in group.items()
        }
        self.commands = _Commands(self.table)

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, in the order of the table."""
        return list(self._summaries)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What help and completion show of a command."""
        summary = self._summaries.get(cmd_name)
        return None if summary is None else TyperCommand(name=cmd_name, help=summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command itself, to be run."""
        name, found, rest = super().resolve_command(ctx, args)
        return name, found and self.commands[str(name)], rest


class _Commands(UserDict[str, Any]):
    """Commands by name, in the order of a table; a module is imported for the first of its own."""

    def __init__(self, table: Mapping[str, Mapping[str, str]]) -> None:
        super().__init__({name: None for group in table.values() for name in group})
        self._module_of = {name: module for module, group in table.items() for name in group}

    def __getitem__(self, name: str) -> Any:
        if self.data[name] is None:
            module = import_module(f"mmrag_plugin.cli.{self._module_of[name]}")
            app = typer.Typer(rich_markup_mode="rich", callback=lambda: None)
            module.add_to(app)
            self.data.update(get_group(app).commands)
        return self.data[name]
