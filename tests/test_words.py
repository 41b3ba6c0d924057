"""Which rows of words stand for one media: everything together, and what is said at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.media import SIGNAL_SOURCES, Signal
from mmrag_plugin.metadata import COMBINED, is_run
from mmrag_plugin.pieces import PAUSE_S, RUN_S, span_of
from mmrag_plugin.terms import terms_of
from mmrag_plugin.words import MAX_TEXT_BYTES, WordRow, piece_of, word_rows

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
def test_every_piece_has_a_row_of_its_own_and_runs_are_bounded(
    found: list[Signal], dense: bool
) -> None:
    rows = windows(word_rows("m", found, dense=dense))
    timed = [signal for signal in found if signal.start_s is not None]
    longest = max(((s.end_s or s.start_s or 0) - (s.start_s or 0) for s in timed), default=0)
    for row in rows:
        assert row.start_s is not None
        assert row.end_s is not None
        assert row.start_s <= row.end_s
        assert row.text
        if is_run(row.row_id):
            assert row.end_s - row.start_s <= 3 * max(RUN_S, longest)
    for signal in timed:
        edges = [
            (row.start_s, row.end_s)
            for row in rows
            if row.text == signal.text and not is_run(row.row_id)
        ]
        start_s, end_s = signal.start_s, signal.end_s or signal.start_s
        if signal.source == "ocr":  # a text that stays in the picture is one
            assert any(one[0] <= start_s and end_s <= one[1] for one in edges)
        else:
            assert (start_s, end_s) in edges


@some
@given(found=signals(), dense=st.booleans())
def test_the_row_of_a_piece_or_a_run_leads_back_to_its_words_and_times(
    found: list[Signal], dense: bool
) -> None:
    for row in windows(word_rows("m", found, dense=dense)):
        piece = piece_of(row.row_id, found)
        assert piece is not None
        assert (piece.text, piece.start_s) == (row.text, row.start_s)
        assert (piece.end_s if piece.end_s is not None else piece.start_s) == row.end_s


@some
@given(found=signals())
def test_the_order_in_which_signals_were_found_does_not_change_the_pieces(
    found: list[Signal],
) -> None:
    def pieces(said: list[Signal]) -> set[tuple[float | None, float | None, str]]:
        rows = windows(word_rows("m", said, dense=False))
        return {(r.start_s, r.end_s, r.text) for r in rows if not is_run(r.row_id)}

    assert pieces(found) == pieces(found[::-1])


def test_words_of_a_folder_and_of_a_picture_meet_in_one_row() -> None:
    [row] = word_rows("m", [Signal("path", "Lisbon"), Signal("ocr", "RECEIPT 12.50")], dense=False)
    assert {"lisbon", "receipt"} <= set(row.terms)


def runs(rows: list[WordRow]) -> list[str]:
    return [row.text for row in rows if is_run(row.row_id)]


def test_each_cue_meets_the_next_in_a_run_and_a_pause_ends_it() -> None:
    spoken = [Signal("subtitle", "one", 0.0, 2.0), Signal("subtitle", "two", 2.5, 4.0)]
    later = Signal("subtitle", "three", 4.1 + PAUSE_S, 12.0)
    rows = windows(word_rows("m", [*spoken, later], dense=False))
    assert [row.text for row in rows if not is_run(row.row_id)] == ["one", "two", "three"]
    assert runs(rows) == ["one\ntwo"]


def test_any_three_cues_that_follow_each_other_stand_in_one_run() -> None:
    spoken = [Signal("subtitle", f"w{n}", 2.0 * n, 2.0 * n + 2) for n in range(6)]
    found = runs(word_rows("m", spoken, dense=False))
    assert found == [f"w{n}\nw{n + 1}\nw{n + 2}" for n in range(4)]


def test_cues_of_two_languages_follow_those_of_their_own() -> None:
    spoken = [
        Signal("subtitle", f"{language}{n}", 2.0 * n + late_s, 2.0 * n + 1.9 + late_s)
        for n in range(3)
        for language, late_s in (("en", 0.0), ("de", 0.05), ("fr", 0.0))
    ]
    found = runs(word_rows("m", spoken, dense=False))
    assert sorted(found) == [f"{one}0\n{one}1\n{one}2" for one in ("de", "en", "fr")]


def test_what_is_read_and_heard_at_one_time_meets_in_a_run() -> None:
    found = [Signal("ocr", "Gate B42", 3.0, 5.0), Signal("subtitle", "Now boarding", 4.0, 6.0)]
    rows = word_rows("m", found, dense=False)
    [run] = [row for row in rows if is_run(row.row_id)]
    assert {"gate", "board"} <= set(run.terms)


def test_a_text_that_stays_in_the_picture_is_one_piece() -> None:
    found = [Signal("ocr", "BREAKING NEWS", 2.0 * n, 2.0 * n + 2) for n in range(5)]
    later = Signal("ocr", "BREAKING NEWS", 60.0, 62.0)
    rows = windows(word_rows("m", [*found, later], dense=False))
    assert [(row.start_s, row.end_s) for row in rows] == [(0, 10), (60, 62)]


def test_a_cue_without_an_end_is_a_row_of_its_own_time() -> None:
    [row] = windows(word_rows("m", [Signal("subtitle", "now", 7.0)], dense=False))
    assert (row.start_s, row.end_s) == (7.0, 7.0)


def test_a_long_cue_is_kept_whole() -> None:
    long = Signal("speech", "a long speech", 0.0, 3 * RUN_S)
    [row] = windows(word_rows("m", [long], dense=False))
    assert row.end_s == 3 * RUN_S


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


def test_heaps_of_signs_at_once_take_no_minutes_and_leave_the_sentences_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0

    def counting(signal: Signal) -> tuple[float, float]:
        nonlocal looks
        looks += 1
        return span_of(signal)

    monkeypatch.setattr("mmrag_plugin.pieces.span_of", counting)
    signs = [Signal("subtitle", f"sign {number}", 1.0, 5000.0) for number in range(2000)]
    said = [Signal("subtitle", text, at, at + 0.3) for at, text in ((0.1, "we go"), (0.5, "home"))]
    rows = word_rows("film", [*signs, *said], dense=False)
    assert "we go\nhome" in {row.text for row in rows}
    assert len(rows) >= 2002
    assert looks < 2000 * 1000  # each with each would be many millions
