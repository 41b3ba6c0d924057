"""Rows that were found become moments: near ones join, distant ones stay apart, none is lost."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmrag_plugin.media import Channel
from mmrag_plugin.milvus_rows import FoundRow
from mmrag_plugin.moments import JOIN_GAP_S, MOMENT_S, SHOT_S, Candidate, join

some = settings(max_examples=80, deadline=None)


def seen(start_s: float, end_s: float, score: float, media_id: str = "film") -> FoundRow:
    return FoundRow(f"{media_id}:{start_s}", media_id, "video", "frame", start_s, end_s, score)


def shown(start_s: float, end_s: float, score: float, shot: tuple[float, float]) -> FoundRow:
    return replace(seen(start_s, end_s, score), shot_start_s=shot[0], shot_end_s=shot[1])


def run(start_s: float, end_s: float, score: float) -> FoundRow:
    return FoundRow(f"film:j{start_s}", "film", "video", "subtitle", start_s, end_s, score)


def photo(media_id: str, score: float) -> FoundRow:
    return FoundRow(f"{media_id}:0", media_id, "image", "frame", None, None, score)


def said(start_s: float | None, end_s: float | None, score: float) -> FoundRow:
    source = "combined" if start_s is None else "subtitle"
    return FoundRow(f"film:w{start_s}", "film", "video", source, start_s, end_s, score)


def spans(candidates: list[Candidate]) -> list[tuple[float | None, float | None]]:
    return sorted((c.start_s, c.end_s) for c in candidates)  # type: ignore[type-var]


@st.composite
def film_rows(draw: st.DrawFn, media_id: str = "film") -> list[FoundRow]:
    """Frames as a film has them: one after the other, each until the next, some not found."""
    lengths = draw(st.lists(st.integers(1, 80).map(lambda n: n / 4), min_size=1, max_size=25))
    rows, at_s = [], 0.0
    for length_s in lengths:
        rows.append(seen(at_s, at_s + length_s, draw(st.integers(0, 100)) / 100, media_id))
        at_s += length_s
    kept = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    return [row for row, keep in zip(rows, kept, strict=True) if keep]


@st.composite
def spoken_rows(draw: st.DrawFn) -> list[FoundRow]:
    """Cues with pauses between them, and the runs of neighbours, some not found."""
    rows, at_s = [], 0.0
    for length, pause in draw(
        st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12)), min_size=1, max_size=20)
    ):
        at_s += pause / 4
        rows.append(said(at_s, at_s + length / 4, draw(st.integers(0, 100)) / 100))
        at_s += length / 4
    runs = [
        run(one.start_s or 0.0, last.end_s or 0.0, draw(st.integers(0, 100)) / 100)
        for one, last in zip(rows, rows[2:], strict=False)
    ]
    found = [*rows, *runs]
    kept = draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    return [row for row, keep in zip(found, kept, strict=True) if keep]


@st.composite
def shot_rows(draw: st.DrawFn) -> list[FoundRow]:
    """Frames of a film that know their shots, some not found."""
    rows, at_s = [], 0.0
    for frames in draw(st.lists(st.integers(1, 4), min_size=1, max_size=8)):
        step_s = draw(st.integers(2, 60)) / 4
        shot = (at_s, at_s + frames * step_s)
        for _ in range(frames):
            rows.append(shown(at_s, at_s + step_s, draw(st.integers(0, 100)) / 100, shot))
            at_s += step_s
    kept = draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows)))
    return [row for row, keep in zip(rows, kept, strict=True) if keep]


def covered(row: FoundRow, candidates: list[Candidate]) -> bool:
    """Whether a moment shares time with a row: it may have grown away from the row's middle."""
    assert row.start_s is not None
    assert row.end_s is not None
    return any(
        c.start_s is not None
        and c.end_s is not None
        and min(c.end_s, row.end_s) > max(c.start_s, row.start_s)
        for c in candidates
        if c.media_id == row.media_id
    )


@some
@given(frames=film_rows(), words=film_rows())
@example(frames=[seen(0.5, 1.25, 0)], words=[seen(0, 0.25, 0.03), seen(0.25, 0.75, 0.04)])
def test_no_row_of_a_film_is_lost(frames: list[FoundRow], words: list[FoundRow]) -> None:
    candidates = join({"visual": frames, "bm25": words})
    assert all(covered(row, candidates) for row in [*frames, *words])


@some
@given(frames=film_rows(), words=film_rows())
def test_moments_lie_inside_their_film_and_begin_before_they_end(
    frames: list[FoundRow], words: list[FoundRow]
) -> None:
    rows = [*frames, *words]
    for candidate in join({"visual": frames, "text": words}):
        assert candidate.start_s is not None
        assert candidate.end_s is not None
        assert min(r.start_s or 0 for r in rows) <= candidate.start_s <= candidate.end_s
        assert candidate.end_s <= max(r.end_s or 0 for r in rows)
        assert candidate.at_s is not None
        assert candidate.start_s <= candidate.at_s <= candidate.end_s


