"""What comes after or before a moment of a film: found, told in order, gone through in a talk."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import mmrag
from made_films import BLUE, GREEN, RED, write_film
from media_made import end_owners, opened, picture
from mmrag_plugin.chatting import MediaChatEngine
from mmrag_plugin.following import LONGEST_S, REST_S, SHOTS, Following, shots_in
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.milvus_rows import FoundRow
from mmrag_plugin.plan import Beside, Plan
from mmrag_plugin.planning.rules import Rules
from mmrag_plugin.vlm.fake import FakeVLM
from mmrag_plugin.vlm.ollama import OllamaVLM
from ollama_double import OllamaDouble

YELLOW = (220, 220, 30)
SUBTITLES = """1
00:00:01,000 --> 00:00:02,500
Look at the

2
00:00:02,500 --> 00:00:03,500
bottle, it falls

3
00:00:09,000 --> 00:00:10,000
and then a kiss
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A film of four shots of 4 s, red, green, blue and yellow, and three dated photos."""
    home = tmp_path_factory.mktemp("home")
    media = home / "media"
    media.mkdir()
    shots = [colour for colour in (RED, GREEN, BLUE, YELLOW) for _ in range(40)]
    write_film(media / "film.mp4", shots, gop=10)
    (media / "film.srt").write_text(SUBTITLES)
    for number in range(3):
        taken = f"2020:05:0{number + 1} 12:00:00"
        picture(media / f"day{number}.jpg", "pink", number=number, taken_at=taken)
    with opened(home) as library:
        library.index([media])
    yield home
    end_owners(home)


@pytest.fixture
def library(home: Path) -> Iterator[MediaLibrary]:
    with opened(home) as library:
        yield library


def spans(hits: list[Hit]) -> list[tuple[float | None, float | None]]:
    return [(hit.moment.start_s, hit.moment.end_s) for hit in hits]


def test_a_moment_has_the_edges_of_the_cues_that_hold_the_words(library: MediaLibrary) -> None:
    assert spans(library.search("bottle").hits[:1]) == [(2.5, 3.5)]
    assert spans(library.search("Look at the bottle, it falls").hits[:1]) == [(1.0, 3.5)]
    assert spans(library.search("kiss").hits[:1]) == [(9.0, 10.0)]


@pytest.mark.parametrize("quoted", ['"it falls"', "'it falls'", "“it falls”"])
def test_what_is_said_may_be_quoted(library: MediaLibrary, quoted: str) -> None:
    found = library.search_question(f"what happens after {quoted}")
    assert spans(found.hits) == [(4.0, 8.0), (8.0, 12.0), (12.0, 16.0)]
    assert spans(library.search_question(f"{quoted} and what came before?").hits) == [(0.0, 2.5)]


def test_the_shots_after_a_moment_follow_in_order_and_say_why(library: MediaLibrary) -> None:
    found = library.search_question("what happens after the bottle falls")
    assert spans(found.hits) == [(4.0, 8.0), (8.0, 12.0), (12.0, 16.0)]
    assert spans(list(found.beside)) == [(2.5, 3.5)]
    assert all("comes after 0:02-0:03" in hit.reason for hit in found.hits)
    assert "bottle, it falls" in found.hits[0].reason
    assert found.hits[1].text == "and then a kiss"
    assert [hit.rank for hit in found.hits] == [1, 2, 3]
    assert found.plan is not None
    assert found.plan.moment == "after"


def test_the_shots_before_a_moment_come_nearest_first(library: MediaLibrary) -> None:
    found = library.search_question("before the kiss")
    assert spans(found.hits) == [(8.0, 9.0), (4.0, 8.0), (0.0, 4.0)]


def test_the_limit_of_a_question_is_kept(library: MediaLibrary) -> None:
    found = library.search_question("the scene before the kiss", limit=1)
    assert spans(found.hits) == [(8.0, 9.0)]


def test_a_moment_that_nothing_fits_is_searched_for_itself_and_a_warning_says_so(
    library: MediaLibrary,
) -> None:
    found = library.search_question("what happens after the elephant sneezes")
    assert found.hits == []
    assert any("No moment of a film fits" in said for said in found.warnings)


def test_after_the_last_shot_nothing_comes(library: MediaLibrary) -> None:
    film = library.search("kiss").hits[0].moment.media_id
    found = library.search_question(f"like:{film} at:16 moment:after")
    assert found.hits == []
    assert any("Nothing comes after 0:16" in said for said in found.warnings)


def test_the_photo_after_a_photo_is_the_next_that_was_taken(library: MediaLibrary) -> None:
    days = {Path(hit.path).stem: hit for hit in library.search_question("kind:image").hits}
    first, last = days["day0"].moment.media_id, days["day2"].moment.media_id
    found = library.search_plan(Plan("", like=first, moment="after"))
    assert [Path(hit.path).stem for hit in found.hits] == ["day1", "day2"]
    found = library.search_plan(Plan("", like=last, moment="before"), limit=1)
    assert [Path(hit.path).stem for hit in found.hits] == ["day1"]


def test_a_search_inside_one_film_finds_nothing_else(library: MediaLibrary) -> None:
    film = library.search("kiss").hits[0].moment.media_id
    found = library.search_question(f"pink in:{film}")
    assert {hit.moment.media_id for hit in found.hits} == {film}
    found = library.search_question(f"blue in:{film} sort:time")
    begins = [hit.moment.start_s or 0.0 for hit in found.hits]
    assert begins == sorted(begins)
    assert len(begins) >= 1


def test_all_shots_of_a_film_are_listed_in_order_with_what_is_said(library: MediaLibrary) -> None:
    film = library.search("kiss").hits[0].moment.media_id
    found = library.search_question(f"in:{film} sort:time", limit=3)
    assert spans(found.hits) == [(0.0, 4.0), (4.0, 8.0), (8.0, 12.0)]
    assert [hit.text for hit in found.hits] == [
        "Look at the bottle, it falls",
        None,
        "and then a kiss",
    ]
    assert found.next_offset == 3


def test_a_media_that_is_not_there_can_not_be_searched(home: Path) -> None:
    done = mmrag(home, "search", "blue", "--in", "nothing-such", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"]["kind"] == "not_found"


@pytest.mark.slow
def test_the_command_searches_inside_the_film_of_a_hit_in_order(home: Path) -> None:
    assert mmrag(home, "search", "kiss", "--json").returncode == 0
    done = mmrag(home, "search", "look bottle kiss", "--in", "1", "--in-order", "--json")
    found = json.loads(done.stdout)["hits"]
    assert [hit["start_s"] for hit in found] == sorted(hit["start_s"] for hit in found)
    assert len({hit["media_id"] for hit in found}) == 1


def test_an_answer_is_from_the_moment_and_what_follows_in_order_with_their_times(
    library: MediaLibrary,
) -> None:
    with OllamaDouble() as double:
        engine = library.as_query_engine(OllamaVLM("eye", double.url))
        answer = engine.ask("what happens after the bottle falls")
        assert spans(list(answer.sources)) == [(2.5, 3.5), (4.0, 8.0), (8.0, 12.0), (12.0, 16.0)]
        [request] = double.chats
    said = json.dumps(request["messages"])
    titles = re.findall(
        r"Picture \d of \d of \[(\d)\], at (\d:\d\d\.\d)|picture of \[(\d)\]:", said
    )
    assert [number or alone for number, _, alone in titles] == ["1", "1", "2", "2", "3", "4"]
    times = [time for _, time, _ in titles if time]
    assert times == sorted(times)
    assert times[0] >= "0:02.5"
    shown = [picture for message in request["messages"] for picture in message.get("images", [])]
    assert len(shown) == 6


def test_a_talk_goes_through_a_film_step_by_step(library: MediaLibrary) -> None:
    engine: MediaChatEngine = library.as_chat_engine(FakeVLM(), limit=1)
    first = engine.chat("the bottle falls")
    assert first.metadata["numbers"] == [1]
    after = engine.chat("and then?")
    shown = [engine.conversation.sources[number - 1] for number in after.metadata["numbers"]]
    assert spans(shown) == [(4.0, 8.0)]
    again = engine.chat("and then?")
    shown = [engine.conversation.sources[number - 1] for number in again.metadata["numbers"]]
    assert spans(shown) == [(8.0, 12.0)]
    back = engine.chat("what came before [1]?")
    shown = [engine.conversation.sources[number - 1] for number in back.metadata["numbers"]]
    assert spans(shown) == [(0.0, 2.5)]


def test_both_the_moment_and_what_follows_are_shown_in_a_talk(library: MediaLibrary) -> None:
    engine = library.as_chat_engine(FakeVLM(), limit=2)
    turn = engine.chat("what happens after the bottle falls?")
    shown = [engine.conversation.sources[number - 1] for number in turn.metadata["numbers"]]
    assert spans(shown) == [(2.5, 3.5), (4.0, 8.0), (8.0, 12.0)]
    end = engine.chat("what happens after [3]?")
    numbers = end.metadata["numbers"]
    assert spans([engine.conversation.sources[n - 1] for n in numbers]) == [(12.0, 16.0)]
    assert str(engine.chat("and then?")) == "Nothing comes after that."


# ---- what always holds ---------------------------------------------------------------------------


class _Ledger:
    """Knows one film and no words of it."""

    def signals_of(self, media_ids: list[str]) -> dict[str, list[Any]]:
        return {media_id: [] for media_id in media_ids}


@settings(max_examples=80, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400).map(lambda n: n / 10), min_size=1, max_size=12),
    part=st.floats(0, 1),
    length_s=st.floats(0, 20),
    which=st.sampled_from(["after", "before"]),
)
def test_neighbours_lie_on_their_side_next_to_each_other_and_are_bounded(
    lengths: list[float], part: float, length_s: float, which: Beside
) -> None:
    ends = [sum(lengths[: number + 1]) for number in range(len(lengths))]
    shots = list(zip([0.0, *ends], ends, strict=False))
    start_s = part * ends[-1]
    hit = Hit(1, Moment("f", "video", start_s, min(start_s + length_s, ends[-1])), "f", 1, "strong")
    found = Following(_Ledger(), lambda _: shots).beside([hit], which)  # type: ignore[arg-type]
    assert len(found) <= SHOTS
    for other in found:
        begin_s, end_s = other.moment.start_s, other.moment.end_s
        assert begin_s is not None
        assert end_s is not None
        assert begin_s < end_s <= begin_s + LONGEST_S + 1e-6
        assert begin_s >= (hit.moment.end_s or 0.0) or end_s <= (hit.moment.start_s or 0.0)
        assert (begin_s >= (hit.moment.end_s or 0.0)) == (which == "after")
    edge_s = hit.moment.end_s if which == "after" else hit.moment.start_s
    left_s = ends[-1] - (edge_s or 0.0) if which == "after" else edge_s or 0.0
    if left_s > REST_S:
        assert found


def frame(number: int, start_s: float, shot: tuple[float, float] | None = None) -> FoundRow:
    edges = shot or (None, None)
    return FoundRow(f"f:{number}", "f", "video", "frame", start_s, start_s + 2, 0.0, *edges)


def test_the_shots_of_a_film_are_those_that_its_frames_know() -> None:
    rows = [frame(0, 0.0, (0.0, 4.0)), frame(1, 2.0, (0.0, 4.0)), frame(2, 4.0, (4.0, 6.0))]
    assert shots_in(rows, dict) == [(0.0, 4.0), (4.0, 6.0)]


def test_frames_that_know_no_shot_are_joined_by_their_looks() -> None:
    import numpy as np

    looks = {"f:0": [1, 0], "f:1": [0.99, 0.1], "f:2": [0, 1]}
    vectors = {name: np.array(vector, dtype=np.float32) for name, vector in looks.items()}
    rows = [frame(0, 0.0), frame(1, 2.0), frame(2, 4.0)]
    assert shots_in(rows, lambda: vectors) == [(0.0, 4.0), (4.0, 6.0)]


@pytest.mark.parametrize("word", ["after ", "before ", "what happens ", "and then ", "the scene "])
def test_no_heap_of_such_words_holds_the_rules_up(word: str) -> None:
    from datetime import date

    from mmrag_plugin.planning.base import GivenNames

    question = (word * 200)[:990]
    assert Rules().plan(question, today=date(2026, 7, 15), known=GivenNames())
