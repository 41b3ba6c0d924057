"""The server as clients from npm drive it, over the wire: the MCP Inspector's command line.

They are fetched on first use; where npm can't be reached, these tests skip.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import npm_programs
from commands import environment
from npm_programs import NpmPrograms
from served_library import SERVER, demo_library

pytestmark = pytest.mark.slow  # npm fetches 300 MB on first use

ERAS = ("legacy", "modern")
TOOL_FAILED = 5  # the Inspector's exit code when a tool says isError


@pytest.fixture(scope="module")
def npm() -> NpmPrograms:
    return npm_programs.installed()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with demo_library(tmp_path_factory.mktemp("npm-clients")) as found:
        yield found


class Inspector:
    """`mcp-inspector --cli`, each call with a server process of its own."""

    def __init__(self, npm: NpmPrograms, home: Path, era: str) -> None:
        self._npm, self._home, self._era = npm, home, era

    def __call__(self, method: str, *options: str) -> subprocess.CompletedProcess[str]:
        variables = environment(self._home)
        passed = [f"{name}={value}" for name, value in variables.items() if name != "PATH"]
        flags = [part for pair in passed for part in ("-e", pair)]
        server = [*SERVER, "--home", str(self._home)]
        return self._npm.run(
            "mcp-inspector",
            *("--cli", *flags, "--protocol-era", self._era, "--method", method, *options),
            *("--", *server),
            home=self._home,
        )

    def told(self, method: str, *options: str, exit_code: int = 0) -> Any:
        """What it printed, as an object."""
        done = self(method, *options)
        assert done.returncode == exit_code, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def called(self, tool: str, exit_code: int = 0, **arguments: Any) -> Any:
        """The result of a tool."""
        options = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return self.told("tools/call", *options, exit_code=exit_code)


@pytest.fixture(params=ERAS)
def inspector(npm: NpmPrograms, home: Path, request: pytest.FixtureRequest) -> Inspector:
    return Inspector(npm, home, request.param)


def test_the_inspector_finds_nothing_to_say_about_any_schema(inspector: Inspector) -> None:
    done = inspector("tools/list", "--strict")
    assert done.returncode == 0, done.stderr
    tools = json.loads(done.stdout)["tools"]
    assert "search_media" in {tool["name"] for tool in tools}
    assert "Warning" not in done.stderr, done.stderr
    assert "Error" not in done.stderr, done.stderr


def test_the_inspector_searches_and_looks(inspector: Inspector) -> None:
    found = inspector.called("search_media", query="red barn", limit=1)
    (hit,) = found["structuredContent"]["hits"]
    assert Path(hit["path"]).name == "IMG_3101.jpg"
    shown = inspector.called("get_media", media_id=hit["media_id"], include_picture=True)
    assert [part["type"] for part in shown["content"]][-1] == "image"


def test_the_inspector_is_told_what_is_wrong(inspector: Inspector) -> None:
    refused = inspector.called("search_media", query="x", lmit=1, exit_code=TOOL_FAILED)
    assert "did you mean 'limit'?" in refused["content"][0]["text"]
    unknown = inspector.called("get_media", media_id="../../etc", exit_code=TOOL_FAILED)
    assert "There is no media" in unknown["content"][0]["text"]
