"""The server as a client meets it: handshake, arguments, waiting, cancelling, ending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp_types import CallToolResult

from mcp_calls import ERAS, said
from mmrag_mcp import calls, command
from mmrag_mcp.arguments import Query
from mmrag_mcp.calls import Ctx
from mmrag_mcp.command import parser
from mmrag_mcp.results import Result
from mmrag_mcp.server import MmragServer
from mmrag_mcp.tools import TOOLS
from mmrag_mcp.tools.base import MediaTool, answer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin.errors import NotFound, StorageError
from mmrag_plugin.results import SearchResult
from mmrag_plugin.settings import Settings

HEAVY = ("llama_index", "torch", "transformers", "pymilvus", "numpy", "PIL", "sqlalchemy")
NAMES = [
    "search_media",
    "get_media",
    "find_similar",
    "browse_media",
    "describe_media",
    "ask_media",
    "library_info",
]


class Stub:
    """As much of a library as a search needs; ``searching`` is what a search does."""

    def __init__(self, searching: Callable[[], None] = lambda: None) -> None:
        self.settings = SimpleNamespace(home=Path("/home/ann/.mmrag"))
        self.searching = searching
        self.ready = threading.Event()
        self.closed = False

    def searcher(self) -> Any:
        self.ready.wait(30)
        return SimpleNamespace(search=lambda query, limit: None)

    def search_question(self, query: str, **options: Any) -> Any:
        self.searching()
        return SearchResult(query, [], [f"searched {query}"])

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def stub() -> Stub:
    made = Stub()
    made.ready.set()
    return made


def serve(stub: Stub) -> MmragServer:
    return MmragServer(WarmLibrary(lambda: stub))  # type: ignore[arg-type, return-value]


# ---- the tool list ---------------------------------------------------------------------------


async def test_every_tool_is_described_flat_strict_and_read_only(stub: Stub) -> None:
    async with Client(serve(stub)) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == NAMES
        for tool in tools:
            assert tool.title
            assert tool.description
            assert "\n" not in tool.description
            assert tool.annotations
            assert tool.annotations.read_only_hint
            assert tool.output_schema
            assert tool.input_schema["additionalProperties"] is False
            for argument in tool.input_schema["properties"].values():
                assert argument["description"]
                assert argument["type"] in ("string", "integer", "boolean")
        limit = tools[0].input_schema["properties"]["limit"]
        assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, 50, 10)
        assert tools[0].input_schema["required"] == ["query"]


async def test_the_server_says_who_it_is_and_how_to_search(stub: Stub) -> None:
    async with Client(serve(stub), mode="legacy") as client:
        assert client.server_info.name == "mmrag"
        assert client.server_info.title
        assert client.server_info.version
        assert "search_media" in (client.instructions or "")


@pytest.mark.parametrize("era", ERAS)
def test_nothing_heavy_is_imported_before_the_tools_are_listed(era: str, tmp_path: Path) -> None:
    found = tmp_path / "modules"
    code = (
        "import sys, mmrag_mcp.command as command, mmrag_mcp.warming as warming\n"
        "def warm(self, after_s=0):\n"
        f"    open({str(found)!r}, 'w').write(' '.join(sys.modules))\n"
        "warming.WarmLibrary.warm = warm\n"
        "command.main([])\n"
    )

    async def handshake() -> float:
        began = time.perf_counter()
        process = StdioServerParameters(command=sys.executable, args=["-c", code])
        async with Client(process, mode=era) as client:
            assert not found.exists()
            await client.list_tools()
            return time.perf_counter() - began

    took_s = anyio.run(handshake)
    print(f"process start to answered tool list ({era}): {1000 * took_s:.0f} ms")
    loaded = {module.split(".")[0] for module in found.read_text().split()}
    assert "mmrag_mcp" in loaded
    assert not loaded & set(HEAVY)


async def test_the_library_is_opened_after_the_tool_list_was_answered(stub: Stub) -> None:
    opened = threading.Event()

    def opening() -> Any:
        opened.set()
        return stub

    warm = WarmLibrary(opening)
    async with Client(MmragServer(warm)) as client:
        assert warm.state == "idle"
        await client.list_tools()
        assert not opened.is_set()
        assert await anyio.to_thread.run_sync(opened.wait, 10)
        warm.warm().result(10)
        assert warm.state == "ready"


# ---- arguments -------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"query": "x", "lmit": 3}, "There is no argument 'lmit'; did you mean 'limit'?"),
        (
            {"query": "x", "zzz": 3},
            "There is no argument 'zzz'; known are query, limit, cursor, kind,",
        ),
        ({"limit": 3}, "The argument 'query' is missing."),
        ({"query": "x", "limit": 51}, "limit = 51: Input should be less than or equal to 50."),
        ({"query": "x", "limit": 0}, "limit = 0: Input should be greater than or equal to 1."),
        ({"query": "x", "kind": "gif"}, "kind = 'gif': Input should be 'image' or 'video'."),
        ({"query": ""}, "query = '': String should have at least 1 character."),
        ({"query": "x", "folder": "a\x00b"}, "folder = 'a\\x00b': String should match pattern"),
        ({"query": "x" * 5000}, "…: String should have at most 2000 characters."),
    ],
)
async def test_a_wrong_argument_is_refused_with_what_would_be_right(
    stub: Stub, era: str, arguments: dict[str, Any], expected: str
) -> None:
    async with Client(serve(stub), mode=era) as client:
        result = await client.call_tool("search_media", arguments)
    assert result.is_error
    assert expected in said(result)
    assert "pydantic" not in said(result)
    assert len(said(result)) < 300


async def test_an_unknown_tool_is_answered_with_the_nearest(stub: Stub) -> None:
    async with Client(serve(stub)) as client:
        result = await client.call_tool("serch", {})
    assert result.is_error
    assert said(result) == "There is no tool 'serch'; did you mean 'search_media'?"


async def test_what_assistants_write_for_nothing_is_taken_for_nothing(stub: Stub) -> None:
    empty = {"query": "x", "kind": "", "since": "", "until": None, "folder": "", "has_text": ""}
    async with Client(serve(stub)) as client:
        result = await client.call_tool("search_media", empty)
    assert not result.is_error
    assert result.structured_content
    assert result.structured_content["warnings"] == ["searched x"]


class PaintMedia(MediaTool):
    """A tool that writes."""

    name = "paint_media"
    title = "Paint"
    writes = True
    repeats_safely = False

    async def run(self, ctx: Ctx, colour: Query) -> Annotated[CallToolResult, Result]:
        """Paint everything in one colour."""
        return answer(Result(), lambda _: f"It is {colour}.")


async def test_a_tool_that_writes_is_there_only_where_it_is_allowed(stub: Stub) -> None:
    warm = WarmLibrary(lambda: stub)  # type: ignore[arg-type, return-value]
    tools = (*TOOLS, PaintMedia)
    async with Client(MmragServer(warm, tools=tools)) as client:
        assert "paint_media" not in {tool.name for tool in (await client.list_tools()).tools}
        refused = await client.call_tool("paint_media", {"colour": "red"})
    assert refused.is_error
    assert "--allow-write" in said(refused)
    async with Client(MmragServer(warm, allow_write=True, tools=tools)) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        hints = listed["paint_media"].annotations
        assert hints
        assert (hints.read_only_hint, hints.idempotent_hint) == (False, False)
        assert said(await client.call_tool("paint_media", {"colour": "red"})) == "It is red."


# ---- errors ----------------------------------------------------------------------------------


async def test_our_errors_arrive_with_their_remedy_and_without_the_librarys_place() -> None:
    def full() -> None:
        raise StorageError("/home/ann/.mmrag/default can't be written.", "Free some space.")

    stub = Stub(full)
    stub.ready.set()
    async with Client(serve(stub)) as client:
        result = await client.call_tool("search_media", {"query": "x"})
    assert result.is_error
    assert said(result) == "MMRAG_HOME/default can't be written. Free some space."


async def test_a_crash_tells_the_client_nothing_of_its_inside() -> None:
    def crash() -> None:
        raise RuntimeError("secret /home/ann")

    stub = Stub(crash)
    stub.ready.set()
    async with Client(serve(stub)) as client:
        result = await client.call_tool("search_media", {"query": "x"})
    assert result.is_error
    assert said(result) == "Error executing tool search_media"


async def test_what_failed_to_open_is_tried_again_by_the_next_call(stub: Stub) -> None:
    attempts = 0

    def opening() -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise NotFound("There is no library yet.", "Index a folder first: mmrag index FOLDER")
        return stub

    warm = WarmLibrary(opening)
    async with Client(MmragServer(warm)) as client:
        first = await client.call_tool("search_media", {"query": "x"})
        assert warm.state == "failed"
        second = await client.call_tool("search_media", {"query": "x"})
    assert first.is_error
    assert "mmrag index FOLDER" in said(first)
    assert not second.is_error


def test_a_library_that_is_not_there_is_named_with_the_command_that_makes_it(
    tmp_path: Path,
) -> None:
    with pytest.raises(NotFound, match="mmrag index FOLDER --library 'my films'"):
        open_library(home=str(tmp_path), library="my films")


def test_a_library_that_cannot_be_opened_does_not_tell_its_place(tmp_path: Path) -> None:
    (tmp_path / "default").write_text("something else")
    with pytest.raises(Exception, match="MMRAG_HOME/default is not a library") as raised:
        open_library(home=str(tmp_path))
    assert str(tmp_path) not in str(raised.value)


# ---- waiting and cancelling ------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_a_search_during_warm_up_waits_and_tells_how_it_goes(
    era: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "PROGRESS_EVERY_S", 0.02)
    stub = Stub()
    told: list[tuple[float, str]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, message or ""))
        if "loading the models" in told[-1][1]:
            stub.ready.set()

    async with Client(serve(stub), mode=era) as client:
        await client.list_tools()
        result = await client.call_tool(
            "search_media", {"query": "x"}, progress_callback=on_progress
        )
    assert not result.is_error
    assert len(told) > 1
    assert [at for at, _ in told] == sorted(at for at, _ in told)


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_search_ends_at_once_and_the_next_one_works(era: str) -> None:
    release = threading.Event()
    stub = Stub(lambda: release.wait(30) and None)
    stub.ready.set()
    async with Client(serve(stub), mode=era) as client:
        began = time.monotonic()
        with anyio.move_on_after(0.3) as scope:
            await client.call_tool("search_media", {"query": "slow"})
        assert scope.cancelled_caught
        assert time.monotonic() - began < 2
        release.set()
        assert not (await client.call_tool("search_media", {"query": "x"})).is_error


# ---- the process -----------------------------------------------------------------------------

SLOW = """
import os, sys, time
from types import SimpleNamespace
import mmrag_mcp.command as command

