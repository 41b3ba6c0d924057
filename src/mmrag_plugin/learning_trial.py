"""Whether what is learned helps: trained on some photos, tried on others, before it is adopted.

The annotated photos are dealt into folds, photos that are much alike into the same one. Each fold's
texts are asked for among its own photos with what was learned from the other folds, in as many
steps as are best for those. So every photo is held out once, and nothing is judged by what it was
learned from, nor by what the number of steps was chosen from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmrag_plugin.learned_query import LearnedQuery, telling
from mmrag_plugin.learning import (
    LOOK_EVERY,
    STEPS,
    Lesson,
    Training,
    ranks,
    symmetric_loss,
)

FOLDS = 4
PATIENCE = 3  # looks without a better loss, after which a fold stops early
SURE = 0.99  # of the interval that has to lie above zero
RESAMPLES = 4000
KEPT_AT_LEAST = 0.97  # of the first ten of a general search
FIRST = 10

Values = NDArray[np.float64]
Curve = list[tuple[int, float | None, float, float | None]]
_MEASURES: Mapping[str, Callable[[NDArray[np.intp]], Values]] = {
    "MRR": lambda ranks: 1.0 / ranks,
    "R@1": lambda ranks: (ranks <= 1).astype(float),
    "R@5": lambda ranks: (ranks <= 5).astype(float),
}


@dataclass(frozen=True)
class Change:
    """A mean over held-out queries before and after, with the interval of their difference."""

    before: float
    after: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        """The shape that reports keep."""
        return vars(self)


@dataclass(frozen=True)
class Trial:
    """What the folds showed.

    ``own`` and ``near`` hold measures (``MRR``, ``R@1``, ``R@5``) of searches for texts that were
    annotated on other photos too, or on none but with shared words; empty without such searches.
    ``kept`` is how much of the first ten of general searches stayed. ``reasons`` say why nothing is
    adopted; ``curve`` has a line a look: step, training loss, held-out loss, held-out MRR; None for
    what was not looked at.
    """

    queries: int
    steps: int
    own: dict[str, Change]
    all: dict[str, Change]
    near: dict[str, Change]
    kept: float
    curve: Curve
    reasons: list[str]

    @property
    def adopted(self) -> bool:
        """Whether searches got better, and general ones stayed as they were."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """The shape that reports keep."""
        measured = {
            name: {key: change.as_dict() for key, change in getattr(self, name).items()}
            for name in ("own", "all", "near")
        }
        return {**vars(self), **measured}


@dataclass
class Fold:
    """What one fold showed, look by look: ranks are [looks, queries]; JSON can hold it."""

    texts: list[str]  # the queries
    media: list[str]  # the group that each query is about
    seen: list[bool]  # whether its text was annotated on other photos
    near: list[bool]  # whether it shares words with what was
    before: list[int]
    after: list[list[int]]
    losses: list[tuple[float, float]]  # training and held-out, before the first step and after


def folds_of(lesson: Lesson, *, seed: int, count: int = FOLDS) -> list[NDArray[np.intp]]:
    """Deal media into folds of much the same size; a group stays together."""
    groups: dict[str, list[int]] = {}
    for index, group in enumerate(lesson.groups):
        groups.setdefault(group, []).append(index)
    order = np.random.default_rng(seed).permutation(len(groups))
    members = list(groups.values())
    dealt: list[list[int]] = [[] for _ in range(count)]
    for index in order:
        min(dealt, key=len).extend(members[index])
    return [np.array(sorted(fold), dtype=np.intp) for fold in dealt]


def try_fold(lesson: Lesson, held_out: NDArray[np.intp], *, seed: int) -> Fold:
    """Learn from all but the held-out media, and search those."""
    others = np.setdiff1d(np.arange(len(lesson.media_ids)), held_out)
    taught, asked = lesson.of(others), lesson.of(held_out)
    training = Training(taught, seed=seed)
    kept = asked_texts(asked)
    fold = untaught(asked, taught)
    texts, vectors, right = fold.texts, asked.text_vectors[kept], asked.said[kept]

    def look(training_loss: float) -> float:
        moved = training.query(vectors, texts)
        scores = moved @ asked.pictures.T / training.temperature
        loss, _ = symmetric_loss(scores, right, np.ones(len(texts), dtype=np.float32))
        fold.after.append(ranks(moved, asked.pictures, right).tolist())
        fold.losses.append((training_loss, loss))
        return loss

    best, waited = look(training.loss()), 0
    for step in range(1, STEPS + 1):
        loss = training.step()
        if step % LOOK_EVERY == 0:
            waited, best = (0, found) if (found := look(loss)) < best else (waited + 1, best)
            if waited == PATIENCE:
                break
    return fold


def asked_texts(lesson: Lesson) -> list[int]:
    """Which texts are asked for: the person's own, where there are any."""
    own = lesson.own if lesson.own.any() else np.ones_like(lesson.own)
    found: list[int] = np.flatnonzero(own).tolist()
    return found


def untaught(asked: Lesson, taught: Lesson) -> Fold:
    """A fold as it is before anything is learned: what is asked for, and the ranks now."""
    kept = asked_texts(asked)
    texts, right = [asked.texts[index] for index in kept], asked.said[kept]
    known, words = set(taught.texts), frozenset().union(*map(telling, taught.texts))
    return Fold(
        texts,
        [asked.groups[int(np.flatnonzero(row)[0])] for row in right],
        [text in known for text in texts],
        [bool(telling(text) & words) for text in texts],
        ranks(asked.text_vectors[kept], asked.pictures, right).tolist(),
        [],
        [],
    )


