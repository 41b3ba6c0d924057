"""Films joined of short takes with ffmpeg, of which every boundary is known.

The takes are cut out of the films of ``../shared/data/video``, none of which has a cut inside. They
are two sets, from different films or different scenes: thresholds are set on one, and figures are
reported on the other.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path

RATE = 25
SIZE = 1280, 720

# Film, begin and end in seconds: one camera, no cut
TAKES = {
    "setting": [
        ("psd_testvideo.mp4", 2.0, 4.4),  # elsewhere it fades and dissolves
        ("psd_testvideo.mp4", 8.0, 11.5),
        ("psd_testvideo.mp4", 13.6, 15.8),
        ("psd_testvideo.mp4", 18.5, 21.5),
        ("torchcodec_nasa_13013.mp4", 0.0, 4.9),
        ("torchcodec_nasa_13013.mp4", 8.2, 12.8),
        ("mdn_flower.mp4", 0.0, 5.0),
        ("intel_asl_bird.mkv", 0.0, 2.1),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 2.3, 4.9),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 6.7, 9.0),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 9.4, 12.7),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 13.0, 21.0),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 37.6, 39.8),  # an explosion
    ],
    "reported": [
        ("imageio_cockatoo.mp4", 0.0, 14.0),
        ("mdn_friday.mp4", 0.0, 6.0),
        ("decord_flipping_a_pancake.mkv", 0.0, 10.3),
        ("intel_asl_book.mkv", 0.0, 3.6),
        ("torchcodec_av1_video.mkv", 0.0, 5.0),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 30.0, 32.6),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 33.0, 36.2),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 42.0, 46.8),
        ("mdn_tears-of-steel-battle-clip-medium.webm", 53.7, 56.0),
    ],
}
LOSSLESS = "-c:v libx264 -preset ultrafast -crf 12 -g 50 -pix_fmt yuv420p"  # nearly
X264 = "-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p"
ENCODINGS = {
    "x264, scene cuts": X264,
    "x264, -g 30": f"{X264} -g 30 -sc_threshold 0",
    "x264, -g 250": f"{X264} -g 250 -sc_threshold 0",
    "HEVC": "-c:v libx265 -preset ultrafast -crf 26 -pix_fmt yuv420p -x265-params log-level=error",
    "HEVC, -g 250": "-c:v libx265 -preset ultrafast -crf 26 -pix_fmt yuv420p "
    "-x265-params log-level=error:scenecut=0:keyint=250:min-keyint=250",
    "VP9": "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -b:v 2M -row-mt 1",
    "AV1": "-c:v libsvtav1 -preset 12 -crf 40 -pix_fmt yuv420p",
}

FADE_S = 1.0
# What is done to every take of a kind, where that is all; a take has at least 50 frames
_ADDED = {
    "frozen": "",  # each take moves for FROZEN_AFTER frames and then stands still
    "flashes": ",drawbox=color=white:t=fill:enable='between(mod(n,45),20,21)'",
    "hand-held": ",scale=iw*1.2:ih*1.2,crop={width}:{height}:"
    "x='(iw-ow)/2*(1+0.5*sin(n/5)+0.3*sin(n/1.7))':y='(ih-oh)/2*(1+0.5*cos(n/4)+0.3*sin(n/2.3))'",
}
FROZEN_AFTER, FROZEN = 40, 100
KINDS = ("dissolves", "fades through black", "black between", *_ADDED)


@dataclass(frozen=True)
class Boundary:
    """Where one shot ends and another begins: somewhere in ``start_s``..``end_s``."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class Joined:
    """A film and all its boundaries."""

    path: Path
    boundaries: tuple[Boundary, ...]
    seconds: float


def ffmpeg(*arguments: str) -> None:
    """Run ffmpeg, silently unless it fails."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-y", *arguments]
    subprocess.run(command, check=True)  # noqa: S603  (our own command)


def cut_film(folder: Path, videos: Path, which: str, seconds: float, *, seed: int = 1) -> Joined:
    """Join takes of up to nine seconds with hard cuts, nearly lossless, for ``encoded``."""
    takes = _drawn(which, seconds, random.Random(seed))  # noqa: S311  (no secret)
    return _joined(folder / f"{which}-{seconds:g}-{seed}.mp4", videos, takes, SIZE)


def kind_film(
    folder: Path, videos: Path, which: str, kind: str, seconds: float, *, seed: int = 1
) -> Joined:
    """Join takes as films of a KIND do; small, encoded like ENCODINGS' first."""
    takes = _drawn(which, seconds, random.Random(seed + len(kind)))  # noqa: S311  (no secret)
    path = folder / f"{which}-{kind.replace(' ', '-')}-{seconds:g}-{seed}.mp4"
    size = 640, 360
    if kind in ("dissolves", "fades through black"):
        return _faded(path, videos, takes, size, "fade" if kind == "dissolves" else "fadeblack")
    if kind == "black between":
        takes = [one for take in takes for one in (take, _Take(None, 0.0, int(1.6 * RATE)))][:-1]
    if kind == "frozen":
        takes = [replace(take, frames=FROZEN, moving=FROZEN_AFTER) for take in takes]
    return _joined(path, videos, takes, size, _ADDED.get(kind, ""), encoder=X264)


