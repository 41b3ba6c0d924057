"""What messages of a conversation mean, by rules alone: dialogues, and what always holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.conversation import Conversation, Turn
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.plan import Beside, Plan
from mmrag_plugin.planning.base import GivenNames
from mmrag_plugin.planning.follow_ups import FollowUp, follow_up
from mmrag_plugin.planning.rules import Rules

TODAY = date(2026, 6, 1)
KNOWN = GivenNames(
    names=("Lisbon", "Porto", "Rex", "Oma"), cameras=("Canon EOS 5D",), folders=("Trips",)
)
DAYS = "2024-05-10 2024-05-12 2024-06-20 2021-08-03 2021-08-04 2019-12-24".split()
ACCURACY = 0.95


def plan(question: str) -> Plan:
    return Rules().plan(question, today=TODAY, known=KNOWN)


def after(messages: Iterable[str]) -> Conversation:
    """A conversation in which the first search found [1] to [3], and each later one found two."""
    talk = Conversation()
    for message in messages:
        follow = follow_up(message, talk, plan)
        shown = follow.refers_to
        if follow.plan is not None:
            first = len(talk.sources)
            numbers = range(first + 1, first + (3 if not first else 2) + 1)
            hits = [
                Hit(n, Moment(f"m{n}", "image"), f"/{n}.jpg", 1.0, "strong", taken_at=_day(n))
                for n in numbers
            ]
            talk, _ = talk.with_hits(hits)
            shown = tuple(numbers)
        talk = talk.with_turn(Turn(message, "answer", follow.plan, shown))
    return talk


def _day(number: int) -> str:
    return f"{DAYS[(number - 1) % len(DAYS)]}T12:00:00"


def told(follow: FollowUp) -> str:
    """A follow-up in one line: what it means, what it refers to, and what is searched for."""
    parts = [follow.meaning]
    if follow.refers_to:
        parts.append("on " + ",".join(map(str, follow.refers_to)))
    if follow.missing:
        parts.append("no " + ",".join(map(str, follow.missing)))
    if follow.plan is None or follow.meaning == "more":
        return " ".join(parts)
    asked = follow.plan
    parts.append(f"<{asked.words}>")
    filters = vars(asked.filters)
    for name in dict.fromkeys(("kind", "near", *filters)):
        value = filters[name]
        if value not in (None, (), frozenset()):
            parts.append(f"{name}={','.join(value) if isinstance(value, tuple) else value}")
    if asked.without:
        parts.append(f"without={','.join(asked.without)}")
    if asked.phrases:
        parts.append(f"phrases={','.join(asked.phrases)}")
    if asked.order != "best":
        parts.append(f"order={asked.order}")
    if asked.like:
        parts.append(f"like={asked.like}")
    if asked.one_each:
        parts.append(f"each={asked.one_each}")
    if asked.aim != "find":
        parts.append(f"aim={asked.aim}")
    return " ".join(parts)


BEACH = "show me photos of beaches in Lisbon"
HERE = "kind=image near=Lisbon"
PICNIC = "pictures of a picnic in 2023"
DIALOGUES: list[tuple[list[str], str]] = [
    # narrower
    ([BEACH, "and the one with the dog?"], f"refine <beaches with the dog> {HERE}"),
    ([BEACH, "only the ones at night"], f"refine <beaches at night> {HERE}"),
    ([BEACH, "with a boat"], f"refine <beaches with a boat> {HERE}"),
    ([BEACH, "the ones with people in them"], f"refine <beaches with people in them> {HERE}"),
    ([BEACH, "only videos"], "refine <beaches> kind=video near=Lisbon"),
    ([BEACH, "videos"], "refine <beaches> kind=video near=Lisbon"),
    ([BEACH, "now only films please"], "refine <beaches> kind=video near=Lisbon"),
    ([BEACH, "from 2019"], f"refine <beaches> {HERE} since=2019 until=2019"),
    ([BEACH, "and in 2019?"], f"refine <beaches> {HERE} since=2019 until=2019"),
    (
        [BEACH, "what about last summer?"],
        f"refine <beaches> {HERE} since=2025-06-01 until=2025-08-31",
    ),
    ([BEACH, "only those with Rex"], f"refine <beaches> {HERE} people=Rex"),
    ([BEACH, "taken with the Canon"], f"refine <beaches> {HERE} camera=Canon"),
    # without
    ([BEACH, "not indoors"], f"refine <beaches> {HERE} without=indoors"),
    ([BEACH, "without people"], f"refine <beaches> {HERE} without=people"),
    ([BEACH, "no dogs please"], f"refine <beaches> {HERE} without=dogs"),
    ([BEACH, "but not the ones with umbrellas"], f"refine <beaches> {HERE} without=umbrellas"),
    ([BEACH, "no videos"], f"refine <beaches> {HERE}"),
    (
        [BEACH, "without people", "and not at night"],
        f"refine <beaches> {HERE} without=people,night",
    ),
    # something else under the same restrictions
    ([BEACH, "in Porto instead"], "refine <beaches> kind=image near=Porto"),
    ([BEACH, "what about Porto?"], "refine <beaches> kind=image near=Porto"),
    ([BEACH, "and cats?"], f"refine <cats> {HERE}"),
    ([BEACH, "churches instead"], f"refine <churches> {HERE}"),
    ([BEACH, "how about trams?"], f"refine <trams> {HERE}"),
    ([BEACH, "what about old trams", "only videos"], "refine <old trams> kind=video near=Lisbon"),
    # time
    ([BEACH, "older"], f"refine <beaches> {HERE} until=2024-05-09"),
    ([BEACH, "newer ones"], f"refine <beaches> {HERE} since=2024-06-21"),
    ([BEACH, "show me older ones please"], f"refine <beaches> {HERE} until=2024-05-09"),
    ([BEACH, "something more recent"], f"refine <beaches> {HERE} since=2024-06-21"),
    ([BEACH, "older", "older"], f"refine <beaches> {HERE} until=2021-08-02"),
    ([PICNIC, "from the year before"], "refine <picnic> kind=image since=2022 until=2022"),
    ([PICNIC, "and the year after?"], "refine <picnic> kind=image since=2024 until=2024"),
    (
        [PICNIC, "the previous year", "the previous year"],
        "refine <picnic> kind=image since=2021 until=2021",
    ),
    (
        [BEACH, "anything from the same day as 2?"],
        f"refine on 2 <beaches> {HERE} since=2024-05-12 until=2024-05-12",
    ),
    ([BEACH, "from the month before"], f"refine <beaches> {HERE} since=2024-04 until=2024-04"),
    ([BEACH, "older than 3"], f"refine on 3 <beaches> {HERE} until=2024-06-19"),
    ([BEACH, "the oldest ones"], f"refine <beaches> {HERE} order=oldest"),
    ([BEACH, "newest first"], f"refine <beaches> {HERE} order=newest"),
    # more, and like
    ([BEACH, "more"], "more"),
    ([BEACH, "show me more"], "more"),
    ([BEACH, "any others?"], "more"),
    ([BEACH, "only videos", "next page"], "more"),
    ([BEACH, "show me more like 2"], f"like on 2 <> {HERE} like=m2"),
    ([BEACH, "more like the second one"], f"like on 2 <> {HERE} like=m2"),
    ([BEACH, "something similar to [3]"], f"like on 3 <> {HERE} like=m3"),
    ([BEACH, "more like this"], f"like on 1 <> {HERE} like=m1"),
    ([BEACH, "only videos", "more like 4"], "like on 4 <> kind=video near=Lisbon like=m4"),
    # a look at what is shown
    ([BEACH, "what does 3 say?"], "look on 3"),
    ([BEACH, "describe the second one"], "look on 2"),
    ([BEACH, "describe 1 and 3"], "look on 1,3"),
    ([BEACH, "where was the last one taken?"], "look on 3"),
    ([BEACH, "compare the first two"], "look on 1,2"),
    ([BEACH, "what is he wearing?"], "look on 1,2,3"),
    ([BEACH, "which of them has a boat?"], "look on 1,2,3"),
    ([BEACH, "when was that?"], "look on 1,2,3"),
    ([BEACH, "tell me more about it"], "look on 1,2,3"),
    ([BEACH, "what does 2 say?", "and 3?"], "look on 3"),
    ([BEACH, "what does 2 say?", "translate it"], "look on 2"),
    ([BEACH, "is 2 older than 1?"], "look on 2,1"),
    ([BEACH, "only videos", "describe the first one"], "look on 4"),
    ([BEACH, "describe number 9"], "look no 9"),
    # neither
    ([BEACH, "thanks"], "talk"),
    ([BEACH, "great, thank you!"], "talk"),
    ([BEACH, "ok"], "talk"),
    (["hello"], "talk"),
    ([BEACH, "start over"], "restart"),
    ([BEACH, "new conversation"], "restart"),
    # something new
    ([BEACH], f"fresh <beaches> {HERE}"),
    ([BEACH, "show me receipts from May 2023"], "fresh <receipts> since=2023-05 until=2023-05"),
    ([BEACH, "find the red barn"], "fresh <red barn>"),
    (
        [BEACH, "photos of a birthday cake with candles"],
        "fresh <birthday cake with candles> kind=image",
    ),
    ([BEACH, "how many videos of Rex are there?"], "fresh <> kind=video people=Rex aim=count"),
    ([BEACH, "where did we have the wedding?"], "fresh <where did we have the wedding?>"),
    ([BEACH, "show me one photo of Oma for each year"], "fresh <> kind=image people=Oma each=year"),
    ([BEACH, "thanks", "only videos"], "refine <beaches> kind=video near=Lisbon"),
    ([BEACH, "what does 3 say?", "older"], f"refine <beaches> {HERE} until=2024-06-19"),
    ([BEACH, "and from Porto?"], "refine <beaches> kind=image near=Porto"),
    ([BEACH, "just the black and white ones"], f"refine <beaches black and white> {HERE}"),
    ([BEACH, "do any of them show a dog?"], "look on 1,2,3"),
    ([BEACH, "is there one with a lighthouse?"], f"refine <beaches with a lighthouse> {HERE}"),
    ([BEACH, "are there any from winter?"], f"refine <beaches> {HERE} yearly=12-01,02-29"),
    ([BEACH, "earlier ones please"], f"refine <beaches> {HERE} until=2024-05-09"),
    ([BEACH, "a year earlier"], f"refine <beaches> {HERE} since=2023 until=2023"),
    ([BEACH, "what about the year before?"], f"refine <beaches> {HERE} since=2023 until=2023"),
    ([BEACH, "what's in picture 2?"], "look on 2"),
    ([BEACH, "show me 2 again"], "look on 2"),
    ([BEACH, "which camera took the third?"], "look on 3"),
    ([BEACH, "what colour is the boat in 1?"], "look on 1"),
    ([BEACH, "how are 1 and 2 different?"], "look on 1,2"),
    ([BEACH, "find others that look like 3"], f"like on 3 <> {HERE} like=m3"),
    ([BEACH, "similar to the last one"], f"like on 3 <> {HERE} like=m3"),
    ([BEACH, "and more like that"], f"like on 1 <> {HERE} like=m1"),
    ([BEACH, "go on"], "more"),
    ([BEACH, "anything else?"], "more"),
    ([BEACH, "forget everything"], "restart"),
    ([BEACH, "nice, thanks"], "talk"),
    ([BEACH, "never mind"], "talk"),
    ([BEACH, "list all films from 2020"], "fresh <> kind=video since=2020 until=2020"),
    ([BEACH, "the invoice from the dentist"], "fresh <the invoice from the dentist>"),
    ([BEACH, "when did Oma visit Porto?"], "fresh <when did Oma visit Porto?>"),
    (
        [BEACH, "show me screenshots of train tickets"],
        "fresh <screenshot train tickets> kind=image",
    ),
    ([BEACH, "except the ones with Rex"], f"refine <beaches> {HERE} without=Rex"),
    ([BEACH, "also at night"], f"refine <beaches at night> {HERE}"),
    ([BEACH, "on a sunny day"], f"refine <beaches on a sunny day> {HERE}"),
    ([BEACH, "not in 2024"], f"refine <beaches> {HERE} without=2024"),
    (
        [BEACH, "not Porto, Lisbon", "only from 2020"],
        f"refine <beaches> {HERE} since=2020 until=2020",
    ),
    (["photos of Rex", "and Oma?"], "refine <> kind=image people=Oma"),
    (["photos of Rex", "with Oma"], "refine <> kind=image people=Rex,Oma"),
    (["videos of fireworks", "photos instead"], "refine <fireworks> kind=image"),
    (["sunset", "at the sea"], "refine <sunset at the sea>"),
    (["sunset over the sea", "now in Lisbon"], "refine <sunset over the sea> near=Lisbon"),
]


def test_the_table_of_dialogues_is_understood() -> None:
    wrong = []
    for messages, expected in DIALOGUES:
        meant = told(follow_up(messages[-1], after(messages[:-1]), plan))
        if meant != expected:
            wrong.append(f"{' / '.join(messages)}\n  meant    {meant}\n  expected {expected}")
    accuracy = 1 - len(wrong) / len(DIALOGUES)
    summary = f"{accuracy:.1%} of {len(DIALOGUES)} dialogues\n" + "\n".join(wrong)
    print(summary)
    assert len(DIALOGUES) >= 30
    assert accuracy >= ACCURACY, summary


def of_a_film(cited: tuple[int, ...] = (), moment: Beside | None = None) -> Conversation:
    """A conversation that shows two moments of a film and a photo."""
    talk, numbers = Conversation().with_hits(
        [
            Hit(1, Moment("film", "video", 10.0, 12.0), "/f.mp4", 1.0, "strong", at_s=11.0),
            Hit(2, Moment("film", "video", 40.0, 45.0), "/f.mp4", 1.0, "strong", at_s=42.0),
            Hit(3, Moment("m3", "image"), "/3.jpg", 1.0, "strong", taken_at=_day(3)),
        ]
    )
    asked = Plan("a bottle", visual="a bottle", moment=moment)
    return talk.with_turn(Turn("a bottle", "answer", asked, tuple(numbers), cited))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("and then?", ("film", 12.0, "after", 1)),
        ("What happens next?", ("film", 12.0, "after", 1)),
        ("what happened after that", ("film", 12.0, "after", 1)),
        ("what does she do then?", ("film", 12.0, "after", 1)),
        ("and what comes right after this?", ("film", 12.0, "after", 1)),
        ("the next scene", ("film", 12.0, "after", 1)),
        ("what came before that?", ("film", 10.0, "before", 1)),
        ("and before that?", ("film", 10.0, "before", 1)),
        ("what happened just before?", ("film", 10.0, "before", 1)),
        ("the previous shot", ("film", 10.0, "before", 1)),
        ("what happens after [2]?", ("film", 45.0, "after", 2)),
        ("what comes before 2", ("film", 40.0, "before", 2)),
        ("the scene after the second one", ("film", 45.0, "after", 2)),
        ("und dann?", ("film", 12.0, "after", 1)),
        ("the photo after number 3", ("m3", None, "after", 3)),
        ("what was before 3?", ("m3", None, "before", 3)),
    ],
)
def test_what_comes_next_is_asked_of_a_source(
    message: str, expected: tuple[str, float | None, str, int]
) -> None:
    follow = follow_up(message, of_a_film(), plan)
    assert follow.meaning == "beside"
    assert follow.plan is not None
    asked = follow.plan
    assert (asked.like, asked.like_at_s, asked.moment, *follow.refers_to) == expected


def test_a_step_goes_on_from_what_was_cited_or_from_where_the_last_one_led() -> None:
    assert follow_up("and then?", of_a_film(cited=(2,)), plan).refers_to == (2,)
    talk = of_a_film(moment="after")
    hits = [replace(hit, moment=replace(hit.moment, kind="video")) for hit in talk.sources]
    talk = replace(talk, sources=tuple(hits))
    assert follow_up("and then?", talk, plan).refers_to == (3,)
    assert follow_up("and before that?", of_a_film(moment="before"), plan).refers_to == (1,)


@pytest.mark.parametrize("message", ["and then?", "what's next?"])
def test_after_photos_and_then_wants_more_of_them(message: str) -> None:
    assert follow_up(message, after([BEACH]), plan).meaning != "beside"


def test_a_step_from_a_number_that_there_is_not_says_so() -> None:
    assert follow_up("what happens after 9?", of_a_film(), plan).missing == (9,)


def test_where_the_rules_are_not_sure_they_say_so() -> None:
    for message in ("cats", "old trams", "photos of her at the sea"):
        follow = follow_up(message, after([BEACH]), plan)
        assert (follow.meaning, follow.sure) in (("refine", False), ("fresh", False)), message
    assert follow_up("photos of cats in the garden", after([BEACH]), plan).sure


@given(st.text(max_size=80), st.lists(st.sampled_from([BEACH, "older", "thanks"]), max_size=2))
def test_any_text_means_something(message: str, earlier: list[str]) -> None:
    before = after(earlier)
    follow = follow_up(message, before, Plan)
    assert all(before.source(number) for number in follow.refers_to)
    assert (follow.plan is None) == (follow.meaning in ("look", "talk", "restart"))


@pytest.mark.parametrize("word", ["more ", "and ", "the same ", "not a ", "in ", "thanks ", "1 "])
def test_a_long_message_takes_no_longer(word: str) -> None:
    assert follow_up(word * 10_000, after([BEACH]), Plan)
    assert follow_up(word * 70, after([BEACH]), Plan)


def test_a_time_that_is_not_wanted_is_turned_around_or_named() -> None:
    talk = after(["photos of barns"])
    turned = follow_up("but not before 2019", talk, plan).plan
    assert turned is not None
    assert (turned.words, turned.filters.since, turned.without) == ("barns", "2019", ())
    kept = follow_up("not last year", talk, plan).plan
    assert kept is not None
    assert (kept.words, kept.filters.since, kept.without) == ("barns", None, ())
    assert "can't be left out" in kept.warnings[0]


def test_a_new_place_takes_the_place_of_the_old_one_folder_or_not() -> None:
    talk = after(["photos of barns in Trips"])
    moved = follow_up("and in Porto?", talk, plan).plan
    assert moved is not None
    assert (moved.filters.near, moved.filters.folder) == ("Porto", None)
