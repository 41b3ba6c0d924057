"""The server over HTTP: both eras at one address, who may come, and how it ends."""

from __future__ import annotations

import hmac
import http.client
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import anyio
import httpx2
import pytest

from mcp_processes import (
    ERAS,
    TOKEN,
    ServedOverHttp,
    connected,
    headers_of,
    modern,
    stub_over_http,
)
from mmrag_mcp import command
from mmrag_mcp.http_access import OneToken, access, is_loopback, listen, url_of
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary


@pytest.fixture(scope="module")
def served() -> Iterator[ServedOverHttp]:
    with stub_over_http() as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[ServedOverHttp]:
    """A server that others could reach, with its token and its name."""
    flags = ["--allow-host", "photos.example.org", "--allow-origin", "https://page.example.org"]
    with stub_over_http(*flags, at="0.0.0.0:0", token=TOKEN) as server:
        server.base = server.base.replace("0.0.0.0", "127.0.0.1")
        server.url = f"{server.base}/mcp"
        yield server


def listing(server: ServedOverHttp, **headers: str) -> httpx2.Response:
    body = modern("tools/list")
    return httpx2.post(server.url, json=body, headers=headers_of(body, **headers), timeout=30)


def search(query: str, **meta: Any) -> dict[str, Any]:
    body = modern("tools/call", {"name": "search_media", "arguments": {"query": query}})
    body["params"]["_meta"] |= meta
    return body


