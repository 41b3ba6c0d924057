"""Fusion: one ranked list out of the channels' lists.

``StandardScores`` is the default because it won: on COCO training photos with one caption as the
annotation and the others as queries it finds 7 to 11 points more at rank 1 than reciprocal ranks
with the same weights, and as much within a point among 5 and 10, with a weak text model and with a
strong one (``python -m benchmarks retrieval --fusion rrf10`` compares). The weights are those that
``mmrag tune`` learns on photos that are used for no claim (``python -m benchmarks defaults``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from statistics import fmean, pstdev
from typing import Any, TypeVar

from mmrag_plugin.media import Channel

DEPTH = 200  # candidates that a channel hands over, and the length to which its list is padded

Key = TypeVar("Key", bound=Hashable)
Ranked = Sequence[tuple[Key, float]]  # best first, scores higher for better, each key once

# Beside a sentence model, word matches repeat much of what it says and count for less.
WEIGHTS: dict[Channel, float] = {"visual": 1.0, "text": 0.7, "bm25": 1.0}
WEIGHTS_WITH_SENTENCE_MODEL: dict[Channel, float] = {"visual": 1.0, "text": 1.5, "bm25": 0.5}
WEIGHTS_WITHOUT_TEXT: dict[Channel, float] = {"visual": 1.0, "bm25": 0.7}


class Fusion(ABC):
    """Joins the ranked lists of channels; a key that a channel lacks loses by it, never wins.

    ``without_text`` are the weights where the text channel is not among the lists.
    """

    def __init__(
        self,
        weights: Mapping[Channel, float] = WEIGHTS,
        *,
        without_text: Mapping[Channel, float] | None = None,
    ) -> None:
        self.weights = weights
        self.without_text = weights if without_text is None else without_text

    @abstractmethod
    def scores(self, channel: Channel, ranked: Ranked[Key]) -> tuple[dict[Key, float], float]:
        """Make one channel's scores comparable; also the score of a key that is not in the list."""

    def fuse(self, lists: Mapping[Channel, Ranked[Key]]) -> list[tuple[Key, float]]:
        """Add up the channels' weighted scores: all keys, best first, ties in order of arrival."""
        weights = self.weights if "text" in lists else self.without_text
        totals: dict[Key, float] = {key: 0.0 for ranked in lists.values() for key, _ in ranked}
        for channel, ranked in lists.items():
            if ranked:
                scores, missing = self.scores(channel, ranked)
                for key in totals:
                    totals[key] += weights.get(channel, 1.0) * scores.get(key, missing)
        return sorted(totals.items(), key=lambda item: -item[1])


class ReciprocalRanks(Fusion):
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009)."""

    def __init__(
        self, weights: Mapping[Channel, float] = WEIGHTS, *, k: int = 10, **options: Any
    ) -> None:
        super().__init__(weights, **options)
        self.k = k

    def scores(self, channel: Channel, ranked: Ranked[Key]) -> tuple[dict[Key, float], float]:
        """1 / (k + rank), and 0 for what is not in the list."""
        return {key: 1 / (self.k + rank) for rank, (key, _) in enumerate(ranked, 1)}, 0.0


class StandardScores(Fusion):
    """Scores in standard deviations from the mean of the channel's list.

    A word search's list is padded with zeros to DEPTH first: one photo in ten thousand that holds
    the word stands out as far as it should, and a photo without it is worth a score of zero.
    However many rows were asked for, the first DEPTH say what is usual.
    """

    def scores(self, channel: Channel, ranked: Ranked[Key]) -> tuple[dict[Key, float], float]:
        """(score - mean) / deviation, and for what is not in the list its lowest possible."""
        values = [score for _, score in ranked[:DEPTH]]
        lowest = ranked[-1][1]
        if channel == "bm25":
            values += [0.0] * (DEPTH - len(values))
            lowest = 0.0
        mean, deviation = fmean(values), max(pstdev(values), 1e-6)
        scores = {key: (score - mean) / deviation for key, score in ranked}
        return scores, (lowest - mean) / deviation
