"""Ask a set of queries in several ways at once, and sum up what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.metrics import (
    MEASURES,
    MOMENT_MEASURES,
    measure,
    measure_moments,
    median_rank,
    rank_of,
    share_figure,
)
from mmrag_plugin.evaluation.runs import TOP, Answer, Result, Run, Summary
from mmrag_plugin.evaluation.sets import Asked, AskedSet
from mmrag_plugin.media import Confidence, Moment

_LEVELS: tuple[Confidence, ...] = get_args(Confidence)


@dataclass(frozen=True)
class Found:
    """What one way of searching found: moments, best first, and how sure it is of the first."""

    moments: Sequence[Moment]
    confidence: Confidence | None = None

    @property
    def media(self) -> list[str]:
        """The media in the order of their best moment."""
        return list(dict.fromkeys(moment.media_id for moment in self.moments))


Ways = Callable[[Asked], Mapping[str, Found]]  # asks one query in each way


def evaluate(
    asked: AskedSet,
    ways: Ways,
    about: Mapping[str, Any],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Run:
    """Ask each query in each way and measure what is found.

    ``progress`` hears after each query how many are done, and of how many. Raises UsageError for a
    set without a query that can be answered.
    """
    if not asked.answered:
        raise UsageError(
            f"No query of {asked.name} has an answer in this library.",
            "Take a set of queries about its media.",
        )
    found: dict[str, dict[str, Found]] = {}  # by way and query
    for number, query in enumerate(asked.queries, 1):
        for name, one in ways(query).items():
            found.setdefault(name, {})[query.id] = one
        progress(number, len(asked.queries))
    answers = {name: _answers(asked, by_query) for name, by_query in found.items()}
    results = tuple(
        Result(
            query.id,
            query.text,
            tuple(sorted(query.relevant)),
            {name: answers[name][query.id] for name in answers},
        )
        for query in asked.queries
    )
    summaries = {name: sum_up(results, name, seed=seed) for name in answers}
    return Run(about, summaries, results, asked.notes)


def _answers(asked: AskedSet, found: Mapping[str, Found]) -> dict[str, Answer]:
    media = {query_id: one.media for query_id, one in found.items()}
    values = measure({query.id: query.relevant for query in asked.queries}, media)
    answers: dict[str, Answer] = {}
    for query in asked.queries:
        one = found[query.id]
        measured = values.get(query.id, {})
        if query.spans:
            measured = {**measured, **measure_moments(query, one.moments)}
        answers[query.id] = Answer(
            measured,
            rank_of(query.relevant, media[query.id]),
            one.confidence if one.moments else None,
            tuple((m.media_id, m.start_s, m.end_s) for m in one.moments[:TOP]),
        )
    return answers


def sum_up(results: Sequence[Result], way: str, *, seed: int = 0) -> Summary:
    """The figures of one way of searching over all queries."""
    answered = [result for result in results if result.relevant]
    figures = {}
    for name in (*MEASURES, *MOMENT_MEASURES):
        having = [result for result in answered if name in result.answers[way].values]
        if having:
            values = [result.answers[way].values[name] for result in having]
            figures[name] = share_figure(values, [result.group for result in having], seed=seed)
    levels: dict[str, Counter[str]] = {"right": Counter(), "wrong": Counter(), "nothing": Counter()}
    for result in results:
        answer = result.answers[way]
        group = ("right" if answer.rank == 1 else "wrong") if result.relevant else "nothing"
        levels[group][answer.confidence or "no hit"] += 1
    return Summary(
        figures,
        median_rank([result.answers[way].rank for result in answered]),
        {group: dict(counted) for group, counted in levels.items() if counted},
    )