@some
@given(frames=film_rows())
def test_a_moment_grows_no_longer_than_its_bound_unless_one_row_is(frames: list[FoundRow]) -> None:
    for candidate in join({"visual": frames}):
        assert candidate.start_s is not None
        assert candidate.end_s is not None
        longest = max((r.end_s or 0) - (r.start_s or 0) for r in frames)
        assert candidate.end_s - candidate.start_s <= max(MOMENT_S, longest) + 1e-6


@some
@given(frames=film_rows(), other=film_rows("other"))
def test_films_never_mix(frames: list[FoundRow], other: list[FoundRow]) -> None:
    for candidate in join({"visual": [*frames, *other]}):
        assert {row.media_id for row in candidate.best.values()} == {candidate.media_id}


@some
@given(frames=film_rows(), words=film_rows())
def test_the_best_row_of_each_channel_leads_to_a_moment(
    frames: list[FoundRow], words: list[FoundRow]
) -> None:
    found: dict[Channel, list[FoundRow]] = {"visual": frames, "bm25": words}
    candidates = join(found)
    for channel, rows in found.items():
        if rows:
            best = max(row.score for row in rows)
            assert best in [c.best[channel].score for c in candidates if channel in c.best]


@some
@given(frames=film_rows() | shot_rows(), words=spoken_rows() | film_rows())
def test_of_two_moments_of_a_film_neither_holds_the_middle_of_the_other(
    frames: list[FoundRow], words: list[FoundRow]
) -> None:
    found = join({"visual": frames, "bm25": words})
    for number, one in enumerate(found):
        for other in found[number + 1 :]:
            middle, middle_of_other = sum(edges(one)) / 2, sum(edges(other)) / 2
            assert not edges(one)[0] + 1e-9 < middle_of_other < edges(one)[1] - 1e-9
            assert not edges(other)[0] + 1e-9 < middle < edges(other)[1] - 1e-9


@some
@given(frames=film_rows() | shot_rows(), words=spoken_rows())
def test_edges_are_those_of_rows_of_words_for_words_and_of_shots_for_sight(
    frames: list[FoundRow], words: list[FoundRow]
) -> None:
    of_words = {time_s for row in words for time_s in (row.start_s, row.end_s)}
    of_sight = {time_s for row in frames for time_s in (row.start_s, row.end_s)}
    of_sight |= {time_s for row in frames for time_s in (row.shot_start_s, row.shot_end_s)}
    for moment in join({"visual": frames, "bm25": words}):
        assert set(edges(moment)) <= (of_words if moment.by_words else of_sight)


