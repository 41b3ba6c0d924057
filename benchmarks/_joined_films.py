"""Films joined of short takes with ffmpeg, of which every boundary is known.

The takes are cut out of the films of ``../shared/data/video``, none of which has a cut inside. They
are two sets, from different films or different scenes: thresholds are set on one, and figures are
reported on the other.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
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


def cut_film(
    folder: Path, videos: Path, which: str, seconds: float, *, seed: int = 1, long_s: float = 5.0
) -> Joined:
    """Join takes of about ``long_s`` with hard cuts, nearly lossless."""
    lengths, takes = _drawn(which, seconds, random.Random(seed), long_s)  # noqa: S311  (no secret)
    inputs, filters = [], []
    for number, ((name, begin_s, _), frames) in enumerate(zip(takes, lengths, strict=True)):
        inputs += ["-ss", f"{begin_s}", "-i", str(videos / name)]
        filters.append(f"[{number}:v]{_same(frames)}[v{number}]")
    joined = "".join(f"[v{number}]" for number in range(len(takes)))
    filters.append(f"{joined}concat=n={len(takes)}[out]")
    path = folder / f"{which}-{seconds:g}-{seed}.mp4"
    lossless = "-c:v libx264 -preset ultrafast -crf 12 -g 50 -pix_fmt yuv420p"
    _filtered(inputs, filters, path, lossless)
    times_s, at = [], 0
    for frames in lengths[:-1]:
        at += frames
        times_s.append(at / RATE)
    return Joined(path, tuple(Boundary(s, s) for s in times_s), sum(lengths) / RATE)


def encoded(film: Joined, encoding: str) -> Joined:
    """The same film in one of the ENCODINGS."""
    suffix = ".webm" if encoding == "VP9" else ".mkv" if encoding == "AV1" else ".mp4"
    name = "".join(c if c.isalnum() else "_" for c in encoding)
    path = film.path.with_name(f"{film.path.stem}-{name}{suffix}")
    if not path.exists():
        ffmpeg("-i", str(film.path), "-an", *ENCODINGS[encoding].split(), str(path))
    return Joined(path, film.boundaries, film.seconds)


def _drawn(
    which: str, seconds: float, draw: random.Random, long_s: float
) -> tuple[list[int], list[tuple[str, float, float]]]:
    """Takes, none from the scene before, and how many frames of each."""
    lengths, takes, total = [], [], 0
    while total < seconds * RATE:
        take = draw.choice([one for one in TAKES[which] if not takes or one != takes[-1]])
        longest = take[2] - take[1]
        frames = int(min(longest, draw.uniform(0.4 * long_s, 1.8 * long_s)) * RATE)
        lengths.append(frames)
        takes.append(take)
        total += frames
    return lengths, takes


def _same(frames: int) -> str:
    """A filter that makes every take of one size, rate and number of frames."""
    width, height = SIZE
    return (
        f"fps={RATE},scale={width}:{height}:force_original_aspect_ratio=increase,"
        f"crop={width}:{height},setsar=1,format=yuv420p,"
        f"tpad=stop_mode=clone:stop=10,trim=end_frame={frames},setpts=PTS-STARTPTS"
    )


def _filtered(inputs: Sequence[str], filters: Sequence[str], path: Path, encoder: str) -> None:
    if path.exists():
        return
    unfinished = path.with_name(f"unfinished-{path.name}")
    ffmpeg(
        *inputs,
        "-filter_complex",
        ";".join(filters),
        "-map",
        "[out]",
        "-r",
        str(RATE),
        *encoder.split(),
        str(unfinished),
    )
    unfinished.rename(path)
