"""How long counting and paging take in a generated ledger: python -m benchmarks facets [MEDIA]."""

from __future__ import annotations

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

ROUNDS = 5


def main() -> None:
    """Print the median of some rounds for each facet, and for pages."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with TemporaryDirectory() as directory:
        ledger = generated(Path(directory) / "ledger.sqlite3", number)
        print(f"{number:,} media")
        for by in FACETS:
            folder = "/photos" if by == "folder" else None
            _tell(by, lambda by=by, folder=folder: count_by(ledger, by, folder=folder))
        year = Filters(since="2015", until="2015")
        _tell("month, of one year", lambda: count_by(ledger, "month", year))
        _tell("month, of a folder", lambda: count_by(ledger, "month", Filters(folder="/photos/3")))
        _tell("month, with 3 examples each", lambda: count_by(ledger, "month", examples=3))
        _tell("a page of 2015-05", lambda: page_of(ledger, by="month", value="2015-05"))
        _tell("the newest page", lambda: page_of(ledger))
        ledger.close()


def _tell(name: str, work: Callable[[], object]) -> None:
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    print(f"{name:>28}: {1000 * statistics.median(seconds):7.1f} ms")


if __name__ == "__main__":
    main()
