"""Recall of each channel and of their fusion, end to end through a library.

The first caption of each photo becomes its annotation, the others are the queries; or, with
``--visual-only``, nothing is annotated and every caption is a query, compared with exact search.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from mmrag_plugin import load_settings
from mmrag_plugin.fusion import ReciprocalRanks, StandardScores
from mmrag_plugin.library import MediaLibrary

if TYPE_CHECKING:
    from mmrag_plugin.media import Channel

SHARED = Path(__file__).resolve().parents[2] / "shared"
CUTS = (1, 5, 10)
CHECKED = 50


def captions_of(folder: Path) -> dict[str, list[str]]:
    """Read ``captions.json`` as file -> captions, from either of its two shapes."""
    content = json.loads((folder / "captions.json").read_text())
    if isinstance(content, dict):
        return content
    captions: dict[str, list[str]] = {}
    for row in content:
        captions.setdefault(row["file_name"], []).append(row["caption"])
    return captions


def build(
    folder: Path,
    home: Path,
    *,
    annotated: bool,
    visual_model: str,
    text_model: str,
    every: int = 1,
) -> tuple[MediaLibrary, dict[str, list[str]]]:
    """Index a data set (every so many files) in a library; returns it with all files' queries."""
    captions = captions_of(folder)
    media = home / "media"
    media.mkdir()
    for name in list(captions)[::every]:
        source = next(p for p in (folder / "images" / name, folder / name) if p.exists())
        shutil.copy(source, media / name)
    if annotated:
        first = {name: texts[0] for name, texts in captions.items()}
        (media / "captions.json").write_text(json.dumps(first))
        captions = {name: texts[1:] for name, texts in captions.items()}
    library = MediaLibrary.open(
        load_settings(home=home, visual_model=visual_model, text_model=text_model, ocr="off"),
        create=True,
    )
    library.index([media])
    return library, captions


def recall(
    library: MediaLibrary,
    queries: Sequence[tuple[str, str]],
    combinations: Sequence[Sequence[Channel]],
) -> dict[str, list[float]]:
    """Recall at CUTS in percent for each combination of channels, each asked once a query.

    The first queries are also searched for in the ordinary way, to see that it finds the same.
    """
    searcher = library.searcher()
    names = {media_id: Path(row.path).name for media_id, row in library.ledger.media_rows().items()}
    ranks: dict[str, list[int]] = {}
    for number, (name, query) in enumerate(queries):
        found, _ = searcher.look(query, None, searcher.channels)
        for channels in combinations:
            part = searcher.rank({c: found[c] for c in channels if c in found})
            ranked = [names[candidate.media_id] for candidate, _, _ in part[: max(CUTS)]]
            if number < CHECKED:
                hits = library.search(query, channels=channels, limit=max(CUTS), grouped=False).hits
                assert ranked == [Path(hit.path).name for hit in hits], query
            rank = ranked.index(name) + 1 if name in ranked else max(CUTS) + 1
            ranks.setdefault(" + ".join(channels), []).append(rank)
    return {
        name: [100 * sum(rank <= cut for rank in found) / len(found) for cut in CUTS]
        for name, found in ranks.items()
    }


def exact(library: MediaLibrary, queries: Sequence[tuple[str, str]]) -> list[float]:
    """Recall of exact visual search over the stored vectors."""
    import numpy as np

    searcher = library.searcher()
    rows = dict(searcher.frames.row_ids())
    stored = searcher.frames.vectors(list(rows))
    media = library.ledger.media_rows()
    names = np.array([Path(media[rows[row]].path).name for row in stored])
    matrix = np.stack(list(stored.values()))
    ranks: list[int] = []
    for start in range(0, len(queries), 256):
        part = queries[start : start + 256]
        scores = searcher.visual.embed_texts([query for _, query in part]) @ matrix.T
        for (name, _), row in zip(part, scores, strict=True):
            ranks.append(int((row > row[names == name].max()).sum()) + 1)
    return [100 * sum(rank <= cut for rank in ranks) / len(ranks) for cut in CUTS]


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "coco_train")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--text-model", default="visual")
    parser.add_argument("--visual-only", action="store_true")
    parser.add_argument("--fusion", choices=["standard", "rrf10", "rrf60"], default="standard")
    parser.add_argument("--limit", type=int, help="Only the first so many queries.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        library, captions = build(
            options.data,
            Path(home),
            annotated=not options.visual_only,
            visual_model=options.visual_model,
            text_model=options.text_model,
        )
        with library:
            queries = [(name, text) for name, texts in captions.items() for text in texts]
            queries = queries[: options.limit]
            searcher = library.searcher()
            assert isinstance(searcher.fusion, StandardScores)
            if options.fusion != "standard":  # with the same weights: only the method differs
                searcher.fusion = ReciprocalRanks(
                    searcher.fusion.weights,
                    k=int(options.fusion.removeprefix("rrf")),
                    without_text=searcher.fusion.without_text,
                )
            together = _combinations(options.visual_only, searcher.channels)
            rows = recall(library, queries, together)
            if options.visual_only:
                rows["visual, exact search"] = exact(library, queries)
    _print(rows, len(queries), options.json)


def _combinations(visual_only: bool, channels: Sequence[Channel]) -> list[tuple[Channel, ...]]:
    if visual_only:
        return [("visual",)]
    together: list[tuple[Channel, ...]] = [(channel,) for channel in channels]
    together.append(("visual", "bm25"))
    if "text" in channels:
        together.append(("visual", "text", "bm25"))
    return together


def _print(rows: dict[str, list[float]], queries: int, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"queries": queries, "rows": rows}))
        return
    table = Table(title=f"{queries} queries")
    for column in ("channels", *(f"R@{cut}" for cut in CUTS)):
        table.add_column(column, justify="left" if column == "channels" else "right")
    for name, figures in rows.items():
        table.add_row(name, *(f"{figure:.1f}" for figure in figures))
    Console().print(table)


if __name__ == "__main__":
    main()
