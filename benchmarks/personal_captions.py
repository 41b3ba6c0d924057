"""Whether captions use a person's own names when they are shown the nearest annotated photos.

A random half of the photos is annotated, the other half is captioned, with examples and without.
Counted are the words of a photo's own captions that the annotated half has, too: how many of them
its made caption has, and how many words of the annotated half it has that are not its own.

The stand-in that captions is honest: it compares the picture with the examples that it is sent, by
thumbnail, and takes the words of the most alike; without examples it can only name a colour. It
proves that the right examples arrive. What a real model does with them is measured by ``--ollama``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks._doubles import OllamaDouble, caption_by_examples
from benchmarks.retrieval import SHARED, build
from mmrag_plugin.media import Moment
from mmrag_plugin.neighbours import Neighbours, shown
from mmrag_plugin.terms import terms_of
from mmrag_plugin.vlm.captions import Captioner
from mmrag_plugin.vlm.ollama import OllamaVLM

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

WAYS = ("without examples", "with examples")


def half(
    library: MediaLibrary, media: Path, texts: dict[str, list[str]], seed: int
) -> tuple[list[str], list[str]]:
    """Annotate a random half of the photos anew; returns both halves by file name."""
    names = sorted(texts)
    random.Random(seed).shuffle(names)  # noqa: S311
    annotated, held_out = names[: len(names) // 2], names[len(names) // 2 :]
    (media / "captions.json").write_text(json.dumps({name: texts[name] for name in annotated}))
    library.index([media])
    return annotated, held_out


def measure(
    library: MediaLibrary,
    media: Path,
    texts: dict[str, list[str]],
    captioner: Captioner,
    seeds: int,
) -> dict[str, dict[str, list[float]]]:
    """Figures of each way of captioning, one for each seed, in percent."""
    rows: dict[str, dict[str, list[float]]] = {way: {} for way in WAYS}
    for seed in range(seeds):
        annotated, held_out = half(library, media, texts, seed)
        vocabulary = _terms(text for name in annotated for text in texts[name])
        made = asyncio.run(_captions(library, captioner, held_out))
        for way in WAYS:
            for name, figure in _figures(made[way], texts, vocabulary).items():
                rows[way].setdefault(name, []).append(figure)
        share = 100 * sum(made["examples"].values()) / len(held_out)
        rows[WAYS[1]].setdefault("photos with examples", []).append(share)
    return rows


async def _captions(
    library: MediaLibrary, captioner: Captioner, names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    neighbours = Neighbours(library.ledger, library.stores()["visual"])
    ids = {Path(row.path).name: row.media_id for row in library.ledger.media_rows().values()}
    made: dict[str, dict[str, Any]] = {**{way: {} for way in WAYS}, "examples": {}}
    for name in names:
        frames = library.moment_pictures(Moment(ids[name], "image"))
        examples = shown(neighbours.near(ids[name]))
        made["examples"][name] = bool(examples)
        for way, given in zip(WAYS, ((), examples), strict=True):
            made[way][name] = (await captioner.caption(frames, examples=given)).caption
    return made


def _figures(
    made: dict[str, str], texts: dict[str, list[str]], vocabulary: set[str]
) -> dict[str, float]:
    named, wrong, used = [], 0, 0
    for name, caption in made.items():
        own, said = _terms(texts[name]), _terms([caption])
        if own & vocabulary:
            named.append(len(own & vocabulary & said) / len(own & vocabulary))
        used += len(said & vocabulary)
        wrong += len(said & vocabulary - own)
    return {
        "own words found": 100 * statistics.fmean(named),
        "wrong among words used": 100 * wrong / max(used, 1),
        "wrong words a caption": wrong / len(made),
    }


def _terms(texts: Any) -> set[str]:
    return {term for text in texts for term in terms_of(text)}


def near(
    library: MediaLibrary, media: Path, texts: dict[str, list[str]], seeds: int
) -> dict[str, dict[str, list[float]]]:
    """How many of a photo's own words the nearest annotated photo has, if it is near and if not."""
    rows: dict[str, dict[str, list[float]]] = {"near": {}, "nearest, but not near": {}}
    for seed in range(seeds):
        annotated, held_out = half(library, media, texts, seed)
        vocabulary = _terms(text for name in annotated for text in texts[name])
        media_rows = library.ledger.media_rows()
        names = {media_id: Path(row.path).name for media_id, row in media_rows.items()}
        neighbours = Neighbours(library.ledger, library.stores()["visual"])
        shares: dict[str, list[float]] = {name: [] for name in rows}
        for media_id, name in names.items():
            own = _terms(texts[name]) & vocabulary
            if name not in held_out or not own:
                continue
            nearest, is_near = neighbours.nearest(media_id)[0]
            said = _terms(texts[names[nearest]])
            shares["near" if is_near else "nearest, but not near"].append(
                len(own & said) / len(own)
            )
        for name, found in shares.items():
            rows[name].setdefault("own words", []).append(100 * statistics.fmean(found or [0.0]))
            rows[name].setdefault("photos", []).append(100 * len(found) / len(held_out))
    return rows


def main() -> None:
    """Measure one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "personal210")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--every", type=int, default=1, help="Only every so many photos.")
    parser.add_argument(
        "--near", action="store_true", help="Look at what is near, not at captions."
    )
    parser.add_argument("--ollama", metavar="URL", help="A real server, which captions.")
    parser.add_argument("--vlm", default="gemma3:4b", help="The model there.")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        library, texts = build(
            options.data,
            Path(home),
            annotated=False,
            visual_model=options.visual_model,
            text_model="off",
            every=options.every,
        )
        media = Path(home) / "media"
        texts = {name: said for name, said in texts.items() if (media / name).exists()}
        with library:
            if options.near:
                rows = near(library, media, texts, options.seeds)
            elif options.ollama:
                captioner = Captioner(OllamaVLM(options.vlm, options.ollama))
                rows = measure(library, media, texts, captioner, options.seeds)
            else:
                with OllamaDouble() as double:
                    double.says = caption_by_examples
                    captioner = Captioner(OllamaVLM("eye", double.url))
                    rows = measure(library, media, texts, captioner, options.seeds)
    _print(rows, as_json=options.json)


def _print(rows: dict[str, dict[str, list[float]]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows))
        return
    seeds = len(next(iter(next(iter(rows.values())).values())))
    table = Table(title=f"mean of {seeds} halves, ± 95 % of the mean")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    for column in ("", *columns):
        table.add_column(column, justify="right" if column else "left")
    for way, figures in rows.items():
        table.add_row(way, *(_interval(figures.get(column, [])) for column in columns))
    Console().print(table)


# Student's t at 97.5 % by degrees of freedom
_T = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def _interval(figures: Sequence[float]) -> str:
    if len(figures) < 2:
        return "".join(f"{figure:.1f}" for figure in figures)
    width = _T.get(len(figures) - 1, 2.0) * statistics.stdev(figures) / math.sqrt(len(figures))
    return f"{statistics.fmean(figures):.1f} ± {width:.1f}"


if __name__ == "__main__":
    main()