def judged(
    lesson: Lesson, folds: list[Fold], finish: Callable[[int], LearnedQuery], *, seed: int
) -> tuple[Trial, LearnedQuery]:
    """Choose how long to train by the held-out losses, train on everything, and say if it helps."""
    looks = max(len(fold.losses) for fold in folds)
    padded = [fold.losses + [fold.losses[-1]] * (looks - len(fold.losses)) for fold in folds]
    mean = np.array(padded).mean(axis=0)  # [looks, 2]
    chosen = int(np.argmin(mean[:, 1]))
    after = np.array(
        [
            [rank for fold in folds for rank in fold.after[min(look, len(fold.after) - 1)]]
            for look in range(looks)
        ]
    )
    steps = chosen * LOOK_EVERY
    learned = finish(steps)
    curve: Curve = [
        (
            look * LOOK_EVERY,
            float(mean[look, 0]),
            float(mean[look, 1]),
            float(np.mean(1 / after[look])),
        )
        for look in range(looks)
    ]
    kept = kept_of(lesson, learned)
    trial = weighed(folds, held_out_ranks(folds), kept=kept, steps=steps, curve=curve, seed=seed)
    return trial, learned


def weighed(
    folds: list[Fold],
    after: NDArray[np.intp],
    *,
    kept: float,
    steps: int,
    curve: Curve,
    seed: int,
    kept_at_least: float = KEPT_AT_LEAST,
) -> Trial:
    """Say if it helps, by the ranks of all the folds' searches, [queries], after learning."""
    before = np.concatenate([np.array(fold.before) for fold in folds])
    media = np.array([name for fold in folds for name in fold.media])
    seen = np.array([flag for fold in folds for flag in fold.seen])
    near = np.array([flag for fold in folds for flag in fold.near]) & ~seen

    def changes(which: NDArray[np.bool_]) -> dict[str, Change]:
        if not which.any():
            return {}
        old, new = before[which], after[which]
        return {
            name: _change(measure(old), measure(new), media[which], seed=seed)
            for name, measure in _MEASURES.items()
        }

    whole, close = changes(np.ones_like(seen)), changes(near)
    reasons = []
    if not seen.any():
        reasons.append("no text of yours is on two photos, so nothing could be tried out")
    elif whole["MRR"].low <= 0:
        reasons.append("held-out searches for your own things did not surely get better")
    if close and close["MRR"].high < 0:
        reasons.append("searches that only share words with your annotations got worse")
    if kept < kept_at_least:
        reasons.append(f"general searches changed: {kept:.0%} of what they found first stayed")
    return Trial(len(before), steps, changes(seen), whole, close, kept, curve, reasons)


def held_out_ranks(folds: Sequence[Fold]) -> NDArray[np.intp]:
    """The ranks of all searches; those of a fold after the steps that the other folds choose."""
    found: list[int] = []
    for fold in folds:
        losses = [other.losses for other in folds if other is not fold]
        looks = max(map(len, losses))
        total = [sum(one[min(look, len(one) - 1)][1] for one in losses) for look in range(looks)]
        found += fold.after[min(int(np.argmin(total)), len(fold.after) - 1)]
    return np.array(found, dtype=np.intp)


def kept_of(lesson: Lesson, learned: LearnedQuery) -> float:
    """How much of the first ten of general searches stays; of phrases without the person's words.

    What the person annotated with a general word is theirs, so its search may well change.
    """
    chosen = general_apart(lesson)
    if not chosen or len(lesson.library) <= FIRST:
        return 1.0
    asked, texts = lesson.general[chosen], [lesson.general_texts[index] for index in chosen]
    old, new = (
        np.argsort(-(rows @ lesson.library.T), axis=1, kind="stable")[:, :FIRST]
        for rows in (asked, learned(asked, texts))
    )
    return float(np.mean([np.isin(*pair).mean() for pair in zip(old, new, strict=True)]))


def general_apart(lesson: Lesson) -> list[int]:
    """The general phrases that share no word with the person's texts."""
    words = frozenset().union(*(telling(text) for text in lesson.texts))
    return [
        index
        for index, text in enumerate(lesson.general_texts)
        if not telling(text) & words and lesson.general[index].any()
    ]


def _change(old: Values, new: Values, media: NDArray[np.str_], *, seed: int) -> Change:
    """The interval of a difference by a bootstrap over media: texts of one photo go together."""
    differences = new - old
    _, which = np.unique(media, return_inverse=True)
    sums, counts = np.bincount(which, differences), np.bincount(which)
    random = np.random.default_rng(seed)
    drawn = random.integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - SURE) / 2, (1 + SURE) / 2])
    return Change(float(old.mean()), float(new.mean()), float(low), float(high))


def fingerprint(lesson: Lesson, seed: int) -> str:
    """Name what a trial is of: folds of another lesson or seed are none of this one's."""
    digest = hashlib.sha256(f"{lesson.stamp} {seed} {STEPS} {FOLDS}".encode())
    for texts in (lesson.texts, lesson.media_ids, lesson.groups):
        digest.update(repr(list(texts)).encode("utf-8", "backslashreplace"))
    for rows in (lesson.pictures, lesson.text_vectors, lesson.strengths, lesson.said):
        digest.update(np.ascontiguousarray(rows).tobytes())
    digest.update(lesson.library.tobytes())
    return digest.hexdigest()
