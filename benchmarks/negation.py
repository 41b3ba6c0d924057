"""What leaving out and moving back do for questions like "dogs without snow".

The first captions are annotations; whether a photo shows a thing is told by all of its captions.
For pairs of common words, photos with the first and without the second are right. Counted among the
first 10 hits: how many are right, and how many show what was not wanted; for the words as they
stand, for the wanted word alone, for leaving out by words only, and for the plan in full.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping
from itertools import permutations
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import SHARED, build, captions_of
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Hit
from mmrag_plugin.plan import Plan, literal
from mmrag_plugin.planned_search import PlannedSearch
from mmrag_plugin.terms import terms_of

CUT = 10
WORDS = "dog man woman water snow grass beach ball child street bike red people tree".split()
LEAST = 8  # photos that are right, and as many that would be wrong


def pairs(shown: Mapping[str, frozenset[str]]) -> Iterator[tuple[str, str, set[str]]]:
    """Wanted, unwanted, and the files that are right, where both ways there are enough."""
    for wanted, unwanted in permutations(WORDS, 2):
        a, b = terms_of(wanted)[0], terms_of(unwanted)[0]
        right = {name for name, terms in shown.items() if a in terms and b not in terms}
        both = {name for name, terms in shown.items() if a in terms and b in terms}
        if len(right) >= LEAST and len(both) >= LEAST:
            yield wanted, unwanted, right


class WordsOnly(PlannedSearch):
    """Leaves out what words tell, and moves nothing."""

    def _unwanted_last(self, plan: Plan, hits: list[Hit]) -> list[Hit]:  # type: ignore[override]
        return hits


def measure(
    library: MediaLibrary, shown: Mapping[str, frozenset[str]], limit: int
) -> dict[str, list[float]]:
    """Percent right and percent unwanted among the first CUT hits, by way of asking."""
    words_only = WordsOnly(library.ledger, library.search, library._looks, library.shots)
    found: dict[str, list[list[float]]] = {}
    for wanted, unwanted, right in list(pairs(shown))[:limit]:
        planned = Plan("", visual=wanted, without=(unwanted,))
        stem = terms_of(unwanted)[0]
        ways = {
            "words as they stand": library.search_plan(
                literal(f"{wanted} without {unwanted}"), limit=CUT
            ),
            "wanted word alone": library.search(wanted, limit=CUT),
            "left out by words": words_only.run(planned, limit=CUT),
            "plan in full": library.search_plan(planned, limit=CUT),
        }
        for way, result in ways.items():
            names = [Path(hit.path).name for hit in result.hits]
            good = sum(name in right for name in names)
            bad = sum(stem in shown[name] for name in names)
            found.setdefault(way, []).append([100 * good / CUT, 100 * bad / CUT])
    return {
        way: [sum(column) / len(rows) for column in zip(*rows, strict=True)] + [len(rows)]
        for way, rows in found.items()
    }


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "flickr8k_dev")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--text-model", default="visual")
    parser.add_argument("--limit", type=int, default=1000, help="Pairs of words.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    shown = {
        name: frozenset(term for text in texts for term in terms_of(text))
        for name, texts in captions_of(options.data).items()
    }
    with tempfile.TemporaryDirectory() as home:
        library, _ = build(
            options.data,
            Path(home),
            annotated=True,
            visual_model=options.visual_model,
            text_model=options.text_model,
        )
        with library:
            rows = measure(library, shown, options.limit)
    if options.json:
        print(json.dumps(rows))
        return
    table = Table(title=f"X without Y, the first {CUT} hits, percent")
    for column in ("way of asking", "right", "unwanted", "questions"):
        table.add_column(column, justify="left" if column == "way of asking" else "right")
    for way, (right, unwanted, count) in rows.items():
        table.add_row(way, f"{right:.1f}", f"{unwanted:.1f}", f"{count:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
