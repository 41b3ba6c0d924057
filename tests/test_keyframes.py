"""Every selector keeps the promises of KeyframeSelector; each also its own."""

from __future__ import annotations

import gc
import itertools
import math
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from made_films import BLACK, BLUE, GREEN, RED, write_film, write_sound
from mmrag_plugin import films
from mmrag_plugin.errors import MediaError, UsageError
from mmrag_plugin.films import open_film
from mmrag_plugin.keyframes.base import KeyframeSelector
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.keyframes.scenes import SceneSelector
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.media import Frame


class KeysOnly(IFrameSelector):
    """The default without a look between key frames."""

    name = "keys"

    def __init__(self) -> None:
        super().__init__(refine=False)


SELECTORS: list[Callable[[], KeyframeSelector]] = [
    IFrameSelector,
    KeysOnly,
    SceneSelector,
    UniformSelector,
]
FILMS = [
    "psd_testvideo.mp4",
    "torchcodec_nasa_13013.mp4",
    "torchcodec_h265_video.mp4",
    "torchcodec_av1_video.mkv",
    "intel_asl_book.mkv",
    "imageio_newtonscradle.gif",
    "decord_video_90.mov",
    "decord_corrupted.mp4",
]

every_selector = pytest.mark.parametrize("make", SELECTORS, ids=lambda make: make.name)


def assert_kept_promises(frames: list[Frame]) -> None:
    assert frames
    assert [frame.index for frame in frames] == list(range(len(frames)))
    for before, after in itertools.pairwise(frames):
        assert before.end_s == after.time_s
        assert before.time_s < after.time_s
    for frame in frames:
        assert frame.picture.mode == "RGB"
        assert 0 <= frame.time_s < frame.end_s
    shots = [frame.shot for frame in frames if frame.shot]
    assert len(shots) in (0, len(frames))
    for shot, frame in zip(shots, frames, strict=False):
        assert shot.start_s <= frame.time_s < shot.end_s
    for before, after in itertools.pairwise(shots):
        assert after == before or (
            after.number > before.number and after.start_s >= before.end_s - 1e-6
        )


def shots_without_a_frame(frames: list[Frame], cuts_s: list[float]) -> list[float]:
    """Name the beginnings of the shots in which no frame was taken."""
    times_s = [frame.time_s + 0.05 for frame in frames]
    borders = [0.0, *cuts_s, float("inf")]
    return [
        begin
        for begin, end in itertools.pairwise(borders)
        if not any(begin <= time_s < end for time_s in times_s)
    ]


@every_selector
@pytest.mark.parametrize("name", FILMS)
def test_spans_of_real_films_follow_each_other_to_the_end(
    make: Callable[[], KeyframeSelector], name: str, shared_data: Path
) -> None:
    path = shared_data / "video" / name
    frames = list(make().select(path))
    assert_kept_promises(frames)
    with open_film(path) as film:
        assert frames[-1].end_s == pytest.approx(film.duration_s, abs=0.1)
    assert frames[0].time_s == 0


@every_selector
def test_turned_films_come_out_upright(
    make: Callable[[], KeyframeSelector], shared_data: Path
) -> None:
    for turn, size in [(0, (568, 320)), (90, (320, 568)), (180, (568, 320)), (270, (320, 568))]:
        frame = next(make().select(shared_data / f"video/decord_video_{turn}.mov"))
        assert frame.picture.size == size


@every_selector
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts"])
def test_containers_and_codecs_make_no_difference(
    make: Callable[[], KeyframeSelector], suffix: str, tmp_path: Path
) -> None:
    codec = {".webm": "libvpx", ".mp4": "mpeg4"}.get(suffix, "libx264")
    path = write_film(tmp_path / f"film{suffix}", [RED] * 20 + [GREEN] * 25, codec=codec, gop=20)
    frames = list(make().select(path))
    assert_kept_promises(frames)
    first, second = (round(frame.time_s, 2) for frame in frames[:2])
    assert first == 0
    assert second == 2 or (make is KeysOnly and 0 < second <= 2)  # within a key frame's distance
    red, green = frames[0].picture.getpixel((50, 40)), frames[1].picture.getpixel((50, 40))
    assert red[0] > 150 > green[0]
    assert frames[-1].end_s == pytest.approx(4.5, abs=0.11)


@every_selector
def test_uneven_frame_times_are_kept(make: Callable[[], KeyframeSelector], tmp_path: Path) -> None:
    times_s = [0, 0.1, 0.5, 0.6, 1.9, 3.25, 3.3, 9.0]
    path = write_film(
        tmp_path / "uneven.mkv",
        [RED, RED, RED, RED, RED, BLUE, BLUE, GREEN],
        times_s=times_s,
        gop=1,
    )
    frames = list(make().select(path))
    assert_kept_promises(frames)
    assert {round(frame.time_s, 2) for frame in frames} >= {0, 3.25, 9.0}


@every_selector
def test_a_clock_that_begins_late_counts_from_the_first_picture(
    make: Callable[[], KeyframeSelector], tmp_path: Path
) -> None:
    times_s = [100 + number / 10 for number in range(40)]
    path = write_film(tmp_path / "late.mkv", [RED] * 20 + [BLUE] * 20, times_s=times_s, gop=20)
    frames = list(make().select(path))
    assert [round(frame.time_s, 2) for frame in frames] == [0, 2]


