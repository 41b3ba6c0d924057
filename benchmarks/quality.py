"""Measure what docs/quality.md says is measured here, and write the page: one command.

    python -m benchmarks quality --write

Figures of each set are kept in benchmarks/quality.json; without --measure the page is written anew
from them, so that a change of words needs no hour. Nothing is tuned on what is reported: weights
and confidence were learned on the half of flickr8k_dev that is not asked about here
(``python -m benchmarks defaults``).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._quality_page import page
from benchmarks.defaults import for_deriving, indexed, sentence_model
from benchmarks.retrieval import SHARED, captions_of
from mmrag_plugin import __version__
from mmrag_plugin.evaluation.comparing import compare
from mmrag_plugin.evaluation.formats.base import Query, Wanted
from mmrag_plugin.evaluation.runs import Run
from mmrag_plugin.evaluation.sets import QuerySet, asked_of, queries_once
from mmrag_plugin.evaluation.tuning import learn_from
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import CHANNELS

ROOT = Path(__file__).resolve().parents[1]
KEPT = ROOT / "benchmarks" / "quality.json"
PAGE = ROOT / "docs" / "quality.md"
SETS = ("flickr8k_dev", "coco_train")
TEXTS: Mapping[str, Callable[[], str]] = {"visual": lambda: "visual", "sentence": sentence_model}


def asked_about(data: str, captions: Mapping[str, Sequence[str]], count: int) -> QuerySet:
    """Captions that are no annotations, of photos that nothing was learned from."""
    names = [name for name in captions if data != "flickr8k_dev" or not for_deriving(name)]
    queries = [Query(text, (Wanted(name),)) for name in names for text in captions[name][1:]]
    return queries_once(data, "captions", queries[:: max(len(queries) // count, 1)])


def measured(data: str, text: str, count: int) -> dict[str, Any]:
    """All figures of one set with one text model."""
    folder = SHARED / "data" / data
    captions = captions_of(folder)
    with (
        tempfile.TemporaryDirectory() as home,
        indexed(folder, Path(home), list(captions), captions, TEXTS[text]()) as library,
    ):
        asked = asked_of(library.ledger, asked_about(data, captions, count))
        run = library.evaluate(asked)
        return {
            "photos": len(captions),
            "queries": len(asked.queries),
            "ways": run.as_dict()["ways"],
            "fused against": against(run),
            "confidence": confidence(library, asked_about(data, captions, count // 2)),
        }


def against(run: Run) -> dict[str, Any]:
    """The fused order against each channel alone, query by query: change of R@1, R@10 and MRR."""
    found: dict[str, Any] = {}
    for channel in CHANNELS:
        (one,) = compare(run, run, (channel, "fused"))
        found[channel] = {
            row.measure: [row.change.value, row.change.low, row.change.high, row.p]
            for row in one.differences
            if row.measure in ("R@1", "R@10", "RR")
        }
    return found


def confidence(library: MediaLibrary, queries: QuerySet) -> dict[str, list[float]]:
    """Shares of strong first hits: right, wrong, and with the answer taken out of the library."""
    asked = asked_of(library.ledger, queries)
    searcher = library.searcher()
    judged = learn_from(lambda query: searcher, asked).judged
    found: dict[str, list[float]] = {}
    for name, channels in (("all", searcher.channels), ("visual", ("visual",))):
        some = [one for one in judged if one.channels == channels]
        groups = [
            [one for one in some if one.answered and one.right[0]],
            [one for one in some if one.answered and not one.right[0]],
            [one for one in some if not one.answered],
        ]
        level = searcher.calibration.level
        found[name] = [
            sum(level(one.evidence[0]) == "strong" for one in group) / max(len(group), 1)
            for group in groups
        ]
    return found


def main() -> None:
    """Measure, keep the figures and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--measure", nargs="*", help="These sets again, or all: flickr8k_dev ...")
    parser.add_argument("--texts", nargs="*", default=list(TEXTS), choices=list(TEXTS))
    parser.add_argument("--queries", type=int, default=500, help="Of each set.")
    parser.add_argument("--write", action="store_true", help="Write docs/quality.md.")
    options = parser.parse_args()
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    for data in (options.measure or SETS) if options.measure is not None else ():
        for text in options.texts:
            kept[f"{data}, {text}"] = measured(data, text, options.queries)
            kept["mmrag"] = __version__
            KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")
    text = page(kept)
    if options.write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


if __name__ == "__main__":
    main()
