"""Films that are broken, odd or lie: each is taken in or reported, and none holds anything up."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import mmrag_here
from made_films import BLUE, GREEN, RED, cut_short, damaged, lying, write_film
from media_made import end_owners
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.keyframes.scenes import SceneSelector
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.media import Frame
from mmrag_plugin.readers.decoding import HERE
from mmrag_plugin.readers.workers import DecodesInWorkers

COLOURS = [RED] * 30 + [GREEN] * 30 + [BLUE] * 30
AT_MOST_S = 60.0  # on a busy machine; the limits of a worker are longer


def film(folder: Path, name: str, **options: object) -> Path:
    return write_film(folder / name, COLOURS, codec="libx264", gop=15, **options)  # type: ignore[arg-type]


def without_index(folder: Path, name: str) -> Path:
    """A live recording: Matroska without cues and length."""
    return film(folder, name, muxing={"live": "1"})


def fragmented(folder: Path, name: str) -> Path:
    return film(folder, name, muxing={"movflags": "frag_keyframe+empty_moov"})


def faststart(folder: Path, name: str) -> Path:
    return film(folder, name, muxing={"movflags": "faststart"})


def late(folder: Path, name: str) -> Path:
    return film(folder, name, times_s=[3600 + number / 10 for number in range(90)])


def uneven(folder: Path, name: str) -> Path:
    gaps_s = itertools.cycle([0.02, 0.2, 0.05, 0.13])
    times_s = list(itertools.accumulate(itertools.islice(gaps_s, 89), initial=0.0))
    return film(folder, name, times_s=times_s)


def back_in_time(folder: Path, name: str) -> Path:
    """Two recordings one behind the other, of which the second begins at zero again."""
    parts = [film(folder, f"{number}.ts") for number in range(2)]
    (folder / name).write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return folder / name


def of_two_sizes(folder: Path, name: str) -> Path:
    """A broadcast that goes on in another resolution."""
    parts = [film(folder, f"{side_px}.ts", size=(side_px, 48)) for side_px in (64, 96)]
    (folder / name).write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return folder / name


def one_group(folder: Path, name: str) -> Path:
    """More than a minute with a single key frame, and a cut."""
    colours = [RED] * 180 + [BLUE] * 180
    return write_film(folder / name, colours, codec="libx264", rate=5, gop=10_000)


BAD: dict[str, Callable[[Path], Path]] = {
    "truncated": lambda folder: cut_short(faststart(folder, "a.mp4")),
    "truncated before its table": lambda folder: cut_short(film(folder, "a.mp4")),
    "truncated Matroska": lambda folder: cut_short(film(folder, "a.mkv")),
    "truncated fragments": lambda folder: cut_short(fragmented(folder, "a.mp4")),
    "truncated transport stream": lambda folder: cut_short(film(folder, "a.ts")),
    "truncated to a few bytes": lambda folder: cut_short(film(folder, "a.mkv"), 0.01),
    "without an index": lambda folder: without_index(folder, "a.mkv"),
    "AVI without an index": lambda folder: cut_short(film(folder, "a.avi"), 0.9),
    "longer than it is": lambda folder: lying(film(folder, "a.mp4"), 100),
    "shorter than it is": lambda folder: lying(film(folder, "a.mp4"), 0.1),
    "longer than it is, Matroska": lambda folder: lying(film(folder, "a.mkv"), 100),
    "shorter than it is, Matroska": lambda folder: lying(film(folder, "a.mkv"), 0.1),
    "no key frame for a minute": lambda folder: one_group(folder, "a.mp4"),
    "one frame": lambda folder: write_film(folder / "a.mp4", [RED], codec="libx264"),
    "one frame, Matroska": lambda folder: write_film(folder / "a.mkv", [RED]),
    "uneven": lambda folder: uneven(folder, "a.mkv"),
    "begins at an hour": lambda folder: late(folder, "a.mkv"),
    "begins at an hour, transport stream": lambda folder: late(folder, "a.ts"),
    "goes back in time": lambda folder: back_in_time(folder, "a.ts"),
    "goes on in another size": lambda folder: of_two_sizes(folder, "a.ts"),
    "damaged": lambda folder: damaged(film(folder, "a.mp4")),
    "damaged Matroska": lambda folder: damaged(film(folder, "a.mkv")),
    "damaged transport stream": lambda folder: damaged(film(folder, "a.ts")),
    "damaged at the beginning": lambda folder: damaged(film(folder, "a.mkv"), 0.1, 0.2),
}
UNREADABLE = {"truncated before its table", "truncated to a few bytes"}
SELECTORS: dict[str, Callable[[], KeyframeSelector]] = {
    "iframes": IFrameSelector,
    "quick": lambda: IFrameSelector(refine=False),
    "scenes": SceneSelector,
    "uniform": UniformSelector,
}


def assert_sound(frames: list[Frame]) -> None:
    assert frames
    for before, after in itertools.pairwise(frames):
        assert before.end_s == after.time_s
        assert before.time_s < after.time_s
    for frame in frames:
        assert frame.time_s is not None
        assert frame.end_s is not None
        assert 0 <= frame.time_s < frame.end_s <= 75
        if frame.shot is not None:
            assert frame.shot.start_s <= frame.time_s < frame.shot.end_s <= 75


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(
    "selector",
    ["iframes", *(pytest.param(name, marks=pytest.mark.slow) for name in list(SELECTORS)[1:])],
)
def test_a_bad_film_gives_frames_or_says_why_not(bad: str, selector: str, tmp_path: Path) -> None:
    path = BAD[bad](tmp_path)
    began = time.monotonic()
    if bad in UNREADABLE:
        with pytest.raises(MediaError) as caught:
            list(HERE.frames("video", path, selector=SELECTORS[selector]()))
        assert caught.value.remedy
    else:
        assert_sound(list(HERE.frames("video", path, selector=SELECTORS[selector]())))
    assert time.monotonic() - began < AT_MOST_S


@pytest.mark.parametrize("selector", SELECTORS)
@pytest.mark.parametrize("bad", ["longer than it is", "shorter than it is, Matroska", "one frame"])
def test_the_spans_of_a_film_that_lies_end_where_it_ends(
    bad: str, selector: str, tmp_path: Path
) -> None:
    frames = list(HERE.frames("video", BAD[bad](tmp_path), selector=SELECTORS[selector]()))
    ends_s = 0.1 if bad == "one frame" else 9.0
    assert frames[-1].end_s == pytest.approx(ends_s, abs=0.15)


def test_a_cut_is_found_in_a_minute_without_key_frames(tmp_path: Path) -> None:
    for selector in (IFrameSelector(), IFrameSelector(refine=False)):
        frames = list(selector.select(one_group(tmp_path, "a.mp4")))
        starts_s = sorted({frame.shot.start_s for frame in frames if frame.shot})
        assert starts_s == pytest.approx([0, 36], abs=0.41)
        assert max(frame.end_s - frame.time_s for frame in frames) <= 36.4


@pytest.mark.slow
def test_a_folder_of_bad_films_is_indexed_or_reported_to_the_last(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    for number, make in enumerate(BAD.values()):
        place = folder / str(number)
        place.mkdir(parents=True)
        make(place)
    options = ["--no-ocr", "--visual-model", "palette", "--text-model", "off", "--json"]
    done = mmrag_here(tmp_path / "home", "index", folder, *options)
    report = json.loads(done.stdout)
    unreadable = sorted(list(BAD).index(name) for name in UNREADABLE)
    failed = sorted(int(Path(one["path"]).parent.name) for one in report["failed"])
    assert failed == unreadable
    assert all(one["reason"] and one["remedy"] for one in report["failed"])
    assert report["stages"]["embed"]["done"] == len(BAD) - len(unreadable)
    end_owners(tmp_path / "home")


def test_a_worker_gives_the_same_frames_and_shots_of_a_bad_film(tmp_path: Path) -> None:
    path = BAD["damaged Matroska"](tmp_path)
    there = list(DecodesInWorkers().frames("video", path, selector=IFrameSelector()))
    here = list(HERE.frames("video", path, selector=IFrameSelector()))
    assert [vars(frame) for frame in there] == [vars(frame) for frame in here]


def test_streams_that_only_damage_begins_end_no_film(tmp_path: Path) -> None:
    whole = film(tmp_path, "whole.ts").read_bytes()
    lost = []
    for seed in range(24):  # in some of them damage looks like another stream, which has no data
        content, chance = bytearray(whole), random.Random(seed)
        for _ in range(len(whole) // 500):
            content[chance.randrange(len(whole) // 3, len(whole))] = chance.randrange(256)
        path = tmp_path / f"{seed}.ts"
        path.write_bytes(content)
        with open_film(path) as opened:
            assert isinstance(opened, Film)
            if not opened.measured_duration_s() > 3 or not list(opened.frames("keys", from_s=0)):
                lost.append(seed)
    assert not lost
