"""Clips: as long as asked for, and the first frame is the film's. With -s they print figures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from made_films import MILLISECOND
from mmrag_plugin.errors import MediaError
from mmrag_plugin.makers.base import Made, Piece, Wish
from mmrag_plugin.makers.clip import ClipMaker
from test_keyframes import turned

SIZE = (320, 180)
COUNT, RATE, GOP = 75, 25, 25
VARIABLE_S = np.cumsum([0.0] + [(0.02, 0.04, 0.1, 0.033)[n % 4] for n in range(COUNT - 1)])
CODECS = {
    "H.264": ("libx264", ".mp4", {"crf": "14", "bf": "2"}),
    "HEVC": ("libx265", ".mp4", {"crf": "14", "x265-params": "log-level=none:bframes=3"}),
    "AV1": ("libsvtav1", ".mkv", {"crf": "20", "preset": "10"}),
    "VP9": ("libvpx-vp9", ".webm", {"crf": "16", "deadline": "realtime", "cpu-used": "6"}),
}


class Hears:
    """What a maker tells."""

    def __init__(self) -> None:
        self.done: list[float] = []
        self.begun: list[int] = []

    def __call__(self, done: float) -> None:
        self.done.append(done)

    def begin(self, place: int) -> None:
        self.begun.append(place)


def pictures(count: int = COUNT, size: tuple[int, int] = SIZE) -> list[np.ndarray]:
    """A textured scene that moves on with each frame, so that no two are alike."""
    width_px, height_px = size
    random = np.random.default_rng(7)
    coarse = random.integers(30, 225, (height_px // 12 + 1, width_px * 2 // 12 + 1, 3))
    scene = coarse.repeat(12, axis=0).repeat(12, axis=1)[:height_px].astype(np.uint8)
    frames = []
    for number in range(count):
        frame = scene[:, number * 3 : number * 3 + width_px].copy()
        frame[10:40, 10 : 10 + 3 * number % (width_px - 20) + 1] = (240, 240, 240)
        frames.append(frame)
    return frames


@contextmanager
def same_scheduling() -> Iterator[None]:
    """Undo what SVT-AV1 does for root: its process, and all that it starts, run before all others.

    Two of those that are busy for long, such as a browser's, then leave no core to anybody.
    """
    try:
        yield
    finally:
        if sys.platform == "linux":
            for task in Path("/proc/self/task").iterdir():
                with suppress(OSError):  # it has ended
                    os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))


def encoded(
    path: Path, codec: str, times_s: list[float] | None = None, sound: bool = False
) -> Path:
    """Write the scene in a codec, with a key frame each second."""
    name, suffix, options = CODECS[codec]
    path = path.with_suffix(suffix)
    with same_scheduling(), av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.gop_size = GOP
        stream.codec_context.time_base = MILLISECOND
        stream.codec_context.options = options
        voice = container.add_stream("libopus" if suffix == ".webm" else "aac", rate=48_000)
        for number, pixels in enumerate(pictures()):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.time_base = MILLISECOND
            frame.pts = round(1000 * (times_s[number] if times_s else number / RATE))
            container.mux(stream.encode(frame))
            if sound:
                for part in _tone(number):
                    container.mux(voice.encode(part))
        container.mux(stream.encode())
        if sound:
            container.mux(voice.encode())
    return path


def _tone(number: int) -> list[av.AudioFrame]:
    """1/25 s of a tone that is 1 s loud and 1 s silent."""
    at = np.arange(1920) + number * 1920
    wave = 0.5 * np.sin(2 * np.pi * 440 * at / 48_000) * (at // 48_000 % 2 == 0)
    part = av.AudioFrame.from_ndarray(np.tile(wave, (2, 1)).astype(np.float32), "fltp", "stereo")
    part.sample_rate, part.pts, part.time_base = 48_000, number * 1920, Fraction(1, 48_000)
    return [part]


@dataclass
class Decoded:
    """All frames of a film by FFmpeg's own times, and how long the container says it is."""

    times_s: list[float]
    frames: list[np.ndarray]  # rgb24
    planes: list[np.ndarray]  # yuv420p
    duration_s: float
    codec: str
    tags: dict[str, str]

    def shown_at(self, time_s: float) -> int:
        return max(n for n, begins_s in enumerate(self.times_s) if begins_s <= time_s + 1e-3)