@some
@given(frames=shot_rows(), words=spoken_rows(), shuffled=st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_no_moment(
    frames: list[FoundRow], words: list[FoundRow], shuffled: random.Random
) -> None:
    before = join({"visual": frames, "bm25": words})
    frames, words = list(frames), list(words)
    shuffled.shuffle(frames)
    shuffled.shuffle(words)
    after = join({"visual": frames, "bm25": words})
    assert spans(after) == spans(before)
    assert sorted(map(_best, after)) == sorted(map(_best, before))


@some
@given(frames=shot_rows(), words=spoken_rows())
def test_each_piece_and_each_frame_lies_where_a_moment_is(
    frames: list[FoundRow], words: list[FoundRow]
) -> None:
    candidates = join({"visual": frames, "bm25": words})
    for row in (*frames, *words):
        begin_s, end_s = row.start_s or 0.0, row.end_s or 0.0
        if row.shot_start_s is not None and row.shot_end_s is not None:
            begin_s, end_s = row.shot_start_s, row.shot_end_s
        assert any(edges(one)[0] <= end_s and edges(one)[1] >= begin_s for one in candidates)


@some
@given(frames=film_rows())
def test_the_same_rows_give_the_same_moments_in_any_order(frames: list[FoundRow]) -> None:
    assert spans(join({"visual": frames})) == spans(join({"visual": frames[::-1]}))


def test_frames_close_together_are_one_moment() -> None:
    rows = [seen(0, 2, 0.8), seen(2, 4, 0.9), seen(4 + JOIN_GAP_S / 2, 6, 0.85)]
    rows.append(seen(60, 62, 0.1))  # what the film looks like elsewhere
    moments = join({"visual": rows})
    assert spans(moments) == [(0, 6), (60, 62)]


def edges(candidate: Candidate) -> tuple[float, float]:
    return candidate.start_s or 0.0, candidate.end_s or 0.0


def _best(candidate: Candidate) -> tuple[float, list[tuple[str, float]]]:
    rows = sorted((channel, row.score) for channel, row in candidate.best.items())
    return candidate.start_s or 0.0, rows  # type: ignore[return-value]


def test_a_moment_found_by_sight_has_the_edges_of_its_shot() -> None:
    shot, next_shot = (10.0, 22.0), (22.0, 30.0)
    rows = [shown(10, 16, 0.2, shot), shown(16, 22, 0.9, shot), shown(22, 30, 0.88, next_shot)]
    rows.append(shown(60, 64, 0.1, (60.0, 64.0)))
    assert spans(join({"visual": rows})) == [(10, 22), (22, 30), (60, 64)]


def test_of_a_very_long_shot_the_frames_that_fit_are_a_moment() -> None:
    shot = (0.0, 2 * SHOT_S)
    rows = [shown(10.0 * n, 10.0 * n + 10, 0.9 if n in (3, 4) else 0.1, shot) for n in range(24)]
    assert (30, 50) in spans(join({"visual": rows}))


def test_a_moment_that_words_lead_to_keeps_their_edges_whatever_is_seen() -> None:
    shot = (0.0, 17.0)
    found = {
        "visual": [shown(0, 8, 0.9, shot), shown(8, 17, 0.8, shot)],
        "bm25": [said(8, 9.5, 5.0), said(60, 62, 1.0)],
    }
    moments = join(found)  # type: ignore[arg-type]
    assert spans(moments) == [(8, 9.5), (60, 62)]
    assert set(moments[0].best) == {"visual", "bm25"}


def test_a_run_of_cues_leads_to_a_moment_where_no_cue_alone_says_as_much() -> None:
    rows = [run(10, 16, 8.0), said(10, 12, 4.0), said(12, 14, 4.0), said(60, 62, 1.0)]
    [first, other] = join({"bm25": rows})
    assert (first.start_s, first.end_s, first.best["bm25"].score) == (10, 16, 8.0)
    assert (other.start_s, other.end_s) == (60, 62)


def test_a_run_does_not_join_cues_that_stand_apart() -> None:
    rows = [said(10, 11, 5.0), run(10, 16, 4.0), said(15, 16, 5.0), said(60, 62, 1.0)]
    assert spans(join({"bm25": rows})) == [(10, 11), (15, 16), (60, 62)]


def test_frames_far_apart_are_two_moments() -> None:
    rows = [seen(0, 2, 0.9), seen(2 + 2 * JOIN_GAP_S + 0.1, 8, 0.9), seen(60, 62, 0.1)]
    assert spans(join({"visual": rows})) == [(0, 2), (4.1, 8), (60, 62)]


def test_a_much_weaker_neighbour_does_not_widen_a_moment() -> None:
    rows = [seen(0, 2, 0.9), seen(2, 4, 0.2), seen(60, 62, 0.1)]
    assert (0, 2) in spans(join({"visual": rows}))


def test_the_picture_of_a_moment_is_its_best_frame() -> None:
    moment, _ = join({"visual": [seen(0, 2, 0.8), seen(2, 4, 0.9), seen(60, 62, 0.1)]})
    assert (moment.start_s, moment.at_s, moment.end_s) == (0, 2, 4)
    assert moment.best["visual"].score == 0.9


def test_the_picture_of_words_lies_in_their_moment_although_its_frame_began_before() -> None:
    moment, _ = join({"text": [said(8, 9, 5), said(60, 62, 1)], "visual": [seen(0, 17, 0.5)]})
    assert (moment.start_s, moment.at_s, moment.end_s) == (8, 8, 9)


def test_words_said_where_something_is_seen_make_one_moment() -> None:
    [moment] = join({"visual": [seen(10, 14, 0.9)], "bm25": [said(11, 13, 4.0)]})
    assert set(moment.best) == {"visual", "bm25"}


def test_words_about_a_whole_film_lift_its_best_moment() -> None:
    moments = join({"visual": [seen(0, 2, 0.3), seen(50, 52, 0.9)], "bm25": [said(None, None, 5)]})
    assert [(m.start_s, "bm25" in m.best) for m in moments] == [(50, True), (0, False)]


def test_a_film_known_by_words_alone_is_found_as_a_whole() -> None:
    [moment] = join({"bm25": [said(None, None, 5)]})
    assert (moment.start_s, moment.end_s, moment.at_s) == (None, None, None)


def test_a_photo_is_one_moment_however_many_rows_speak_about_it() -> None:
    rows = [photo("p", 0.2), photo("p", 0.9)]
    [moment] = join({"text": rows, "visual": [photo("p", 0.5)]})
    assert moment.best["text"].score == 0.9
    assert moment.moment.start_s is None


def test_nothing_found_is_no_moment() -> None:
    assert join({}) == []
    assert join({"visual": [], "bm25": []}) == []


@pytest.mark.timeout(20)
def test_a_long_film_with_thousands_of_rows_is_joined_in_time() -> None:
    rows = [seen(2.0 * n, 2.0 * n + 2, (n * 7919 % 1000) / 1000) for n in range(2000)]
    began = time.process_time()
    moments = join({"visual": rows})
    assert all(covered(row, moments) for row in rows[:50])
    assert time.process_time() - began < 5
