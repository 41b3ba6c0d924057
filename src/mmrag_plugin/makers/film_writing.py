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
    """Writes one film. Use it as a context manager; a film that was broken off is no film.

    ``speaks`` says whether it has sound; ``form`` is ``mp4``, ``mov``, ``matroska`` or ``webm``.
    """

    def __init__(
        self,
        target: Path,
        size: tuple[int, int],
        quality: Quality,
        *,
        rate: Fraction,
        speaks: bool = False,
        tags: dict[str, str] | None = None,
        form: str = "mp4",
    ) -> None:
        self.speaks = speaks
        self._target, self._size, self._quality = target, size, quality
        self._rate, self._tags, self._form = rate, tags or {}, form
        self._codecs = ("libvpx-vp9", "libopus") if form == "webm" else ("libx264", "aac")
        self._sound: Iterator[np.ndarray] = iter(())
        self._unheard: np.ndarray | None = None  # samples read and not written
        self._heard = 0  # samples written
        self._waiting: Any = None  # a frame whose length is not known yet
        self._last_ticks = -_LEAST_TICKS

    def __enter__(self) -> FilmWriter:
        self._container = open_to_write(self._target, self._form, self._tags)
        self._pictures: Any = None
        self._voice: Any = None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close_written(self._container, self._target, quiet=kind is not None)

    def listen(self, sound: Iterable[np.ndarray]) -> None:
        """Take the sound of what is shown from now on from there, shape (2, n) each."""
        self._sound, self._unheard = iter(sound), None

    def show(self, frame: Any, time_s: float, *, key: bool = False) -> None:
        """Show a yuv420p frame of the film's size from a time on; ``key`` makes it a key frame."""
        ticks = round(time_s / CLOCK)
        if ticks < self._last_ticks + _LEAST_TICKS:
            return
        self._last_ticks = ticks
        if self._waiting is not None:
            self._encode(self._waiting, ticks)
        frame.pts, frame.time_base = ticks, CLOCK
        frame.pict_type = 1 if key else 0
        self._waiting = frame

    def end_part(self, end_s: float) -> None:
        """Have the last frame, and the sound, end there."""
        if self._waiting is not None:
            self._encode(self._waiting, max(round(end_s / CLOCK), self._last_ticks + _LEAST_TICKS))
            self._waiting = None

    def broken_off(self, began_s: float) -> float:
        """End a part that could not be read on; says where it ends, where it began if at once."""
        if self._waiting is None and self._last_ticks < round(began_s / CLOCK):
            return began_s
        end_s = float((self._last_ticks + 1 / self._rate / CLOCK) * CLOCK)
        self.end_part(end_s)
        return end_s

    def end(self) -> None:
        """Write what is left."""
        for stream in (self._pictures, self._voice):
            if stream is not None:
                self._mux(stream.encode())

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
        stream = self._container.add_stream(self._codecs[0], rate=self._rate)
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
        if self._form == "webm":
            context.bit_rate = 0
            context.options = {"crf": str(quality.crf + 6), "deadline": "good", "cpu-used": "4"}
        else:
            context.options = {"crf": str(quality.crf), "preset": quality.preset}
        if quality.most_bps is not None:
            context.options |= {"maxrate": str(quality.most_bps), "bufsize": str(quality.most_bps)}
        self._pictures = stream
        if self.speaks:
            self._voice = self._container.add_stream(self._codecs[1], rate=RATE, layout="stereo")
            self._voice.codec_context.bit_rate = quality.sound_bps
            self._voice.codec_context.time_base = Fraction(1, RATE)

    def _hear(self, until: int) -> None:
        import av
        import numpy as np

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


def open_to_write(target: Path, form: str, tags: dict[str, str]) -> Any:
    """A new container for a film, with its index at the front. Raises StorageError."""
    import av

    options = {"movflags": "+faststart"} if form in ("mp4", "mov") else {}
    try:
        container = av.open(str(target), "w", format=form, container_options=options)
    except (av.FFmpegError, OSError) as error:
        raise not_writable(target, error) from None
    container.metadata.update(tags)
    return container


def close_written(container: Any, target: Path, *, quiet: bool = False) -> None:
    """Write the end of a container. Raises StorageError, unless something else went wrong."""
    import av

    try:
        container.close()
    except (av.FFmpegError, OSError) as error:
        if not quiet:
            raise not_writable(target, error) from None


def not_writable(target: Path, error: Exception) -> StorageError:
    """The error for a file that can't be written."""
    reason = getattr(error, "strerror", None) or str(error)
    return StorageError(
        f"{target.parent} can't be written to ({reason}).",
        "Check its permissions and free space, or name another place.",
    )
