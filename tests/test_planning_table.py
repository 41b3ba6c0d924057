"""The rules against a table of questions; what they miss stays in it and is named."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest

import planning_held_out
from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.base import GivenNames, KnownNames
from mmrag_plugin.planning.days import written_date
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.planning.search_box import box_of, read_box
from mmrag_plugin.terms import terms_of
from planning_questions import NAMES, QUESTIONS, TODAY
from planning_questions_later import LATER
from planning_questions_moments import MOMENTS


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
        "rest": (plan.aim, plan.one_each, plan.order, plan.limit, plan.like, plan.moment),
    }


def misses(
    questions: list[tuple[str, str]], today: date = TODAY, known: KnownNames = NAMES
) -> list[str]:
    """The questions that are understood otherwise, each with what was made of it."""
    found = []
    for question, expected in questions:
        plan = Rules().plan(question, today=today, known=known)
        if _comparable(plan) != _comparable(read_box(expected, today)):
            found.append(f"{question}\n    expected {expected}\n    planned  {box_of(plan)}")
    return found


@pytest.mark.parametrize(
    "table", [QUESTIONS, LATER, MOMENTS], ids=["first table", "later table", "moments"]
)
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


def test_at_least_95_percent_of_what_others_would_ask_is_understood(
    record_property: Callable[[str, object], None],
) -> None:
    held_out = planning_held_out
    missed = misses(held_out.QUESTIONS, held_out.TODAY, held_out.NAMES)
    accuracy = 1 - len(missed) / len(held_out.QUESTIONS)
    print(f"{accuracy:.1%} of {len(held_out.QUESTIONS)} questions; missed:", *missed, sep="\n")
    record_property("accuracy", accuracy)
    assert len(held_out.QUESTIONS) >= 40
    assert accuracy >= 0.95, "\n".join(missed)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("food, but no pizza or pasta", "food -pizza -pasta"),
        ("dogs, not cats", "dogs -cats"),
        ("Anna und Rex am Strand, kein Schnee", "Anna und Rex am Strand -Schnee"),
        ("a dog on a beach, not in the water", "a dog on a beach, not in the water"),
        ("what were we doing last summer", "since:2026-06-01 until:2026-08-31"),
        ("what happened in Rome in 2020?", "near:Rome on:2020"),
        ("what is in Oma's garden?", 'folder:"Oma\'s garden"'),
        ("what happened?", "what happened?"),
        ("when did we last see Anna?", "person:Anna sort:newest"),
        ("When was the last time we went to Berlin", "near:Berlin sort:newest"),
        ("the last two things we filmed in Rome", "kind:video near:Rome sort:newest limit:2"),
        ("das neueste Foto von Anna", "person:Anna kind:image sort:newest limit:1"),
        ("les 5 dernières photos", "kind:image sort:newest limit:5"),
        ("a dog, not in Oma's garden", 'a dog -"Oma\'s garden"'),
        ("churches except in Rome", "churches -Rome"),
        ("photos of Rex not from 2019", "kind:image person:Rex"),
        ("trams, not after 2020", "trams until:2020"),
        ("not before 2019", "since:2019"),
        ("photos not taken with my iPhone", "kind:image -iPhone"),
        ("Rome, no videos", "Rome kind:image"),
        ("everything from Rome except videos", "near:Rome kind:image"),
        ("shots of Rex from 2021", "person:Rex on:2021"),
        ("tequila shots in 2021", "tequila shots on:2021"),
        ("planes in the Lisbon trip", 'planes folder:"Lisbon trip"'),
        ("a chair in the wedding", "a chair in the wedding"),
        ("videos from Lisbon trip", 'kind:video folder:"Lisbon trip"'),
    ],
)
def test_words_of_the_same_kind_are_understood_alike(question: str, expected: str) -> None:
    held_out = planning_held_out
    assert not misses([(question, expected)], held_out.TODAY, held_out.NAMES)


def test_a_name_that_others_are_marked_with_is_no_folder() -> None:
    known = GivenNames(names=("Anna",), folders=("Anna", "Oma's garden"))
    questions = [
        ("photos of Anna in Oma's garden", 'kind:image person:Anna folder:"Oma\'s garden"')
    ]
    assert not misses(questions, known=known)


@pytest.mark.parametrize(
    "word", ["and ", "the ", "in ", "- ", ", ", "not ", "with the ", "photos "]
)
def test_no_heap_of_small_words_holds_the_rules_up(word: str) -> None:
    question = f"photos of {word * (900 // len(word))}x in 2019"
    begin = time.perf_counter()
    plan = Rules().plan(question, today=TODAY, known=NAMES)
    assert plan.filters.since == "2019"
    assert time.perf_counter() - begin < 20
