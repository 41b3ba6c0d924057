"""What the program can do stands in the documentation, and what stands there works."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from commands import environment, mmrag_here
from media_made import end_owners
from mmrag_mcp.command import parser
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.cli.main import app
from mmrag_plugin.plan import literal
from mmrag_plugin.planning.explaining import explained
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.planning.search_box import KEYS
from mmrag_plugin.settings import FLAGS, Settings
from ollama_double import OllamaDouble
from planning_questions import NAMES, TODAY

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def _script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_docs = _script("make_docs")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def _commands(group: Any, prefix: str = "mmrag") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(_commands(typer.main.get_command(app)))


@pytest.mark.parametrize(
    ("page", "write"), [("cli.md", "cli_page"), ("settings.md", "settings_page")]
)
def test_the_written_pages_are_those_of_this_program(page: str, write: str) -> None:
    kept = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert kept == getattr(make_docs, write)(), "the program has changed: run make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented_and_says_what_it_is_for(name: str) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    _, found, after = page.partition(f"\n## {name}\n")
    assert found
    section = after.partition("\n## ")[0]
    command = COMMANDS[name]
    assert command.help
    for param in command.params:
        assert param.help, f"{name} {param.name} has no help"
        for option in (*param.opts, *param.secondary_opts):
            assert option in section or param.param_type_name == "argument"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_readme_or_its_pages_mention_every_command(name: str) -> None:
    assert any(name in path.read_text(encoding="utf-8") for path in PAGES)


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented_and_read_from_the_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    field = Settings.model_fields[name]
    variable = make_docs.variable_of(name, field)
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert f"| `{variable}` |" in page
    assert field.description
    value = {
        "home": str(tmp_path),
        "allow_remote": "true",
        "ocr": "off",
        "dtype": "int8",
        "milvus_index": "HNSW_SQ",
        "device": "cuda:1",
        "keyframes": "uniform",
        "shots": "quick",
        "captions": "missing",
        "personal": "false",
        "caption_workers": "3",
        "speech_language": "fr",
        "speech_threads": "3",
        "ocr_all_below": "3",
        "ollama_host": "http://10.0.0.1:1",
        "vlm_timeout": "12.5",
        "keep_models": "60.5",
        "log": "info",
        "log_format": "json",
        "trace_content": "true",
    }.get(name, "something")
    monkeypatch.setenv(variable, value)
    assert str(getattr(Settings(), name)).lower() == value.lower()


def test_the_flags_that_errors_name_are_there() -> None:
    taken = {option for command in COMMANDS.values() for p in command.params for option in p.opts}
    assert {f"--{name.replace('_', '-')}" for name in FLAGS} <= taken
    assert (
        not {f"--{name.replace('_', '-')}" for name in Settings.model_fields.keys() - FLAGS} & taken
    )


def test_every_mcp_tool_and_flag_is_documented() -> None:
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    warm = WarmLibrary(lambda: pytest.fail("nothing needs a library here"))
    server = MmragServer(warm, allow_write=True)
    assert server._by_name
    for name in server._by_name:
        assert f"\n### {name}\n" in page, f"docs/mcp.md has no section {name}"
    flags = {flag for action in parser()._actions for flag in action.option_strings}
    assert {flag for flag in flags if f"`{flag}" not in page} <= {"-h", "-l", "--help", "--version"}


async def test_every_mcp_resource_and_prompt_is_documented() -> None:
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    server = MmragServer(WarmLibrary(lambda: pytest.fail("nothing needs a library here")))
    named = [resource.uri for resource in await server.list_resources()]
    named += [template.uri_template for template in await server.list_resource_templates()]
    named += [prompt.name for prompt in await server.list_prompts()]
    assert len(named) == 9
    assert not [name for name in named if f"`{name}`" not in page]


# -- what a question may say ----------------------------------------------------------------------

ASKING = (ROOT / "docs" / "asking.md").read_text(encoding="utf-8")
SECTION = ASKING.partition("## What a question may say")[2].partition("\n## ")[0]
SAID = re.findall(r"^\| (`.+?) \|", SECTION, re.MULTILINE)
EXAMPLES = [example for cell in SAID for example in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_a_question_is_understood_as_more_than_its_words(example: str) -> None:
    plan = Rules().plan(example, today=TODAY, known=NAMES)
    assert replace(plan, planned_by="given") != literal(example)
    assert list(explained(plan)) != [f"shows {example}"]


def test_every_filter_of_the_search_box_is_documented() -> None:
    named = {example.partition(":")[0] for example in re.findall(r"`([a-z]+:[^`]*)`", ASKING)}
    assert KEYS.keys() <= named


# -- the README -----------------------------------------------------------------------------------


def test_the_readme_has_exactly_two_commands_to_set_up() -> None:
    first = _blocks("")[0].splitlines()
    targets = [line.split()[1] for line in first]
    assert targets == ["demo", "test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\bmake ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_picture_fetches_nothing() -> None:
    picture = (ROOT / "docs" / "images" / "demo.svg").read_text(encoding="utf-8")
    assert "gate B42" in picture.replace("&#160;", " ")
    assert "url(http" not in picture


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A person's home with ~/Pictures, and a program that opens pictures."""
    home = tmp_path_factory.mktemp("person")
    demo = ROOT / "src" / "mmrag_plugin" / "demo_media"
    shutil.copytree(demo, home / "Pictures")
    shutil.copy(demo / "Farm weekend" / "IMG_3101.jpg", home / "Pictures" / "barn.jpg")
    opener = home / "bin" / ("open" if sys.platform == "darwin" else "xdg-open")
    opener.parent.mkdir()
    opener.write_text("#!/bin/sh\n")
    opener.chmod(0o755)
    yield home
    end_owners(home / "libraries")


