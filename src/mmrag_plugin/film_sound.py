"""The sound of a film: mono samples of one stream, in pieces that end where it is quiet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from statistics import StatisticsError, correlation
from typing import TYPE_CHECKING, Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.errors import MediaError
from mmrag_plugin.films import Film, demuxed, open_film

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    _Block = tuple[float | None, NDArray[np.float32]]  # when it begins, if that is said

RATE_HZ = 16_000
PIECE_S = 120.0  # of sound in one piece, at most
WINDOW_S = 0.2  # of sound has one level; pieces are cut between two windows
FLOOR_DB = -90
_WINDOW = round(WINDOW_S * RATE_HZ)
_LOOK_BACK_S = 20.0  # of a full piece, in which it is cut where it is quietest
_OFF_S = 0.1  # a clock that is off by more has left something out, or runs slower
_JUMP_S = 1.0  # one that falls back by more was set anew: two recordings in one file
_ROUND_S = 2**33 / 90_000  # after which clocks of transport streams begin anew
_HOLE_S = 5.0  # a longer hole in the sound begins a new piece
_AUDIBLE_DB = -45  # below, encoders differ
_NEAR_DB = 2.0
_NEARLY_ALL = 0.95
_TOGETHER = 0.9  # correlation: wind and engines are as loud anywhere, but not at the same times
_SHIFTS = (0, 0.125, -0.125, 0.25, -0.25, 0.375, -0.375, 0.5, -0.5)  # encoders begin a bit later
_ENOUGH_S = 5  # of audible sound, to compare
_SAME_LENGTH_S = 2.0
_RUN_UP_S = 1.0  # decoded before the place that is wanted: the first frames lack what was before
# The codes of tracks in films (ISO 639-2) that do not begin like those of settings (ISO 639-1),
# or that are not the only ones to do so.
_TRACK_CODES = {
    "am": "amh", "ar": "ara", "az": "aze", "ba": "bak", "be": "bel", "bg": "bul", "bn": "ben",
    "bo": "bod tib", "br": "bre", "bs": "bos", "cs": "ces cze", "cy": "cym wel", "da": "dan",
    "de": "deu ger", "el": "ell gre", "es": "spa", "et": "est", "eu": "eus baq", "fa": "fas per",
    "fi": "fin", "fo": "fao", "fr": "fra fre", "ga": "gle", "gl": "glg", "ha": "hau", "he": "heb",
    "hr": "hrv", "ht": "hat", "hy": "hye arm", "id": "ind", "is": "isl ice", "ja": "jpn",
    "jw": "jav", "ka": "kat geo", "kk": "kaz", "km": "khm", "kn": "kan", "la": "lat", "lb": "ltz",
    "ln": "lin", "lo": "lao", "lt": "lit", "lv": "lav", "mg": "mlg", "mi": "mri mao",
    "mk": "mkd mac", "ml": "mal", "mn": "mon", "mr": "mar", "ms": "msa may", "mt": "mlt",
    "my": "mya bur", "ne": "nep", "nl": "nld dut", "nn": "nno", "no": "nor nob nno", "pa": "pan",
    "pl": "pol", "ps": "pus", "pt": "por", "ro": "ron rum", "sa": "san", "sd": "snd",
    "sk": "slk slo", "sl": "slv", "sn": "sna", "sq": "sqi alb", "sr": "srp", "su": "sun",
    "sv": "swe", "sw": "swa", "ta": "tam", "tg": "tgk", "tk": "tuk", "tl": "tgl fil", "tr": "tur",
    "tt": "tat", "zh": "zho chi",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Sound:
    """A piece of a film's sound: mono float32 samples within -1..1, 16,000 a second."""

    start_s: float
    samples: NDArray[np.float32]

    @property
    def end_s(self) -> float:
        """Where the piece ends in the film."""
        return self.start_s + len(self.samples) / RATE_HZ


def has_sound(film: Film) -> bool:
    """Whether a film has a stream of sound that can be decoded."""
    return bool(_streams(film))


def sound_of(path: Path, *, from_s: float = 0.0, language: str = "") -> Iterator[Sound]:
    """Yield the sound of a film from a time on; nothing where it has none.

    Of several streams it is one in ``language`` (``en``), else the one that players choose. What
    is damaged is left out, and a stream that breaks off ends there. Raises MediaError for what is
    no film, and where nothing of the sound can be decoded.
    """
    with open_film(path) as film:
        streams = [] if isinstance(film, Animation) else _streams(film, language)
        if streams and not isinstance(film, Animation):
            blocks = _blocks(_decoded(film, streams[0], from_s), film.start_s)
            end_s = (film.duration_s or math.inf) + _JUMP_S
            yield from _pieces(_on_one_clock(blocks, from_s, end_s))