def decoded(path: Path, turns: int = 0) -> Decoded:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        start_s = (container.start_time or 0) / 1e6
        found = sorted(container.decode(stream), key=lambda frame: frame.time)
        assert container.duration is not None
        return Decoded(
            [frame.time - start_s for frame in found],
            [np.rot90(frame.to_ndarray(format="rgb24"), turns) for frame in found],
            [frame.to_ndarray(format="yuv420p") for frame in found],
            container.duration / 1e6,
            stream.codec_context.codec.canonical_name,
            {name.lower(): text for name, text in container.metadata.items()},
        )


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    error = float(np.mean((one.astype(float) - other.astype(float)) ** 2))
    return 99.0 if error == 0 else 10 * np.log10(255**2 / error)


def cut(film: Path, start_s: float, end_s: float, **wish: object) -> Made:
    target = film.with_name(f"cut{film.suffix}")
    target.unlink(missing_ok=True)
    pieces = (Piece(film, "video", "id", start_s, end_s),)
    return ClipMaker().make(replace(Wish(pieces, target), **wish), Hears())  # type: ignore[arg-type]


def shows_the_right_frames(
    what: str, source: Decoded, made: Made, start_s: float, end_s: float, turns: int = 0
) -> None:
    """Check a clip against its source, and print how it does."""
    # an encoded clip has been turned upright, a copied one says how it is to be turned
    clip = decoded(made.path, turns if made.how == "copied" else 0)
    first = source.shown_at(start_s)
    frame_s = float(np.diff(source.times_s).max())
    off_s = abs(clip.duration_s - (end_s - start_s))
    near = psnr(clip.frames[0], source.frames[first])
    beside = [
        psnr(clip.frames[0], source.frames[n])
        for n in (first - 1, first + 1)
        if 0 <= n < len(source.frames)
    ]
    print(
        f"\n{what:22} {made.how:8} duration off by {off_s / frame_s:4.2f} frames, "
        f"first frame {near:5.1f} dB, its neighbours {max(beside):4.1f} dB",
        end="",
    )
    assert off_s <= frame_s + 1e-3
    assert made.duration_s == pytest.approx(end_s - start_s, abs=frame_s + 1e-3)
    assert len(clip.frames) == source.shown_at(end_s - 2e-3) - first + 1
    assert near > max(beside) + 3
    if made.how == "copied":
        assert np.array_equal(clip.planes[0], source.planes[first])
        assert all(
            np.array_equal(mine, theirs)
            for mine, theirs in zip(clip.planes, source.planes[first:], strict=False)
        )
    else:
        assert near >= 35
        assert min(map(psnr, clip.frames, source.frames[first:])) >= 33


@pytest.mark.parametrize("codec", CODECS)
def test_a_clip_that_begins_and_ends_at_key_frames_is_copied_bit_by_bit(
    codec: str, tmp_path: Path
) -> None:
    film = encoded(tmp_path / "film", codec)
    source = decoded(film)
    # x265 has frames before a key frame need it: up to the end of the film none is cut off
    end_s = 3.0 if codec == "HEVC" else 2.0
    made = cut(film, 1.0, end_s)
    assert made.how == "copied"
    assert decoded(made.path).codec == source.codec
    shows_the_right_frames(codec, source, made, 1.0, end_s)


@pytest.mark.parametrize("codec", CODECS)
def test_a_clip_that_begins_elsewhere_is_encoded_from_frame_to_frame(
    codec: str, tmp_path: Path
) -> None:
    film = encoded(tmp_path / "film", codec)
    made = cut(film, 0.52, 1.7)
    assert made.how == "encoded"
    shows_the_right_frames(codec, decoded(film), made, 0.52, 1.7)


