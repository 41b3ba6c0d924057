"""What a command loads: its own module, and only what it needs."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

import mmrag_plugin.cli
from commands import environment
from media_made import end_owners, opened, picture
from mmrag_plugin.cli.main import app
from mmrag_plugin.cli.summaries import COMMANDS

MODULES = sorted(path.stem for path in Path(mmrag_plugin.cli.__file__).parent.glob("*.py"))


def _entered_by(module: str) -> dict[str, Any]:
    entering = typer.Typer(callback=lambda: None)
    import_module(f"mmrag_plugin.cli.{module}").add_to(entering)
    return dict(typer.main.get_group(entering).commands)


def test_the_help_lists_every_module_that_enters_commands() -> None:
    entering = [
        module
        for module in MODULES
        if hasattr(import_module(f"mmrag_plugin.cli.{module}"), "add_to")
    ]
    assert sorted(COMMANDS) == entering


@pytest.mark.parametrize("module", COMMANDS)
def test_each_summary_is_the_first_paragraph_of_the_commands_help(module: str) -> None:
    paragraphs = {
        name: " ".join(command.help.split("\n\n")[0].split())
        for name, command in _entered_by(module).items()
    }
    assert paragraphs == COMMANDS[module]


def test_all_commands_can_be_reached_through_the_group() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    names = [name for group in COMMANDS.values() for name in group]
    assert list(commands) == names
    assert [command.name for command in commands.values()] == names


def _loaded_after(*words: str) -> set[str]:
    """Which of our command line's modules a command has imported when it ends."""
    program = (
        "import atexit, sys\n"
        "ours = 'mmrag_plugin.cli.'\n"
        "def tell():\n"
        "    found = [n.removeprefix(ours) for n in sys.modules if n.startswith(ours)]\n"
        "    sys.stderr.write('\\n' + ' '.join(found))\n"
        "atexit.register(tell)\n"
        "from mmrag_plugin.cli import main\n"
        f"sys.argv = ['mmrag', *{words!r}]; main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_the_help_loads_no_command_and_the_help_of_one_only_its_own() -> None:
    assert _loaded_after("--help").isdisjoint(COMMANDS)
    assert _loaded_after("search", "--help") & set(COMMANDS) == {"finding"}


def test_completion_offers_commands_without_loading_them() -> None:
    group: Any = typer.main.get_command(app)
    context = group.make_context("mmrag", [], resilient_parsing=True)
    offered = {item.value: item.help for item in group.shell_complete(context, "s")}
    assert {"search", "similar", "supercut", "sheet", "slideshow", "status", "show"} <= set(offered)
    assert offered["similar"] == COMMANDS["finding"]["similar"]
    assert all(command is None for command in group.commands.data.values())


def test_a_command_written_wrong_is_told_of_those_that_are_meant() -> None:
    group: Any = typer.main.get_command(app)
    with pytest.raises(typer.BadParameter.__mro__[1], match="Did you mean 'search'"):
        group.main(["serach"], standalone_mode=False)


@pytest.mark.parametrize("model", ["palette", "onnx"])
def test_a_search_loads_nothing_that_its_model_can_do_without(
    tmp_path: Path, model: str, request: pytest.FixtureRequest
) -> None:
    picture(tmp_path / "photos" / "red.png", "red")
    setting = "palette" if model == "palette" else str(request.getfixturevalue("minidual"))
    with opened(tmp_path, visual_model=setting, text_model="auto") as library:
        library.index([tmp_path / "photos"])
    heavy = ["torch", "transformers", "llama_index.core", "pandas", "scipy"]
    heavy += ["onnxruntime"] if model == "palette" else []
    program = (
        "import atexit, sys\n"
        f"heavy = {heavy}\n"
        "atexit.register(lambda: sys.stderr.write(repr([n for n in heavy if n in sys.modules])))\n"
        "from mmrag_plugin.cli import main\n"
        "sys.argv = ['mmrag', 'search', 'something red', '--json']; main()\n"
    )
    env = environment(tmp_path, MMRAG_VISUAL_MODEL="auto", MMRAG_TEXT_MODEL="auto")
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            env=env,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    finally:
        end_owners(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "red.png" in done.stdout
    assert done.stderr.endswith("[]")


def test_pymilvus_knows_tables_all_the_same_when_somebody_brings_one() -> None:
    program = (
        "import sys\n"
        "from mmrag_plugin.milvus_import import import_pymilvus\n"
        "import_pymilvus()\n"
        "assert 'pymilvus' in sys.modules and 'pandas' not in sys.modules\n"
        "from pymilvus import DataType\n"
        "from pymilvus.orm.schema import construct_fields_from_dataframe, is_valid_insert_data\n"
        "from pymilvus.orm.types import infer_dtype_by_scalar_data\n"
        "assert infer_dtype_by_scalar_data(1.5) == DataType.DOUBLE\n"
        "import pandas\n"
        "table = pandas.DataFrame({'a': [1, 2], 'b': ['x', 'y']})\n"
        "assert is_valid_insert_data(table) and not is_valid_insert_data(3)\n"
        "names = [field.name for field in construct_fields_from_dataframe(table)]\n"
        "assert names == ['a', 'b'], names\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
