"""Measure what docs/performance.md says is measured here, and write the page: one command.

    python -m benchmarks performance --measure --write

Each part is a benchmark of its own, run in a process of its own with --json. What it printed is
kept in benchmarks/performance.json with the machine and the day; without --measure the page is
written anew from that. A part that fails, or that is not there, is said so on the page.

    python -m benchmarks performance --measure --only search-lite start --write
    python -m benchmarks performance --measure --long --write      with what takes over ten minutes
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks._performance_page import page
from benchmarks._performance_plots import draw

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "performance.json"
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"
PROGRAMS = (
    "mmrag-plugin",
    "pymilvus",
    "milvus-lite",
    "llama-index-core",
    "torch",
    "transformers",
    "onnxruntime",
    "pillow",
)
SAID = 300  # letters of an error that are kept


@dataclass(frozen=True)
class Part:
    """One benchmark as it is run for the page; one that is ``long`` only on demand."""

    name: str
    arguments: str
    limit_s: float
    long: bool = False

    @property
    def benchmark(self) -> str:
        """The module that measures."""
        return self.arguments.split()[0]

    @property
    def command(self) -> str:
        """What prints it."""
        return f"python -m benchmarks {self.arguments}"


PARTS = (
    Part("start", "start", 420),
    Part("mcp-start", "mcp_start --runs 9", 240),
    Part("search-lite", "search --rows 2000 20000", 400),
    Part("search-server", "search --backend server --rows 10000 100000", 900),
    Part("search-million", "search --backend server --rows 1000000 --model minidual", 3600, True),
    Part("index", "index", 420),
    Part("memory", "index --memory --photos 200", 240),
    Part("models", "models", 240),
    Part("scan", "scan --files 100000", 300),
    Part("facets", "facets 100000", 120),
    Part("tracing", "tracing", 240),
    Part("many-machines", "many_machines", 300),
    Part("milvus-recall", "milvus_recall --rows 20000", 300),
)


def machine() -> dict[str, Any]:
    """What the figures depend on besides mmrag."""
    found: dict[str, Any] = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "programs": {},
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        found["memory_gb"] = round(memory / 1e9)
    for name in PROGRAMS:
        try:
            found["programs"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def measured(part: Part) -> dict[str, Any]:
    """Run one part; what it printed, or why there is nothing."""
    kept: dict[str, Any] = {
        "command": part.command,
        "day": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "busy": _busy(),
    }
    if importlib.util.find_spec(f"benchmarks.{part.benchmark}") is None:
        return {**kept, "failed": f"there is no benchmark {part.benchmark}"}
    began = time.perf_counter()
    with subprocess.Popen(  # noqa: S603  (our own interpreter)
        [sys.executable, "-m", "benchmarks", *part.arguments.split(), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            printed, errors = process.communicate(timeout=part.limit_s)
        except subprocess.TimeoutExpired:
            end_with_all_it_started(process)
            return {**kept, "failed": f"it took more than {part.limit_s:.0f} s"}
    kept["took_s"] = round(time.perf_counter() - began)
    try:
        kept["result"] = json.loads(printed.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = [line for line in errors.strip().splitlines() if line.strip()][-1:]
        said = (last or ["it printed nothing"])[0].strip()[:SAID]
        kept["failed"] = f"{said} (exit code {process.returncode})"
    return kept


def end_with_all_it_started(process: subprocess.Popen[str]) -> None:
    """End a benchmark that goes on too long, and the servers that it runs."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            time.sleep(2)
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def _busy() -> float | None:
    """How many programs wanted a core in the last minute, where that is known."""
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None


def main() -> None:
    """Measure, keep the figures, draw the plots and write the page."""
    names = [part.name for part in PARTS]
    parser = argparse.ArgumentParser(
        prog="performance", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--measure", action="store_true", help="Run the benchmarks.")
    parser.add_argument("--only", nargs="+", choices=names, help="These parts alone.")
    parser.add_argument("--skip", nargs="+", choices=names, default=[], help="All but these parts.")
    parser.add_argument("--long", action="store_true", help="Also what takes over ten minutes.")
    parser.add_argument("--write", action="store_true", help="Write the page and its plots.")
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {"parts": {}}
    for part in PARTS if options.measure else ():
        wanted = part.name in options.only if options.only else options.long or not part.long
        if not wanted or part.name in options.skip:
            continue
        print(f"{part.name}: {part.command}", file=sys.stderr, flush=True)
        found = measured(part)
        print(
            f"  {found.get('failed') or str(found['took_s']) + ' s'}", file=sys.stderr, flush=True
        )
        kept["parts"][part.name] = found
        kept["machine"] = machine()
        told = json.dumps(kept, indent=1, sort_keys=True)
        KEPT.write_text(told + "\n")
        kept = json.loads(told)  # in the order in which it is kept
    text = page(kept, [part.name for part in PARTS])
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
        draw(kept, IMAGES)
    else:
        print(text)


if __name__ == "__main__":
    main()