def encoded(film: Joined, encoding: str) -> Joined:
    """The same film in one of the ENCODINGS."""
    suffix = ".webm" if encoding == "VP9" else ".mkv" if encoding == "AV1" else ".mp4"
    name = "".join(c if c.isalnum() else "_" for c in encoding)
    path = film.path.with_name(f"{film.path.stem}-{name}{suffix}")
    if not path.exists():
        ffmpeg("-i", str(film.path), "-an", *ENCODINGS[encoding].split(), str(path))
    return Joined(path, film.boundaries, film.seconds)


@dataclass(frozen=True)
class _Take:
    name: str | None  # None is black
    begin_s: float
    frames: int
    moving: int = 10_000


def _drawn(which: str, seconds: float, draw: random.Random) -> list[_Take]:
    """Takes, none from the scene before."""
    takes, before, total = list[_Take](), None, 0
    while total < seconds * RATE:
        one = draw.choice([one for one in TAKES[which] if one != before])
        frames = int(min(one[2] - one[1], draw.uniform(2.0, 9.0)) * RATE)
        takes.append(_Take(one[0], one[1], frames))
        before, total = one, total + frames
    return takes


def _inputs(videos: Path, takes: Sequence[_Take], size: tuple[int, int]) -> list[str]:
    inputs: list[str] = []
    for take in takes:
        if take.name is None:
            black = f"color=black:s={size[0]}x{size[1]}:r={RATE}:d={take.frames / RATE}"
            inputs += ["-f", "lavfi", "-i", black]
        else:
            inputs += ["-ss", f"{take.begin_s}", "-i", str(videos / take.name)]
    return inputs


def _joined(
    path: Path,
    videos: Path,
    takes: Sequence[_Take],
    size: tuple[int, int],
    added: str = "",
    encoder: str = LOSSLESS,
) -> Joined:
    filters = [f"[{n}:v]{_same(one, size, added)}[v{n}]" for n, one in enumerate(takes)]
    filters.append("".join(f"[v{n}]" for n in range(len(takes))) + f"concat=n={len(takes)}[out]")
    _filtered(_inputs(videos, takes, size), filters, path, encoder)
    ends = [end / RATE for end in accumulate(take.frames for take in takes)]
    return Joined(path, tuple(Boundary(s, s) for s in ends[:-1]), ends[-1])


def _faded(
    path: Path, videos: Path, takes: Sequence[_Take], size: tuple[int, int], transition: str
) -> Joined:
    """Takes that go over into each other within a second, which is a boundary as a whole."""
    filters = [f"[{n}:v]{_same(one, size, '')}[v{n}]" for n, one in enumerate(takes)]
    found, ends_s, last = [], takes[0].frames / RATE, "v0"
    for number, take in enumerate(takes[1:], start=1):
        name = "out" if number == len(takes) - 1 else f"x{number}"
        fade = f"xfade=transition={transition}:duration={FADE_S}:offset={ends_s - FADE_S:.3f}"
        filters.append(f"[{last}][v{number}]{fade}[{name}]")
        found.append(Boundary(ends_s - FADE_S, ends_s))
        ends_s, last = ends_s - FADE_S + take.frames / RATE, name
    _filtered(_inputs(videos, takes, size), filters, path, X264)
    return Joined(path, tuple(found), ends_s)


def _same(take: _Take, size: tuple[int, int], added: str) -> str:
    """A filter that makes every take of one size, rate and number of frames."""
    width, height = size
    return (
        f"fps={RATE},scale={width}:{height}:force_original_aspect_ratio=increase,"
        f"crop={width}:{height},setsar=1,format=yuv420p,trim=end_frame={take.moving},"
        f"tpad=stop_mode=clone:stop={take.frames},trim=end_frame={take.frames},setpts=PTS-STARTPTS,"
        f"settb=1/{RATE}{added.format(width=width, height=height)}"
    )


def _filtered(inputs: Sequence[str], filters: Sequence[str], path: Path, encoder: str) -> None:
    if path.exists():
        return
    unfinished = path.with_name(f"unfinished-{path.name}")
    graph = ["-filter_complex", ";".join(filters), "-map", "[out]", "-r", str(RATE)]
    ffmpeg(*inputs, *graph, *encoder.split(), str(unfinished))
    unfinished.rename(path)