@every_selector
def test_a_film_of_one_frame_gives_one_frame(
    make: Callable[[], KeyframeSelector], tmp_path: Path
) -> None:
    frames = list(make().select(write_film(tmp_path / "one.mp4", [RED])))
    assert_kept_promises(frames)
    assert len(frames) == 1


@every_selector
def test_frames_come_lazily(
    make: Callable[[], KeyframeSelector], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    original = films.Film.frames

    def counting(self: films.Film, *args: object, **options: object) -> object:
        for pair in original(self, *args, **options):  # type: ignore[arg-type]
            decoded.append(pair[0])
            yield pair

    monkeypatch.setattr(films.Film, "frames", counting)
    path = write_film(tmp_path / "long.mp4", ([RED] * 20 + [BLUE] * 20) * 10, gop=20)
    selected = make().select(path)
    assert decoded == []
    next(selected)
    assert 0 < len(decoded) < 100
    selected.close()


@every_selector
def test_what_is_no_film_ends_in_media_error(
    make: Callable[[], KeyframeSelector], tmp_path: Path
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("Dear diary")
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    write_sound(tmp_path / "sound.m4a")
    for path in [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "none.mp4"]:
        with pytest.raises(MediaError) as caught:
            list(make().select(path))
        assert caught.value.remedy
        assert caught.value.path == str(path)


@every_selector
def test_a_film_that_breaks_off_gives_what_is_there(
    make: Callable[[], KeyframeSelector], tmp_path: Path
) -> None:
    whole = write_film(
        tmp_path / "whole.ts", ([RED] * 10 + [BLUE] * 10) * 5, gop=10, codec="libx264"
    )
    path = tmp_path / "half.ts"
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    started = time.perf_counter()
    frames = list(make().select(path))
    assert_kept_promises(frames)
    assert frames[-1].time_s < 8
    assert time.perf_counter() - started < 10


@every_selector
def test_damaged_bytes_never_crash(make: Callable[[], KeyframeSelector], tmp_path: Path) -> None:
    whole = write_film(tmp_path / "w.mp4", [RED] * 20 + [BLUE] * 20, gop=10).read_bytes()
    for step in (97, 211, 503):
        damaged = bytearray(whole)
        damaged[40::step] = b"\xff" * len(damaged[40::step])
        path = tmp_path / "damaged.mp4"
        path.write_bytes(damaged)
        try:
            frames = list(make().select(path))
        except MediaError:
            continue
        assert_kept_promises(frames)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (IFrameSelector(), IFrameSelector(max_gap_s=5)),
        (IFrameSelector(), IFrameSelector(min_gap_s=0.4)),
        (IFrameSelector(), IFrameSelector(refine=False)),
        (SceneSelector(), SceneSelector(threshold=30)),
        (SceneSelector(), SceneSelector(max_gap_s=5)),
        (SceneSelector(), SceneSelector(min_gap_s=0.4)),
        (UniformSelector(), UniformSelector(every_s=2.5)),
        (IFrameSelector(), SceneSelector()),
    ],
)
def test_a_stamp_tells_every_difference(one: KeyframeSelector, other: KeyframeSelector) -> None:
    assert one.stamp != other.stamp
    assert one.stamp == type(one)().stamp


@pytest.mark.parametrize(
    "make",
    [
        lambda: IFrameSelector(max_gap_s=0.1),
        lambda: IFrameSelector(min_gap_s=-1),
        lambda: SceneSelector(threshold=0),
        lambda: UniformSelector(every_s=0),
    ],
)
def test_parameters_that_make_no_sense_are_refused(make: Callable[[], KeyframeSelector]) -> None:
    with pytest.raises(UsageError):
        make()


def test_key_frames_of_a_still_picture_are_merged(tmp_path: Path) -> None:
    path = write_film(tmp_path / "still.mp4", [BLACK] * 60, gop=10)
    assert len(list(IFrameSelector().select(path))) == 1


def test_a_black_frame_is_not_merged_with_a_dark_picture(tmp_path: Path) -> None:
    path = write_film(tmp_path / "dark.mp4", [BLACK] * 10 + [(1, 1, 1)] * 10, gop=10)
    frames = list(IFrameSelector().select(path))
    assert [round(frame.time_s, 1) for frame in frames] == [0, 1]


def test_a_black_stretch_is_a_shot_of_its_own(tmp_path: Path) -> None:
    path = write_film(tmp_path / "b.mp4", [RED] * 20 + [BLACK] * 15 + [BLUE] * 20, gop=500)
    frames = list(IFrameSelector().select(path))
    assert [round(frame.time_s, 1) for frame in frames] == [0, 2, 3.5]
    assert [frame.shot.number for frame in frames] == [0, 1, 2]


def test_a_film_of_nothing_but_key_frames_does_not_flood(tmp_path: Path) -> None:
    colours = [RED, GREEN, BLUE] * 40
    frames = list(
        IFrameSelector().select(write_film(tmp_path / "intra.mp4", colours, gop=1, rate=30))
    )
    assert 4 <= len(frames) <= 17  # of 120 in 4 s