@pytest.mark.parametrize(("start_s", "end_s"), [(0.5, 2.0), (0.0, 1.5), (1.234, 2.345)])
def test_a_film_of_variable_frame_rate_keeps_its_times(
    start_s: float, end_s: float, tmp_path: Path
) -> None:
    film = encoded(tmp_path / "film", "H.264", [float(t) for t in VARIABLE_S])
    source = decoded(film)
    made = cut(film, start_s, end_s, encode=True)
    shows_the_right_frames("variable frame rate", source, made, start_s, end_s)
    first = source.shown_at(start_s)
    clip = decoded(made.path)
    wanted = [time_s - start_s for time_s in source.times_s[first + 1 : first + 10]]
    assert clip.times_s[1:10] == pytest.approx(wanted, abs=0.002)


@pytest.mark.parametrize(
    ("matrix", "turns"),
    [((0, 1, -1, 0), 3), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)],
    ids=["90", "180", "270"],
)
@pytest.mark.parametrize(("start_s", "end_s"), [(1.0, 2.0), (0.52, 1.7)])
def test_a_turned_film_stays_upright(
    matrix: tuple[float, float, float, float],
    turns: int,
    start_s: float,
    end_s: float,
    tmp_path: Path,
) -> None:
    film = turned(encoded(tmp_path / "film", "H.264"), matrix)
    source = decoded(film, turns)
    made = cut(film, start_s, end_s)
    upright = SIZE if turns == 2 else SIZE[::-1]
    assert (made.width_px, made.height_px) == upright
    shows_the_right_frames(f"turned {matrix}", source, made, start_s, end_s, turns)
    from mmrag_plugin.film_frames import frame_at

    assert frame_at(made.path, 0.0).size == upright  # a player turns the copied one, too
    assert psnr(np.asarray(frame_at(made.path, 0.0)), source.frames[source.shown_at(start_s)]) > 35


def test_a_cut_through_frames_that_need_each_other_is_not_copied(tmp_path: Path) -> None:
    film = encoded(tmp_path / "film", "H.264")
    source = decoded(film)
    hows = set()
    for number in range(26, 34):
        made = cut(film, 1.0, number / RATE)
        hows.add(made.how)
        shows_the_right_frames(f"end at frame {number}", source, made, 1.0, number / RATE)
    assert hows == {"copied", "encoded"}


@pytest.mark.parametrize(("start_s", "end_s"), [(1.0, 2.0), (0.5, 2.5)])
@pytest.mark.parametrize("codec", ["H.264", "VP9"])
def test_sound_stays_with_the_pictures(
    codec: str, start_s: float, end_s: float, tmp_path: Path
) -> None:
    film = encoded(tmp_path / "film", codec, sound=True)
    made = cut(film, start_s, end_s)
    with av.open(str(made.path)) as container:
        heard = [f for f in container.decode(audio=0)]
        at_s = np.concatenate([f.time + np.arange(f.samples) / f.sample_rate for f in heard])
        wave = np.concatenate([f.to_ndarray()[0] for f in heard])
        begins_s = (container.start_time or 0) / 1e6
        assert container.streams.audio[0].codec_context.sample_rate == 48_000
    at_s = at_s - begins_s
    assert at_s[-1] == pytest.approx(end_s - start_s, abs=0.05)
    for second in range(4):  # loud in 0-1 and 2-3, silent in 1-2
        inside = (at_s + start_s > second + 0.1) & (at_s + start_s < second + 0.9)
        if inside.sum() > 4000:
            loud = float(np.sqrt(np.mean(wave[inside] ** 2)))
            assert (loud > 0.2) == (second % 2 == 0), (second, loud)


