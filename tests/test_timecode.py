"""Times in films: what is parsed, what is printed, and that both agree."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.timecode import format_span, format_time, parse_time

some = settings(max_examples=50, deadline=None)


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("83", 83.0),
        ("83.5s", 83.5),
        (" 0 ", 0.0),
        ("1:23", 83.0),
        ("1:23.5", 83.5),
        ("75:00", 4500.0),
        ("01:02:03,250", 3723.25),
        ("100:00:00", 360_000.0),
    ],
)
def test_times_are_read_the_way_people_and_subtitles_write_them(text: str, time_s: float) -> None:
    assert parse_time(text) == pytest.approx(time_s)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "-0:05",
        "1:60",
        "1:60:00",
        "0:00:75",
        "1:2:3:4",
        "abc",
        "1e3",
        "nan",
        "inf",
        "1:",
        ":1",
    ],
)
def test_what_is_no_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time") as caught:
        parse_time(text)
    assert repr(text) in caught.value.message
    assert caught.value.remedy


@some
@given(st.integers(0, 359_999))
def test_a_printed_time_reads_back_as_the_same_second(seconds: int) -> None:
    assert parse_time(format_time(seconds)) == seconds


@some
@given(st.floats(0, 359_999, allow_nan=False))
def test_a_printed_time_is_the_second_that_has_begun(time_s: float) -> None:
    assert 0 <= time_s + 1e-5 - parse_time(format_time(time_s)) < 1 + 2e-5


@some
@given(
    st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999),
    st.sampled_from(".,"),
)  # fmt: skip
def test_subtitle_times_keep_their_milliseconds(
    hours: int, minutes: int, seconds: int, ms: int, point: str
) -> None:
    text = f"{hours:02}:{minutes:02}:{seconds:02}{point}{ms:03}"
    assert parse_time(text) == pytest.approx(hours * 3600 + minutes * 60 + seconds + ms / 1000)


@some
@given(st.text(max_size=12))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_time(text) >= 0


def test_spans_are_short_and_empty_for_pictures() -> None:
    assert format_span(None, None) == ""
    assert format_span(5.0, None) == "0:05"
    assert format_span(5.2, 5.9) == "0:05"
    assert format_span(5.0, 69.0) == "0:05-1:09"
    assert format_span(3599.0, 3601.0) == "59:59-1:00:01"