@pytest.mark.parametrize("era", ERAS)
async def test_both_eras_are_served_at_one_address(served: ServedOverHttp, era: str) -> None:
    async with connected(served.url, era) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "search_media" in names
        found = await client.call_tool("search_media", {"query": "x"})
        assert found.structured_content["warnings"] == ["searched x"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_slow_call_tells_how_it_goes(served: ServedOverHttp, era: str) -> None:
    told: list[str] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with connected(served.url, era) as client:
        await client.call_tool(
            "search_media", {"query": "sleep 1.3"}, progress_callback=on_progress
        )
    assert told == ["searching (1 s)"]


@pytest.mark.parametrize("era", ERAS)
async def test_a_cancelled_call_leaves_room_for_others(served: ServedOverHttp, era: str) -> None:
    async with connected(served.url, era) as client:
        with anyio.move_on_after(0.5) as scope:
            await client.call_tool("search_media", {"query": "sleep 20"})
        assert scope.cancelled_caught
        assert not (await client.call_tool("search_media", {"query": "x"})).is_error


def test_health_says_only_that_the_server_answers(guarded: ServedOverHttp) -> None:
    answer = httpx2.get(f"{guarded.base}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


# ---- where it serves -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "flags", "token", "said"),
    [
        ("0.0.0.0:0", [], "", "Others could reach 0.0.0.0, and no token is set"),
        ("0.0.0.0:0", [], TOKEN, "no name is given that they may use"),
        ("[::]:0", ["--allow-host", "a.example"], "", "Others could reach ::, and no token"),
        ("0.0.0.0:0", ["--allow-host", "*"], TOKEN, "--allow-host '*' can't be used"),
        ("127.0.0.1:0", ["--allow-host", "http://a/"], "", "Write it like --allow-host photos"),
        ("127.0.0.1:0", ["--allow-origin", "a.example"], "", "Write it like --allow-origin http"),
        ("127.0.0.1:0", [], "short", "MMRAG_TOKEN must be 24 or more"),
        ("127.0.0.1:0", [], TOKEN + " x", "without spaces"),
        ("8765", [], "", "'8765' is not HOST:PORT"),
        ("127.0.0.1:99999", [], "", "is not HOST:PORT"),
        ("::1:8765", [], "", "is not HOST:PORT"),
        ("nowhere.invalid:8765", [], "", "'nowhere.invalid' is no address of this machine"),
        ("192.0.2.1:8765", [], "", "Nothing can be served at 192.0.2.1:8765"),
    ],
)
def test_a_server_that_would_not_be_safe_or_sound_does_not_start(
    address: str,
    flags: list[str],
    token: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MMRAG_TOKEN", token)
    with pytest.raises(SystemExit) as ended:
        command.main(["--http", address, *flags])
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert said in err
    assert not out
    assert not token or token not in err


def test_a_port_that_is_taken_is_named(
    served: ServedOverHttp, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = served.base.removeprefix("http://")
    with pytest.raises(SystemExit) as ended:
        command.main(["--http", taken])
    assert ended.value.code == 2
    assert f"Nothing can be served at {taken}: address already in use." in capsys.readouterr().err


@pytest.mark.parametrize("host", ["[::1]", "localhost", "127.0.0.2"])
def test_every_loopback_address_serves_without_a_token(host: str) -> None:
    with stub_over_http(at=f"{host}:0") as server:
        port = server.url.split(":")[-1].removesuffix("/mcp")
        server.url = f"http://{host}:{port}/mcp"
        assert listing(server).status_code == 200
        assert listing(server, host="elsewhere.example").status_code == 421


def test_what_is_served_at_a_name_is_served_at_all_its_addresses() -> None:
    sockets = listen("localhost:0")
    try:
        assert {is_loopback(opened.getsockname()[0]) for opened in sockets} == {True}
        assert len({opened.getsockname()[1] for opened in sockets}) == 1
        assert url_of(sockets).endswith("/mcp")
        assert access(sockets, [], [], "").token == ""
    finally:
        for opened in sockets:
            opened.close()


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.4", False),
        ("fe80::1%eth0", False),
        ("localhost.example.org", False),
    ],
)
def test_only_loopback_counts_as_this_machine(address: str, own: bool) -> None:
    assert is_loopback(address) == own


# ---- the token -------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
def test_who_has_the_token_is_served(guarded: ServedOverHttp, scheme: str) -> None:
    assert listing(guarded, authorization=f"{scheme} {TOKEN}").status_code == 200


@pytest.mark.parametrize("era", ERAS)
async def test_a_client_with_the_token_searches(guarded: ServedOverHttp, era: str) -> None:
    async with connected(guarded.url, era, authorization=f"Bearer {TOKEN}") as client:
        assert not (await client.call_tool("search_media", {"query": "x"})).is_error


async def test_a_token_is_compared_without_telling_how_much_of_it_is_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    verifier = OneToken(TOKEN)
    for token in ("", "x", TOKEN[:-1], TOKEN + "x", "ä" * 30, "\udcff", TOKEN.upper()):
        assert await verifier.verify_token(token) is None
    granted = await verifier.verify_token(TOKEN)
    assert granted is not None
    assert TOKEN not in granted.client_id
    assert len(compared) == 8
    assert {len(part) for pair in compared for part in pair} == {32}
    assert not any(TOKEN.encode() in part for pair in compared for part in pair)


def test_the_token_is_no_flag_and_other_processes_do_not_inherit_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not [flag for flag in vars(command.parser().parse_args([])) if "token" in flag]
    monkeypatch.setenv("MMRAG_TOKEN", "short")
    with pytest.raises(SystemExit):
        command.main(["--http", "127.0.0.1:0"])
    assert "MMRAG_TOKEN" not in os.environ


# ---- web pages -------------------------------------------------------------------------------


def test_a_web_page_that_is_named_may_call_and_another_may_not(guarded: ServedOverHttp) -> None:
    def preflight(origin: str) -> httpx2.Response:
        asked = {"access-control-request-method": "POST", "origin": origin}
        asked["access-control-request-headers"] = "authorization,content-type,mcp-session-id"
        return httpx2.request("OPTIONS", guarded.url, headers=asked)

    allowed = preflight("https://page.example.org")
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://page.example.org"
    assert "authorization" in allowed.headers["access-control-allow-headers"]
    assert preflight("https://page.example.org.evil.example").status_code == 403
    page = {"authorization": f"Bearer {TOKEN}", "origin": "https://page.example.org"}
    answered = listing(guarded, **page)
    assert answered.status_code == 200
    assert answered.headers["access-control-allow-origin"] == "https://page.example.org"


def test_a_local_page_is_taken_but_told_nothing_that_its_browser_would_show_it(
    served: ServedOverHttp,
) -> None:
    answered = listing(served, origin="http://localhost:6274")
    assert answered.status_code == 200
    assert "access-control-allow-origin" not in answered.headers


# ---- the end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_call_is_answered_before_the_end(how: signal.Signals) -> None:
    with stub_over_http() as server:
        answers: list[Any] = []

        async def call(era: str) -> None:
            async with connected(server.url, era) as client:
                await client.list_tools()
                answers.append(await client.call_tool("search_media", {"query": "sleep 1"}))

        async with anyio.create_task_group() as tasks:
            for era in ERAS:
                tasks.start_soon(call, era)
            await anyio.to_thread.run_sync(lambda: server.wait_for("searching", 2))
            server.process.send_signal(how)
        assert [answer.is_error for answer in answers] == [False, False]
        assert server.ended(5) == 0
        assert "closed" in server.told
        assert "Traceback" not in server.told
        _is_free(server)


@pytest.mark.parametrize("again", [False, True])
def test_a_call_that_takes_too_long_is_cut_off(again: bool) -> None:
    with stub_over_http(GRACE_S=30 if again else 1) as server:
        waiting = _post_without_waiting(server, search("sleep 60"))
        server.wait_for("searching")
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        if again:
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
        assert server.ended(10) == 0
        assert time.monotonic() - began < 4
        assert "closed" in server.told
        waiting.close()
        _is_free(server)


async def test_streams_that_nobody_ends_do_not_hold_up_the_end() -> None:
    with stub_over_http(GRACE_S=30) as server:
        ended: list[float] = []

        async def listen_on() -> None:
            async with connected(server.url, "legacy") as client:  # holds a GET stream open
                await client.list_tools()
                await anyio.sleep(0.3)
                began = time.monotonic()
                server.process.send_signal(signal.SIGTERM)
                assert await anyio.to_thread.run_sync(server.ended, 10) == 0
                ended.append(time.monotonic() - began)

        await listen_on()
        assert ended[0] < 3
        assert "Traceback" not in server.told


async def test_there_are_only_so_many_sessions_and_one_that_is_ended_makes_room() -> None:
    with stub_over_http(SESSIONS=2) as server:
        async with connected(server.url, "legacy") as first:
            async with connected(server.url, "legacy"):
                refused = _initialize(server)
                assert refused.status_code == 503
                assert not (await first.call_tool("search_media", {"query": "x"})).is_error
            assert _initialize(server).status_code == 200
        assert listing(server).status_code == 200  # the newer era has no sessions


def _initialize(server: ServedOverHttp) -> httpx2.Response:
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    accept = {"accept": "application/json, text/event-stream"}
    return httpx2.post(server.url, json=body, headers=accept, timeout=30)


def _post_without_waiting(
    server: ServedOverHttp, body: dict[str, Any]
) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=30)
    connection.request("POST", "/mcp", json.dumps(body), headers_of(body))
    return connection


def _is_free(server: ServedOverHttp) -> None:
    host, port = server.base.removeprefix("http://").split(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(port)))


def test_a_server_over_stdio_wants_no_token() -> None:
    warm = WarmLibrary(lambda: pytest.fail("nothing needs a library here"))
    assert MmragServer(warm)._token_verifier is None