class Slow:
    settings = SimpleNamespace(home="/nowhere")
    def searcher(self):
        print("noise on stdout", flush=True)
        os.write(1, b"more noise")
        return SimpleNamespace(search=lambda *_, **__: None)
    def search_question(self, *_, **__):
        print("searching", file=sys.stderr, flush=True)
        time.sleep(60)
    def close(self):
        print("closed", file=sys.stderr, flush=True)

command.open_library = lambda **flags: Slow()
command.main([])
"""
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


class RawClient:
    """A client that sees every byte."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOW],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.send("initialize", HELLO, number=1)
        assert self.receive()["id"] == 1
        self.send("notifications/initialized")

    def send(self, method: str, params: Any = None, number: int | None = None) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}}
        if number is not None:
            message["id"] = number
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def search(self, number: int) -> None:
        """Send a search that never ends, and wait until it has begun."""
        self.send("tools/call", {"name": "search_media", "arguments": {"query": "x"}}, number)
        assert self.process.stderr
        while b"searching" not in self.process.stderr.readline():
            pass


@pytest.fixture
def raw() -> Iterator[RawClient]:
    client = RawClient()
    yield client
    client.process.kill()
    client.process.communicate()


def test_only_the_protocol_reaches_stdout_whatever_is_printed(raw: RawClient) -> None:
    raw.search(2)
    raw.send("tools/list", number=3)
    assert raw.receive()["id"] == 3


