"""What learning from annotations gives: own searches, others, and wrong annotations.

The photos of a personal set are halved by chance, seed by seed. What is learned from one half and
its captions is tried on the other: every caption of a photo there is a query, and any photo there
with the same caption is right. Near-domain queries are captions of that half which no photo of the
annotated half has, though they share words with one that it has; they are asked among that half,
and among the whole library, where only photos that were not annotated are right. General queries
are all captions of another set, among its photos. Where captions are shuffled, those of the
annotated half are dealt out anew to its photos, and the held-out gate should refuse.

The numbers in ``learned_query`` and ``learning`` were chosen on the seeds 100 to 115.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import SHARED, captions_of
from mmrag_plugin.confidence import CALIBRATION, Evidence, Usual
from mmrag_plugin.embeddings.base import VisualEncoder
from mmrag_plugin.embeddings.choose import choose_visual
from mmrag_plugin.general_phrases import GENERAL_PHRASES
from mmrag_plugin.learned_query import LearnedQuery, Rows, telling
from mmrag_plugin.learning import Lesson, trained
from mmrag_plugin.learning_trial import Trial, folds_of, judged, try_fold
from mmrag_plugin.pictures import open_picture

CUTS = (1, 10)
Measured = dict[str, tuple[float, float]]  # percent before and after, by name of the measure


@dataclass(frozen=True)
class Embedded:
    """A set of photos with captions: ``owners`` says of which photo each text is."""

    pictures: Rows
    texts: Sequence[str]
    vectors: Rows
    owners: NDArray[np.intp]

    @cached_property
    def photos_with(self) -> dict[str, set[int]]:
        """The photos that have a caption, by caption."""
        found: dict[str, set[int]] = {}
        for text, owner in zip(self.texts, self.owners.tolist(), strict=True):
            found.setdefault(text, set()).add(owner)
        return found


def embedded(folder: Path, visual: VisualEncoder) -> Embedded:
    """Embed a set, or read what an earlier run left in a temporary file."""
    captions = captions_of(folder)
    texts = [text for said in captions.values() for text in said]
    owners = np.array([n for n, said in enumerate(captions.values()) for _ in said], dtype=np.intp)
    known = hashlib.sha256(f"{visual.stamp}{folder.resolve()}{texts}".encode()).hexdigest()[:16]
    kept = Path(tempfile.gettempdir()) / f"mmrag-learning-{known}.npz"
    if not kept.exists():
        places = [
            next(p for p in (folder / "images" / name, folder / name) if p.exists())
            for name in captions
        ]
        pictures = [
            visual.embed_pictures([open_picture(place, at_least_px=2 * visual.input_px)])
            for place in places
        ]
        np.savez(kept, pictures=np.concatenate(pictures), vectors=visual.embed_texts(texts))
    with np.load(kept, allow_pickle=False) as file:
        return Embedded(file["pictures"], texts, file["vectors"], owners)


def lesson_of(
    own: Embedded, annotated: Sequence[int], general: Rows, *, shuffled_by: int | None = None
) -> Lesson:
    """What there is to learn from some photos of a set, all of which lie in the library."""
    said_of = list(annotated)
    if shuffled_by is not None:
        np.random.default_rng(shuffled_by).shuffle(said_of)
    place = dict(zip(annotated, said_of, strict=True))
    number = {text: index for index, text in reversed(list(enumerate(own.texts)))}
    texts = sorted({t for t, o in zip(own.texts, own.owners, strict=True) if int(o) in place})
    row, column = ({key: n for n, key in enumerate(keys)} for keys in (texts, annotated))
    said = np.zeros((len(texts), len(annotated)), dtype=bool)
    for text, owner in zip(own.texts, own.owners.tolist(), strict=True):
        if owner in place:
            said[row[text], column[place[owner]]] = True
    names = [str(photo) for photo in annotated]
    return Lesson(
        stamp="benchmark",
        media_ids=names,
        groups=names,
        pictures=own.pictures[list(annotated)],
        texts=texts,
        text_vectors=own.vectors[[number[text] for text in texts]],
        strengths=np.ones(len(texts), dtype=np.float32),
        own=np.ones(len(texts), dtype=bool),
        names=[False] * len(texts),
        said=said,
        library=own.pictures,
        general_texts=GENERAL_PHRASES,
        general=general,
    )


def learned_from(lesson: Lesson, seed: int) -> tuple[Trial, LearnedQuery]:
    """What ``mmrag learn`` does with a lesson."""
    folds = [try_fold(lesson, media, seed=seed) for media in folds_of(lesson, seed=seed)]
    return judged(lesson, folds, lambda steps: trained(lesson, seed=seed, steps=steps), seed=seed)


def recalls(
    learned: LearnedQuery,
    asked: Sequence[tuple[str, Rows]],
    pictures: Rows,
    is_right: Callable[[str, int], bool],
    members: Sequence[int],
) -> list[tuple[float, float]]:
    """Percent of queries with a right photo among the first so many, before and after."""
    texts = [text for text, _ in asked]
    vectors = np.array([vector for _, vector in asked], dtype=np.float32)
    right = np.array([[is_right(text, photo) for photo in members] for text in texts])
    found = []
    for rows in (vectors, learned(vectors, texts)):
        order = np.argsort(-(rows @ pictures.T), axis=1, kind="stable")
        found.append(np.take_along_axis(right, order, axis=1))
    return [
        (100 * float(found[0][:, :cut].any(1).mean()), 100 * float(found[1][:, :cut].any(1).mean()))
        for cut in CUTS
    ]


def strong_where_nothing_fits(
    learned: LearnedQuery,
    asked: Sequence[tuple[str, Rows]],
    pictures: Rows,
    photos_with: Mapping[str, set[int]],
) -> tuple[float, float]:
    """Percent of queries whose best photo of those that don't fit is strong, before and after."""
    strong = [0, 0]
    for text, vector in asked:
        others = [photo for photo in range(len(pictures)) if photo not in photos_with[text]]
        for place, row in enumerate((vector, learned(vector[None], [text])[0])):
            scores = pictures @ row
            usual = Usual(float(scores.mean()), float(scores.std()), len(pictures))
            seen = Evidence(visual=usual.standard(float(scores[others].max())))
            strong[place] += CALIBRATION.level(seen) == "strong"
    return 100 * strong[0] / len(asked), 100 * strong[1] / len(asked)


