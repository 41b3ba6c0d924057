"""Servers over HTTP in processes of their own, over a library that does what a test wants."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

TOKEN = "correct-horse-battery-staple-0123456789"
ERAS = ("auto", "legacy")

# A search for "sleep 0.5" takes half a second. The process ends by itself.
STUB = """
import json, os, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
import mmrag_mcp.command as command
import mmrag_mcp.http_limits as http_limits, mmrag_mcp.http_serving as http_serving
from mmrag_plugin.results import SearchResult

class Library:
    settings = SimpleNamespace(home=Path("/nowhere"), library="stub", vlm="none")
    def searcher(self):
        return SimpleNamespace(search=lambda *_, **__: None)
    def search_question(self, query, **_):
        if query.startswith("sleep "):
            os.write(2, b"searching\\n")
            time.sleep(float(query.split()[1]))
        return SearchResult(query, [], ["searched " + query[:100]])
    def close(self):
        print("closed", file=sys.stderr, flush=True)

for name, value in json.loads(os.environ.get("STUB_LIMITS", "{}")).items():
    setattr(http_limits if hasattr(http_limits, name) else http_serving, name, value)
command.open_library = lambda **flags: Library()
threading.Timer(180, lambda: command.os._exit(9)).start()
command.main()
"""


class ServedOverHttp:
    """A server's process, its URL and what it wrote to stderr."""

    def __init__(self, command: list[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
            text=True,
        )
        self.lines: list[str] = []
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.url = re.split(r"serving at ", self.wait_for("serving at "))[1].strip()
        self.base = self.url.removesuffix("/mcp")

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            with self._news:
                self.lines.append(line)
                self._news.notify_all()
        with self._news:
            self.lines.append("")
            self._news.notify_all()

    def wait_for(self, text: str, count: int = 1, within_s: float = 60.0) -> str:
        """The line that holds a text for the ``count``-th time."""
        deadline = time.monotonic() + within_s
        with self._news:
            while True:
                found = [line for line in self.lines if text in line]
                if len(found) >= count:
                    return found[count - 1]
                assert self.lines[-1:] != [""], f"it ended: {self.lines}"
                assert self._news.wait(deadline - time.monotonic()), f"not told: {self.lines}"

    def ended(self, within_s: float) -> int:
        """Wait for the end; returns the exit code."""
        code = self.process.wait(within_s)
        self._reader.join(10)
        return code

    @property
    def told(self) -> str:
        """All of stderr so far."""
        return "".join(self.lines)

    def memory_bytes(self) -> int:
        """The most memory that the process has had so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024


@contextlib.contextmanager
def stub_over_http(
    *flags: str, at: str = "127.0.0.1:0", token: str = "", **limits: float
) -> Iterator[ServedOverHttp]:
    """Serve the stub library, with other limits than the usual; the process is gone afterwards."""
    variables = {"MMRAG_TOKEN": token, "STUB_LIMITS": json.dumps(limits)}
    served = ServedOverHttp([sys.executable, "-c", STUB, "--http", at, *flags], **variables)
    try:
        yield served
    finally:
        served.process.kill()
        served.process.wait()
        for pipe in (served.process.stdout, served.process.stderr):
            assert pipe
            served._reader.join(10)
            pipe.close()


@contextlib.asynccontextmanager
async def connected(url: str, era: str = "auto", **headers: str) -> Any:
    """The SDK's client, with headers of ours on every request."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=era) as client,
    ):
        yield client


def modern(method: str, params: dict[str, Any] | None = None, number: int = 1) -> dict[str, Any]:
    """A request as a client of the newest protocol writes it."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    }
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": method,
        "params": {**(params or {}), "_meta": meta},
    }


def headers_of(body: dict[str, Any], **more: str) -> dict[str, str]:
    """The headers that go with it."""
    name = body["params"].get("name")
    return {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": body["method"],
        **({"mcp-name": name} if name else {}),
        **more,
    }
