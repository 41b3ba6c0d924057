"""Which rows of words stand for one media: everything together, and what is said at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.media import SIGNAL_SOURCES, Signal
from mmrag_plugin.metadata import COMBINED
from mmrag_plugin.terms import terms_of
from mmrag_plugin.words import MAX_TEXT_BYTES, PAUSE_S, WINDOW_S, WordRow, word_rows

some = settings(max_examples=60, deadline=None)
TIMED = ("subtitle", "speech", "ocr", "caption")

texts = st.sampled_from(
    ["Lisbon", "a receipt", "Gate B-42", "über den Wolken", "東京駅", "the", "red barn\nby the sea"]
)


@st.composite
def signals(draw: st.DrawFn) -> list[Signal]:
    found = [
        Signal(source, draw(texts))
        for source in draw(st.lists(st.sampled_from(SIGNAL_SOURCES), max_size=5))
    ]
    for _ in range(draw(st.integers(0, 8))):
        start_s = draw(st.integers(0, 400)) / 4
        end_s = draw(st.none() | st.integers(1, 40).map(lambda n, s=start_s: s + n / 4))
        found.append(Signal(draw(st.sampled_from(TIMED)), draw(texts), start_s, end_s))
    return draw(st.permutations(found))


def windows(rows: list[WordRow]) -> list[WordRow]:
    return [row for row in rows if row.start_s is not None]


@some
@given(found=signals(), dense=st.booleans())
def test_the_combined_row_holds_every_word_that_is_known(found: list[Signal], dense: bool) -> None:
    rows = word_rows("m", found, dense=dense)
    if not found:
        assert rows == []
        return
    [combined] = [row for row in rows if row.source == COMBINED]
    every = {word for signal in found for word in terms_of(signal.text)}
    stop_words_alone = set(terms_of("the"))
    assert every - stop_words_alone <= set(combined.terms)


@some
@given(found=signals(), dense=st.booleans())
def test_row_ids_are_unique_and_begin_with_the_media(found: list[Signal], dense: bool) -> None:
    ids = [row.row_id for row in word_rows("m-2", found, dense=dense)]
    assert len(ids) == len(set(ids))
    assert all(row_id.startswith("m-2:") for row_id in ids)


@some
@given(found=signals(), dense=st.booleans())
def test_windows_are_bounded_in_order_and_leave_nothing_out(
    found: list[Signal], dense: bool
) -> None:
    rows = windows(word_rows("m", found, dense=dense))
    timed = [signal for signal in found if signal.start_s is not None]
    longest = max(((s.end_s or s.start_s or 0) - (s.start_s or 0) for s in timed), default=0)
    for row in rows:
        assert row.start_s is not None
        assert row.end_s is not None
        assert row.start_s <= row.end_s
        assert row.end_s - row.start_s <= max(WINDOW_S, longest)
        assert row.text
    assert [row.start_s for row in rows] == sorted(row.start_s or 0 for row in rows)
    for signal in timed:
        assert any(
            signal.text in row.text and (row.start_s or 0) <= (signal.start_s or 0)
            and (signal.end_s or signal.start_s or 0) <= (row.end_s or 0)
            for row in rows
        )  # fmt: skip


@some
@given(found=signals())
def test_the_order_in_which_signals_were_found_does_not_change_the_windows(
    found: list[Signal],
) -> None:
    one = {(row.start_s, row.end_s) for row in windows(word_rows("m", found, dense=False))}
    other = {(row.start_s, row.end_s) for row in windows(word_rows("m", found[::-1], dense=False))}
    assert one == other


def test_words_of_a_folder_and_of_a_picture_meet_in_one_row() -> None:
    [row] = word_rows("m", [Signal("path", "Lisbon"), Signal("ocr", "RECEIPT 12.50")], dense=False)
    assert {"lisbon", "receipt"} <= set(row.terms)


def test_a_pause_begins_a_new_window() -> None:
    spoken = [Signal("subtitle", "one", 0.0, 2.0), Signal("subtitle", "two", 2.5, 4.0)]
    later = Signal("subtitle", "three", 4.1 + PAUSE_S, 12.0)
    rows = windows(word_rows("m", [*spoken, later], dense=False))
    assert [row.text for row in rows] == ["one\ntwo", "three"]


def test_a_cue_without_an_end_is_a_window_of_its_own_time() -> None:
    [row] = windows(word_rows("m", [Signal("subtitle", "now", 7.0)], dense=False))
    assert (row.start_s, row.end_s) == (7.0, 7.0)


def test_one_cue_longer_than_a_window_is_kept_whole() -> None:
    long = Signal("speech", "a long speech", 0.0, 3 * WINDOW_S)
    [row] = windows(word_rows("m", [long], dense=False))
    assert row.end_s == 3 * WINDOW_S


def test_prose_gets_rows_of_its_own_for_the_dense_channel_only() -> None:
    found = [
        Signal("annotation", "a red barn"),
        Signal("caption", "a building"),
        Signal("path", "x"),
    ]
    assert len(word_rows("m", found, dense=False)) == 1
    dense = word_rows("m", found, dense=True)
    assert [row.source for row in dense] == [COMBINED, "annotation", "caption"]
    assert all(row.terms == () for row in dense[1:]), "BM25 must not count them twice"


def test_the_dense_text_of_a_photo_with_a_description_leaves_machine_words_out() -> None:
    found = [Signal("exif", "Canon EOS 2019 May"), Signal("annotation", "grandma's garden")]
    [row] = word_rows("m", found, dense=True)
    assert row.text == "grandma's garden"
    assert "canon" in row.terms


@pytest.mark.parametrize("letter", ["a", "ж", "東"])
def test_very_long_texts_are_cut_to_what_a_row_holds_between_letters(letter: str) -> None:
    [row] = word_rows("m", [Signal("ocr", f"{letter} " * 60_000)], dense=False)
    assert len(row.text.encode()) <= MAX_TEXT_BYTES
    assert set(row.text) <= {letter, " "}
