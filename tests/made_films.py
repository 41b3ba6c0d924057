"""Short films made on the spot: plain coloured scenes with chosen times, key frames and tags."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

MILLISECOND = Fraction(1, 1000)
RED, GREEN, BLUE, BLACK = (220, 30, 30), (30, 200, 30), (30, 30, 220), (0, 0, 0)
Colour = tuple[int, int, int]


def scene(colour: Colour, number: int, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """A coloured picture with a lighter left half and a mark that moves with the number."""
    width_px, height_px = size
    pixels = np.full((height_px, width_px, 3), colour, np.uint8)
    if any(colour):
        pixels[:, : width_px // 2] = np.minimum(pixels[:, : width_px // 2] + 30, 255)
        column = number % max(width_px - 4, 1)
        pixels[4:8, column : column + 4] = 255
    return pixels


def write_film(
    path: Path,
    colours: Sequence[Colour],
    *,
    times_s: Sequence[float] | None = None,
    rate: int = 10,
    gop: int = 1000,
    codec: str = "mpeg4",
    size: tuple[int, int] = (64, 48),
    metadata: dict[str, str] | None = None,
    muxing: dict[str, str] | None = None,
) -> Path:
    """Write one frame for each colour, at ``times_s`` or at an even rate.

    ``muxing`` are options of FFmpeg's muxer, such as ``{"movflags": "faststart"}``.
    """
    with av.open(str(path), "w", options=muxing or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.gop_size = gop
        stream.codec_context.max_b_frames = 0
        stream.codec_context.time_base = MILLISECOND
        if codec == "libx264":
            stream.codec_context.options = {"sc_threshold": "0"}
        for number, colour in enumerate(colours):
            frame = av.VideoFrame.from_ndarray(scene(colour, number, size), "rgb24")
            frame.time_base = MILLISECOND
            frame.pts = round(1000 * (times_s[number] if times_s else number / rate))
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def cut_short(path: Path, share: float = 0.6) -> Path:
    """Leave the rest of a file away, as a copy that was interrupted does."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def damaged(path: Path, from_share: float = 0.45, to_share: float = 0.55) -> Path:
    """Overwrite the middle of a file."""
    content = bytearray(path.read_bytes())
    first, last = int(len(content) * from_share), int(len(content) * to_share)
    content[first:last] = bytes(number * 37 % 251 for number in range(last - first))
    path.write_bytes(content)
    return path


def lying(path: Path, times: float) -> Path:
    """Have an MP4 or Matroska file state so many times its length."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".mkv":
        at = content.index(b"\x44\x89\x88") + 3  # Duration, a float of eight bytes
        (stated,) = struct.unpack(">d", content[at : at + 8])
        content[at : at + 8] = struct.pack(">d", stated * times)
    else:
        for box, offset in ((b"mvhd", 16), (b"tkhd", 20), (b"mdhd", 16)):
            at = content.index(box) + 4 + offset  # of version 0
            (stated,) = struct.unpack(">I", content[at : at + 4])
            content[at : at + 4] = struct.pack(">I", int(stated * times))
    path.write_bytes(content)
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """Write a file with nothing but silence."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        for number in range(int(seconds * 8)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1000), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts = 8000, number * 1000
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
