"""Shots are found where they are, once, and each gets the frames that show it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmrag_plugin.films import open_film
from mmrag_plugin.index_shots import Span, shots_of
from mmrag_plugin.keyframes.boundaries import APART_S, Boundary, boundaries, joined, streamed
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.keyframes.samples import Sample, sample_of
from mmrag_plugin.keyframes.sampling import LONGEST_S, chosen_frames
from mmrag_plugin.keyframes.shots import shot_boundaries
from mmrag_plugin.media import FilmShot
from mmrag_plugin.metadata import NO_SHOT

RATE = 12
SIZE = 96, 64
Picture = NDArray[np.uint8]

CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    "x264": ("libx264", ".mp4", {}),
    "x264, no scene cuts": ("libx264", ".mp4", {"sc_threshold": "0"}),
    "x264, every 20": ("libx264", ".mkv", {"sc_threshold": "0", "g": "20"}),
    "x264, no B frames": ("libx264", ".mp4", {"sc_threshold": "0", "bf": "0"}),
    "HEVC": ("libx265", ".mp4", {"x265-params": "log-level=error:scenecut=0"}),
    "MPEG-4": ("mpeg4", ".avi", {"g": "100", "sc_threshold": "1000000000"}),
    "VP9": ("libvpx-vp9", ".webm", {"deadline": "realtime", "cpu-used": "8"}),
    "all key frames": ("mjpeg", ".avi", {}),
}


def scenery(number: int) -> Picture:
    """A picture unlike that of any other number."""
    draw = np.random.default_rng(number)
    coarse = draw.integers(20, 236, (8, 12, 3), np.uint8)
    return coarse.repeat(SIZE[1] // 8, 0).repeat(SIZE[0] // 12, 1)


def take(number: int, frames: int) -> list[Picture]:
    """A scenery through which something walks."""
    shown = []
    for at in range(frames):
        picture = scenery(number).copy()
        column = (at * 2) % (SIZE[0] - 12)
        picture[30:50, column : column + 12] = 250, 240, 20
        shown.append(picture)
    return shown


def mixed(one: Picture, other: Picture, frames: int) -> list[Picture]:
    shares = [(number + 1) / (frames + 1) for number in range(frames)]
    return [(one * (1 - share) + other * share).astype(np.uint8) for share in shares]


def write(path: Path, pictures: Sequence[Picture], codec: str = "x264") -> Path:
    name, suffix, options = CODECS[codec]
    path = path.with_suffix(suffix)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=RATE, options=options)
        stream.width, stream.height = SIZE
        stream.pix_fmt = "yuvj420p" if name == "mjpeg" else "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


def found_in(path: Path, *, refine: bool = True) -> list[float]:
    return [one.time_s for one in shot_boundaries(path, refine=refine)]


LENGTHS = (40, 15, 61, 9, 33, 90, 24)
CUTS_S = [end / RATE for end in itertools.accumulate(LENGTHS)][:-1]


@pytest.mark.parametrize("codec", CODECS)
def test_every_cut_is_found_where_it_is_and_nothing_else(codec: str, tmp_path: Path) -> None:
    takes = [take(number, frames) for number, frames in enumerate(LENGTHS)]
    path = write(tmp_path / "cuts", list(itertools.chain(*takes)), codec)
    assert found_in(path) == pytest.approx(CUTS_S, abs=0.2)


@pytest.mark.parametrize("codec", CODECS)
def test_frames_know_their_shots_and_each_shot_has_one(codec: str, tmp_path: Path) -> None:
    takes = [take(number, frames) for number, frames in enumerate(LENGTHS)]
    path = write(tmp_path / "cuts", list(itertools.chain(*takes)), codec)
    frames = list(IFrameSelector().select(path))
    shots = list(dict.fromkeys(frame.shot for frame in frames if frame.shot))
    assert [shot.number for shot in shots] == list(range(len(LENGTHS)))
    assert [shot.start_s for shot in shots] == pytest.approx([0, *CUTS_S], abs=0.2)
    assert [shot.end_s for shot in shots[:-1]] == [shot.start_s for shot in shots[1:]]
    assert shots[-1].end_s == pytest.approx(sum(LENGTHS) / RATE, abs=0.1)
    for frame in frames:
        assert frame.shot is not None
        seen = np.asarray(frame.picture).astype(int)
        differences = [abs(seen - scenery(number)).mean() for number in range(len(LENGTHS))]
        assert int(np.argmin(differences)) == frame.shot.number


def test_without_a_look_between_key_frames_cuts_are_found_within_their_distance(
    tmp_path: Path,
) -> None:
    takes = [take(number, 60) for number in range(6)]
    path = write(tmp_path / "cuts", list(itertools.chain(*takes)), "x264, every 20")
    found = found_in(path, refine=False)
    assert found == pytest.approx([5, 10, 15, 20, 25], abs=20 / RATE)


def test_every_key_frame_of_hevc_is_decoded_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes = [take(number, 60) for number in range(6)]
    name, suffix, _ = CODECS["HEVC"]
    options = {"x265-params": "log-level=error:scenecut=0:keyint=20:min-keyint=20"}
    monkeypatch.setitem(CODECS, "HEVC, every 20", (name, suffix, options))
    path = write(tmp_path / "cuts", list(itertools.chain(*takes)), "HEVC, every 20")
    with open_film(path) as film:
        times_s = [time_s for time_s, _ in film.frames("keys")]
    assert times_s == pytest.approx([number * 20 / RATE for number in range(18)], abs=0.01)
    assert found_in(path, refine=False) == pytest.approx([5, 10, 15, 20, 25], abs=20 / RATE)


def test_a_dissolve_is_one_change_of_shot(tmp_path: Path) -> None:
    films = {frames: mixed(scenery(0), scenery(1), frames) for frames in (8, 12, 18)}
    for frames, between in films.items():
        pictures = [*take(0, 40)[:-1], *[scenery(0)] * 6, *between, *[scenery(1)] * 6, *take(1, 40)]
        [found] = found_in(write(tmp_path / "dissolve", pictures))
        middle_s = (39 + 6 + frames / 2) / RATE
        assert found == pytest.approx(middle_s, abs=frames / RATE / 2)


def test_a_fade_through_black_is_one_change_of_shot(tmp_path: Path) -> None:
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    fade = [*mixed(scenery(0), black, 8), *[black] * 4, *mixed(black, scenery(1), 8)]
    pictures = [*take(0, 40), *[scenery(0)] * 6, *fade, *[scenery(1)] * 6, *take(1, 40)]
    [found] = found_in(write(tmp_path / "fade", pictures))
    assert found == pytest.approx((46 + 10) / RATE, abs=0.9)


@pytest.mark.parametrize(("frames", "changes"), [(3, 1), (10, 1), (30, 2)])
def test_a_long_black_stretch_is_a_shot_and_a_short_one_is_none(
    frames: int, changes: int, tmp_path: Path
) -> None:
    black = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    path = write(tmp_path / "black", [*take(0, 40), *[black] * frames, *take(1, 40)])
    assert len(found_in(path)) == changes
    shown = [np.asarray(frame.picture).mean() for frame in IFrameSelector().select(path)]
    assert sum(mean < 10 for mean in shown) == (changes == 2)


def test_a_flash_is_no_change_of_shot(tmp_path: Path) -> None:
    pictures = take(0, 80)
    for at in (20, 21, 50):
        pictures[at] = np.full_like(pictures[at], 255)
    for codec in ("x264", "x264, no scene cuts"):
        assert found_in(write(tmp_path / "flash", pictures, codec)) == []


def test_a_change_of_light_is_no_change_of_shot(tmp_path: Path) -> None:
    pictures = take(0, 80)
    darker = [(picture * 0.5).astype(np.uint8) for picture in pictures[40:]]
    assert found_in(write(tmp_path / "light", [*pictures[:40], *darker])) == []


def test_a_frozen_stretch_has_one_frame(tmp_path: Path) -> None:
    path = write(tmp_path / "frozen", [*take(0, 30), *[scenery(1)] * 300, *take(2, 30)])
    frames = list(IFrameSelector(max_gap_s=4).select(path))
    assert sum(frame.shot == FilmShot(1, 2.5, 27.5) for frame in frames) == 1


def test_quick_shots_do_not_flood(tmp_path: Path) -> None:
    pictures = list(itertools.chain(*(take(number % 40, 2) for number in range(120))))
    path = write(tmp_path / "quick", pictures)
    assert len(list(IFrameSelector().select(path))) <= 2 * len(pictures) / RATE + 1


# ---------------------------------------------------------------- boundaries alone


def sample(time_s: float, number: int, share: float = 1.0) -> Sample:
    grid = np.random.default_rng(number).uniform(30, 220, (3, 576)).astype(np.float32)
    return Sample(time_s, grid * np.float32(share))


BLACK = -1


def looks(number: int) -> Callable[[float], Sample]:
    return lambda time_s: sample(time_s, 0, 0.0) if number == BLACK else sample(time_s, number)


@st.composite
def boundary_lists(draw: st.DrawFn) -> list[Boundary]:
    gaps_s = draw(st.lists(st.floats(0.02, 3.0), max_size=12))
    shown = draw(st.lists(st.integers(BLACK, 3), min_size=len(gaps_s) + 1, max_size=99))
    found, time_s = list[Boundary](), 0.0
    for number, gap_s in enumerate(gaps_s):
        time_s += gap_s
        before, after = looks(shown[number])(time_s - 0.01), looks(shown[number + 1])(time_s)
        found.append(Boundary(time_s, before, after))
    return found


@settings(deadline=None)
@given(boundary_lists())
def test_joined_boundaries_are_in_order_apart_and_none_is_made_up(found: list[Boundary]) -> None:
    once = joined(found)
    assert len(once) <= len(found)
    for one, other in itertools.pairwise(once):
        assert other.time_s - one.time_s >= APART_S - 1e-9
    if found:
        first_s, last_s = found[0].time_s, found[-1].time_s
        assert all(first_s <= one.time_s <= last_s for one in once)


@settings(deadline=None)
@given(boundary_lists())
def test_the_order_in_which_boundaries_come_makes_no_difference(found: list[Boundary]) -> None:
    assert [one.time_s for one in joined(reversed(found))] == [one.time_s for one in joined(found)]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(10, 90), min_size=1, max_size=5), st.sampled_from([0.04, 0.1, 0.2]))
def test_a_film_is_gone_through_in_pieces_with_the_same_end(
    lengths: list[int], step_s: float
) -> None:
    times = itertools.count()
    shown = [
        sample(next(times) * step_s, number)
        for number, one in enumerate(lengths)
        for _ in range(one)
    ]
    cuts_s = [end * step_s for end in itertools.accumulate(lengths)][:-1]
    assert [one.time_s for one in boundaries(shown)] == pytest.approx(cuts_s)
    given_back = list(streamed(iter(shown)))
    assert [one for one in given_back if isinstance(one, Sample)] == shown
    assert [one.time_s for one in given_back if isinstance(one, Boundary)] == pytest.approx(cuts_s)
    assert given_back == sorted(given_back, key=lambda one: one.time_s)


@settings(deadline=None, max_examples=20)
@given(st.floats(1.0, 400.0), st.sampled_from([0.5, 2.0, 7.0]), st.booleans())
def test_a_long_shot_is_told_in_parts_and_sampled(
    length_s: float, step_s: float, moves: bool
) -> None:
    shown = [
        Sample(time_s, sample(0, int(time_s) if moves else 0).grid, is_key=True)
        for time_s in np.arange(0, length_s, step_s).tolist()
    ]
    chosen = list(chosen_frames(iter(shown), lambda _: length_s, min_gap_s=0.5, max_gap_s=10.0))
    assert all(one.shot.end_s - one.shot.start_s <= LONGEST_S + step_s for one in chosen)
    assert chosen[0].time_s == 0
    assert chosen[-1].shot.end_s == length_s
    parts = dict.fromkeys(one.shot for one in chosen)
    assert [shot.number for shot in parts] == list(range(len(parts)))
    if not moves:
        assert len(chosen) == len(parts)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv444p", "nv12", "rgb24", "gray", "yuv420p10le"])
def test_frames_of_any_layout_look_the_same(layout: str) -> None:
    frame = av.VideoFrame.from_ndarray(take(3, 1)[0], "rgb24")
    plain = sample_of(0.0, frame.reformat(format="yuv444p"))
    other = sample_of(0.0, frame.reformat(format=layout))
    assert abs(plain.grid[0] - other.grid[0]).mean() < 3
    if layout != "gray":
        assert abs(plain.grid[1:] - other.grid[1:]).mean() < 6


def test_captions_follow_the_shots_that_were_found() -> None:
    red, blue = np.float32([1, 0]), np.float32([0, 1])
    assert shots_of([red, red, red], [0, 0, 1]) == [Span(0, 1), Span(2, 2)]
    assert shots_of([red, blue, blue], [0, 0, 0]) == [Span(0, 0), Span(1, 2)]
    assert shots_of([red, red, blue], [NO_SHOT] * 3) == [Span(0, 1), Span(2, 2)]
