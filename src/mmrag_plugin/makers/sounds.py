"""The sound of a part of a film: samples from one exact time to another, in one form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import Film, demuxed, open_film

if TYPE_CHECKING:
    import numpy as np

RATE = 48_000  # samples a second, in two channels of float32
_BLOCK = 4_800
_DRIFT = 2_400  # samples by which the clock of a stream may be off before it is put right
_BEFORE_S = 0.2  # decoders need some sound before the first that counts


def sound_stream(film: Film | Animation) -> Any | None:
    """The stream that players would play; None for a silent film."""
    if isinstance(film, Animation):
        return None
    stream = film.container.streams.best("audio")
    return None if stream is None or stream.codec_context is None else stream


def silence(count: int) -> Iterator[np.ndarray]:
    """So many samples of nothing."""
    import numpy as np

    for begin in range(0, count, _BLOCK):
        yield np.zeros((2, min(_BLOCK, count - begin)), np.float32)


def sound_between(source: Any, start_s: float, count: int) -> Iterator[np.ndarray]:
    """Yield ``count`` samples from ``start_s`` on, shape (2, n); silence where there is none.

    The film is opened anew, so that its pictures can be read at the same time.
    """
    given = 0
    with suppress(MediaError):  # its pictures may be fine
        for at, samples in _placed(source, start_s):
            if at - given > _DRIFT or (given == 0 and at > 0):
                for block in silence(min(at, count) - given):
                    given += block.shape[1]
                    yield block
            # what begins too early is cut off: at the start, or where a clock jumps back
            early = given - at if given == 0 or given - at > _DRIFT else 0
            rest = samples[:, max(early, 0) : max(early, 0) + count - given]
            if rest.shape[1]:
                given += rest.shape[1]
                yield rest
            if given >= count:
                break
    yield from silence(count - given)


def _placed(source: Any, start_s: float) -> Iterator[tuple[int, np.ndarray]]:
    """Yield ``(place, samples)``; the place counts samples from ``start_s`` and may be negative."""
    import av

    with open_film(source) as film:
        stream = sound_stream(film)
        if stream is None or isinstance(film, Animation):
            return
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=RATE)
        wanted_s = max(start_s - _BEFORE_S, 0.0)
        with suppress(av.FFmpegError):
            film.container.seek(int((wanted_s + film.start_s) * 1_000_000))
        for frame in _decoded(film, stream):
            for part in resampler.resample(frame):
                time_s = float((part.pts or 0) * part.time_base) - film.start_s
                yield round((time_s - start_s) * RATE), part.to_ndarray()


def _decoded(film: Film, stream: Any) -> Iterator[Any]:
    import av

    packets = demuxed(film.container, stream)
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            return
        if packet is None:
            return
        with suppress(av.FFmpegError):
            yield from packet.decode()
