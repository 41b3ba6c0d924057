"""Learning a person's own words from their annotated photos: how a query is to be moved.

The photos' vectors stay as they are stored; what is learned is a residual of the query, one
direction a text (``LearnedQuery``). It begins at the middle of the text's photos and is trained
with a symmetric contrastive loss over the annotated photos, those with other texts as negatives (a
text that repeats is no negative of itself), tied to where it began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmrag_plugin.errors import ModelError
from mmrag_plugin.learned_query import LearnedQuery, Rows, telling

Marks = NDArray[np.bool_]
Numbers = NDArray[np.intp]

STEPS = 60
LOOK_EVERY = 5
# These were chosen on halves of personal210 other than those that are reported. All that has to do
# with the scale of similarities is in units of what the library shows, for models differ in it.
STRENGTH = 2.0  # how much a value weighs against the query, in deviations of their similarities
WARMTH = 1.0  # of the loss: the temperature, in deviations of a query's similarities
TIE = 1.0  # the weight of the distance to the beginning
RATE = 0.01  # of Adam
BATCH_TEXTS, BATCH_PHOTOS, HARD = 1024, 4096, 8
_UNRELATED = 0.75  # the quantile of unrelated texts' nearness that counts as none
_MAX_FLOOR = 0.95


@dataclass(frozen=True)
class Lesson:
    """What there is to learn from: photos with vectors, and the texts that were put to them.

    ``pictures`` is [media, dim], ``text_vectors`` [texts, dim], ``said`` marks which text was put
    to which media, [texts, media]. ``strengths`` (0 to 1) says how much each text counts, ``own``
    which ones the person wrote. ``library`` are vectors of any media, [some, dim];
    ``general_texts`` with their vectors are about nobody's things.
    """

    stamp: str
    media_ids: Sequence[str]
    groups: Sequence[str]  # media of one group are much alike
    pictures: Rows
    texts: Sequence[str]
    text_vectors: Rows
    strengths: Rows
    own: Marks
    names: Sequence[bool]
    said: Marks
    library: Rows
    general_texts: Sequence[str]
    general: Rows
    times_s: Sequence[float | None] = ()  # of the picture that stands for a media, in a film

    def of(self, media: Numbers) -> Lesson:
        """The same with some of the media only, and what was said of them."""
        said = self.said[:, media]
        kept = np.flatnonzero(said.any(axis=1)).tolist()
        return Lesson(
            self.stamp,
            [self.media_ids[int(index)] for index in media],
            [self.groups[int(index)] for index in media],
            self.pictures[media],
            [self.texts[index] for index in kept],
            self.text_vectors[kept],
            self.strengths[kept],
            self.own[kept],
            [self.names[index] for index in kept],
            said[kept],
            self.library,
            self.general_texts,
            self.general,
            [self.times_s[int(index)] for index in media] if self.times_s else (),
        )


class Training:
    """One training run over a lesson; the same seed gives the same result."""

    def __init__(self, lesson: Lesson, *, seed: int = 0) -> None:
        self.lesson = lesson
        self._random = np.random.default_rng(seed)
        middle = lesson.library.mean(axis=0)
        counts = lesson.said.sum(axis=1, keepdims=True)
        self._begun = _unit((lesson.said @ (lesson.pictures - middle)) / counts)
        understood = lesson.general[lesson.general.any(axis=1)]
        asked = understood if len(understood) else lesson.text_vectors
        shown = lesson.library
        spread = _spread(asked @ shown.T)
        self._scale = STRENGTH * spread / max(_spread(self._begun @ shown.T), 1e-6)
        self.temperature = WARMTH * max(_spread(lesson.text_vectors @ lesson.pictures.T), 1e-6)
        self._learned = np.zeros_like(self._begun)
        self._moments = np.zeros_like(self._begun), np.zeros_like(self._begun)
        self._empty = LearnedQuery(
            lesson.stamp,
            lesson.texts,
            lesson.names,
            lesson.text_vectors,
            self._begun,
            floor_of(lesson),
        )
        self._weights, self._opening = self._empty.attention(lesson.text_vectors, lesson.texts)
        self.steps = 0

    @property
    def query(self) -> LearnedQuery:
        """What is learned so far."""
        known = self._empty
        values = self._sizes * (self._begun + self._learned)
        return LearnedQuery(
            known.stamp,
            known.texts,
            known.names,
            known.keys,
            values.astype(np.float32),
            known.floor,
        )

    @property
    def _sizes(self) -> Rows:
        return self._scale * self.lesson.strengths[:, None]

    def loss(self) -> float:
        """The loss as it is now, on all that one step looks at."""
        return self._loss()[0]

    def step(self) -> float:
        """Take one step of Adam (Kingma and Ba, 2015); gives the loss before it.

        Raises ModelError when the loss is not finite.
        """
        self.steps += 1
        loss, gradient = self._loss()
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            raise ModelError(
                f"Learning went astray: the loss is {loss} at step {self.steps}.",
                "What was in use stays. Vectors that are damaged: mmrag status --verify.",
            )
        first, second = self._moments
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        size = first / (1 - 0.9**self.steps)
        self._learned -= RATE * size / (np.sqrt(second / (1 - 0.999**self.steps)) + 1e-8)
        return loss

    def _loss(self) -> tuple[float, Rows]:
        """The loss and its gradient with respect to what is learned, [texts, dim]."""
        lesson, values = self.lesson, self._begun + self._learned
        texts = self._batch(len(lesson.texts), BATCH_TEXTS)
        weights = self._weights[texts]
        opening = self._opening[texts, None]
        moved = lesson.text_vectors[texts] + opening * (weights @ (self._sizes * values))
        lengths = np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12)
        asked = moved / lengths
        media = self._photos(asked, texts)
        pictures, right = lesson.pictures[media], lesson.said[np.ix_(texts, media)]
        scores = asked @ pictures.T / self.temperature
        loss, towards = symmetric_loss(scores, right, lesson.strengths[texts])
        back = (towards @ pictures) / self.temperature
        back = (back - asked * (asked * back).sum(axis=1, keepdims=True)) / lengths
        gradient = self._sizes * (weights.T @ (opening * back))
        tied = TIE / len(lesson.texts)
        loss += tied * float((self._learned**2).sum())
        return loss, (gradient + 2 * tied * self._learned).astype(np.float32)

    def _batch(self, count: int, most: int) -> Numbers:
        if count <= most:
            return np.arange(count)
        return np.sort(self._random.permutation(count)[:most])

    def _photos(self, asked: Rows, texts: Numbers) -> Numbers:
        """The photos of a batch: all, or those of its texts and the hardest of the others."""
        lesson = self.lesson
        if len(lesson.pictures) <= BATCH_PHOTOS:
            return np.arange(len(lesson.pictures))
        right = lesson.said[texts]
        scores = np.where(right, -np.inf, asked @ lesson.pictures.T)
        hardest = np.argpartition(-scores, HARD, axis=1)[:, :HARD]
        return np.union1d(np.flatnonzero(right.any(axis=0)), hardest)


def symmetric_loss(scores: Rows, right: Marks, weights: Rows) -> tuple[float, Rows]:
    """The contrastive loss of texts against photos and back, and its gradient by ``scores``.

    Any of the ``right`` photos of a text answers it, and any of a photo's texts names it. Scores
    are [texts, photos], the weights are those of texts.
    """
    forth, by_text = _one_way(scores, right, weights)
    named = right.any(axis=0)
    weight = np.where(right, weights[:, None], 0).max(axis=0)[named]
    back, by_photo = _one_way(scores[:, named].T, right[:, named].T, weight)
    gradient = by_text / 2
    gradient[:, named] += by_photo.T / 2
    return (forth + back) / 2, np.asarray(gradient, dtype=np.float32)


def _one_way(scores: Rows, right: Marks, weights: Rows) -> tuple[float, Rows]:
    shares = weights / weights.sum()
    likely = np.exp(scores - scores.max(axis=1, keepdims=True))
    likely /= likely.sum(axis=1, keepdims=True)
    among = np.where(right, likely, 0)
    found = np.maximum(among.sum(axis=1, keepdims=True), 1e-30)
    loss = -float(shares @ np.log(found[:, 0]))
    return loss, np.asarray(shares[:, None] * (likely - among / found), dtype=np.float32)


def trained(lesson: Lesson, *, seed: int, steps: int) -> LearnedQuery:
    """What so many steps over a lesson give."""
    training = Training(lesson, seed=seed)
    for _ in range(steps):
        training.step()
    return training.query


def floor_of(lesson: Lesson) -> float:
    """The cosine of unrelated texts: of general phrases, that share no word, to the nearest text.

    It rises with the number of texts, so the gate gets narrower as more are annotated.
    """
    words = frozenset().union(*(telling(text) for text in lesson.texts))
    apart = [index for index, text in enumerate(lesson.general_texts) if not telling(text) & words]
    rows = lesson.general[apart or slice(None)]
    rows = rows[rows.any(axis=1)]
    if not len(rows):
        return 0.0
    nearest = (rows @ lesson.text_vectors.T).max(axis=1)
    return float(np.clip(np.quantile(nearest, _UNRELATED), 0.0, _MAX_FLOOR))


def ranks(asked: Rows, pictures: Rows, right: Marks) -> Numbers:
    """The rank of each query's best right photo, from 1; a tie counts against it."""
    scores = asked @ pictures.T
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return np.asarray(((scores >= best) & ~right).sum(axis=1) + 1, dtype=np.intp)


def _unit(rows: Rows) -> Rows:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def _spread(scores: Rows) -> float:
    """How far a query's similarities usually lie apart."""
    return float(np.median(scores.std(axis=1)))