def test_a_cancelled_call_is_not_answered_and_holds_up_nothing(raw: RawClient) -> None:
    raw.search(2)
    began = time.monotonic()
    raw.send("notifications/cancelled", {"requestId": 2})
    raw.send("ping", number=3)
    assert raw.receive()["id"] == 3
    assert time.monotonic() - began < 1


def test_the_server_leaves_when_its_client_does_even_in_the_middle_of_a_search(
    raw: RawClient,
) -> None:
    raw.search(2)
    began = time.monotonic()
    _, errors = raw.process.communicate(timeout=10)
    assert time.monotonic() - began < 2
    assert raw.process.returncode == 0
    assert b"closed" in errors
    assert b"Traceback" not in errors


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_server_leaves_when_it_is_told_to(raw: RawClient, how: signal.Signals) -> None:
    raw.search(2)
    began = time.monotonic()
    raw.process.send_signal(how)
    assert raw.process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert raw.process.stderr
    assert b"closed" in raw.process.stderr.read()


def test_a_closing_that_hangs_does_not_keep_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    monkeypatch.setattr(command, "CLOSE_S", 0.1)
    hanging = threading.Event()
    command.leave(SimpleNamespace(close=lambda: hanging.wait(30)), 0)  # type: ignore[arg-type]
    hanging.set()
    assert left == [0]