def test_a_clip_says_what_it_is_of_and_nothing_else(tmp_path: Path) -> None:
    film = encoded(tmp_path / "film", "H.264")
    tagged = film.with_name("tagged.mp4")
    with av.open(str(film)) as source, av.open(str(tagged), "w") as target:
        target.metadata.update({"location": "+48.1374+011.5755/", "artist": "Ann"})
        copy = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    assert decoded(tagged).tags["location"].startswith("+48.1374")
    before = tagged.read_bytes()
    for span in ((1.0, 2.0), (0.5, 1.5)):
        made = cut(tagged, *span)
        content, tags = made.path.read_bytes(), decoded(made.path).tags
        assert "location" not in tags
        assert not [word for word in (b"loci", b"Ann", str(tmp_path).encode()) if word in content]
        assert tags["comment"] == (
            f"Made by mmrag: clip of tagged.mp4 0:0{span[0]:.3f}-0:0{span[1]:.3f}"
        )
        piece = Piece(
            tagged,
            "video",
            "id",
            *span,
            taken_at="2024-05-01T10:00:00",
            location=(48.1374, 11.5755),
        )
        tags = decoded(cut(tagged, *span, pieces=(piece,), with_location=True).path).tags
        assert tags["location"].startswith("+48.1374+011.5755")
        assert tags["creation_time"].startswith("2024-05-01T10:00:00")
    assert tagged.read_bytes() == before


def test_a_film_that_breaks_off_gives_what_there_is_and_says_so(tmp_path: Path) -> None:
    film = encoded(tmp_path / "film", "AV1")
    whole = film.read_bytes()
    film.write_bytes(whole[: len(whole) // 2])
    made = cut(film, 0.52, 3.0)
    assert made.duration_s is not None
    assert made.duration_s < 2.2
    assert decoded(made.path).duration_s == pytest.approx(made.duration_s, abs=0.1)
    assert "breaks off at" in made.warnings[0]


def test_a_film_of_one_frame_and_a_time_behind_the_end(tmp_path: Path) -> None:
    film = tmp_path / "one.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures(1)[0], "rgb24")))
        container.mux(stream.encode())
    made = cut(film, 0.0, 9.0)
    assert len(decoded(made.path).frames) == 1
    with pytest.raises(MediaError, match="has nothing between"):
        cut(film, 3.0, 9.0)


def odd(path: Path, size: tuple[int, int]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        for pixels in pictures(10, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize("form", [".mp4", ".mov", ".mkv", ".webm"])
def test_odd_sizes_come_even_in_every_container(form: str, tmp_path: Path) -> None:
    film = odd(tmp_path / "odd.mkv", (101, 75))
    made = cut(film, 0.0, 1.0, target=tmp_path / f"even{form}")
    assert (made.width_px, made.height_px) == (100, 74)
    clip = decoded(made.path)
    assert clip.frames[0].shape == (74, 100, 3)
    assert clip.codec == ("vp9" if form == ".webm" else "h264")


@pytest.fixture
def hdr(tmp_path: Path) -> Callable[[], Path]:
    def make() -> Path:
        path = tmp_path / "hdr.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx265", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
            context = stream.codec_context
            context.options = {"x265-params": "log-level=none"}
            context.color_primaries, context.color_trc, context.colorspace = 9, 16, 9
            for pixels in pictures(10, (64, 48)):
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuv420p10le")
                frame.color_primaries, frame.color_trc, frame.colorspace = 9, 16, 9
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return make


def test_an_hdr_film_that_is_encoded_says_what_becomes_of_it(hdr: Callable[[], Path]) -> None:
    film = hdr()
    assert cut(film, 0.0, 1.0).warnings == ()  # a copy keeps it
    (said,) = cut(film, 0.3, 1.0).warnings
    assert "is an HDR film" in said


def test_progress_goes_up_to_the_end(tmp_path: Path) -> None:
    film = encoded(tmp_path / "film", "H.264")
    hears = Hears()
    pieces = (Piece(film, "video", "id", 0.5, 2.5),)
    ClipMaker().make(Wish(pieces, tmp_path / "cut.mp4"), hears)
    assert hears.begun == [0]
    assert hears.done[-1] > 0.9
