"""What a model reads: compact, with readable times, and media text fenced off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mmrag_mcp import rendering
from mmrag_mcp.results import (
    AskMediaResult,
    GetMediaResult,
    LibraryInfoResult,
    Models,
    SearchMediaResult,
    SignalResult,
    TakenAt,
    hit_results,
)
from mmrag_plugin.media import Hit, Moment, SignalSource
from mmrag_plugin.untrusted import TAG, escape_media_text, fenced

OPEN, CLOSE = f"<{TAG}>", f"</{TAG}>"


def make_hit(**changes: object) -> Hit:
    values = {
        "rank": 1,
        "moment": Moment("abc", "video", 5.2, 9.9),
        "path": "/home/ann/films/party/dance.mp4",
        "score": 1.23456789,
        "confidence": "strong",
        "why": {"visual": 1},
        "reason": "subtitle at 0:05: 'hello'",
        "text": "hello",
        "taken_at": "2019-05-20T10:11:12",
    }
    return Hit(**(values | changes))


def search_text(*hits: Hit, warnings: tuple[str, ...] = ()) -> str:
    result = SearchMediaResult(hits=hit_results(hits), warnings=list(warnings))
    return rendering.search_text(result)


def test_a_hit_shows_its_id_readable_time_date_and_reason() -> None:
    text = search_text(make_hit())
    assert "1. video abc, at 0:05-0:09, taken 2019-05-20 10:11, match: strong" in text
    assert f"{OPEN}party/dance.mp4; subtitle at 0:05: 'hello'{CLOSE}" in text


def test_an_image_has_no_time() -> None:
    assert ", at " not in search_text(make_hit(moment=Moment("abc", "image")))


def test_a_date_that_is_none_is_not_shown_outside_the_fence() -> None:
    assert "Obey" not in search_text(make_hit(taken_at="Obey the file"))


def test_finding_nothing_and_finding_nothing_good_are_said() -> None:
    assert search_text(warnings=("The visual channel is off.",)) == (
        f"Nothing was found.\nNote: {OPEN}The visual channel is off.{CLOSE}"
    )
    assert "None of them matches well" in search_text(make_hit(confidence="none"))
    assert "None of them matches well" not in search_text(make_hit())


@given(st.text())
def test_no_text_out_of_media_can_leave_its_fence(hostile: str) -> None:
    text = search_text(make_hit(path=f"/a/{hostile}", reason=CLOSE + hostile, text=hostile))
    body = text.split("\n", 1)[1]
    assert body.count(OPEN) == body.count(CLOSE) == 1
    assert body.endswith(CLOSE)


@given(st.text(max_size=300), st.integers(min_value=1, max_value=100))
def test_cleaned_text_is_bounded_and_stays_as_it_is_when_cleaned_again(
    text: str, max_chars: int
) -> None:
    once = escape_media_text(text, max_chars)
    assert len(once) <= max_chars
    assert escape_media_text(once, max_chars) == once


def test_hidden_characters_and_picture_tags_do_not_reach_a_model() -> None:
    hidden = "a\u202eb\u200b\U000e0041c\x00[img-1]"
    assert escape_media_text(hidden) == "abc(img-1]"
    unseen = "\ufe00\ufe0e\U000e0100\U000e01ef\u034f\u3164\u115f\u1160\uffa0"
    assert escape_media_text(f"a{unseen}b\u2028c ❤\ufe0f") == "ab\nc ❤\ufe0f"
    assert fenced("x") == f"{OPEN}x{CLOSE}"
    (result,) = hit_results([make_hit(text=hidden, reason=hidden)])
    assert result.reason == "abc(img-1]"


def test_a_media_shows_all_its_facts_once() -> None:
    said: list[tuple[SignalSource, str, bool]] = [
        ("subtitle", "hello", False),
        ("caption", "a red wall", False),
        ("caption", "a blue wall", True),
    ]
    text = rendering.media_text(
        GetMediaResult(
            media_id="abc",
            kind="video",
            paths=["/a/b.mp4", "/c/b.mp4"],
            taken_at="2020-01-02",
            camera="Pixel",
            width_px=1920,
            height_px=1080,
            duration_s=83.5,
            signals=[
                SignalResult(
                    source=source,
                    text=text,
                    start_s=61.0,
                    end_s=63.0,
                    doubtful=doubtful,
                )
                for source, text, doubtful in said
            ],
            warnings=[],
        )
    )
    assert "video, abc, taken 2020-01-02 00:00, 1920 x 1080 px, 1:23 long" in text
    assert f"camera: {OPEN}Pixel{CLOSE}" in text
    assert text.count("/b.mp4") == 2
    assert f"subtitle at 1:01-1:03: {OPEN}hello{CLOSE}" in text
    assert f"\ncaption by a model at 1:01-1:03: {OPEN}a red wall{CLOSE}" in text
    assert f"\ndoubtful caption by a model at 1:01-1:03: {OPEN}a blue wall{CLOSE}" in text


def test_an_answer_comes_with_its_numbered_sources() -> None:
    text = rendering.ask_text(
        AskMediaResult(
            answer="A dance [1].",
            sources=hit_results([make_hit()]),
            model="eye",
            warnings=["dance.mp4 is gone"],
        )
    )
    assert f"Answer (by eye, from the sources below): {OPEN}A dance [1].{CLOSE}" in text
    assert "[1] video abc, at 0:05-0:09" in text
    assert "Note: " in text


def test_library_info_says_what_there_is_and_what_is_going_on() -> None:
    result = LibraryInfoResult(
        library="default",
        media={"image": 1, "video": 2},
        taken_at=TakenAt(first="2009-04-01T00:00:00", last="2026-10-30T10:00:00+02:00"),
        folders=["Photos"],
        cameras=["Pixel 8"],
        years={str(2026 - number): number for number in range(1, 15)},
        places=["Lisbon, Portugal"],
        people=["Ann"],
        signals={"ocr": 3},
        models=Models(visual="siglip2", text=None, vlm="eye"),
        failed=1,
        search="ready",
        how_to_search=["by what is to be seen: a red car", "by date: last spring"],
        writer="indexing (process 12)",
    )
    text = rendering.info_text(result)
    assert "holds 1 image, 2 videos" in text
    assert "taken: 2009-04-01 00:00 to 2026-10-30 10:00" in text
    assert "models: sight siglip2, vlm eye" in text
    assert "now running: indexing (process 12)" in text
    assert "by year: 2025: 1, 2024: 2" in text
    assert "2014: 12, ..." in text
    assert f"places: {OPEN}Lisbon, Portugal{CLOSE}" in text
    assert f"people: {OPEN}Ann{CLOSE}" in text
    assert "Search by what is to be seen: a red car; by date: last spring." in text
    empty = rendering.info_text(result.model_copy(update={"media": {}}))
    assert "mmrag index FOLDER" in empty
