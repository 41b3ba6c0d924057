"""Learn fusion weights and the calibration of confidence from queries with known answers.

Each query is asked twice: as it is, and with its answers left out of the library, so that the best
of the rest is known to be wrong. Weights are those of a grid that bring right answers up most;
coefficients are those of a logistic regression. What is learned of one half of the media is tried
on the other half, and is worth keeping only where it is better there beyond chance.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mmrag_plugin.confidence import Calibration, Evidence
from mmrag_plugin.evaluation.metrics import Figure, figure
from mmrag_plugin.evaluation.sets import Asked, AskedSet
from mmrag_plugin.evaluation.ways import DEPTH
from mmrag_plugin.fusion import Fusion
from mmrag_plugin.media import CHANNELS, Channel
from mmrag_plugin.metadata import RowFilter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.searching import Searcher
    from mmrag_plugin.telling import Ranked

GRID = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
JUDGED = 1  # first hits of a ranking whose evidence is learned from: the others are seldom right
FALSE_STRONG = 0.1  # of the queries without an answer: as many may have a strong first hit
# What is strong is right with at least this probability where half of the queries have no answer;
# most questions to a library do have one, and there it is more often right.
LEAST_SURE = 0.35
STRENGTH = 1.0  # of the penalty on large coefficients
LEAST_QUERIES = 40
LEAST_HITS = 30  # right ones, and wrong ones, to learn a set of channels from

Weights = Mapping[Channel, float]
SearcherFor = Callable[[Asked], "Searcher"]  # the searcher that a query may be asked of


@dataclass(frozen=True)
class Scored:
    """The candidates of one query: each channel's comparable scores, and which are right."""

    scores: Mapping[Channel, NDArray[np.float64]]  # a number for each candidate
    right: NDArray[np.bool_]
    group: str


@dataclass(frozen=True)
class Judged:
    """The evidence of a ranking's first hits, best first, and which are right.

    ``channels`` are those that were asked; ``answered`` is whether a right one was to be found.
    """

    channels: tuple[Channel, ...]
    evidence: tuple[Evidence, ...]
    right: tuple[bool, ...]
    answered: bool
    group: str


@dataclass(frozen=True)
class Lesson:
    """All that is learned from one set of queries."""

    scored: tuple[Scored, ...]
    judged: tuple[Judged, ...]


@dataclass(frozen=True)
class Trial:
    """What was learned, tried on media that it was not learned from.

    ``before`` and ``after`` are means over the held-out queries, ``change`` what lies between with
    its interval: of reciprocal ranks for weights, of the logarithmic loss for confidence.
    """

    before: float
    after: float
    change: Figure
    queries: int

    @property
    def is_better(self) -> bool:
        """Whether more is better here and chance does not explain it."""
        return self.change.low > 0


# ---- asking --------------------------------------------------------------------------------------


