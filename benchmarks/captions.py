"""What captions add to search, and what the check of captions is worth.

Human captions stand in for a model's: of each photo the first is its annotation, the second a
caption as the caption stage enters it, and the others are queries. Then a share of the captions is
exchanged for those of other photos: which does the check catch, which right ones does it doubt, and
how well is found what is looked for, with doubtful captions weighed down and without.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import CUTS, SHARED, build, recall
from mmrag_plugin import searching
from mmrag_plugin.ledger import Shot
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Channel, Signal

STAMP = "human-captions"


def caption_with(library: MediaLibrary, captions: Mapping[str, str]) -> None:
    """Enter captions by file name as the stage would, and bring them into the search."""
    with library.ledger.writer("captioning"):
        for media_id, row in library.ledger.media_rows().items():
            text = captions[Path(row.path).name]
            library.ledger.put_caption(media_id, STAMP, {"caption": text})
            shot = Shot(0, media_id, STAMP)
            library.ledger.put_shots(media_id, STAMP, [(shot, Signal("caption", text))])
    library.finish()


def believe_all(library: MediaLibrary) -> None:
    """Take every caption for true, as if none had been checked."""
    ledger = library.ledger
    with ledger.writer("believing"):
        for media_id in ledger.media_rows():
            stamp = _doubt_stamp(library)
            ledger.put_check("doubt", stamp, {media_id: {0: ""}})
    library.finish()


def doubted(library: MediaLibrary) -> set[str]:
    """The names of the files whose captions are doubtful."""
    rows = library.ledger.media_rows()
    shots = library.ledger.shots_of(list(rows))
    return {Path(rows[media_id].path).name for media_id, (shot,) in shots.items() if shot.doubt}


def exchanged(captions: Mapping[str, str], share: float) -> tuple[dict[str, str], set[str]]:
    """Give a share of the photos the caption of another; says which."""
    chance = random.Random(0)  # noqa: S311  (the same photos each time, no secret)
    names = sorted(captions)
    wrong = chance.sample(names, round(share * len(names)))
    found = dict(captions)
    for name in wrong:
        found[name] = captions[chance.choice([other for other in names if other != name])]
    return found, {name for name in wrong if found[name] != captions[name]}


def _doubt_stamp(library: MediaLibrary) -> str:
    from mmrag_plugin.index_doubt import DOUBT_VERSION

    return f"doubt-{DOUBT_VERSION}|{library.searcher().visual.stamp}"


def _share(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "coco_train")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--text-model", default="visual")
    parser.add_argument("--shares", default="20,50", help="Percent of wrong captions to try.")
    parser.add_argument("--factor", type=float, help="What a doubtful caption keeps of its score.")
    parser.add_argument("--limit", type=int, help="Only the first so many queries.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.factor is not None:
        searching.DOUBT_FACTOR = options.factor
    rows: dict[str, dict[str, list[float]]] = {}
    checks: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as home:
        library, captions = build(
            options.data,
            Path(home),
            annotated=True,
            visual_model=options.visual_model,
            text_model=options.text_model,
        )
        right = {name: texts[0] for name, texts in captions.items()}
        queries = [(name, text) for name, texts in captions.items() for text in texts[1:]]
        queries = queries[: options.limit]
        with library:
            together = _combinations(library.searcher().channels)
            rows["no captions"] = recall(library, queries, together)
            for percent in (0, *map(int, options.shares.split(","))):
                given, wrong = exchanged(right, percent / 100)
                caption_with(library, given)
                name = f"{percent} % wrong" if percent else "captions"
                found = doubted(library)
                checks[name] = {
                    "wrong": len(wrong),
                    "caught": _share(len(found & wrong), len(wrong)),
                    "right": len(given) - len(wrong),
                    "doubted": _share(len(found - wrong), len(given) - len(wrong)),
                    "precision": _share(len(found & wrong), len(found)),
                }
                rows[f"{name}, checked"] = recall(library, queries, together)
                believe_all(library)
                rows[f"{name}, all believed"] = recall(library, queries, together)
    _print(rows, checks, len(queries), options.json)


def _combinations(channels: Sequence[Channel]) -> list[tuple[Channel, ...]]:
    return [*((channel,) for channel in channels), tuple(channels)]


def _print(
    rows: Mapping[str, Mapping[str, Sequence[float]]],
    checks: Mapping[str, Mapping[str, float]],
    queries: int,
    as_json: bool,
) -> None:
    if as_json:
        print(json.dumps({"queries": queries, "rows": rows, "checks": checks}))
        return
    table = Table(title=f"{queries} queries")
    for column in ("captions", "channels", *(f"R@{cut}" for cut in CUTS)):
        table.add_column(column, justify="right" if column.startswith("R@") else "left")
    for name, channels in rows.items():
        for place, (channel, figures) in enumerate(channels.items()):
            table.add_row("" if place else name, channel, *(f"{figure:.1f}" for figure in figures))
    Console().print(table)
    table = Table(title="the check, percent")
    for column in ("captions", "wrong", "of them caught", "right", "of them doubted", "precision"):
        table.add_column(column, justify="left" if column == "captions" else "right")
    for name, check in checks.items():
        table.add_row(name, *(f"{figure:.4g}" for figure in check.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
