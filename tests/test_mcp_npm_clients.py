"""The server as clients from npm drive it, over the wire: the MCP Inspector's command line.

They are fetched on first use; where npm can't be reached, these tests skip.
"""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

import npm_programs
from commands import environment
from mcp_processes import TOKEN, ServedOverHttp
from npm_programs import NpmPrograms
from served_library import SERVER, demo_library, over_http

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # npm fetches 300 MB on first use

ERAS = ("legacy", "modern")
TOOL_FAILED = 5  # the Inspector's exit code when a tool says isError


@pytest.fixture(scope="module")
def npm() -> NpmPrograms:
    return npm_programs.installed()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with demo_library(tmp_path_factory.mktemp("npm-clients")) as found:
        yield found


@pytest.fixture(scope="module")
def served(home: Path) -> Iterator[ServedOverHttp]:
    with over_http(home, "--allow-write", MMRAG_TOKEN=TOKEN) as server:
        yield server


class Inspector:
    """`mcp-inspector --cli` on one server: ``options`` say how it is reached."""

    def __init__(self, npm: NpmPrograms, home: Path, *options: str, server: list[str]) -> None:
        self._npm, self._home = npm, home
        self._options, self._server = options, server

    def __call__(self, method: str, *options: str) -> subprocess.CompletedProcess[str]:
        how = ("--cli", *self._options, "--method", method, *options)
        return self._npm.run("mcp-inspector", *how, "--", *self._server, home=self._home)

    def told(self, method: str, *options: str, exit_code: int = 0) -> Any:
        """What it printed, as an object."""
        done = self(method, *options)
        assert done.returncode == exit_code, (done.stdout, done.stderr)
        return json.loads(done.stdout)

    def called(self, tool: str, exit_code: int = 0, **arguments: Any) -> Any:
        """The result of a tool."""
        options = ("--tool-name", tool, "--tool-args-json", json.dumps(arguments))
        return self.told("tools/call", *options, exit_code=exit_code)


@pytest.fixture(params=[f"{era} over {way}" for era in ERAS for way in ("stdio", "http")])
def inspector(npm: NpmPrograms, home: Path, request: pytest.FixtureRequest) -> Inspector:
    era, _, way = request.param.split()
    if way == "http":
        served: ServedOverHttp = request.getfixturevalue("served")
        options = ("--header", f"Authorization: Bearer {TOKEN}", "--stored-auth-only")
        return Inspector(npm, home, "--protocol-era", era, *options, server=[served.url])
    variables = {name: value for name, value in environment(home).items() if name != "PATH"}
    passed = [part for name in variables for part in ("-e", f"{name}={variables[name]}")]
    server = [*SERVER, "--allow-write"]
    return Inspector(npm, home, "--protocol-era", era, *passed, server=server)


def test_the_inspector_finds_nothing_to_say_about_any_schema(inspector: Inspector) -> None:
    done = inspector("tools/list", "--strict")
    assert done.returncode == 0, done.stderr
    tools = json.loads(done.stdout)["tools"]
    assert len(tools) == 10
    assert "Warning" not in done.stderr, done.stderr
    assert "Error" not in done.stderr, done.stderr


def test_the_inspector_searches_and_looks(inspector: Inspector) -> None:
    found = inspector.called("search_media", query="red barn", limit=1)
    (hit,) = found["structuredContent"]["hits"]
    assert Path(hit["path"]).name == "IMG_3101.jpg"
    shown = inspector.called("get_media", media_id=hit["media_id"], include_picture=True)
    assert "image" in [part["type"] for part in shown["content"]]


@pytest.mark.parametrize("inspector", [f"{era} over http" for era in ERAS], indirect=True)
def test_the_inspector_reads_resources_and_prompts(inspector: Inspector) -> None:
    listed = inspector.told("resources/list")["resources"]
    assert [found["uri"] for found in listed] == ["mmrag://library"]
    (library,) = inspector.told("resources/read", "--uri", "mmrag://library")["contents"]
    assert "12 images, 1 video" in library["text"]
    templates = inspector.told("resources/templates/list")["resourceTemplates"]
    assert "mmrag://media/{id}/thumbnail" in {found["uriTemplate"] for found in templates}
    found = inspector.called("search_media", query="meadow", kind="video", limit=1)
    media = f"mmrag://media/{found['structuredContent']['hits'][0]['media_id']}"
    (thumbnail,) = inspector.told("resources/read", "--uri", f"{media}/thumbnail")["contents"]
    assert PIL.Image.open(io.BytesIO(base64.b64decode(thumbnail["blob"]))).width == 320
    (clip,) = inspector.told("resources/read", "--uri", f"{media}/clip/0:03-0:05")["contents"]
    assert clip["mimeType"] == "video/mp4"
    prompts = {prompt["name"] for prompt in inspector.told("prompts/list")["prompts"]}
    assert {"find", "compare", "make_album", "tell_day"} <= prompts
    asked = ("--prompt-name", "find", "--prompt-args", "what=red barn")
    (message,) = inspector.told("prompts/get", *asked)["messages"]
    assert "red barn" in message["content"]["text"]


@pytest.mark.parametrize("inspector", [f"{era} over http" for era in ERAS], indirect=True)
def test_the_inspector_finds_the_gallery_as_an_app(inspector: Inspector) -> None:
    done = inspector("tools/list", "--app-info", "--advertise-apps")
    assert done.returncode == 0, done.stderr
    told = {line["toolName"]: line for line in map(json.loads, done.stdout.splitlines())}
    app = told["search_media"]
    assert app["resourceMimeType"] == "text/html;profile=mcp-app"
    assert app["csp"] == {"resourceDomains": ["data:", "blob:"]}, "the page may fetch nothing"
    (page,) = inspector.told("resources/read", "--uri", app["resourceUri"])["contents"]
    assert page["text"].lstrip().lower().startswith("<!doctype html>")


def test_the_inspector_is_told_what_is_wrong(inspector: Inspector) -> None:
    refused = inspector.called("search_media", query="x", lmit=1, exit_code=TOOL_FAILED)
    assert "did you mean 'limit'?" in refused["content"][0]["text"]
    unknown = inspector.called("get_media", media_id="../../etc", exit_code=TOOL_FAILED)
    assert "There is no media" in unknown["content"][0]["text"]


# ---- the conformance suite -------------------------------------------------------------------

EXPECTED_FAILURES = Path(__file__).with_name("conformance_expected_failures.yml")


def test_each_scenario_that_is_expected_to_fail_has_a_reason() -> None:
    lines = EXPECTED_FAILURES.read_text(encoding="utf-8").splitlines()
    for line in lines[lines.index("server:") + 1 :]:
        assert re.fullmatch(r"  - [a-z0-9-]+  # \S.*", line), line


def test_the_server_conforms_to_the_specification(npm: NpmPrograms, home: Path) -> None:
    """Fails as well when a scenario passes that is expected to fail."""
    with over_http(home) as served:
        done = npm.run(
            "conformance",
            *("server", "--url", served.url, "--suite", "active"),
            *("--expected-failures", EXPECTED_FAILURES),
            home=home,
        )
    assert done.returncode == 0, done.stdout[done.stdout.find("=== SUMMARY") :]
    for scenario in ("server-initialize", "ping", "tools-list", "dns-rebinding-protection"):
        assert f"✓ {scenario}: " in done.stdout
