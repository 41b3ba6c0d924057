"""What hostile clients send over HTTP and stdio: the server answers the next honest one."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from mcp_processes import (
    STUB,
    TOKEN,
    ServedOverHttp,
    connected,
    headers_of,
    modern,
    stub_over_http,
)
from mmrag_mcp.calls import THREADS

MIB = 2**20


@pytest.fixture(scope="module")
def served() -> Iterator[ServedOverHttp]:
    with stub_over_http(HEADERS_S=1, BODY_S=3, UNREAD_S=1) as server:
        yield server
        assert is_alive(server)
        assert "Traceback" not in server.told, server.told


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServedOverHttp]:
    with stub_over_http(token=TOKEN, DRAIN_S=2) as server:
        yield server
        assert TOKEN not in server.told


def is_alive(server: ServedOverHttp, **headers: str) -> bool:
    body = modern("tools/call", {"name": "search_media", "arguments": {"query": "x"}})
    answer = httpx2.post(server.url, json=body, headers=headers_of(body, **headers), timeout=10)
    return answer.status_code == 200 and not answer.json()["result"].get("isError")


def post(server: ServedOverHttp, content: Any, **headers: str) -> httpx2.Response:
    usual = headers_of(modern("tools/list"))
    return httpx2.post(server.url, content=content, headers=usual | headers, timeout=30)


def address_of(server: ServedOverHttp) -> tuple[str, int]:
    host, _, port = server.base.removeprefix("http://").rpartition(":")
    return host, int(port)


# ---- who asks --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", "/health", "/", "/.well-known/oauth-protected-resource"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8765",
        "127.0.0.1@evil.example",
        "[::2]:8765",
        "",
    ],
)
def test_a_foreign_host_is_refused_on_every_path(
    served: ServedOverHttp, host: str, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = httpx2.request(method, f"{served.base}{path}", headers={"host": host})
        assert answer.status_code == 421
        assert "mmrag" not in answer.text


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example:8765",
        "file://",
        "http://127.0.0.1@evil.example",
    ],
)
def test_a_foreign_origin_is_refused(served: ServedOverHttp, origin: str) -> None:
    assert post(served, json.dumps(modern("tools/list")), origin=origin).status_code == 403
    assert httpx2.get(f"{served.base}/health", headers={"origin": origin}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN[:-1]}"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Bearer  {TOKEN}"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": TOKEN},
        {"x-authorization": f"Bearer {TOKEN}"},
        {"cookie": f"token={TOKEN}"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_the_token_nothing_is_told(
    guarded: ServedOverHttp, headers: dict[str, str], method: str
) -> None:
    body = modern("tools/list")
    answer = httpx2.request(
        method, f"{guarded.url}?token={TOKEN}", json=body, headers=headers_of(body) | headers
    )
    assert answer.status_code == 401
    assert "search_media" not in answer.text
    assert TOKEN not in answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_a_stranger_cannot_make_the_server_keep_a_body(guarded: ServedOverHttp) -> None:
    assert is_alive(guarded, authorization=f"Bearer {TOKEN}")
    before = guarded.memory_bytes()
    with contextlib.suppress(httpx2.HTTPError):  # it may close while the body comes in
        assert post(guarded, (b"x" * MIB for _ in range(100))).status_code == 401
    assert guarded.memory_bytes() - before < 16 * MIB
    assert is_alive(guarded, authorization=f"Bearer {TOKEN}")


def test_what_a_client_sends_does_not_drive_the_terminal_of_the_log(
    served: ServedOverHttp,
) -> None:
    with socket.create_connection(address_of(served), timeout=10) as client:
        client.sendall(b"GET /mcp HTTP/1.1\r\nHost: \x1b[31mred\x9b\r\n\r\n")
        client.recv(1000)
    with socket.create_connection(address_of(served), timeout=10) as client:
        client.sendall(b"GET /mcp HTTP/1.1\r\nHost: x\r\nOrigin: \x1b]0;title\x07\r\n\r\n")
        client.recv(1000)
    assert is_alive(served)
    assert "\x1b" not in served.told
    assert "\x07" not in served.told


# ---- how much --------------------------------------------------------------------------------


def test_a_body_of_100_mb_is_refused_and_never_held(served: ServedOverHttp) -> None:
    assert is_alive(served)
    before = served.memory_bytes()
    refused = post(served, (b" " * MIB for _ in range(100)))  # chunked: its size is not declared
    assert refused.status_code == 413
    declared = post(served, b" " * (100 * MIB))
    assert declared.status_code == 413
    grown = served.memory_bytes() - before
    print(f"peak memory grew by {grown / MIB:.1f} MiB over two bodies of 100 MiB")
    assert grown < 24 * MIB


def test_a_body_that_is_declared_too_large_is_not_waited_for(served: ServedOverHttp) -> None:
    connection = http.client.HTTPConnection(*address_of(served), timeout=20)
    connection.putrequest("POST", "/mcp")
    for name, value in headers_of(modern("tools/list")).items():
        connection.putheader(name, value)
    connection.putheader("content-length", str(10**12))
    connection.endheaders()
    began = time.monotonic()
    assert connection.getresponse().status == 413
    assert time.monotonic() - began < 5
    connection.close()


@pytest.mark.parametrize("with_token", [True, False])
def test_a_body_without_end_is_cut_off(
    served: ServedOverHttp, guarded: ServedOverHttp, with_token: bool
) -> None:
    began = time.monotonic()

    def endless() -> Iterator[bytes]:
        while time.monotonic() - began < 30:
            yield b" " * MIB

    with contextlib.suppress(httpx2.HTTPError):
        refused = post(served if with_token else guarded, endless())
        assert refused.status_code == (413 if with_token else 401)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("size", [4 * MIB - 1000, 4 * MIB + 1])
def test_four_mib_are_the_limit(served: ServedOverHttp, size: int) -> None:
    body = modern("tools/call", {"name": "search_media", "arguments": {"query": "x"}})
    text = json.dumps(body)
    padded = text + " " * (size - len(text))
    answer = httpx2.post(served.url, content=padded, headers=headers_of(body), timeout=30)
    assert answer.status_code == (200 if size <= 4 * MIB else 413)


async def test_500_calls_at_once_are_all_answered_and_the_tools_are_listed_meanwhile(
    served: ServedOverHttp,
) -> None:
    limits = httpx2.Limits(max_connections=600)
    answers: list[int] = []
    listed_s: list[float] = []
    async with httpx2.AsyncClient(timeout=60, limits=limits) as client:

        async def call(number: int) -> None:
            arguments = {"query": f"sleep 0.02 {number}"}
            body = modern("tools/call", {"name": "search_media", "arguments": arguments}, number)
            answer = await client.post(served.url, json=body, headers=headers_of(body))
            content = answer.json()["result"]["structuredContent"]
            assert content["warnings"] == [f"searched sleep 0.02 {number}"]
            answers.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(500):
                tasks.start_soon(call, number)
            while len(answers) < 450:
                began = time.monotonic()
                body = modern("tools/list")
                answer = await client.post(served.url, json=body, headers=headers_of(body))
                assert answer.status_code == 200
                listed_s.append(time.monotonic() - began)
                await anyio.sleep(0.1)
    assert sorted(answers) == list(range(500))
    print(f"{len(listed_s)} tool lists meanwhile, the slowest in {max(listed_s):.2f} s")
    assert max(listed_s) < 10
    assert served.memory_bytes() < 300 * MIB


async def test_calls_that_wait_for_slow_ones_do_not_hold_up_the_tool_list() -> None:
    with stub_over_http() as server:
        async with connected(server.url) as client, anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(client.call_tool, "search_media", {"query": "sleep 20"})
            await anyio.to_thread.run_sync(lambda: server.wait_for("searching", 8))
            began = time.monotonic()
            await client.list_tools(cache_mode="bypass")
            assert time.monotonic() - began < 2
            tasks.cancel_scope.cancel()


def test_calls_that_are_begun_and_dropped_pile_up_no_threads() -> None:
    with stub_over_http() as server:
        body = modern("tools/call", {"name": "search_media", "arguments": {"query": "sleep 30"}})
        for number in range(60):
            connection = http.client.HTTPConnection(*address_of(server), timeout=10)
            connection.request("POST", "/mcp", json.dumps(body), headers_of(body))
            if number < 4 * THREADS:
                server.wait_for("searching", number + 1)
            connection.close()
        listing = modern("tools/list")
        for _ in range(3):
            answer = httpx2.post(server.url, json=listing, headers=headers_of(listing), timeout=10)
            assert answer.status_code == 200
            time.sleep(0.2)
        assert server.told.count("searching") == 4 * THREADS


# ---- how slowly ------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [b"", b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-"])
def test_a_client_that_never_finishes_its_headers_is_sent_away(
    served: ServedOverHttp, sent: bytes
) -> None:
    with socket.create_connection(address_of(served), timeout=10) as client:
        client.sendall(sent)
        began = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
        assert 0.5 < time.monotonic() - began < 5


def test_a_client_that_drips_its_headers_is_sent_away(served: ServedOverHttp) -> None:
    with socket.create_connection(address_of(served), timeout=10) as client:
        client.sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        answered = b""
        while b'"ok"' not in answered:
            answered += client.recv(1000)
        client.sendall(b"GET /health HTTP/1.1\r\n")  # the second request of the connection
        assert _sent_away_after_s(client, b"x: y\r\n", pause_s=0.2) < 5


def test_a_client_that_never_finishes_its_body_is_sent_away(served: ServedOverHttp) -> None:
    with socket.create_connection(address_of(served), timeout=10) as client:
        client.sendall(
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\nContent-Length: 5000\r\n\r\n{"
        )
        assert b" 408 " in client.recv(1000).splitlines()[0]


def test_a_client_that_reads_no_answer_is_sent_away(served: ServedOverHttp) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(address_of(served))
        body = json.dumps(modern("tools/list")).encode()
        head = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n" % len(body)
        for name, value in headers_of(modern("tools/list")).items():
            head += f"{name}: {value}\r\n".encode()
        assert _sent_away_after_s(client, head + b"\r\n" + body) < 8
    assert is_alive(served)


def _sent_away_after_s(client: socket.socket, sending: bytes, pause_s: float = 0.0) -> float:
    """Send again and again until the server closes the connection; how long it took."""
    began = time.monotonic()
    with contextlib.suppress(OSError):
        while time.monotonic() - began < 9:
            client.sendall(sending)
            time.sleep(pause_s)
    return time.monotonic() - began


# ---- what ------------------------------------------------------------------------------------

DEEP = "[" * 100_000 + "]" * 100_000
NONSENSE = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"[1, 2]",
    b'"text"',
    b"\x00\xff\xfe",
    b'{"jsonrpc": "1.0", "id": 1, "method": "tools/list"}',
    b'{"jsonrpc": "2.0", "id": {}, "method": "tools/list"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": 7}',
    b'{"jsonrpc": "2.0", "id": 1}',
    b'{"jsonrpc": "2.0", "id": 1, "result": {}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": [1]}',
    b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b', "method": "tools/list"}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "no/such", "params": {}}',
    b'{"jsonrpc": "2.0", "id": 1, "method": "\\ud800", "params": {}}',
    b'{"a": NaN, "b": Infinity}',
    DEEP.encode(),
    b'{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search_media", '
    b'"arguments": {"query": ' + DEEP.encode() + b"}}}",
    json.dumps([modern("tools/list")] * 1000).encode(),
]


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25", "1999-01-01", ""])
@pytest.mark.parametrize("content", NONSENSE, ids=[repr(text[:40]) for text in NONSENSE])
def test_nonsense_over_http_is_refused(
    served: ServedOverHttp, content: bytes, version: str
) -> None:
    answer = post(served, content, **{"mcp-protocol-version": version})
    assert 400 <= answer.status_code < 500
    assert "Traceback" not in answer.text
    assert "/site-packages/" not in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": ""},
        {"accept": "text/html"},
        {"mcp-session-id": "../../etc/passwd"},
        {"mcp-session-id": "0" * 5000},
        {"mcp-method": "tools/call"},
        {"content-encoding": "gzip"},
    ],
)
def test_odd_headers_are_refused_or_ignored(
    served: ServedOverHttp, headers: dict[str, str]
) -> None:
    answer = post(served, json.dumps(modern("tools/list")), **headers)
    assert answer.status_code == 200 or 400 <= answer.status_code < 502
    assert "Traceback" not in answer.text
    assert is_alive(served)


@pytest.mark.parametrize(
    "arguments",
    [
        {"query": {"a": "b"}},
        {"query": ["x"] * 1000},
        {"query": "x", "limit": 10**400},
        {"query": "x", "limit": 1e308},
        {"query": "x", "__proto__": {}},
        {"query": "x", "ctx": {}},
        {"query": "x", "self": 1},
        {"query": "x" * 3_000_000},
        {f"argument{number}": 1 for number in range(10_000)},
        [],
        "query",
        None,
    ],
    ids=lambda arguments: repr(arguments)[:40],
)
def test_arguments_of_any_shape_are_refused_in_few_words(
    served: ServedOverHttp, arguments: Any
) -> None:
    body = modern("tools/call", {"name": "search_media", "arguments": arguments})
    answer = httpx2.post(served.url, content=json.dumps(body), headers=headers_of(body), timeout=30)
    assert answer.status_code in (200, 400)
    result = answer.json()
    assert "error" in result or result["result"]["isError"]
    assert len(answer.content) < 30_000
    assert "Traceback" not in answer.text


# ---- over stdio ------------------------------------------------------------------------------


class OverStdio:
    """The stub's process over stdio, line by line."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STUB],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def send(self, line: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def answer_to(self, number: int) -> dict[str, Any]:
        """Read until the answer to a request."""
        assert self.process.stdout
        while True:
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
            if answer.get("id") == number:
                return answer