def levels_of(sound: Sound) -> tuple[int, list[int]]:
    """How loud each window of the film is, in dB below full scale, and the first one's number.

    Windows are counted from the film's beginning, so the levels of pieces join.
    """
    import numpy as np

    first, offset = divmod(round(sound.start_s * RATE_HZ), _WINDOW)
    if not len(sound.samples):
        return first, []
    behind = -(len(sound.samples) + offset) % _WINDOW
    squares = np.pad(np.square(sound.samples, dtype=np.float32), (offset, behind))
    sums = squares.reshape(-1, _WINDOW).sum(axis=1)
    counts = np.full(len(sums), float(_WINDOW))
    counts[0] -= offset
    counts[-1] -= behind
    decibels = 10 * np.log10(np.maximum(sums / np.maximum(counts, 1), 10 ** (FLOOR_DB / 10)))
    return first, [round(level) for level in decibels.tolist()]


def _streams(film: Film, language: str = "") -> list[Any]:
    """The streams of sound, best first: in the language, not an aside, the default, in order."""
    from av.stream import Disposition

    beside = Disposition.comment | Disposition.visual_impaired | Disposition.attached_pic
    codes = (language, *_TRACK_CODES.get(language, "").split())

    def rank(stream: Any) -> tuple[bool, bool, bool, int]:
        spoken = str(stream.language or "").lower()
        meant = spoken in codes or spoken.startswith(f"{language}-")
        meant = meant or (len(codes) == 1 and spoken.startswith(language))
        return (
            not (language and meant),
            bool(stream.disposition & beside),
            not stream.disposition & Disposition.default,
            stream.index,
        )

    return sorted(
        (
            stream
            for stream in film.container.streams.audio
            if stream.codec_context is not None and stream.codec_context.codec.is_decoder
        ),
        key=rank,
    )


def _decoded(film: Film, stream: Any, from_s: float) -> Iterator[Any]:
    """Decode from a little before a time on; damaged frames are left out."""
    import av

    if from_s > 0:
        try:
            film.container.seek(int((max(from_s - _RUN_UP_S, 0.0) + film.start_s) * 1_000_000))
        except av.FFmpegError:
            film.container.seek(0)
    packets = demuxed(film.container, stream)
    tried = decoded = 0
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError:
            break  # broken off: what was heard counts
        if packet is None:
            break
        tried += bool(packet.size)
        try:
            frames = [frame for frame in packet.decode() if frame.sample_rate]
        except av.FFmpegError:
            continue
        for frame in frames:
            if not frame.is_corrupt:
                decoded += 1
                yield frame
    if tried and not decoded and from_s <= 0:
        raise MediaError(
            f"{film.path} has sound of which nothing can be decoded.",
            "Play it in another program; restore it from a backup if it should be heard.",
            path=str(film.path),
        )


def _blocks(frames: Iterable[Any], start_s: float) -> Iterator[_Block]:
    """Turn frames into samples, with the time in the film where the container says one."""
    import av

    resampler, shape = None, None
    for frame in frames:
        found = frame.format.name, frame.layout.name, frame.sample_rate
        if found != shape:  # the sound may change from mono to 5.1 midway
            if resampler is not None:
                yield from ((None, _samples(block)) for block in resampler.resample(None))
            resampler, shape = av.AudioResampler("flt", "mono", RATE_HZ), found
        assert resampler is not None
        time_s: float | None = None
        if frame.pts is not None and frame.time_base:
            time_s = float(frame.pts * frame.time_base) - start_s
            if time_s > _ROUND_S / 2:
                time_s -= _ROUND_S
        for block in resampler.resample(frame):
            yield time_s, _samples(block)
            time_s = None
    if resampler is not None:
        yield from ((None, _samples(block)) for block in resampler.resample(None))