async def test_without_a_library_the_server_starts_and_says_what_to_do(tmp_path: Path) -> None:
    process = StdioServerParameters(
        command=sys.executable, args=["-m", "mmrag_mcp", "--home", str(tmp_path)]
    )
    async with Client(process) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == NAMES
        for name, arguments in {
            "library_info": {},
            "search_media": {"query": "x"},
            "get_media": {"media_id": "x"},
            "describe_media": {"media_id": "x"},
            "ask_media": {"question": "x"},
        }.items():
            result = await client.call_tool(name, arguments)
            assert result.is_error
            assert said(result) == (
                "There is no library 'default' yet. Index a folder first: mmrag index FOLDER"
            )


def test_a_wrong_flag_is_refused_with_exit_code_2_and_nothing_on_stdout() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mmrag_mcp", "--libary", "x"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"--libary" in done.stderr


# ---- what is written about it ----------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[1]


async def test_every_tool_argument_and_flag_is_documented(stub: Stub) -> None:
    page = (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    async with Client(serve(stub)) as client:
        for tool in (await client.list_tools()).tools:
            section = page.split(f"### {tool.name}\n", 1)[1].split("\n## ")[0].split("\n### ")[0]
            for argument in tool.input_schema["properties"]:
                assert f"`{argument}`" in section
    for action in parser()._actions:
        flag = action.option_strings[0]
        assert action.dest in ("help", "version") or f"`{flag}" in page, flag


def test_who_starts_the_server_in_a_terminal_is_told_who_it_waits_for(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mmrag_mcp", "--home", str(tmp_path)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        assert "waiting for an assistant" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        assert (out, process.returncode) == ("", 0)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def test_the_example_configuration_is_the_documented_one_and_is_understood() -> None:
    folder = ROOT / "examples" / "assistants" / "stdio" / "claude-desktop"
    text = (folder / "claude_desktop_config.json").read_text(encoding="utf-8")
    assert f"```json\n{text}```" in (ROOT / "docs" / "mcp.md").read_text(encoding="utf-8")
    entry = json.loads(text)["mcpServers"]["mmrag"]
    assert Path(entry["command"]).name == "mmrag-mcp"
    assert parser().parse_args(entry["args"]).library == "default"
    fields = {f"MMRAG_{name.upper()}" for name in Settings.model_fields} | {"OLLAMA_HOST"}
    assert entry["env"].keys() <= fields
