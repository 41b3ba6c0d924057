"""Whether a visual model that was trained on a person's photos helps, on photos that were held out.

The annotated photos are dealt into five parts: three are trained on, one says when to stop, and on
one the old model and the new are compared. What is adopted is the very model that was tried.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmrag_plugin.errors import UsageError
from mmrag_plugin.learned_query import Rows
from mmrag_plugin.learning import Lesson, Numbers, ranks, trained
from mmrag_plugin.learning_trial import (
    FIRST,
    Curve,
    Fold,
    Trial,
    asked_texts,
    fingerprint,
    folds_of,
    general_apart,
    untaught,
    weighed,
)

MEDIA_AT_LEAST = 40
OTHERS_AT_MOST = 512  # media without annotations that show whether general searches stay
PARTS = 5
KEPT_AT_LEAST = 0.95

Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Dealt:
    """Numbers of annotated media: to train on, to stop by, and to try with."""

    taught: Numbers
    stopping: Numbers
    tried: Numbers


@dataclass(frozen=True)
class Seen:
    """What a model makes of a lesson's pictures, texts and general phrases, and of the library."""

    pictures: Rows
    texts: Rows
    general: Rows
    library: Rows


def dealt(lesson: Lesson, *, seed: int) -> Dealt:
    """Deal media, those that are much alike into one part. Raises UsageError for too few."""
    count = len(set(lesson.media_ids))
    if count < MEDIA_AT_LEAST:
        raise UsageError(
            f"Photos and films with words of yours that can be looked at: {count}. Training the "
            f"visual model takes {MEDIA_AT_LEAST}.",
            f"Write to {MEDIA_AT_LEAST - count} more, or learn without --lora.",
        )
    tried, stopping, *taught = folds_of(lesson, seed=seed, count=PARTS)
    return Dealt(np.sort(np.concatenate(taught)), stopping, tried)


def pairs_of(lesson: Lesson, media: Numbers) -> Pairs:
    """Each text with each of some media that it was put to, by number."""
    chosen = set(media.tolist())
    return [(text, item) for text, item in np.argwhere(lesson.said).tolist() if item in chosen]


def compared(
    lesson: Lesson,
    parts: Dealt,
    new: Seen,
    curve: Curve,
    *,
    seed: int,
    adapter_steps: int | None = None,
) -> tuple[Trial, Fold]:
    """Search the media to try with, as the old model sees them (the lesson) and as the new.

    With ``adapter_steps`` an adapter of so many steps belongs to the old one; it is trained on the
    part that is taught, so that neither has seen what is tried.
    """
    taught, asked = lesson.of(parts.taught), lesson.of(parts.tried)
    fold = untaught(asked, taught)
    kept = asked_texts(asked)
    right = asked.said[kept]
    if adapter_steps is not None:
        query = trained(taught, seed=seed, steps=adapter_steps)
        moved = query(asked.text_vectors[kept], fold.texts)
        fold.before = ranks(moved, asked.pictures, right).tolist()
    place = {text: number for number, text in enumerate(lesson.texts)}
    vectors = new.texts[[place[text] for text in fold.texts]]
    after = ranks(vectors, new.pictures[parts.tried], right)
    fold.after = [after.tolist()]
    trial = weighed(
        [fold],
        after,
        kept=retained(lesson, new),
        steps=min(curve, key=lambda line: line[2])[0],
        curve=curve,
        seed=seed,
        kept_at_least=KEPT_AT_LEAST,
    )
    return trial, fold


def retained(lesson: Lesson, new: Seen) -> float:
    """How good the first ten of general searches still are, as the old model judges them.

    1 means as much better than chance as its own first ten, 0 no better; pictures that it finds
    equally near may change places.
    """
    chosen = general_apart(lesson)
    if not chosen or len(lesson.library) <= FIRST:
        return 1.0
    scores = lesson.general[chosen] @ lesson.library.T
    orders = scores, new.general[chosen] @ new.library.T
    old, now = (
        np.take_along_axis(scores, np.argsort(-order, axis=1, kind="stable")[:, :FIRST], axis=1)
        for order in orders
    )
    chance = scores.mean()
    return float((now.mean() - chance) / max(float(old.mean() - chance), 1e-9))


def named(lesson: Lesson, others: Sequence[str], seed: int, made_by: str) -> str:
    """Name what a training run is of: one that was killed goes on only with the very same."""
    said = f"{fingerprint(lesson, seed)} {list(others)} {made_by}"
    return hashlib.sha256(said.encode()).hexdigest()
