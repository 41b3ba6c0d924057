"""Subtitles as editors, downloaders and people write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.media import Signal
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.subtitles import parse_subtitles


def cues(text: str) -> list[tuple[float | None, float | None, str]]:
    return [(cue.start_s, cue.end_s, cue.text) for cue in parse_subtitles(text)]


def test_subrip_is_read() -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,500\nHello\nthere\n\n2\n01:02:03,250 --> 01:02:04,000\nBye\n"
    )
    assert cues(text) == [(1.0, 2.5, "Hello\nthere"), (3723.25, 3724.0, "Bye")]


def test_a_signal_of_a_cue_says_that_it_is_a_subtitle() -> None:
    assert parse_subtitles("0:01 --> 0:02\nHi") == [Signal("subtitle", "Hi", 1.0, 2.0)]


def test_webvtt_comments_styles_ids_and_settings_are_left_out() -> None:
    text = (
        "WEBVTT - a title\nKind: captions\n\nSTYLE\n::cue { color: red }\n\n"
        "NOTE a comment\nof two lines\n\nREGION\nid:fred\n\n"
        "intro\n00:01.000 --> 00:02.000 line:80% align:start\n- Hello\n\n"
        "NOTE the end\n\n00:03.000 --> 00:04.000\nBye\n"
    )
    assert cues(text) == [(1.0, 2.0, "- Hello"), (3.0, 4.0, "Bye")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('<i>Hello</i> <font color="#fff">there</font>', "Hello there"),
        ("{\\an8}Up here", "Up here"),
        ("<v Anna>I am <b.loud>here</b>", "Anna: I am here"),
        ("<00:00:01.500><c>Hel</c><c.yellow>lo</c>", "Hello"),
        ("Tom &amp; Jerry&nbsp;&lt;3", "Tom & Jerry <3"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("I <3 you", "I <3 you"),
    ],
)
def test_styling_is_stripped_and_words_stay(line: str, words: str) -> None:
    assert cues(f"1\n00:00:01,000 --> 00:00:02,000\n{line}\n") == [(1.0, 2.0, words)]


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff1\r\n00:00:01,000 --> 00:00:02,000\r\nA\r\n\r\n2\r\n00:00:03,000 --> 00:00:04\r\nB",
        "00:00:01,000 --> 00:00:02,000\nA\n\n00:00:03,000 --> 00:00:04,000\nB\n",
        "1\n00:00:01,000 --> 00:00:02,000\nA\n2\n00:00:03,000 --> 00:00:04,000\nB\n",
        "00:01.000-->00:02.000\nA\n00:03.000-->00:04.000\nB\n",
        "9\n00:03,000 --> 00:04,000\nB\n\n\n4\n\n00:00:01,0 --> 00:00:02,0 X1:1 X2:2\n\nA\n\n",
        "WEBVTT\n\n00:03.000 --> 00:04.000\nB\n\n1\n00:01.000 --> 00:02.000\nA",
    ],
    ids=["windows", "no index", "no blank line", "no hours", "out of order", "webvtt"],
)
def test_what_players_forgive_is_forgiven(text: str) -> None:
    assert cues(text) == [(1.0, 2.0, "A"), (3.0, 4.0, "B")]


def test_a_spoken_number_is_not_taken_for_an_index() -> None:
    text = "7\n0:01 --> 0:02\nHow many?\n42\n\n8\n0:03 --> 0:04\n42\n\n9\n0:05 --> 0:06\n43\n"
    assert [words for _, _, words in cues(text)] == ["How many?\n42", "42", "43"]


def test_a_blank_line_within_subrip_text_does_not_cut_it() -> None:
    assert cues("1\n0:01 --> 0:02\nOne\n\nTwo\n\n2\n0:03 --> 0:04\nThree")[0][2] == "One\nTwo"


def test_overlapping_cues_are_all_kept_in_order_of_time() -> None:
    text = "0:05 --> 0:09\nC\n\n0:01 --> 0:08\nB\n\n0:01 --> 0:03\nA\n"
    assert [words for _, _, words in cues(text)] == ["A", "B", "C"]


def test_a_cue_that_ends_before_it_starts_gets_no_length() -> None:
    assert cues("0:05 --> 0:03\nA") == [(5.0, 5.0, "A")]


@pytest.mark.parametrize(
    "times", ["0:99:00 --> 0:99:01", "--> 0:01", "0:01 -->", "x --> y", "1 --> 2"]
)
def test_a_cue_whose_times_make_no_sense_takes_no_other_with_it(times: str) -> None:
    assert cues(f"{times}\nA\n\n0:03 --> 0:04\nB\n")[-1] == (3.0, 4.0, "B")


def test_windows_1252_bytes_are_decoded() -> None:
    data = "1\n00:00:01,000 --> 00:00:02,000\nCafé “über”\n".encode("cp1252")
    assert cues(decode_text(data)) == [(1.0, 2.0, "Café “über”")]


def test_utf_16_with_a_byte_order_mark_is_decoded() -> None:
    data = "00:01.000 --> 00:02.000\nŽluťoučký".encode("utf-16")
    assert cues(decode_text(data)) == [(1.0, 2.0, "Žluťoučký")]


def test_a_real_webvtt_file_is_read(shared_data: Path) -> None:
    found = cues(decode_text((shared_data / "video" / "mdn_friday.vtt").read_bytes()))
    assert found[0] == (0.0, 0.999, "Hildy!")
    assert found[-1] == (4.3, 6.0, "Somebody must've stolen the crown jewels")
    assert len(found) == 5


@given(st.text())
def test_any_text_is_read_without_an_error(text: str) -> None:
    for prefix in ("", "WEBVTT\n\n", "1\n00:00:01,000 --> 00:00:02,000\n"):
        for cue in parse_subtitles(prefix + text):
            assert cue.text
            assert cue.start_s is not None
            assert cue.end_s is not None
            assert 0 <= cue.start_s <= cue.end_s


_LINES = st.text(alphabet="abcdefg ÄÖ東京!?'-", min_size=1, max_size=20).filter(str.strip)
_CUES = st.lists(
    st.tuples(
        st.integers(0, 10**7), st.integers(0, 10**5), st.lists(_LINES, min_size=1, max_size=3)
    ),
    max_size=10,
)


@given(_CUES, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_what_was_written_is_read_again(
    written: list[tuple[int, int, list[str]]], webvtt: bool, newline: str
) -> None:
    def clock(time_ms: int) -> str:
        seconds, ms = divmod(time_ms, 1000)
        separator = "." if webvtt else ","
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{ms:03}"

    blocks = ["WEBVTT"] if webvtt else []
    for index, (start_ms, length_ms, lines) in enumerate(written, 1):
        timing = f"{clock(start_ms)} --> {clock(start_ms + length_ms)}"
        blocks.append("\n".join([str(index), timing, *lines]))
    text = "\n\n".join(blocks).replace("\n", newline)
    expected = sorted(
        (start / 1000, (start + length) / 1000, "\n".join(" ".join(line.split()) for line in lines))
        for start, length, lines in written
    )
    found = sorted((round(a or 0, 3), round(b or 0, 3), c) for a, b, c in cues(text))
    assert found == expected
