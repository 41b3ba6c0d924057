"""The rules against a table of questions; what they miss stays in it and is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.days import written_date
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.planning.search_box import box_of, read_box
from mmrag_plugin.terms import terms_of
from planning_questions import NAMES, QUESTIONS, TODAY
from planning_questions_later import LATER


def _comparable(plan: Plan) -> dict[str, object]:
    """A plan without what is only another way to write the same."""
    filters = plan.filters
    days = [written_date(text or "") for text in (filters.since, filters.until)]
    return {
        "visual": sorted(terms_of(plan.visual)),
        "text": sorted(terms_of(plan.text)),
        "first": days[0][0] if days[0] else None,
        "last": days[1][1] if days[1] else None,
        "filters": replace(filters, since=None, until=None, people=()),
        "people": {name.casefold() for name in filters.people},
        "phrases": plan.phrases,
        "without": sorted(map(str.casefold, plan.without)),
        "rest": (plan.aim, plan.one_each, plan.order, plan.limit, plan.like),
    }


def misses(questions: list[tuple[str, str]], today: date = TODAY) -> list[str]:
    """The questions that are understood otherwise, each with what was made of it."""
    found = []
    for question, expected in questions:
        plan = Rules().plan(question, today=today, known=NAMES)
        if _comparable(plan) != _comparable(read_box(expected, today)):
            found.append(f"{question}\n    expected {expected}\n    planned  {box_of(plan)}")
    return found


@pytest.mark.parametrize("table", [QUESTIONS, LATER], ids=["first table", "later table"])
def test_at_least_95_percent_of_a_table_is_understood(
    table: list[tuple[str, str]], record_property: Callable[[str, object], None]
) -> None:
    missed = misses(table)
    accuracy = 1 - len(missed) / len(table)
    print(f"{accuracy:.1%} of {len(table)} questions; missed:", *missed, sep="\n")
    record_property("accuracy", accuracy)
    assert accuracy >= 0.95, "\n".join(missed)


def test_the_table_is_long_enough_to_say_something() -> None:
    assert len({question for question, _ in QUESTIONS}) >= 80


@pytest.mark.parametrize(("question", "expected"), QUESTIONS, ids=[q for q, _ in QUESTIONS])
def test_a_plan_written_into_the_search_box_is_the_same_plan(question: str, expected: str) -> None:
    plan = Rules().plan(question, today=TODAY, known=NAMES)
    assert _comparable(read_box(box_of(plan), TODAY)) == _comparable(plan)
