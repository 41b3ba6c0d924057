"""What a scan without changes costs: python -m benchmarks scan [--files N] [--sidecars EVERY].

A generated tree is entered in a ledger and scanned again, in turns with a bare walk-and-stat of the
same tree. Busy time is what this process used, wall time what went by.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.change import bare_walk, place_of, plain_walk
from mmrag_plugin.indexing import SidecarTree
from mmrag_plugin.ledger import Ledger, sqlite_url
from mmrag_plugin.scanning import scan
from mmrag_plugin.signals.sidecars import FolderSidecars


def main() -> None:
    """Print how many times as long as each bare walk the scan takes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scan")
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--sidecars", type=int, default=0, help="every so many files has one")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory() as directory:
        folder = Path(directory).resolve() / "photos"
        make_tree(folder, options.files, options.sidecars)
        found = measured(folder, Path(directory) / "ledger.sqlite3", options.rounds)
    found = {"files": options.files, "sidecars_every": options.sidecars, **found}
    if options.json:
        print(json.dumps(found))
        return
    beside = f", a sidecar for every {options.sidecars}" if options.sidecars else ""
    print(f"{options.files:,} files{beside}; median of {options.rounds} rounds in turns")
    for name, took in found["ways"].items():
        print(
            f"  {name:>19}: busy {1000 * took['busy_s']:7.1f} ms, wall {1000 * took['wall_s']:7.1f}"
            f" ms; the scan takes {took['ratio']:.2f} times as long (wall {took['ratio_wall']:.2f})"
        )


def make_tree(folder: Path, number: int, sidecars_every: int) -> None:
    """Write so many files, each with a content of its own; that no picture is in them is no matter.

    A scan opens only what it does not know yet.
    """
    for n in range(number):
        path = place_of(folder, n)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff\xd8\xff%d" % n)
        if sidecars_every and n % sidecars_every == 0:
            path.with_suffix(".txt").write_text(f"the thing with number {n}")


def measured(folder: Path, place: Path, rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Enter the tree, and time scans of it beside bare walks."""
    ledger = Ledger(sqlite_url(place))
    ledger.add_root(str(folder), is_file=False)

    def scanned() -> int:
        found = scan(ledger, [folder], SidecarTree(FolderSidecars).stamp_for)
        return found.added + found.updated

    scanned()
    if changed := scanned():
        raise RuntimeError(f"{changed} files look changed, though nothing is")
    gc.freeze()  # as mmrag index does
    ways = {
        "os.scandir and stat": lambda: bare_walk(str(folder)),
        "os.walk and os.stat": lambda: plain_walk(folder),
        "scan": scanned,
    }
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began, began_busy = time.perf_counter(), time.process_time()
            way()
            took[name].append((time.process_time() - began_busy, time.perf_counter() - began))
    ledger.close()
    found = {}
    for name, times in took.items():
        busy, wall = zip(*times, strict=True)
        ratios = [
            statistics.median(a[kind] / b[kind] for a, b in zip(took["scan"], times, strict=True))
            for kind in (0, 1)
        ]
        found[name] = {
            "busy_s": statistics.median(busy),
            "wall_s": statistics.median(wall),
            "ratio": ratios[0],
            "ratio_wall": ratios[1],
        }
    return {"ways": found}


if __name__ == "__main__":
    main()
