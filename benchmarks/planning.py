"""How many captions the rules of planning leave alone, what a plan costs, and what planning does.

A caption asks for nothing but what it describes, so its plan should be the caption itself. Where it
is not, recall with the plan is compared with recall without, over a library of these photos whose
first captions are annotations.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import SHARED, build, captions_of
from mmrag_plugin.plan import literal
from mmrag_plugin.planning.base import GivenNames
from mmrag_plugin.planning.names import LedgerNames
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.planning.search_box import box_of

CUT = 10
SHOWN = 20


def untouched(captions: list[str], today: date) -> tuple[float, list[str], float]:
    """The share of captions whose plan is the caption, the others, and milliseconds a plan."""
    touched = []
    begin = time.perf_counter()
    for caption in captions:
        plan = Rules().plan(caption, today=today, known=GivenNames())
        if (plan.visual, plan.planned_by) != (caption.strip(), "given"):
            touched.append(f"{caption} -> {box_of(plan)}")
    cost_ms = 1000 * (time.perf_counter() - begin) / max(len(captions), 1)
    return 100 * (1 - len(touched) / max(len(captions), 1)), touched, cost_ms


def recall(options: argparse.Namespace, home: Path, folder: Path) -> dict[str, float]:
    """Recall at CUT of the captions that planning touches in a library, with and without it."""
    library, captions = build(
        folder,
        home,
        annotated=True,
        visual_model=options.visual_model,
        text_model=options.text_model,
    )
    with library:
        known, today = LedgerNames(library.ledger), options.today
        found = {"touched": 0.0, "planned": 0.0, "literal": 0.0}
        for name, texts in captions.items():
            for text in texts:
                plan = Rules().plan(text, today=today, known=known)
                if plan.visual == text.strip() and plan.planned_by == "given":
                    continue
                found["touched"] += 1
                for way, asked in (("planned", plan), ("literal", literal(text))):
                    hits = library.search_plan(asked, limit=CUT).hits
                    found[way] += any(Path(hit.path).name == name for hit in hits)
        queries = sum(map(len, captions.values()))
        return {**found, "queries": queries}


def main() -> None:
    """Measure the data sets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        help="A folder with photos and captions.json; may be given again.",
    )
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--text-model", default="visual")
    parser.add_argument("--today", type=date.fromisoformat, default=date(2026, 7, 15))
    parser.add_argument("--no-recall", action="store_true", help="Only plan, search nothing.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    folders = options.data or [SHARED / "data" / name for name in ("flickr8k_dev", "coco_train")]
    rows: dict[str, dict[str, float]] = {}
    changed: list[str] = []
    for folder in folders:
        captions = [text for texts in captions_of(folder).values() for text in texts]
        share, touched, cost_ms = untouched(captions, options.today)
        rows[folder.name] = {"captions": len(captions), "untouched %": share, "ms a plan": cost_ms}
        changed += touched
        if not options.no_recall:
            with tempfile.TemporaryDirectory() as home:
                rows[folder.name] |= recall(options, Path(home), folder)
    if options.json:
        print(json.dumps({"rows": rows, "changed": changed}))
        return
    table = Table(title=f"plans of captions (recall: found among the first {CUT})")
    columns = list(next(iter(rows.values())))
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[column]:.4g}" for column in columns))
    console = Console()
    console.print(table)
    for line in changed[:SHOWN]:
        console.print(line, markup=False)
    if len(changed) > SHOWN:
        console.print(f"and {len(changed) - SHOWN} more")


if __name__ == "__main__":
    main()
