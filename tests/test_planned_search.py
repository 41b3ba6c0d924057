"""Plans carried out over a real small library: filters, order, counts, one each, negation, like."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from commands import mmrag_here, told
from media_made import describe, end_owners, opened, picture
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.plan import Plan
from mmrag_plugin.results import SearchResult
from ollama_double import OllamaDouble

TODAY = date(2026, 7, 15)
# file, colour, date, camera, what somebody wrote beside it
PHOTOS = (
    ("Farm/barn_a.jpg", "red", "2019:05:03 10:00:00", "Canon EOS 5D", "the old barn, Rex"),
    ("Farm/barn_b.jpg", "red", "2020:07:04 10:00:00", "Pixel 7", "the old barn"),
    ("Farm/barn_c.jpg", "brown", "2021:01:05 10:00:00", "Pixel 7", "the old barn in snow"),
    ("Lisbon/tram_a.jpg", "yellow", "2020:07:20 10:00:00", "Pixel 7", "a tram with Anna"),
    ("Lisbon/tram_b.jpg", "yellow", "2021:07:21 10:00:00", "Canon EOS 5D", "a tram at night"),
    ("Lisbon/bill.jpg", "white", "2021:07:22 10:00:00", "Pixel 7", "Gate B42, boarding 10:40"),
    ("Rome/fountain.jpg", "blue", "2020:12:25 10:00:00", "Pixel 7", "Anna at the fountain"),
    ("Rome/church.jpg", "white", "2021:01:02 10:00:00", "Canon EOS 5D", "a church without people"),
    ("scans/undated.png", "green", None, None, "an old letter"),
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("planned")
    for number, (name, colour, taken_at, camera, words) in enumerate(PHOTOS):
        path = picture(
            made / "photos" / name, colour, number=number, taken_at=taken_at, camera=camera
        )
        describe(path, words)
    with opened(made / "home") as library:
        library.index([made / "photos"])
    yield made / "home"
    end_owners(made / "home")


@pytest.fixture(scope="module")
def library(home: Path) -> Iterator[MediaLibrary]:
    with opened(home) as found:
        yield found


def asked(library: MediaLibrary, question: str, **options: object) -> SearchResult:
    plan = library.plan_question(question, today=TODAY)
    return library.search_plan(plan, **options)  # type: ignore[arg-type]


def names(result: SearchResult) -> list[str]:
    return [Path(hit.path).stem for hit in result.hits]


# ---- filters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("near:Lisbon", ["bill", "tram_b", "tram_a"]),
        ("photos from lisbon in 2021", ["bill", "tram_b"]),
        ("person:anna", ["fountain", "tram_a"]),
        ("photos of Anna's from Rome", ["fountain"]),
        ("pictures taken with the Canon", ["tram_b", "church", "barn_a"]),
        ("folder:farm after:2020", ["barn_c", "barn_b"]),
        ("photos from Christmas", ["fountain"]),
        ("photos from before 2020", ["barn_a"]),
        ('"gate b42"', ["bill"]),
        ("photos from last winter", []),
        ("yearly:12-20..01-05", ["barn_c", "church", "fountain"]),
    ],
)
def test_a_question_of_filters_alone_lists_what_passes_newest_first(
    library: MediaLibrary, question: str, expected: list[str]
) -> None:
    found = names(asked(library, question))
    assert found == expected if expected else len(found) == len(PHOTOS)


def test_what_passes_is_listed_as_sure_and_says_why(library: MediaLibrary) -> None:
    (hit, *_) = asked(library, "near:Lisbon", limit=1).hits
    assert (hit.rank, hit.confidence, hit.reason) == (1, "strong", "passes the filters")
    assert hit.taken_at is not None


def test_words_are_searched_for_among_what_passes(library: MediaLibrary) -> None:
    found = asked(library, "a tram in Lisbon in 2021")
    assert names(found)[0] == "tram_b"
    assert set(names(found)) <= {"tram_b", "bill"}
    assert not any("let go" in warning for warning in found.warnings)
    assert found.query == "a tram in Lisbon in 2021"


def test_a_plain_question_finds_what_it_found_without_a_plan(library: MediaLibrary) -> None:
    plain, planned = library.search("a red barn"), asked(library, "a red barn")
    assert planned.hits == plain.hits
    assert planned.warnings == plain.warnings
    assert planned.as_dict() == plain.as_dict()


def test_names_that_the_library_does_not_know_are_words(library: MediaLibrary) -> None:
    plan = library.plan_question("trams in Paris", today=TODAY)
    assert (plan.visual, plan.filters) == ("trams in Paris", Filters())
    small = library.plan_question("a church in snow", today=TODAY)  # somebody wrote it small
    assert small.filters == Filters()


# ---- relaxing ----------------------------------------------------------------------------------


def test_a_planned_filter_that_nothing_passes_is_let_go_and_named(library: MediaLibrary) -> None:
    found = asked(library, "photos from Rome in 2019")
    assert names(found) == ["barn_a"]
    assert (
        found.warnings[0]
        == "Nothing passes all filters, so this one was let go: in the folder Rome."
    )
    assert found.plan is not None
    assert (found.plan.filters.folder, found.plan.filters.since) == (None, "2019")


def test_no_more_is_let_go_than_is_needed(library: MediaLibrary) -> None:
    found = asked(library, "videos from Lisbon in 2021")
    assert set(names(found)) == {"tram_b", "bill"}
    assert [warning for warning in found.warnings if "let go" in warning] == [
        "Nothing passes all filters, so this one was let go: a video."
    ]


@pytest.mark.parametrize(
    "question", ["kind:video near:Lisbon", "barn since:2022", '"no such words"']
)
def test_a_filter_that_was_given_by_hand_holds(library: MediaLibrary, question: str) -> None:
    found = asked(library, question)
    assert found.hits == []
    assert not any("let go" in warning for warning in found.warnings)


def test_flags_win_over_what_is_planned_and_hold(library: MediaLibrary) -> None:
    found = asked(library, "photos from 2019", filters=Filters(since="2021", camera="Canon"))
    assert set(names(found)) == {"tram_b", "church"}
    assert asked(library, "barns from Lisbon", filters=Filters(kind="video")).hits == []


@pytest.mark.parametrize("question", ["near:Atlantis", "person:Nobody", "camera:Leica", "folder:x"])
def test_a_name_that_was_given_by_hand_and_is_unknown_is_refused(
    library: MediaLibrary, question: str
) -> None:
    with pytest.raises(UsageError):
        asked(library, question)


# ---- order, counts, one each -------------------------------------------------------------------


def test_the_newest_and_oldest_come_first_among_what_fits(library: MediaLibrary) -> None:
    assert names(asked(library, "the latest photo of the old barn")) == ["barn_c"]
    assert names(asked(library, "the oldest pictures of the old barn"))[:2] == ["barn_a", "barn_b"]
    assert names(asked(library, "the first 2 photos from Lisbon")) == ["tram_a", "tram_b"]


def test_media_without_a_date_have_no_place_in_the_order_of_dates(library: MediaLibrary) -> None:
    assert "undated" not in names(asked(library, "sort:oldest limit:50"))


def test_counting_is_exact_where_filters_alone_are_asked_for(library: MediaLibrary) -> None:
    found = asked(library, "how many photos did I take in 2021", limit=2)
    assert found.count == 4
    assert len(found.hits) == 2
    assert found.as_dict()["count"] == 4
    assert asked(library, "how many videos do I have").count is not None


def test_counting_by_words_says_how_sure_it_is(library: MediaLibrary) -> None:
    found = asked(library, "how many photos of the old barn are there")
    assert found.count == 3
    assert any("3 surely match" in warning for warning in found.warnings)


def test_there_is_one_for_each_year(library: MediaLibrary) -> None:
    found = asked(library, "one photo of the old barn for each year")
    assert [(hit.taken_at or "")[:4] for hit in found.hits] == ["2019", "2020", "2021"]
    assert names(found)[0] == "barn_a"
    assert names(asked(library, "one:year near:Lisbon")) == ["tram_a", "bill"]
    months = asked(library, "one:month near:Lisbon")
    assert [(hit.taken_at or "")[:7] for hit in months.hits] == ["2020-07", "2021-07"]


def test_one_from_every_summer(library: MediaLibrary) -> None:
    found = asked(library, "a photo from every summer")
    assert [(hit.taken_at or "")[:7] for hit in found.hits] == ["2020-07", "2021-07"]


# ---- what is not wanted, and what looks alike --------------------------------------------------


def test_what_words_say_is_left_out(library: MediaLibrary) -> None:
    assert "barn_c" not in names(asked(library, "the old barn -snow"))
    found = names(asked(library, "show me trams, but not at night"))
    assert "tram_a" in found
    assert "tram_b" not in found
    assert not {"fountain", "church"} & set(names(asked(library, "limit:50 -Rome")))


def test_what_only_looks_like_the_unwanted_comes_last(library: MediaLibrary) -> None:
    found = names(asked(library, "the old barn without:red"))
    assert found.index("barn_c") < found.index("barn_a")


def test_more_like_one_of_the_hits(library: MediaLibrary) -> None:
    (barn,) = asked(library, "the first photo of the old barn").hits
    plan = Plan("more like it", like=barn.moment.media_id)
    found = library.search_plan(plan, limit=3)
    assert barn.moment.media_id not in {hit.moment.media_id for hit in found.hits}
    assert names(found)[0] == "barn_b"
    with pytest.raises(NotFound):
        library.search_plan(Plan("more", like="nothing"))


def test_text_goes_to_the_words_and_looks_to_the_eyes(library: MediaLibrary) -> None:
    found = asked(library, "a white page that says 'Gate B42'")
    assert names(found)[0] == "bill"
    assert "visual" in asked(library, "a white page that says 'Gate B42'").hits[0].why
    only_words = library.search_plan(Plan("", text="Gate B42"))
    assert all("visual" not in hit.why for hit in only_words.hits)


def test_a_plan_of_nothing_is_refused(library: MediaLibrary) -> None:
    with pytest.raises(UsageError, match="empty"):
        library.search_plan(Plan(""))
    with pytest.raises(UsageError, match="limit"):
        asked(library, "near:Lisbon", limit=0)


def test_plans_are_carried_out_beside_an_event_loop(library: MediaLibrary) -> None:
    async def both() -> SearchResult:
        plan = await library.aplan_question("photos from Lisbon in 2021", today=TODAY)
        return await library.asearch_plan(plan)

    assert names(asyncio.run(both())) == ["bill", "tram_b"]


def test_a_retriever_plans_when_it_is_asked_to(library: MediaLibrary) -> None:
    literal = library.as_retriever(limit=50).retrieve("photos from Lisbon in 2021")
    planned = library.as_retriever(limit=50, planned=True).retrieve("photos from Lisbon in 2021")
    assert len(literal) > len(planned) == 2


# ---- the command line --------------------------------------------------------------------------


def test_explain_shows_the_plan_above_the_hits_in_a_narrow_terminal(home: Path) -> None:
    done = mmrag_here(home, "search", "trams from Lisbon in 2021", "--explain", COLUMNS="40")
    assert done.returncode == 0, done.stderr
    first = " ".join(done.stdout.split("ranks:")[0].split())
    assert first.startswith("Understood: taken in 2021; in the folder Lisbon; shows trams")
    assert [line for line in done.stdout.splitlines() if len(line) > 40] == []


def test_json_keeps_its_keys_and_has_the_plan_when_it_is_explained(home: Path) -> None:
    plain = told(mmrag_here(home, "search", "trams from Lisbon", "--json"), 0)
    assert plain.keys() == {"query", "hits", "warnings"}
    explained = told(mmrag_here(home, "search", "trams from Lisbon", "--json", "--explain"), 0)
    assert explained.keys() == {"query", "hits", "warnings", "plan"}
    assert explained["plan"]["box"] == "trams folder:Lisbon"
    counted = told(mmrag_here(home, "search", "how many photos from 2021", "--json"), 0)
    assert counted["count"] == 4


def test_literal_takes_the_question_as_words(home: Path) -> None:
    found = told(mmrag_here(home, "search", "trams near:Rome", "--literal", "--json"), 0)
    assert any("tram" in hit["path"] for hit in found["hits"])


def test_a_limit_that_was_given_wins(home: Path) -> None:
    three = told(mmrag_here(home, "search", "the last 3 photos", "--json"), 0)
    one = told(mmrag_here(home, "search", "the last 3 photos", "--json", "--limit", "1"), 0)
    assert (len(three["hits"]), len(one["hits"])) == (3, 1)


def test_each_line_of_a_batch_is_planned_and_its_mistakes_are_its_own(home: Path) -> None:
    lines = "near:Lisbon\nkinds:video\nthe oldest photo\n"
    done = mmrag_here(home, "search", "--batch", "-", stdin=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [len(answer["hits"]) for answer in answers] == [3, 0, 1]
    assert "There is no filter kinds:" in answers[1]["warnings"][0]


def test_a_mistyped_filter_is_refused_with_the_nearest(home: Path) -> None:
    done = mmrag_here(home, "search", "folders:Lisbon")
    assert done.returncode == 2
    assert "folder:Lisbon" in done.stderr


# ---- asking ------------------------------------------------------------------------------------


def test_who_answers_is_told_how_the_sources_were_searched_for_and_counted(home: Path) -> None:
    asked_with: list[str] = []

    def answer(body: dict[str, Any], _: object) -> str:
        asked_with.append(body["messages"][-1]["content"])
        return "There are some [1]."

    with OllamaDouble() as ollama:
        ollama.says = answer
        eye = {"OLLAMA_HOST": ollama.url, "MMRAG_VLM": "eye"}
        told(mmrag_here(home, "ask", "how many photos from 2021 are there", "--json", **eye), 0)
        told(mmrag_here(home, "ask", "tram from Lisbon", "--plan", "literal", "--json", **eye), 0)
    counted = [text for text in asked_with if "The library counts 4 of them." in text]
    assert len(counted) == 1
    assert "taken in 2021" in counted[0]
    assert "searched for as" not in asked_with[-1]


def test_a_way_to_plan_that_is_none_is_refused(home: Path) -> None:
    done = mmrag_here(home, "ask", "tram", "--plan", "guess")
    assert done.returncode == 2
    assert "rules, model or literal" in done.stderr