def _person(home: Path, ollama: OllamaDouble) -> dict[str, str]:
    path = environment(home)["PATH"]
    return {
        "HOME": str(home),
        "PATH": f"{home / 'bin'}:{path}",
        "OLLAMA_HOST": ollama.url,
        "MMRAG_VLM": "eye",
    }


def test_the_commands_of_the_readme_work_one_after_the_other(pictures: Path) -> None:
    (block,) = _blocks("sh")
    with OllamaDouble() as ollama:
        for line in block.splitlines():
            program, *arguments = shlex.split(line.replace("~", str(pictures)))
            assert program == "mmrag"
            typed = "show me the red barn\n" if "chat" in arguments else ""
            looked = len(ollama.pictures)
            person = _person(pictures, ollama)
            done = mmrag_here(pictures / "libraries", *arguments, stdin=typed, **person)
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            assert done.stdout.strip(), line
            asks_a_model = not {"ask", "chat", "--captions"}.isdisjoint(arguments)
            assert (len(ollama.pictures) > looked) == asks_a_model, line


@pytest.mark.slow
def test_the_python_of_the_readme_works(pictures: Path) -> None:
    (block,) = _blocks("python")
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    with OllamaDouble() as ollama:
        done = subprocess.run(
            [sys.executable, "-c", block],
            env=environment(pictures / "libraries", **_person(pictures, ollama)),
            capture_output=True,
            text=True,
            timeout=110,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    *hits, answer = done.stdout.splitlines()
    assert len(hits) == 3
    assert answer.startswith("I see")
    assert ".jpg" in answer


@pytest.mark.parametrize("place", ["README.md", "docs/mcp.md"])
def test_an_assistants_configuration_names_our_server_and_flags_it_knows(place: str) -> None:
    text = (ROOT / place).read_text(encoding="utf-8")
    found = re.findall(r"```json\n(\{.*?)^```", text, re.MULTILINE | re.DOTALL)
    servers = json.loads(found[0])["mcpServers"]
    assert servers["mmrag"]["command"].endswith("/mmrag-mcp")
    parser().parse_args(servers["mmrag"]["args"])