def learn_from(
    searcher_for: SearcherFor,
    asked: AskedSet,
    *,
    where: RowFilter | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Lesson:
    """Ask each query of its searcher, with its answers and without them."""
    scored: list[Scored] = []
    judged: list[Judged] = []
    for number, query in enumerate(asked.queries, 1):
        searcher = searcher_for(query)
        one, some = _asked(searcher, query, frozenset(), where)
        judged += some
        if query.relevant:
            scored.append(one)
            judged += _asked(searcher, query, frozenset(query.relevant), where)[1]
        progress(number, len(asked.queries))
    return Lesson(tuple(scored), tuple(judged))


def _asked(
    searcher: Searcher, query: Asked, left_out: frozenset[str], where: RowFilter | None
) -> tuple[Scored, list[Judged]]:
    if left_out:
        before = (where.not_media_ids if where else None) or frozenset()
        where = replace(where or RowFilter(), not_media_ids=before | left_out)
    found, vectors = searcher.look(query.text, None, searcher.channels, limit=DEPTH, where=where)
    right = frozenset() if left_out else frozenset(query.relevant)
    group = min(query.relevant, default=query.id)
    judge = searcher.judge(query.text, vectors)
    rankings = {
        channels: searcher.rank({channel: found[channel] for channel in channels})[:JUDGED]
        for channels in _subsets(tuple(channel for channel in CHANNELS if channel in found))
    }
    media_ids = list({item[0].media_id for ranked in rankings.values() for item in ranked})
    signals = searcher.signals(media_ids)
    judged = [
        Judged(
            channels,
            tuple(
                judge.evidence(item[0], signals[item[0].media_id]).only(*channels)
                for item in ranked
            ),
            tuple(item[0].media_id in right for item in ranked),
            bool(right),
            group,
        )
        for channels, ranked in rankings.items()
        if ranked
    ]
    return _scored(searcher.fusion, searcher.rank(found), right, group), judged


def _scored(fusion: Fusion, ranked: Sequence[Ranked], right: frozenset[str], group: str) -> Scored:
    import numpy as np

    scores: dict[Channel, NDArray[np.float64]] = {}
    for channel in CHANNELS:
        listed = [
            (number, item[0].best[channel].score)
            for number, item in enumerate(ranked)
            if channel in item[0].best
        ]
        if listed:
            made, missing = fusion.scores(channel, sorted(listed, key=lambda item: -item[1]))
            scores[channel] = np.array([made.get(n, missing) for n in range(len(ranked))])
    return Scored(scores, np.array([item[0].media_id in right for item in ranked]), group)


def _subsets(channels: tuple[Channel, ...]) -> Iterator[tuple[Channel, ...]]:
    for count in range(len(channels), 0, -1):
        yield from itertools.combinations(channels, count)


# ---- fusion --------------------------------------------------------------------------------------


def reciprocal_ranks(scored: Sequence[Scored], weights: Weights) -> list[float]:
    """1 / rank of the first right candidate of each query, fused with weights; 0 for none.

    Of equal scores the right one counts as the last.
    """
    import numpy as np

    found: list[float] = []
    for one in scored:
        total = sum(
            (weights.get(channel, 1.0) * scores for channel, scores in one.scores.items()),
            start=np.zeros(len(one.right)),
        )
        best = max(total[one.right], default=-math.inf)
        found.append(0.0 if math.isinf(best) else 1 / int((total >= best).sum()))
    return found


def learn_weights(scored: Sequence[Scored], now: Weights, channels: Sequence[Channel]) -> Weights:
    """The weights of a grid with the best mean reciprocal rank; ``visual`` stays 1.

    What is now is left where nothing is better.
    """
    others = [channel for channel in channels if channel != "visual"]
    fixed: Weights = {"visual": 1.0} if "visual" in channels else {others.pop(0): 1.0}
    only = _only(scored, channels)
    best: Weights = now
    best_mean = _mean(reciprocal_ranks(only, now))
    for values in itertools.product(GRID, repeat=len(others)):
        weights: Weights = {**fixed, **dict(zip(others, values, strict=True))}
        mean = _mean(reciprocal_ranks(only, weights))
        if mean > best_mean + 1e-12:
            best, best_mean = weights, mean
    return best


def try_weights(
    scored: Sequence[Scored], now: Weights, then: Weights, channels: Sequence[Channel]
) -> Trial:
    """Compare weights on queries that they were not learned from."""
    only = _only(scored, channels)
    before, after = reciprocal_ranks(only, now), reciprocal_ranks(only, then)
    return _trial(before, after, [one.group for one in scored])


def _only(scored: Sequence[Scored], channels: Sequence[Channel]) -> list[Scored]:
    return [
        replace(one, scores={c: scores for c, scores in one.scores.items() if c in channels})
        for one in scored
    ]


# ---- confidence ----------------------------------------------------------------------------------


def learn_calibration(judged: Sequence[Judged], now: Calibration) -> Calibration:
    """Coefficients for each set of channels that found hits, and from when on a hit is strong.

    Queries with and without an answer weigh the same. Channels with too few hits keep what is now.
    """
    hits: dict[str, list[tuple[list[float], bool, float]]] = {}
    weight = _even_weights(judged)
    for one, share in zip(judged, weight, strict=True):
        for evidence, right in zip(one.evidence, one.right, strict=True):
            name = "+".join(evidence.channels)
            hits.setdefault(name, []).append((evidence.features, right, share))
    coefficients = dict(now.coefficients)
    for name, rows in hits.items():
        count = sum(right for _, right, _ in rows)
        if min(count, len(rows) - count) >= LEAST_HITS:
            coefficients[name] = _logistic(rows)
    learned = Calibration(coefficients, now.strong)
    return replace(learned, strong=_threshold(judged, learned))


def false_strong(judged: Sequence[Judged], calibration: Calibration) -> tuple[float, float]:
    """Shares of strong first hits: where they are right, and where nothing was to be found."""
    right = [one for one in judged if one.answered and one.right[0]]
    nothing = [one for one in judged if not one.answered]
    return _strong_share(right, calibration), _strong_share(nothing, calibration)


def try_calibration(judged: Sequence[Judged], now: Calibration, then: Calibration) -> Trial:
    """Compare calibrations on queries that they were not learned from, by the loss of first hits.

    The logarithmic loss, turned round so that more is better.
    """
    return _trial(
        [_certainty(one, now) for one in judged],
        [_certainty(one, then) for one in judged],
        [one.group for one in judged],
    )


def _certainty(one: Judged, calibration: Calibration) -> float:
    likely = min(max(calibration.probability(one.evidence[0]), 1e-4), 1 - 1e-4)
    return math.log(likely if one.right[0] else 1 - likely)


def _even_weights(judged: Sequence[Judged]) -> list[float]:
    answered = sum(one.answered for one in judged)
    shares = {True: answered, False: len(judged) - answered}
    return [len(judged) / (2 * shares[one.answered]) for one in judged]


def _logistic(rows: Sequence[tuple[list[float], bool, float]]) -> list[float]:
    """Weighted logistic regression by Newton's method: the constant, then the coefficients."""
    import numpy as np

    values = np.array([[1.0, *features] for features, _, _ in rows])
    right = np.array([float(is_right) for _, is_right, _ in rows])
    weights = np.array([weight for _, _, weight in rows])
    penalty = np.diag([0.0] + [STRENGTH] * (values.shape[1] - 1))
    found = np.zeros(values.shape[1])
    for _ in range(100):
        likely = 1 / (1 + np.exp(-np.clip(values @ found, -50, 50)))
        slope = values.T @ (weights * (right - likely)) - penalty @ found
        bend = (values * (weights * likely * (1 - likely))[:, None]).T @ values + penalty
        step = np.linalg.solve(bend + 1e-9 * np.eye(len(found)), slope)
        found += step
        if float(np.abs(step).max()) < 1e-8:
            break
    return [round(float(number), 3) for number in found]


def _threshold(judged: Sequence[Judged], calibration: Calibration) -> float:
    """The probability that few of the queries without an answer reach, all channels together."""
    most = max((len(one.channels) for one in judged), default=0)
    ranked = sorted(
        (
            calibration.probability(one.evidence[0])
            for one in judged
            if not one.answered and len(one.channels) == most
        ),
        reverse=True,
    )
    at = int(FALSE_STRONG * len(ranked))
    return round(max(ranked[at] + 1e-3 if at < len(ranked) else 0.0, LEAST_SURE), 3)


def _strong_share(judged: Sequence[Judged], calibration: Calibration) -> float:
    if not judged:
        return 0.0
    strong = sum(calibration.level(one.evidence[0]) == "strong" for one in judged)
    return strong / len(judged)


def _trial(before: Sequence[float], after: Sequence[float], groups: Sequence[str]) -> Trial:
    changes = [then - now for now, then in zip(before, after, strict=True)]
    return Trial(_mean(before), _mean(after), figure(changes, groups), len(before))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else 0.0
