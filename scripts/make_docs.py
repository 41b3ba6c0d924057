"""Write docs/cli.md and docs/settings.md from the program itself; a test compares them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import typer

from mmrag_plugin.cli.main import app
from mmrag_plugin.settings import CONFIG_FILE, NOT_IN_FILE, Settings

DOCS = Path(__file__).resolve().parents[1] / "docs"

CLI_HEAD = """\
# The command line

<!-- Written by scripts/make_docs.py from the program: change the program, then `make docs`. -->

Results go to stdout, progress, notes and errors to stderr. `--json` prints one JSON object on one
line, also for an error: `{"error": {"kind": ..., "message": ..., "remedy": ...}}`. How flags,
environment and the library's own file go together stands in [settings.md](settings.md).

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | nothing found, or files failed in this run (the report names them, the others are done) |
| 2 | wrong usage (a path that isn't there) or configuration; a model that is missing or unfit |
| 3 | Milvus or Ollama can't be reached, or another process is writing |
| 130 | stopped with Ctrl-C; nothing is lost |
"""

SETTINGS_HEAD = f"""\
# Settings

<!-- Written by scripts/make_docs.py from the program: change the program, then `make docs`. -->

A flag wins over the environment, the environment over the library's own file, and that over the
default. The file is `{CONFIG_FILE}` in the library's directory (`mmrag status` says where), with
the names of the last column; another name in it is an error. An empty variable counts as not set.

```toml
vlm = "qwen2.5vl:7b"
ocr = "off"
```

| environment | default | meaning | in {CONFIG_FILE} |
|---|---|---|---|
"""

SETTINGS_TAIL = """
`MMRAG_DEBUG=1` shows the traceback of an error that nobody expected. Programs that mmrag stands on
read variables of their own: `HF_HOME` and `HF_ENDPOINT` (where models lie and come from),
`OLLAMA_API_KEY`, `NO_COLOR` (no colours), and `OTEL_*` (where spans go, with the extra
`[telemetry]`: [observability.md](observability.md)).
"""


def cli_page() -> str:
    """The page about the command line."""
    group: Any = typer.main.get_command(app)
    rows = "".join(
        f"| {_option(param)} | {_cell(param.help)} |\n" for param in group.params if param.help
    )
    everywhere = f"\n## mmrag\n\n| | |\n|---|---|\n{rows}"
    commands = (_command(name, command) for name, command in _commands(group))
    return CLI_HEAD + everywhere + "".join(commands)


def settings_page() -> str:
    """The page about settings."""
    rows = (_setting(name, field) for name, field in Settings.model_fields.items())
    return SETTINGS_HEAD + "".join(rows) + SETTINGS_TAIL


def variable_of(name: str, field: Any) -> str:
    """The environment variable of a setting."""
    choices = getattr(field.validation_alias, "choices", None)
    return str(choices[-1]) if choices else f"MMRAG_{name.upper()}"


def _commands(group: Any, prefix: str = "mmrag") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if getattr(command, "commands", None):
            yield from _commands(command, f"{prefix} {name}")
        elif not command.hidden:
            yield f"{prefix} {name}", command


def _command(name: str, command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    usage = " ".join([name, *map(_argument, arguments), "[OPTIONS]"])
    rows = [f"| `{_argument(param)}` | {_cell(param.help)} |\n" for param in arguments]
    rows += [f"| {_option(param)} | {_cell(param.help)}{_default(param)} |\n" for param in options]
    text = " ".join(command.help.split())
    return f"\n## {name}\n\n{text}\n\n```\n{usage}\n```\n\n| | |\n|---|---|\n{''.join(rows)}"


def _argument(param: Any) -> str:
    name = param.metavar or param.name.upper()
    name = f"{name}..." if param.nargs == -1 else name
    return name if param.required else f"[{name}]"


def _option(param: Any) -> str:
    value = "" if param.is_flag or param.count else f" {param.metavar or 'VALUE'}"
    longest_first = sorted(param.opts, key=len, reverse=True)
    return ", ".join(f"`{name}{value}`" for name in (*longest_first, *param.secondary_opts))


def _default(param: Any) -> str:
    return "" if param.default in (None, False) else f" Default: `{param.default}`."


def _setting(name: str, field: Any) -> str:
    default = field.get_default(call_default_factory=False)
    shown = "your user-data folder" if name == "home" else f"`{str(default).lower()}`"
    shown = "" if default == "" else shown
    in_file = "" if name in NOT_IN_FILE else f"`{name}`"
    choices = get_args(field.annotation)
    meaning = field.description + (f" `{'`, `'.join(choices)}`." if choices else "")
    return f"| `{variable_of(name, field)}` | {shown} | {_cell(meaning)} | {in_file} |\n"


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(cli_page(), encoding="utf-8")
    (DOCS / "settings.md").write_text(settings_page(), encoding="utf-8")
