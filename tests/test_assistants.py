"""The configuration files of examples/assistants: in each client's own form, and they work."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp import Client, StdioServerParameters
from mcp.client.stdio import get_default_environment

from commands import environment
from mcp_processes import TOKEN, ServedOverHttp, connected
from mmrag_mcp.command import parser
from served_library import SERVER, over_http

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "assistants"
WAYS = ("stdio", "http")

# Where each client's documentation wants its servers, and the names it knows in one. "Bearer ..."
# is what it makes of a variable, or of an input, in a header.
LOCAL = {"command", "args", "env"}
CLIENTS: dict[str, dict[str, Any]] = {
    "claude-desktop": {"under": "mcpServers", "stdio": LOCAL},
    "claude-code": {
        "under": "mcpServers",
        "stdio": LOCAL | {"type"},
        "http": {"type", "url", "headers"},
        "types": ("stdio", "http"),
        "variable": "${MMRAG_TOKEN}",
    },
    "cursor": {
        "under": "mcpServers",
        "stdio": LOCAL | {"type"},
        "http": {"url", "headers"},
        "types": ("stdio", None),
        "variable": "${env:MMRAG_TOKEN}",
    },
    "vscode": {
        "under": "servers",
        "stdio": LOCAL | {"type"},
        "http": {"type", "url", "headers"},
        "types": ("stdio", "http"),
        "variable": "${input:mmrag-token}",
    },
    "windsurf": {
        "under": "mcpServers",
        "stdio": LOCAL,
        "http": {"serverUrl", "headers"},
        "variable": "${env:MMRAG_TOKEN}",
    },
    "zed": {"under": "context_servers", "stdio": LOCAL, "http": {"url", "headers"}},
    "continue": {
        "under": "mcpServers",
        "stdio": LOCAL | {"name", "type"},
        "http": {"name", "type", "url", "requestOptions"},
        "types": ("stdio", "streamable-http"),
        "variable": "${{ secrets.MMRAG_TOKEN }}",
    },
    "lm-studio": {"under": "mcpServers", "stdio": LOCAL, "http": {"url", "headers"}},
    "open-webui": {
        "under": "mcpServers",
        "stdio": LOCAL,
        "http": {"type", "url", "headers"},
        "types": (None, "streamable-http"),
    },
    "codex": {
        "under": "mcp_servers",
        "stdio": LOCAL | {"startup_timeout_sec", "tool_timeout_sec"},
        "http": {"url", "bearer_token_env_var", "tool_timeout_sec"},
    },
    "gemini-cli": {
        "under": "mcpServers",
        "stdio": LOCAL,
        "http": {"httpUrl", "headers"},
        "variable": "$MMRAG_TOKEN",
    },
    "goose": {
        "under": "extensions",
        "stdio": {"type", "name", "enabled", "cmd", "args", "envs", "timeout"},
        "http": {"type", "name", "enabled", "uri", "headers", "timeout"},
        "types": ("stdio", "streamable_http"),
    },
}
FILES = [
    pytest.param(client, way, id=f"{client} over {way}")
    for client, known in CLIENTS.items()
    for way in WAYS
    if way in known
]


def file_of(client: str, way: str) -> Path:
    (found,) = (FOLDER / way / client).iterdir()
    return found


def read(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        loaded: dict[str, Any] = tomllib.loads(text)
    else:
        loaded = yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)
    return loaded


def server_in(client: str, way: str) -> dict[str, Any]:
    """The one server of a file, whatever the client calls its parts."""
    servers = read(file_of(client, way))[CLIENTS[client]["under"]]
    (server,) = servers if isinstance(servers, list) else servers.values()
    return dict(server)


def started_as(server: dict[str, Any]) -> tuple[str, list[str], dict[str, str]]:
    variables = server.get("env", server.get("envs"))
    return server.get("command", server.get("cmd")), server["args"], variables


def called_at(client: str, server: dict[str, Any]) -> tuple[str, str]:
    """The address, and what the client sends as Authorization where the token is TOKEN."""
    (url,) = (server[name] for name in ("url", "serverUrl", "httpUrl", "uri") if name in server)
    if "bearer_token_env_var" in server:
        assert server["bearer_token_env_var"] == "MMRAG_TOKEN"
        return url, f"Bearer {TOKEN}"
    headers = server.get("headers") or server["requestOptions"]["headers"]
    variable = CLIENTS[client].get("variable", "YOUR_TOKEN")
    assert headers == {"Authorization": f"Bearer {variable}"}
    return url, headers["Authorization"].replace(variable, TOKEN)


def test_every_folder_is_a_client_that_is_known() -> None:
    found = {(folder.name, way) for way in WAYS for folder in (FOLDER / way).iterdir()}
    assert found == {(client, way) for client in CLIENTS for way in WAYS if way in CLIENTS[client]}


@pytest.mark.parametrize(("client", "way"), FILES)
def test_a_file_has_the_form_that_its_client_documents(client: str, way: str) -> None:
    server = server_in(client, way)
    assert set(server) == CLIENTS[client][way]
    types = CLIENTS[client].get("types", (None, None))
    assert server.get("type") == types[WAYS.index(way)]
    if client == "continue":
        whole = read(file_of(client, way))
        assert {"name", "version", "schema"} <= set(whole)
        assert whole["schema"] == "v1"
    if client == "vscode" and way == "http":
        (asked,) = read(file_of(client, way))["inputs"]
        assert (asked["type"], asked["password"]) == ("promptString", True)
        assert f"${{input:{asked['id']}}}" in server["headers"]["Authorization"]


@pytest.mark.parametrize(("client", "way"), FILES)
def test_docs_say_where_a_file_goes(client: str, way: str) -> None:
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    assert f"../examples/assistants/{way}/{client}/{file_of(client, way).name})" in page


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServedOverHttp]:
    home = tmp_path_factory.mktemp("assistants")
    with over_http(home, MMRAG_TOKEN=TOKEN) as server:
        yield server


TRIED: dict[str, list[str]] = {}  # what was started or called -> the tools it listed


@pytest.mark.parametrize("client", [name for name, known in CLIENTS.items() if "stdio" in known])
async def test_what_a_file_starts_lists_its_tools(client: str, tmp_path: Path) -> None:
    """Clients whose files start the same process share one start of it."""
    command, args, variables = started_as(server_in(client, "stdio"))
    assert re.fullmatch(r"/home/YOU/\S+/bin/mmrag-mcp", command)
    parser().parse_args(args)
    key = json.dumps([args, variables])
    if key not in TRIED:
        wanted = environment(tmp_path)  # this machine's settings are not the person's
        passed_on = {**get_default_environment(), "MMRAG_HOME": wanted["MMRAG_HOME"]}
        process = StdioServerParameters(
            command=SERVER[0], args=[*SERVER[1:], *args], env={**passed_on, **variables}
        )
        async with Client(process) as connection:
            TRIED[key] = [tool.name for tool in (await connection.list_tools()).tools]
    assert "search_media" in TRIED[key]


@pytest.mark.parametrize("client", [name for name, known in CLIENTS.items() if "http" in known])
async def test_what_a_file_calls_lists_its_tools(client: str, served: ServedOverHttp) -> None:
    url, authorization = called_at(client, server_in(client, "http"))
    assert url == "http://127.0.0.1:8765/mcp"  # as docs/mcp.md starts it
    key = json.dumps([url, authorization])
    if key not in TRIED:
        async with connected(served.url, authorization=authorization) as connection:
            TRIED[key] = [tool.name for tool in (await connection.list_tools()).tools]
    assert "search_media" in TRIED[key]