def halved(
    own: Embedded, general: Rows, others: Embedded, seed: int
) -> tuple[Measured, bool, float]:
    """Learn from one half, and measure: also whether it would be adopted, and the seconds."""
    photos = np.random.default_rng(seed).permutation(len(own.pictures)).tolist()
    annotated, rest = sorted(photos[: len(photos) // 2]), sorted(photos[len(photos) // 2 :])
    lesson = lesson_of(own, annotated, general)
    begun = time.perf_counter()
    trial, learned = learned_from(lesson, seed)
    seconds = time.perf_counter() - begun
    with_text = own.photos_with
    known, words = set(lesson.texts), frozenset().union(*map(telling, lesson.texts))
    here = set(rest)
    asked = [
        (text, vector)
        for text, vector, owner in zip(own.texts, own.vectors, own.owners.tolist(), strict=True)
        if owner in here
    ]
    near = [
        pair for pair in dict(asked).items() if pair[0] not in known and telling(pair[0]) & words
    ]

    def same(text: str, photo: int) -> bool:
        return photo in with_text[text] & here

    everyone = range(len(own.pictures))
    general_asked = list(zip(others.texts, others.vectors, strict=True))
    owners = others.photos_with
    measured = {
        "own things": recalls(learned, asked, own.pictures[rest], same, rest),
        "own things, each text once": recalls(
            learned, list(dict(asked).items()), own.pictures[rest], same, rest
        ),
        "near domain, that half": recalls(learned, near, own.pictures[rest], same, rest),
        "near domain, whole library": recalls(learned, near, own.pictures, same, everyone),
        "general": recalls(
            learned,
            general_asked,
            others.pictures,
            lambda text, photo: photo in owners[text],
            range(len(others.pictures)),
        ),
    }
    by_name = {
        f"{name}: R@{cut}": pair
        for name, pairs in measured.items()
        for cut, pair in zip(CUTS, pairs, strict=True)
    }
    by_name["nothing fits, strong by sight"] = strong_where_nothing_fits(
        learned, list(dict(asked).items()), own.pictures, with_text
    )
    return by_name, trial.adopted, seconds


def main() -> None:
    """Measure on halves of a set, and with shuffled captions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=SHARED / "data" / "personal210")
    parser.add_argument("--general", type=Path, default=SHARED / "data" / "flickr8k_dev")
    parser.add_argument("--visual-model", default=str(SHARED / "models" / "minidual"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    visual, _ = choose_visual(options.visual_model, models_home=Path(tempfile.gettempdir()))
    own, others = embedded(options.data, visual), embedded(options.general, visual)
    general = visual.embed_texts(GENERAL_PHRASES)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    runs = [halved(own, general, others, seed) for seed in seeds]
    refused = 0
    for seed in seeds:
        photos = np.random.default_rng(seed).permutation(len(own.pictures)).tolist()
        wrong = lesson_of(own, sorted(photos[: len(photos) // 2]), general, shuffled_by=seed)
        refused += not learned_from(wrong, seed)[0].adopted
    found = {name: np.array([measured[name] for measured, _, _ in runs]) for name in runs[0][0]}
    verdict = {
        "adopted": sum(adopted for _, adopted, _ in runs),
        "refused_shuffled": refused,
        "seconds": max(seconds for _, _, seconds in runs),
    }
    if options.json:
        print(json.dumps({"percent": {k: v.tolist() for k, v in found.items()}, **verdict}))
        return
    table = Table(title=f"percent before and after learning, {len(seeds)} seeds")
    for column in ("searches", "before", "after", "difference, 95 % interval", "times"):
        table.add_column(column, justify="left" if column == "searches" else "right")
    for name, pairs in found.items():
        before, after = pairs.mean(axis=0)
        low, high = _interval(pairs[:, 1] - pairs[:, 0])
        shown = f"{after - before:+.2f} ({low:+.2f} to {high:+.2f})"
        table.add_row(name, f"{before:.1f}", f"{after:.1f}", shown, _times(before, after))
    console = Console()
    console.print(table)
    console.print(
        f"Adopted for {verdict['adopted']} of {len(seeds)} seeds; with shuffled captions refused "
        f"for {refused} of {len(seeds)}. Learning and trying took up to {verdict['seconds']:.1f} s."
    )


def _times(before: float, after: float) -> str:
    return f"{after / before:.2f}" if before else ""


def _interval(differences: NDArray[np.float64]) -> tuple[float, float]:
    """The interval of a mean over seeds, by Student's t."""
    from scipy.stats import t

    if len(differences) < 2:
        return float(differences[0]), float(differences[0])
    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return float(differences.mean() - half), float(differences.mean() + half)


if __name__ == "__main__":
    main()
