"""Write a film: H.264 and AAC in an MP4 that everything plays, with exact times."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import StorageError
from mmrag_plugin.makers.sounds import RATE

if TYPE_CHECKING:
    import numpy as np

CLOCK = Fraction(1, 90_000)  # ticks of the written times: those of broadcasts
_LEAST_TICKS = 90  # 1 ms: two frames at one time are none
_THREADS = 8


@dataclass(frozen=True)
class Quality:
    """How good the pictures and the sound of a film are.

    ``crf`` is x264's constant quality, lower is better; ``most_bps`` bounds the bits a second.
    """

    crf: float = 18
    preset: str = "medium"
    most_bps: int | None = None
    sound_bps: int = 160_000
    key_s: float = 2.0  # how far key frames are apart at most


class FilmWriter:
    """Writes one MP4 film. Use it as a context manager; a film that was broken off is no film.

    ``sound`` is asked for samples as the pictures go on; None writes a film without sound.
    """

    def __init__(
        self,
        target: Path,
        size: tuple[int, int],
        quality: Quality,
        *,
        rate: Fraction,
        sound: Iterable[np.ndarray] | None = None,
        tags: dict[str, str] | None = None,
        container: str = "mp4",
    ) -> None:
        self._target = target
        self._size = size
        self._quality = quality
        self._rate = rate
        self._sound: Iterator[np.ndarray] | None = None if sound is None else iter(sound)
        self._tags = tags or {}
        self._format = container
        self._heard = 0  # samples written
        self._unheard: np.ndarray | None = None  # samples read and not written
        self._waiting: Any = None  # a frame whose length is not known yet
        self._last_ticks = -1

    def __enter__(self) -> FilmWriter:
        import av

        options = {"movflags": "+faststart"} if self._format in ("mp4", "mov") else {}
        try:
            self._container = av.open(
                str(self._target), "w", format=self._format, container_options=options
            )
        except (av.FFmpegError, OSError) as error:
            raise not_writable(self._target, error) from None
        self._container.metadata.update(self._tags)
        self._pictures: Any = None
        self._voice: Any = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        import av

        try:
            self._container.close()
        except (av.FFmpegError, OSError) as failure:
            if kind is None:
                raise not_writable(self._target, failure) from None

    def show(self, frame: Any, time_s: float) -> None:
        """Show a yuv420p frame of the film's size from a time on."""
        ticks = round(time_s / CLOCK)
        if ticks < self._last_ticks + _LEAST_TICKS and self._last_ticks >= 0:
            return
        self._last_ticks = ticks
        if self._waiting is not None:
            self._encode(self._waiting, ticks)
        frame.pts, frame.time_base = ticks, CLOCK
        self._waiting = frame

    def end(self, end_s: float) -> None:
        """Have the last frame end there, and write what is left."""
        if self._waiting is not None:
            self._encode(self._waiting, max(round(end_s / CLOCK), self._last_ticks + _LEAST_TICKS))
            self._waiting = None
            self._mux(self._pictures.encode())
        if self._voice is not None:
            self._hear(round(end_s * RATE))
            self._mux(self._voice.encode())

    def _encode(self, frame: Any, end_ticks: int) -> None:
        if self._pictures is None:
            self._begin(frame)
        frame.duration = end_ticks - frame.pts
        self._mux(self._pictures.encode(frame))
        if self._voice is not None:
            self._hear(round(float(end_ticks * CLOCK) * RATE))

    def _begin(self, first: Any) -> None:
        from av.codec.context import Flags

        quality = self._quality
        stream = self._container.add_stream("libx264", rate=self._rate)
        context = stream.codec_context
        context.width, context.height = self._size
        context.pix_fmt = "yuv420p"
        context.time_base = CLOCK
        context.thread_count = min(os.cpu_count() or 1, _THREADS)
        context.gop_size = max(round(quality.key_s * self._rate), 1)
        context.flags |= Flags.frame_duration
        # colours are told as they are: players take untagged films for something else
        for name in ("colorspace", "color_primaries", "color_trc"):
            setattr(context, name, getattr(first, name))
        context.color_range = 1
        context.options = {"crf": str(quality.crf), "preset": quality.preset}
        if quality.most_bps is not None:
            context.options |= {
                "maxrate": str(quality.most_bps),
                "bufsize": str(quality.most_bps),
            }
        self._pictures = stream
        if self._sound is not None:
            self._voice = self._container.add_stream("aac", rate=RATE, layout="stereo")
            self._voice.codec_context.bit_rate = quality.sound_bps
            self._voice.codec_context.time_base = Fraction(1, RATE)

    def _hear(self, until: int) -> None:
        import av
        import numpy as np

        assert self._sound is not None
        while self._heard < until:
            samples = self._unheard if self._unheard is not None else next(self._sound, None)
            if samples is None:
                return
            room = until - self._heard
            self._unheard = samples[:, room:] if samples.shape[1] > room else None
            samples = np.ascontiguousarray(samples[:, :room])
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = RATE, self._heard, Fraction(1, RATE)
            self._heard += samples.shape[1]
            self._mux(self._voice.encode(frame))

    def _mux(self, packets: Any) -> None:
        import av

        try:
            self._container.mux(packets)
        except (av.FFmpegError, OSError) as error:
            raise not_writable(self._target, error) from None


def not_writable(target: Path, error: Exception) -> StorageError:
    """The error for a file that can't be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return StorageError(
        f"{target.parent} can't be written to ({reason}).",
        "Check its permissions and free space, or name another place.",
    )
