"""Planners on any text: none crashes, dates are in order, the search box reads what it writes."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.plan import Plan, literal
from mmrag_plugin.planning.base import GivenNames, QuestionPlanner
from mmrag_plugin.planning.date_phrases import find_dates
from mmrag_plugin.planning.dates import days_of
from mmrag_plugin.planning.days import written_date
from mmrag_plugin.planning.explaining import explained, plan_as_dict
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.planning.search_box import KEYS, SearchBox, box_of, read_box
from planning_questions import NAMES, QUESTIONS, TODAY

PLANNERS: tuple[QuestionPlanner, ...] = (SearchBox(), Rules())
SPOKEN = sorted({word for question, _ in QUESTIONS for word in question.split()})
QUESTION = st.lists(
    st.sampled_from(SPOKEN) | st.text(max_size=12) | st.sampled_from([f"{key}:" for key in KEYS]),
    max_size=12,
).map(" ".join)
DAYS = st.dates(min_value=date(1850, 1, 1), max_value=date(2200, 12, 31))


# ---- any text ----------------------------------------------------------------------------------


@settings(max_examples=400, deadline=None)
@given(question=st.text(max_size=200) | QUESTION, today=DAYS)
def test_any_text_becomes_a_plan_with_dates_in_order_or_a_refusal(
    question: str, today: date
) -> None:
    for planner in PLANNERS:
        try:
            plan = planner.plan(question, today=today, known=NAMES)
        except UsageError:
            continue
        assert plan.question == question
        given = plan.given & {"since", "until"}  # what a person writes by hand is refused later
        ends = [written_date(text) for text in (plan.filters.since, plan.filters.until) if text]
        assert all(ends)
        if not given and len(ends) == 2:
            assert ends[0][0] <= ends[1][1]  # type: ignore[index]
        assert plan.limit is None or 1 <= plan.limit <= 1000
        list(explained(plan))
        assert plan_as_dict(plan)["planned_by"] in ("given", "rules")


@settings(max_examples=300, deadline=None)
@given(text=QUESTION, today=DAYS)
def test_dates_that_are_found_lie_in_the_text_and_do_not_overlap(text: str, today: date) -> None:
    after = 0
    for phrase in find_dates(text, today):
        assert after <= phrase.start < phrase.end <= len(text)
        assert phrase.days.since or phrase.days.until or phrase.days.yearly
        after = phrase.end


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=30), today=DAYS)
def test_a_text_is_days_or_none(text: str, today: date) -> None:
    days = days_of(text, today)
    assert days is None or days.since or days.until


@pytest.mark.parametrize("today", [date.min, date.max, date(2024, 2, 29)])
@pytest.mark.parametrize("said", ["29 February", "last winter", "two years ago", "100 weeks ago"])
def test_the_ends_of_time_crash_nothing(said: str, today: date) -> None:
    Rules().plan(f"dogs {said}", today=today, known=NAMES)


# ---- the grammar -------------------------------------------------------------------------------

WORD = st.from_regex(r"[a-z]{2,8}", fullmatch=True).filter(
    lambda word: word not in ("yes", "no", "true", "false")
)
WORDS = st.lists(WORD, min_size=1, max_size=3).map(" ".join)
DATE = st.sampled_from(["2019", "2019-05", "2019-05-20", "2020-02-29"])
PLAN = st.builds(
    Plan,
    question=st.just(""),
    visual=st.just("") | WORDS,
    text=st.just("") | WORDS,
    filters=st.builds(
        Filters,
        kind=st.none() | st.sampled_from(["image", "video"]),
        since=st.none() | DATE,
        until=st.none() | DATE,
        folder=st.none() | WORDS,
        camera=st.none() | WORDS,
        has_text=st.none() | st.booleans(),
        near=st.none() | WORDS,
        people=st.lists(WORDS, max_size=2, unique=True).map(tuple),
        yearly=st.none() | st.just(("12-20", "01-06")),
    ),
    phrases=st.lists(WORDS, max_size=2, unique=True).map(tuple),
    without=st.lists(WORDS, max_size=2, unique=True).map(tuple),
    aim=st.sampled_from(["find", "count"]),
    one_each=st.none() | st.sampled_from(["year", "month", "day"]),
    order=st.sampled_from(["best", "newest", "oldest"]),
    limit=st.none() | st.integers(1, 1000),
    like=st.none() | WORD,
    like_at_s=st.none() | st.sampled_from([0.0, 5.5]),
)


@settings(max_examples=200, deadline=None)
@given(plan=PLAN)
def test_the_box_reads_the_plan_that_it_writes(plan: Plan) -> None:
    read = read_box(box_of(plan), TODAY)
    bare = {"question": "", "planned_by": "given", "given": frozenset()}
    assert replace(read, **bare) == replace(plan, **bare)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ("kinds:video", "no filter kinds:"),
        ("nera:Lisbon", "no filter nera:"),
        ("cammera:Canon", "no filter cammera:"),
        ("kind:song", "kind:song is not known"),
        ("after:someday", "'someday' is not a date"),
        ("before:0001-01-01", "Nothing was taken before"),
        ("one:century", "one:century is not known"),
        ("sort:size", "sort:size is not known"),
        ("limit:0", "limit:0 is not known"),
        ("limit:many", "limit:many is not known"),
        ("count:maybe", "count:maybe is not known"),
    ],
)
def test_what_is_almost_a_filter_is_refused_with_what_would_be_right(
    question: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        read_box(question, TODAY)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "question",
    [
        "note:buy milk",
        "https://example.org/a?b=c",
        "12:30 at the station",
        "text: hello",
        'a 3" pipe',
        "well-known - or not -",
        "C:\\photos",
        "near: far",
        '"unfinished',
    ],
)
def test_what_is_no_filter_is_plain_words(question: str) -> None:
    plan = read_box(question, TODAY)
    assert (plan.filters, plan.phrases, plan.without, plan.text) == (Filters(), (), (), "")
    assert plan.visual


@pytest.mark.parametrize(
    ("question", "since", "until"),
    [
        ("after:2024-05", "2024-05", None),
        ("since:2024-05", "2024-05", None),
        ("before:2024-08", None, "2024-07"),
        ("before:2024", None, "2023"),
        ("until:2024-08", None, "2024-08"),
        ("on:2024-05-12", "2024-05-12", "2024-05-12"),
        ("on:yesterday", "2026-07-14", "2026-07-14"),
        ('after:"last summer"', "2025-06-01", None),
        ('on:"vor zwei Jahren"', "2024", "2024"),
        ("AFTER:2024", "2024", None),
    ],
)
def test_dates_in_the_box(question: str, since: str | None, until: str | None) -> None:
    filters = read_box(question, TODAY).filters
    assert (filters.since, filters.until) == (since, until)


def test_typographic_quotes_are_quotes() -> None:
    assert read_box("\u201cexact words\u201d", TODAY).phrases == ("exact words",)
    assert read_box("near:\u201eNew York\u201c", TODAY).filters.near == "New York"


# ---- rules -------------------------------------------------------------------------------------


def test_what_is_written_in_the_box_wins_over_what_the_rules_find() -> None:
    plan = Rules().plan("kind:video on:2020 photos from 2019", today=TODAY, known=NAMES)
    assert (plan.filters.kind, plan.filters.since) == ("video", "2020")
    assert plan.given == {"kind", "since", "until"}


def test_dates_that_contradict_each_other_do_not_become_an_empty_filter() -> None:
    plan = Rules().plan("dogs in 2019 and in 2021", today=TODAY, known=NAMES)
    assert (plan.filters.since, plan.filters.until) == ("2021", "2021")
    assert "2019" in plan.visual
    both = Rules().plan("dogs after 2015 and before 2018", today=TODAY, known=NAMES)
    assert (both.filters.since, both.filters.until) == ("2016", "2017")


def test_the_order_of_a_doubtful_date_is_said() -> None:
    plan = Rules().plan("photos taken on 03/05/2021", today=TODAY, known=NAMES)
    assert plan.warnings == ("03/05/2021 was read day first; write 2021-03-05 for the other day.",)


def test_names_are_known_in_any_case_and_with_a_possessive() -> None:
    for question in ("pictures of anna", "pictures of ANNA", "Anna's pictures"):
        plan = Rules().plan(question, today=TODAY, known=NAMES)
        assert [name.casefold() for name in plan.filters.people] == ["anna"], question
    dog = Rules().plan("pictures of Anna's dog", today=TODAY, known=NAMES)
    assert (dog.filters.people, dog.visual) == ((), "Anna's dog")


def test_what_a_sign_says_need_not_be_exact_while_quoted_words_must_be() -> None:
    plan = Rules().plan('a sign that says "no entry" by a "red" door', today=TODAY, known=NAMES)
    assert (plan.visual, plan.text, plan.phrases) == ("a sign door", "no entry", ("red",))
    assert plan.given == {"phrases"}
    both = Rules().plan('a \'blue\' sign saying "no" or "go"', today=TODAY, known=NAMES)
    assert (both.text, both.phrases) == ("no blue", ("go",))
    sign = Rules().plan('a sign that says "no entry"', today=TODAY, known=NAMES)
    assert (sign.visual, sign.text, sign.phrases, sign.given) == (
        "a sign",
        "no entry",
        (),
        frozenset(),
    )


def test_without_text_that_was_read_nothing_is_filtered_by_it() -> None:
    silent = GivenNames(reads_text=False)
    plan = Rules().plan("photos with text", today=TODAY, known=silent)
    assert plan.filters.has_text is None


def test_a_very_long_text_is_searched_for_as_it_is() -> None:
    text = "photos from 2019 " * 100
    assert Rules().plan(text, today=TODAY, known=NAMES) == replace(literal(text), question=text)


def test_a_plan_takes_milliseconds() -> None:
    Rules().plan("two years ago", today=TODAY, known=NAMES)  # loads the date library
    begin = time.process_time()
    for question, _ in QUESTIONS:
        Rules().plan(question, today=TODAY, known=NAMES)
    assert (time.process_time() - begin) / len(QUESTIONS) < 0.05
