"""How long mmrag-mcp takes from its start to the answered tool list, beside an empty server.

Both run on the same SDK, in turns, so that a busy machine slows both. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

EMPTY = "from mcp.server.mcpserver import MCPServer; MCPServer('empty').run('stdio')"
HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "benchmark", "version": "1"},
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "benchmark", "version": "1"},
}
# what a client of each era says, and whether it waits for an answer
ERAS: dict[str, list[tuple[str, dict[str, Any], bool]]] = {
    "2026-07-28": [
        ("server/discover", {"_meta": META}, True),
        ("tools/list", {"_meta": META}, True),
    ],
    "2025-11-25": [
        ("initialize", HELLO, True),
        ("notifications/initialized", {}, False),
        ("tools/list", {}, True),
    ],
}


def main() -> None:
    """Start both servers many times and print medians and their ratio."""
    parser = argparse.ArgumentParser(prog="mcp_start")
    parser.add_argument("--runs", type=int, default=15, help="starts of each server in each era")
    parser.add_argument("--json", action="store_true", help="what it prints anyway")
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        servers = {
            "empty": ["-c", EMPTY],
            "mmrag": ["-m", "mmrag_mcp", "--home", home],
            "mmrag_writing": ["-m", "mmrag_mcp", "--home", home, "--allow-write"],
        }
        taken: dict[str, dict[str, list[float]]] = {
            era: {name: [] for name in servers} for era in ERAS
        }
        for number in range(runs + 1):
            for era, steps in ERAS.items():
                for name, arguments in servers.items():
                    took_s = start(arguments, steps)
                    if number:  # the first ones write bytecode and fill the disk's cache
                        taken[era][name].append(took_s)
    result: dict[str, Any] = {"runs": runs}
    for era, by_server in taken.items():
        median_s = {name: statistics.median(times) for name, times in by_server.items()}
        result[era] = {f"{name}_ms": round(1000 * value) for name, value in median_s.items()}
        for name in list(servers)[1:]:
            result[era][f"{name}_ratio"] = round(median_s[name] / median_s["empty"], 3)
    print(json.dumps(result))


def start(arguments: list[str], steps: list[tuple[str, dict[str, Any], bool]]) -> float:
    """Seconds from the start of a process to the last answer."""
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdin
        assert process.stdout
        answer: dict[str, Any] = {}
        for number, (method, params, waits) in enumerate(steps):
            message = {"jsonrpc": "2.0", "method": method, "params": params}
            if waits:
                message["id"] = number
            process.stdin.write(json.dumps(message).encode() + b"\n")
            process.stdin.flush()
            while waits and answer.get("id") != number:
                answer = json.loads(process.stdout.readline())
        took_s = time.perf_counter() - began
        assert "tools" in answer["result"], answer
        process.kill()
    return took_s


if __name__ == "__main__":
    main()
