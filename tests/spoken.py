"""Films in which somebody speaks: a synthetic voice (eSpeak NG), at chosen times."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from made_films import RED, scene

RATE_HZ = 16_000
_RETRIEVE, _DONT_EXIT, _UTF8 = 1, 0x8000, 1
_heard: list[NDArray[np.int16]] = []
_CALLBACK = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


def _take(samples: Any, count: int, _events: Any) -> int:
    if samples and count > 0:
        _heard.append(np.ctypeslib.as_array(samples, (count,)).copy())
    return 0


_take_c = _CALLBACK(_take)


@cache
def _espeak() -> tuple[Any, int]:
    loader = pytest.importorskip("espeakng_loader", reason="espeakng-loader is not installed")
    library = ctypes.CDLL(loader.get_library_path())
    data = loader.get_data_path().encode()
    rate_hz = library.espeak_Initialize(_RETRIEVE, 0, data, _DONT_EXIT)
    assert rate_hz > 0
    library.espeak_SetSynthCallback(_take_c)
    library.espeak_SetVoiceByName(b"en-us")
    return library, rate_hz


@cache
def voice(text: str) -> NDArray[np.float32]:
    """Somebody saying a text, 16,000 samples a second."""
    library, rate_hz = _espeak()
    _heard.clear()
    spoken = text.encode()
    library.espeak_Synth(spoken, len(spoken) + 1, 0, 1, 0, _UTF8, None, None)
    library.espeak_Synchronize()
    samples = np.concatenate(_heard).astype(np.float32) / 2**15
    times = np.arange(0, len(samples) / rate_hz, 1 / RATE_HZ)
    return np.interp(times, np.arange(len(samples)) / rate_hz, samples).astype(np.float32)


def track(duration_s: float, said: Mapping[float, str] | Sequence[float] = ()) -> NDArray[Any]:
    """A track of sound, quiet but for texts that are said, or tones of a second, at their times."""
    samples = np.random.default_rng(1).normal(0, 1e-3, round(duration_s * RATE_HZ))
    for at_s in said:
        tone = 0.3 * np.sin(2 * np.pi * (300 + 7 * at_s) * np.arange(RATE_HZ) / RATE_HZ)
        sound = voice(said[at_s]) if isinstance(said, Mapping) else tone
        begin = round(at_s * RATE_HZ)
        part = sound[: len(samples) - begin]
        samples[begin : begin + len(part)] += part
    return np.clip(samples, -1, 1).astype(np.float32)


def write_spoken(
    path: Path,
    *tracks: NDArray[Any],
    duration_s: float | None = None,
    codec: str = "aac",
    rate_hz: int = RATE_HZ,
    layout: str = "mono",
    languages: Sequence[str] = (),
    default: int = 0,
    bit_rate: int = 96_000,
) -> Path:
    """Write a film of a plain colour with tracks of sound (16,000 samples a second)."""
    if duration_s is None:
        duration_s = max(len(samples) for samples in tracks) / RATE_HZ
    options = {"avoid_negative_ts": "make_non_negative"}
    with av.open(str(path), "w", options=options) as container:
        picture = container.add_stream("mpeg4", rate=2)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sounds = []
        for number in range(len(tracks)):
            sound = container.add_stream(codec, rate=rate_hz, layout=layout)
            sound.bit_rate = bit_rate
            if languages:
                sound.metadata["language"] = languages[number]
            sound.disposition = av.stream.Disposition(int(number == default))
            sounds.append(sound)
        for number in range(max(round(duration_s * 2), 1)):
            frame = av.VideoFrame.from_ndarray(scene(RED, number), "rgb24")
            frame.pts = number
            container.mux(picture.encode(frame))
        container.mux(picture.encode())
        for sound, samples in zip(sounds, tracks, strict=True):
            _encode(container, sound, samples, rate_hz, layout)
    return path


def _encode(container: Any, stream: Any, samples: NDArray[Any], rate_hz: int, layout: str) -> None:
    resampler = av.AudioResampler(stream.codec_context.format, layout, rate_hz, 1024)
    for begin in range(0, len(samples), RATE_HZ):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(samples[None, begin : begin + RATE_HZ], np.float32), "flt", "mono"
        )
        frame.sample_rate, frame.pts = RATE_HZ, begin
        for block in resampler.resample(frame):
            container.mux(stream.encode(block))
    for block in resampler.resample(None):
        container.mux(stream.encode(block))
    container.mux(stream.encode())
