"""Compare two runs query by query: what changed, by how much, and whether it may be chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.metrics import MEASURES, MOMENT_MEASURES, Figure, figure, group_sums
from mmrag_plugin.evaluation.runs import Result, Run, common_ways

SIGNIFICANT = 0.05
RESAMPLES = 10_000
_SHOWN = 10  # queries that changed most, each way


@dataclass(frozen=True)
class Difference:
    """One measure of one way in two runs: both means, what lies between them, and its p-value.

    ``p`` is that of a paired randomisation test (two-sided): how often a difference as large comes
    about where each photo's answers are swapped between the runs by the toss of a coin.
    """

    measure: str
    first: float
    second: float
    change: Figure
    p: float
    better: int
    worse: int

    @property
    def is_significant(self) -> bool:
        """Whether chance alone would seldom do that."""
        return self.p < SIGNIFICANT


@dataclass(frozen=True)
class Changed:
    """A query whose first right answer moved; None where it was not found."""

    query: str
    before: int | None
    after: int | None


@dataclass(frozen=True)
class Compared:
    """Two runs of one way of searching each, over the queries that both have."""

    ways: tuple[str, str]
    queries: int
    differences: tuple[Difference, ...]
    changed: tuple[Changed, ...]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``mmrag eval compare --json``."""
        return {
            "ways": list(self.ways),
            "queries": self.queries,
            "differences": [
                {
                    "measure": one.measure,
                    "first": one.first,
                    "second": one.second,
                    "change": [one.change.value, one.change.low, one.change.high],
                    "p": one.p,
                    "better": one.better,
                    "worse": one.worse,
                    "significant": one.is_significant,
                }
                for one in self.differences
            ],
            "changed": [vars(one) for one in self.changed],
            "warnings": list(self.warnings),
        }


def compare(
    first: Run, second: Run, ways: tuple[str, str] | None = None, *, seed: int = 0
) -> list[Compared]:
    """Compare two runs: each way of searching that both have, or one of each that are named.

    Raises UsageError for a way that a run lacks, and for runs that share no query.
    """
    if ways is None:
        pairs = [(name, name) for name in common_ways([first, second])]
        if not pairs:
            raise UsageError(
                "The two runs have no way of searching in common: "
                f"{', '.join(first.ways)}, and {', '.join(second.ways)}.",
                "Name one of each: --ways A,B.",
            )
    else:
        for run, name in zip((first, second), ways, strict=True):
            if name not in run.ways:
                raise UsageError(
                    f"The run has no way {name!r}.", f"Choose among {', '.join(run.ways)}."
                )
        pairs = [ways]
    before = {result.id: result for result in first.results}
    together = [(before[result.id], result) for result in second.results if result.id in before]
    if not together:
        raise UsageError("The two runs share no query.", "Compare runs of the same set of queries.")
    warnings = _warnings(first, second, len(together))
    return [_compared(together, pair, warnings, seed) for pair in pairs]


def _warnings(first: Run, second: Run, shared: int) -> tuple[str, ...]:
    left = max(len(first.results), len(second.results)) - shared
    notes = [f"{left} queries are in one run only and are left out."] if left else []
    digests = {str(run.about.get("set", {}).get("digest")) for run in (first, second)}
    if len(digests) > 1 and not left:
        notes.append("The same queries are answered by other media in the two runs.")
    return tuple(notes)


def _compared(
    together: Sequence[tuple[Result, Result]],
    ways: tuple[str, str],
    warnings: tuple[str, ...],
    seed: int,
) -> Compared:
    differences = []
    for name in (*MEASURES, *MOMENT_MEASURES):
        values = [
            (one.answers[ways[0]].values[name], other.answers[ways[1]].values[name], one.group)
            for one, other in together
            if name in one.answers[ways[0]].values and name in other.answers[ways[1]].values
        ]
        if values:
            differences.append(_difference(name, values, seed))
    return Compared(ways, len(together), tuple(differences), _changed(together, ways), warnings)


def _difference(name: str, values: Sequence[tuple[float, float, str]], seed: int) -> Difference:
    changes = [second - first for first, second, _ in values]
    groups = [group for _, _, group in values]
    return Difference(
        name,
        math.fsum(first for first, _, _ in values) / len(values),
        math.fsum(second for _, second, _ in values) / len(values),
        figure(changes, groups, seed=seed),
        randomisation_p(changes, groups, seed=seed),
        sum(change > 0 for change in changes),
        sum(change < 0 for change in changes),
    )


def randomisation_p(changes: Sequence[float], groups: Sequence[str], *, seed: int = 0) -> float:
    """The p-value of paired changes, whose sign is tossed for each group of queries as one.

    Exact where there are few groups, by RESAMPLES tosses where there are many.
    """
    import numpy as np
    from scipy.stats import permutation_test

    sums, _ = group_sums(changes, groups)
    sums = sums[sums != 0]  # what doesn't change is the same whichever way it is tossed
    if len(sums) < 2:
        return 1.0
    tested = permutation_test(
        (sums,),
        lambda tossed, axis=-1: tossed.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=500,
        rng=np.random.default_rng(seed),
    )
    return float(tested.pvalue)


def _changed(
    together: Sequence[tuple[Result, Result]], ways: tuple[str, str]
) -> tuple[Changed, ...]:
    """The queries whose rank changed most, those that fell and those that rose."""

    def gain(one: Changed) -> float:
        return (1 / one.after if one.after else 0.0) - (1 / one.before if one.before else 0.0)

    moved = [
        Changed(other.text, one.answers[ways[0]].rank, other.answers[ways[1]].rank)
        for one, other in together
        if one.relevant
    ]
    moved.sort(key=gain)
    fell = [one for one in moved if gain(one) < 0][:_SHOWN]
    rose = [one for one in moved if gain(one) > 0][-_SHOWN:]
    return (*fell, *rose)
