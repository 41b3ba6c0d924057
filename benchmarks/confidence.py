"""What a hit's confidence is worth: the best hit's level with and without a right answer.

Half of a data set is indexed, its first captions as annotations. Captions of that half have a right
answer in the library, those of the other half have none.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import SHARED, build

LEVELS = ("strong", "weak", "none")


def main() -> None:
    """Measure one data set, with words and by sight alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "coco_train")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--text-model", default="visual")
    parser.add_argument("--limit", type=int, default=1000, help="Queries of each half.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        library, captions = build(
            options.data,
            Path(home),
            annotated=True,
            visual_model=options.visual_model,
            text_model=options.text_model,
            every=2,
        )
        with library:
            known = {Path(row.path).name for row in library.ledger.media_rows().values()}
            for channels in (None, ("visual",)):
                for there in (True, False):
                    asked = [
                        text
                        for name, texts in captions.items()
                        if (name in known) == there
                        for text in texts
                    ][: options.limit]
                    levels = Counter(
                        next(iter(library.search(q, channels=channels, limit=1).hits)).confidence
                        for q in asked
                    )
                    name = f"{'all channels' if channels is None else 'by sight'}, " + (
                        "answer there" if there else "no answer"
                    )
                    rows[name] = {level: 100 * levels[level] / len(asked) for level in LEVELS}
    if options.json:
        print(json.dumps(rows))
        return
    table = Table(title="confidence of the best hit, percent of queries")
    for column in ("", *LEVELS):
        table.add_column(column, justify="right" if column else "left")
    for name, figures in rows.items():
        table.add_row(name, *(f"{figures[level]:.1f}" for level in LEVELS))
    Console().print(table)


if __name__ == "__main__":
    main()