@pytest.fixture(scope="module")
def over_stdio() -> Iterator[OverStdio]:
    opened = OverStdio()
    yield opened
    opened.process.kill()
    opened.process.communicate()


@pytest.mark.parametrize("content", NONSENSE, ids=[repr(text[:40]) for text in NONSENSE])
def test_nonsense_over_stdio_is_survived(over_stdio: OverStdio, content: bytes) -> None:
    over_stdio.send(content.replace(b"\n", b" "))
    over_stdio.send(json.dumps(modern("tools/list", number=77)).encode())
    assert over_stdio.answer_to(77)["result"]["tools"]


def test_a_very_long_line_is_answered_and_forgotten(over_stdio: OverStdio) -> None:
    long = modern(
        "tools/call", {"name": "search_media", "arguments": {"query": "x" * (20 * MIB)}}, 5
    )
    over_stdio.send(json.dumps(long).encode())
    refused = over_stdio.answer_to(5)
    assert refused["result"]["isError"]
    assert len(json.dumps(refused)) < 2_000
    over_stdio.send(b"x" * (20 * MIB))
    over_stdio.send(json.dumps(modern("tools/list", number=6)).encode())
    assert over_stdio.answer_to(6)["result"]["tools"]
    status = Path(f"/proc/{over_stdio.process.pid}/status")
    if status.exists():
        resident = next(line for line in status.read_text().splitlines() if "VmRSS" in line)
        assert int(resident.split()[1]) * 1024 < 400 * MIB
