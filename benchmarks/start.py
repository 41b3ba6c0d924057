"""How long commands take from a cold process: python -m benchmarks start [--media 10000].

Side by side in one run, in turns, so that a busy machine slows all of them: a bare Python, imports
that cost the most, `mmrag --help` beside an empty typer application with as many commands, and
`mmrag search` on a library of generated media: with its model loaded in the command's own process,
with a keeper of models and an owner of Milvus that have to be started first, and with both there.
Each is given as the least and the middle of several runs, by the clock and by the processor time
that the command itself took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._made_library import clip_folder, fill
from mmrag_plugin.cli.summaries import COMMANDS
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.milvus_owner import paused
from mmrag_plugin.model_keeper import unload
from mmrag_plugin.settings import Settings, load_settings

MINIDUAL = Path(__file__).resolve().parents[2] / "shared" / "models" / "minidual"
MMRAG = "from mmrag_plugin.cli import main; main()"
IMPORTS = ("sqlalchemy", "pymilvus", "llama_index.core", "torch", "transformers")
EMPTY = """
import typer

app = typer.Typer(help="An empty application.", no_args_is_help=True, rich_markup_mode="rich")

def enter(name, summary):
    def command() -> None:
        pass
    command.__doc__ = summary
    app.command(name)(command)

for name, summary in {commands!r}.items():
    enter(name, summary)
app()
"""
QUERY = "something red by the water"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="start", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--media", type=int, default=10_000, help="frames in the library")
    parser.add_argument("--runs", type=int, default=7, help="runs of each command")
    parser.add_argument("--model", help="a model's folder; minidual where it is, else a random one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="mmrag-start-") as directory:
        base = Path(directory)
        model = options.model or (MINIDUAL if MINIDUAL.is_dir() else clip_folder(base / "clip"))
        settings = {
            "palette": _library(base, "palette", "palette", "off", options.media),
            "model": _library(base, "model", str(model), "visual", options.media),
        }
        try:
            found = {
                "model": Path(str(model)).name,
                "media": options.media,
                "runs": options.runs,
                **_measured(settings, base, options.runs),
            }
        finally:
            _cold(settings.values())
    if options.json:
        print(json.dumps(found))
    else:
        _tell(found)


def _library(base: Path, name: str, visual: str, text: str, media: int) -> Settings:
    settings = load_settings(
        home=base / "home", library=name, visual_model=visual, text_model=text, keep_models=600
    )
    with MediaLibrary.open(settings, create=True) as library:
        fill(library, media)
    return settings


def _cold(libraries: Any) -> None:
    """End what a search would find running."""
    for settings in libraries:
        unload(settings.home)
        with paused(settings.directory, timeout_s=60):
            pass


def _measured(settings: dict[str, Settings], base: Path, runs: int) -> dict[str, Any]:
    empty = EMPTY.format(commands={n: s for group in COMMANDS.values() for n, s in group.items()})
    asked = [QUERY, "--json", "--home", str(base / "home"), "--library"]
    search = [MMRAG, "search", *asked]
    nothing: Callable[[], None] = lambda: None  # noqa: E731
    # what is measured, and what is done before it
    cases: dict[str, tuple[list[str], Callable[[], None], dict[str, str]]] = {
        "python": (["pass"], nothing, {}),
        **{f"import {name}": ([f"import {name}"], nothing, {}) for name in IMPORTS},
        "empty typer --help": ([empty, "--help"], nothing, {}),
        "mmrag --help": ([MMRAG, "--help"], nothing, {}),
        "mmrag search --help": ([MMRAG, "search", "--help"], nothing, {}),
        "search, palette, cold": (
            [*search, "palette"],
            lambda: _cold([settings["palette"]]),
            {},
        ),
        "search, palette, again": ([*search, "palette"], nothing, {}),
        "search, model, nothing kept": (
            [*search, "model"],
            lambda: _cold([settings["model"]]),
            {"MMRAG_KEEP_MODELS": "0"},
        ),
        "search, model, cold": ([*search, "model"], lambda: _cold([settings["model"]]), {}),
        "search, model, again": ([*search, "model"], nothing, {}),
        "search, model, again, not kept": (
            [*search, "model"],
            nothing,
            {"MMRAG_KEEP_MODELS": "0"},
        ),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for number in range(runs + 1):
        for name, (words, before, more) in cases.items():
            before()
            took = _run(words, more)
            if number:  # the first ones write bytecode and fill the disk's cache
                taken[name].append(took)
    figures = {
        name: {
            "least_ms": round(1000 * min(wall for wall, _ in both)),
            "median_ms": round(1000 * statistics.median(wall for wall, _ in both)),
            "processor_ms": round(1000 * min(processor for _, processor in both)),
        }
        for name, both in taken.items()
    }
    helps, empties = figures["mmrag --help"], figures["empty typer --help"]
    return {
        "figures": figures,
        "commands": sum(map(len, COMMANDS.values())),
        "help_ratio": round(helps["least_ms"] / empties["least_ms"], 3),
        "help_processor_ratio": round(helps["processor_ms"] / empties["processor_ms"], 3),
    }


def _run(words: list[str], more: dict[str, str]) -> tuple[float, float]:
    """Seconds by the clock and of the processor, of a command and what it waited for to end."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(  # noqa: S603  (our own interpreter)
        [sys.executable, "-c", *words],
        env={**os.environ, "MMRAG_KEEP_MODELS": "600", **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    took_s = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr.decode()
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return took_s, used_s


def _tell(found: dict[str, Any]) -> None:
    print(
        f"{found['commands']} commands; {found['media']:,} media, model {found['model']}; "
        f"{found['runs']} runs"
    )
    print(f"{'ms':>32} {'least':>7} {'median':>7} {'processor':>10}")
    for name, figures in found["figures"].items():
        cells = (figures["least_ms"], figures["median_ms"], figures["processor_ms"])
        print(f"{name:>32} {cells[0]:>7} {cells[1]:>7} {cells[2]:>10}")
    print(
        f"mmrag --help / empty typer --help: {found['help_ratio']:.2f} by the clock, "
        f"{found['help_processor_ratio']:.2f} by processor time"
    )


if __name__ == "__main__":
    main()
