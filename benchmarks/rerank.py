"""What reranking costs and does: its bounds on number and time, and the order that it makes.

A stand-in on the wire judges by pixels alone whether a photo is mostly of the colour asked for, so
what moves up proves that the right picture arrived with the right question, and says nothing about
a real model. With ``--ollama`` a real one judges, and captions are the questions: recall by sight
of the photo that a caption describes, before and after.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks._doubles import OllamaDouble, judge_colours
from benchmarks.retrieval import CUTS, SHARED, build
from mmrag_plugin.vlm.fake import main_colour
from mmrag_plugin.vlm.ollama import OllamaVLM

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

COLOURS = "red green blue yellow orange brown grey black white".split()
BOUNDS = ((0.0, 30.0), (0.5, 30.0), (2.0, 5.0))  # seconds an answer takes, and all may take
FIRST = 12
SHOWN = 3


def bounds(library: MediaLibrary, double: OllamaDouble) -> list[dict[str, float]]:
    """Requests and wall time of one search with answers that take long."""
    rows = []
    llm = OllamaVLM("eye", double.url)
    library.search("red", rerank=1, llm=llm)  # what is loaded late is loaded now
    for delay_s, limit_s in BOUNDS:
        double.delay_s = delay_s
        asked = len(double.chats)
        begun = time.perf_counter()
        plain = library.search("something red", limit=FIRST)
        search_s = time.perf_counter() - begun
        found = library.search(
            "something red", limit=FIRST, rerank=FIRST, rerank_s=limit_s, llm=llm
        )
        rows.append(
            {
                "answer_s": delay_s,
                "limit_s": limit_s,
                "requests": len(double.chats) - asked,
                "judged": sum(hit.reason.startswith("judged") for hit in found.hits),
                "wall_s": time.perf_counter() - begun - 2 * search_s,
                "hits_lost": len(plain.hits) - len(found.hits),
            }
        )
    double.delay_s = 0.0
    return rows


def colours(library: MediaLibrary, double: OllamaDouble) -> dict[str, float]:
    """Percent of the first hits by sight that are of the colour asked for, before and after."""
    llm = OllamaVLM("eye", double.url)
    shares: dict[str, list[float]] = {"search": [], "reranked": [], "best possible": []}
    for colour in COLOURS:
        query = f"a picture that is mostly {colour}"
        asked: dict[str, Any] = {"channels": ["visual"]}
        wide = library.search(query, limit=FIRST, **asked).hits
        right = {h.moment.media_id for h in wide if _is(library, h, colour)}
        after = library.search(query, limit=SHOWN, rerank=FIRST, llm=llm, **asked).hits
        for name, hits in (("search", wide[:SHOWN]), ("reranked", after)):
            shares[name].append(sum(h.moment.media_id in right for h in hits) / SHOWN)
        shares["best possible"].append(min(len(right), SHOWN) / SHOWN)
    return {name: 100 * sum(found) / len(found) for name, found in shares.items()}


def _is(library: MediaLibrary, hit: Any, colour: str) -> bool:
    picture = library.picture_of(hit)
    return picture is not None and main_colour(picture) == colour


def captions(
    library: MediaLibrary, queries: list[tuple[str, str]], llm: OllamaVLM
) -> dict[str, list[float]]:
    """Recall at CUTS by sight of the photo that a caption describes, before and after."""
    ranks: dict[str, list[int]] = {"search": [], "reranked": []}
    for name, query in queries:
        asked: dict[str, Any] = {"channels": ["visual"], "limit": FIRST}
        for way, more in (("search", {}), ("reranked", {"rerank": FIRST, "rerank_s": 600.0})):
            found = library.search(query, llm=llm, **asked, **more).hits
            names = [Path(hit.path).name for hit in found]
            ranks[way].append(names.index(name) + 1 if name in names else FIRST + 1)
    return {
        way: [100 * sum(rank <= cut for rank in found) / len(found) for cut in CUTS]
        for way, found in ranks.items()
    }


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "coco_train")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--ollama", metavar="URL", help="A real server, which judges captions.")
    parser.add_argument("--vlm", default="gemma3:4b", help="The model there.")
    parser.add_argument("--limit", type=int, default=50, help="So many captions.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        library, texts = build(
            options.data,
            Path(home),
            annotated=False,
            visual_model=options.visual_model,
            text_model="off",
        )
        with library:
            if options.ollama:
                queries = [(name, said[0]) for name, said in texts.items()][: options.limit]
                llm = OllamaVLM(options.vlm, options.ollama)
                found: dict[str, Any] = {"captions": captions(library, queries, llm)}
            else:
                with OllamaDouble() as double:
                    double.says = judge_colours
                    found = {
                        "colours": colours(library, double),
                        "bounds": bounds(library, double),
                    }
    _print(found, as_json=options.json)


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found))
        return
    for name, rows in found.items():
        table = Table(title=name)
        listed = (
            rows if isinstance(rows, list) else [{"": k, "percent": v} for k, v in rows.items()]
        )
        for column in listed[0]:
            table.add_column(column, justify="right")
        for row in listed:
            table.add_row(*(f"{v:.2f}" if isinstance(v, float) else str(v) for v in row.values()))
        Console().print(table)


if __name__ == "__main__":
    main()
