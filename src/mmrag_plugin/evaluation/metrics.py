"""How well rankings answer queries: measures of each query, and means with their intervals.

The measures of rankings are those of ``ir-measures`` (trec_eval underneath). Two names are those of
the papers on text-to-image search: ``R@k`` is the share of queries with a right answer among the
first k (``Success@k`` there), and ``RR`` averages to the MRR. ``share@10`` is how much of all that
answers a query is among the first 10 (``R@10`` there). Moments of films are measured as in the
papers on moment retrieval: ``R@k IoU m`` is the share of queries with a moment among the first k
that overlaps a right one by at least m (intersection over union).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from mmrag_plugin.media import Moment

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.evaluation.sets import Asked, Span

CUTS = (1, 5, 10)
OVERLAPS = (0.3, 0.5, 0.7)
MOMENT_CUTS = (1, 5)
MEASURES = ("R@1", "R@5", "R@10", "RR", "nDCG@10", "share@10")
MOMENT_MEASURES = tuple(f"R@{k} IoU {overlap}" for k in MOMENT_CUTS for overlap in OVERLAPS)
RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A mean over queries with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float


@cache
def _measures() -> dict[str, Any]:
    """What ir-measures calls our measures."""
    from ir_measures import RR, R, Success, nDCG

    hits = {f"R@{k}": Success @ k for k in CUTS}
    return {**hits, "RR": RR, "nDCG@10": nDCG @ 10, "share@10": R @ 10}


def measure(
    relevant: Mapping[str, Mapping[str, int]], rankings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """MEASURES of each query: query id -> measure -> value.

    ``relevant`` maps query ids to media ids with grades, ``rankings`` query ids to media ids, best
    first and each once. A query without a ranking found nothing.
    """
    from ir_measures import iter_calc

    wanted = {query: dict(graded) for query, graded in relevant.items() if graded}
    run = {query: _descending(rankings.get(query, ())) for query in wanted}
    if not wanted:
        return {}
    names = {str(known): name for name, known in _measures().items()}
    found: dict[str, dict[str, float]] = {query: {} for query in wanted}
    for metric in iter_calc(list(_measures().values()), wanted, run):
        found[metric.query_id][names[str(metric.measure)]] = float(metric.value)
    return found


def _descending(ranked: Sequence[str]) -> dict[str, float]:
    """Scores that say no more than the order."""
    return {media_id: float(len(ranked) - place) for place, media_id in enumerate(ranked)}


def rank_of(relevant: Mapping[str, int], ranked: Sequence[str]) -> int | None:
    """The place of the first right answer, from 1; None where there is none."""
    return next((rank for rank, media_id in enumerate(ranked, 1) if media_id in relevant), None)


def median_rank(ranks: Sequence[int | None]) -> float | None:
    """The median rank of the first right answer; None where most queries found none."""
    middle = median(math.inf if rank is None else rank for rank in ranks)
    return None if math.isinf(middle) else middle


def overlap(first: Span, second: Span) -> float:
    """Intersection over union of two spans of time."""
    together = min(first[1], second[1]) - max(first[0], second[0])
    spanned = max(first[1], second[1]) - min(first[0], second[0])
    return max(together, 0.0) / spanned if spanned > 0 else 0.0


def measure_moments(query: Asked, moments: Sequence[Moment]) -> dict[str, float]:
    """MOMENT_MEASURES of a query: what its spans are, and the moments that were found, best first.

    A media that answers as a whole overlaps fully, a moment without a time not at all.
    """
    best = [_best_overlap(query, moment) for moment in moments[: max(MOMENT_CUTS)]]
    return {
        f"R@{k} IoU {least}": float(any(value >= least for value in best[:k]))
        for k in MOMENT_CUTS
        for least in OVERLAPS
    }


def _best_overlap(query: Asked, moment: Moment) -> float:
    if moment.media_id not in query.relevant:
        return 0.0
    spans = query.spans.get(moment.media_id)
    if spans is None:
        return 1.0
    if moment.start_s is None or moment.end_s is None:
        return 0.0
    return max(overlap((moment.start_s, moment.end_s), span) for span in spans)


def groups_of(queries: Sequence[Asked]) -> list[str]:
    """What each query is about: queries of one group are no independent observations."""
    return [min(query.relevant, default=query.id) for query in queries]


def figure(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Figure:
    """The mean of some values with its interval, by a bootstrap over groups of queries.

    Five captions of one photo fall and rise together, so photos are drawn and not captions.
    """
    import numpy as np
    from scipy.stats import bootstrap

    if not values:
        raise ValueError("there are no values to average")
    sums, counts = group_sums(values, groups)
    mean = math.fsum(values) / len(values)
    if len(sums) < 2 or np.ptp(sums / counts) == 0:
        return Figure(mean, mean, mean)

    def ratio(sums: NDArray[np.float64], counts: NDArray[np.float64], axis: int = -1) -> Any:
        return sums.sum(axis=axis) / counts.sum(axis=axis)

    interval = bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=200,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Figure(mean, float(interval.low), float(interval.high))


def share_figure(values: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> Figure:
    """As ``figure``, of values from 0 to 1.

    Where all are 0, or all are 1, a bootstrap draws nothing else, so the bound is the exact one of
    Clopper and Pearson.
    """
    found = figure(values, groups, seed=seed)
    open_by = 1 - 0.025 ** (1 / len(set(groups)))
    if found.value == 0:
        return Figure(0.0, 0.0, open_by)
    return Figure(1.0, 1 - open_by, 1.0) if found.value == 1 else found


def group_sums(
    values: Sequence[float], groups: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The sum of the values of each group, and how many there are."""
    import numpy as np

    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    places = np.array([numbers[group] for group in groups])
    sums, counts = np.zeros(len(numbers)), np.zeros(len(numbers))
    np.add.at(sums, places, np.asarray(values, dtype=np.float64))
    np.add.at(counts, places, 1.0)
    return sums, counts