def _samples(block: Any) -> NDArray[np.float32]:
    import numpy as np

    samples: NDArray[np.float32] = block.to_ndarray().ravel()
    np.nan_to_num(samples, copy=False, nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(samples, -1.0, 1.0)


def _on_one_clock(
    blocks: Iterable[_Block], from_s: float, end_s: float
) -> Iterator[tuple[float, NDArray[np.float32]]]:
    """Give each block a time that never falls back, and leave out what lies before ``from_s``.

    A clock that begins outside the film is set to ``from_s``.
    """
    clock_s, shift_s = None, 0.0
    for time_s, samples in blocks:
        late = 0
        if clock_s is None:
            clock_s = from_s if time_s is None or not -_JUMP_S <= time_s <= end_s else time_s
            shift_s = clock_s - (clock_s if time_s is None else time_s)
        elif time_s is not None:
            ahead_s = time_s + shift_s - clock_s
            if ahead_s > end_s or ahead_s < -_JUMP_S:
                shift_s -= ahead_s
            elif ahead_s > _OFF_S:
                clock_s += ahead_s
            elif ahead_s < -_OFF_S:
                late = min(round(-ahead_s * RATE_HZ), len(samples))
        early = max(round((from_s - clock_s) * RATE_HZ), 0)
        if late + early < len(samples):
            yield clock_s + early / RATE_HZ, samples[late + early :]
        clock_s += (len(samples) - late) / RATE_HZ


def _pieces(timed: Iterable[tuple[float, NDArray[np.float32]]]) -> Iterator[Sound]:
    """Join blocks into pieces; one that is full ends at its quietest place near the end."""
    import numpy as np

    held: list[NDArray[np.float32]] = []
    start_s, count = 0.0, 0
    for time_s, samples in timed:
        hole = max(round((time_s - start_s) * RATE_HZ) - count, 0) if held else 0
        if hole > _HOLE_S * RATE_HZ:
            yield Sound(start_s, np.concatenate(held))
            held, count = [], 0
        elif hole:
            held.append(np.zeros(hole, np.float32))
            count += hole
        if not held:
            start_s = time_s
        held.append(samples)
        count += len(samples)
        while count > PIECE_S * RATE_HZ:
            whole = np.concatenate(held)
            cut = _quietest(Sound(start_s, whole))
            yield Sound(start_s, whole[:cut])
            held, start_s, count = [whole[cut:]], start_s + cut / RATE_HZ, count - cut
    if held:
        yield Sound(start_s, np.concatenate(held))


def _quietest(sound: Sound) -> int:
    """The sample between the two quietest windows in the last part of a full piece."""
    first, levels = levels_of(sound)
    begin = round(sound.start_s * RATE_HZ)
    limit = (begin + round(PIECE_S * RATE_HZ)) // _WINDOW - first  # windows whole in a piece
    within = range(max(limit - round(_LOOK_BACK_S / WINDOW_S), 1), max(limit, 2))
    cut = min(within, key=lambda at: (levels[at - 1] + levels[at], -at))
    return (first + cut) * _WINDOW - begin


def sounds_alike(
    known: Sequence[int], other: Sequence[int], spoken: Sequence[tuple[float, float]] = ()
) -> bool:
    """Whether the levels of two films are those of one sound, perhaps encoded otherwise.

    Both hold a level for each window from the beginning on. ``spoken`` are the spans in which
    something is said in the known one: there too they must agree, or else a film and its dubbed
    version would be the same.
    """
    if abs(len(known) - len(other)) * WINDOW_S > _SAME_LENGTH_S:
        return False
    speech = {second for start_s, end_s in spoken for second in range(int(start_s), int(end_s) + 1)}
    found = _seconds([10 ** (level / 10) for level in other])
    powers = [10 ** (level / 10) for level in known]
    for part in _SHIFTS:
        shifted = _shifted(powers, part)
        if _alike(_seconds(shifted), found, speech) and _vary_together(shifted, other):
            return True
    return False


def _alike(known: Sequence[float], other: Sequence[float], speech: Set[int]) -> bool:
    pairs = list(zip(known, other, strict=False))
    heard = {second for second, pair in enumerate(pairs) if max(pair) > _AUDIBLE_DB}
    same = {second for second in heard if abs(pairs[second][0] - pairs[second][1]) <= _NEAR_DB}
    return len(heard) >= _ENOUGH_S and all(
        len(same & part) >= _NEARLY_ALL * len(heard & part) for part in (heard, speech)
    )


def _vary_together(powers: Sequence[float], levels: Sequence[int]) -> bool:
    """Whether windows are loud and quiet at the same times; no if they are as loud all along."""
    known = [max(10 * math.log10(power), _AUDIBLE_DB) for power in powers]
    pairs = zip(known, (max(level, _AUDIBLE_DB) for level in levels), strict=False)
    try:
        return correlation(*zip(*pairs, strict=True)) >= _TOGETHER
    except StatisticsError:
        return False


def _shifted(powers: Sequence[float], part: float) -> list[float]:
    """The powers of windows that begin later by a part of a window; earlier, if that is below 0."""
    whole = list(powers)
    beside = [*whole[1:], *whole[-1:]] if part > 0 else [*whole[:1], *whole[:-1]]
    return [(1 - abs(part)) * a + abs(part) * b for a, b in zip(whole, beside, strict=True)]


def _seconds(powers: Sequence[float]) -> list[float]:
    """How loud whole seconds are, in dB."""
    windows = round(1 / WINDOW_S)
    return [
        10 * math.log10(sum(powers[at : at + windows]) / windows)
        for at in range(0, len(powers) - windows + 1, windows)
    ]
