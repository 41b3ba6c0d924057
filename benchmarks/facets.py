"""How long counting and paging take in a generated ledger: python -m benchmarks facets [MEDIA].

With ``--hidden`` as an assistant asks, of whom a folder and a tag are hidden.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from ledgers_made import generated
from mmrag_plugin.browsing import FACETS, count_by, page_of
from mmrag_plugin.filters import Filters
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.ledger_hiding import HidingRule

ROUNDS = 5


def main() -> None:
    """Print the median of some rounds for each facet, and for pages."""
    parser = argparse.ArgumentParser(prog="facets", description=__doc__)
    parser.add_argument("media", type=int, nargs="?", default=100_000)
    parser.add_argument("--hidden", action="store_true", help="as an assistant asks")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    taken_ms: dict[str, float] = {}

    def measure(name: str, work: Callable[[], object]) -> None:
        taken_ms[name] = _median_ms(work)
        if not options.json:
            print(f"{name:>28}: {taken_ms[name]:7.1f} ms")

    with TemporaryDirectory() as directory:
        ledger = generated(Path(directory) / "ledger.sqlite3", options.media)
        if options.hidden:
            for rule in (("folder", "/photos/0", "/photos/0"), ("tag", "tag 7", "tag 7")):
                ledger.hide(HidingRule(*rule))  # type: ignore[arg-type]
            ledger.close()
            ledger = Ledger(ledger.url, for_assistants=True)
        if not options.json:
            print(f"{options.media:,} media")
        for by in FACETS:
            folder = "/photos" if by == "folder" else None
            measure(by, lambda by=by, folder=folder: count_by(ledger, by, folder=folder))
        year = Filters(since="2015", until="2015")
        measure("month, of one year", lambda: count_by(ledger, "month", year))
        measure(
            "month, of a folder", lambda: count_by(ledger, "month", Filters(folder="/photos/3"))
        )
        measure("month, with 3 examples each", lambda: count_by(ledger, "month", examples=3))
        measure("a page of 2015-05", lambda: page_of(ledger, by="month", value="2015-05"))
        measure("the newest page", lambda: page_of(ledger))
        ledger.close()
    if options.json:
        print(json.dumps({"media": options.media, "median_ms": taken_ms}))


def _median_ms(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


if __name__ == "__main__":
    main()