def test_a_key_frame_right_behind_another_is_kept_if_it_stands_alone(tmp_path: Path) -> None:
    times_s = [0, 0.2, 0.4, 3.0, 6.0]
    path = write_film(
        tmp_path / "quick.mkv", [RED, BLUE, BLUE, BLUE, BLUE], times_s=times_s, gop=1000
    )
    with open_film(path) as film:
        assert len(list(film.frames("keys"))) >= 2  # the encoder put one at the cut
    frames = list(IFrameSelector().select(path))
    assert [round(frame.time_s, 1) for frame in frames][:2] == [0, 0.2]


def test_a_long_gap_is_filled_where_the_picture_changes(tmp_path: Path) -> None:
    colours = [RED] * 30 + [GREEN] * 30 + [BLUE] * 30
    path = write_film(tmp_path / "gap.mkv", colours, codec="libx264", rate=10, gop=1000)
    with open_film(path) as film:
        assert [time_s for time_s, _ in film.frames("keys")] == [0]
    sparse = list(IFrameSelector(max_gap_s=20, refine=False).select(path))
    assert len(sparse) == 1
    for filling in (IFrameSelector(max_gap_s=4, refine=False), IFrameSelector(max_gap_s=20)):
        filled = list(filling.select(path))
        assert_kept_promises(filled)
        assert shots_without_a_frame(filled, [3.0, 6.0]) == []


def test_a_cover_picture_is_no_film(tmp_path: Path) -> None:
    import av

    path = tmp_path / "cover.mp4"
    sound = write_sound(tmp_path / "sound.m4a")
    with av.open(str(sound)) as source, av.open(str(path), "w") as target:
        audio = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in source.demux(audio=0):
            if packet.dts is not None:
                packet.stream = audio
                target.mux(packet)
        target.mux(cover.encode(av.VideoFrame(64, 48, "rgb24")))
        target.mux(cover.encode())
    with pytest.raises(MediaError, match="sound or a cover"):
        list(IFrameSelector().select(path))


def turned(path: Path, matrix: tuple[float, float, float, float]) -> Path:
    """Write another display matrix (a, b, c, d) into an MP4."""
    content = path.read_bytes()
    upright = struct.pack(">9i", 2**16, 0, 0, 0, 2**16, 0, 0, 0, 2**30)
    a, b, c, d = (round(value * 2**16) for value in matrix)
    at = content.rindex(upright)  # the first is of the film, the last of its picture
    path.write_bytes(
        content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 2**30) + content[at + 36 :]
    )
    return path


@pytest.mark.parametrize(
    ("degrees", "size"), [(0, (64, 48)), (30, (64, 48)), (80, (48, 64)), (-100, (48, 64))]
)
def test_a_film_turned_by_an_odd_angle_comes_out_the_next_right_way(
    tmp_path: Path, degrees: int, size: tuple[int, int]
) -> None:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    path = turned(write_film(tmp_path / "a.mp4", [RED] * 3), (cosine, sine, -sine, cosine))
    [frame] = IFrameSelector().select(path)
    assert frame.picture.size == size


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_frames_that_were_chosen_leave_the_memory(tmp_path: Path) -> None:
    path = write_film(tmp_path / "many.mp4", [RED, GREEN, BLUE] * 30, rate=1, gop=1)
    gc.collect()
    gc.disable()
    try:
        frames = IFrameSelector().select(path)
        next(frames)
        threads = len(list(Path("/proc/self/task").iterdir()))
        assert len(list(frames)) > 60
        assert len(list(Path("/proc/self/task").iterdir())) < threads + 10
    finally:
        gc.enable()


def test_every_shot_of_real_films_gets_a_frame(shared_data: Path) -> None:
    video = shared_data / "video"
    psd = list(IFrameSelector().select(video / "psd_testvideo.mp4"))
    assert shots_without_a_frame(psd, [1.0, 6.01, 13.15]) == []
    nasa = list(IFrameSelector(max_gap_s=5).select(video / "torchcodec_nasa_13013.mp4"))
    assert shots_without_a_frame(nasa, [5.08, 8.0]) == []
    cuts = [2.17, 5.08, 6.58, 9.21, 12.88, 29.79, 32.83, 36.33, 41.12, 50.12, 51.42, 51.92]
    steel = video / "mdn_tears-of-steel-battle-clip-medium.webm"
    assert shots_without_a_frame(list(IFrameSelector().select(steel)), cuts) == []


@pytest.mark.slow
def test_scenes_find_the_cuts_of_a_fast_film(shared_data: Path) -> None:
    cuts = [2.17, 6.58, 9.21, 12.88, 29.79, 32.83, 36.33, 41.12, 50.12, 51.42, 51.92, 53.5, 56.04]
    steel = shared_data / "video/mdn_tears-of-steel-battle-clip-medium.webm"
    times_s = [frame.time_s for frame in SceneSelector().select(steel)]
    assert all(any(abs(cut - time_s) < 0.05 for time_s in times_s) for cut in cuts)
