"""Cut a film without decoding it, where the cut allows: bit by bit the same pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, open_film
from mmrag_plugin.makers.base import Told
from mmrag_plugin.makers.film_writing import close_written, not_writable, open_to_write
from mmrag_plugin.makers.sounds import sound_stream
from mmrag_plugin.motion_photos import FilmPart

_EXACT_S = 1e-3
# Codecs that players expect in a container: of pictures, and of sound
FITS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "mp4": (
        frozenset("h264 hevc av1 vp9 mpeg4".split()),
        frozenset("aac mp3 ac3 eac3 alac opus flac".split()),
    ),
    "mov": (frozenset("h264 hevc mpeg4".split()), frozenset("aac mp3 ac3 alac".split())),
    "webm": (frozenset("vp8 vp9 av1".split()), frozenset("opus vorbis".split())),
    "matroska": (
        frozenset("h264 hevc av1 vp8 vp9 mpeg4".split()),
        frozenset("aac mp3 ac3 eac3 opus vorbis flac".split()),
    ),
}


def fits(film: Film | Animation, form: str) -> bool:
    """Whether the streams of a film can be taken over into a container as they are."""
    if isinstance(film, Animation) or film.clock_may_jump:
        return False
    pictures, sounds = FITS[form]
    voice = sound_stream(film)
    return _codec(film.stream) in pictures and (voice is None or _codec(voice) in sounds)


def copied_s(
    source: Path | FilmPart,
    span: tuple[float, float],
    target: Path,
    form: str,
    tags: dict[str, str],
    tell: Told,
) -> float | None:
    """Copy a part of a film and return how long it is; None, and no file, where the cut forbids it.

    The frame shown at the start must be a key frame, and no frame up to the end may need a later
    one.
    """
    with open_film(source) as film:
        if not fits(film, form) or isinstance(film, Animation):
            return None
        kept = _kept(film, *span, tell)
        if kept is None:
            return None
        first_s, ends_s, count = kept
        _write(film, (first_s, ends_s), count, target, form, tags)
        return ends_s - first_s


def _kept(film: Film, start_s: float, end_s: float, tell: Told) -> tuple[float, float, int] | None:
    """Time of the first frame, of the end, and how many frames; None where they don't stand alone.

    Reads the packets, which is fast, and decodes nothing.
    """
    first_s: float | None = None
    latest_s, ends_s, count, closed = -1.0, 0.0, 0, False
    behind = 0  # packets that come after the end
    for packet in _packets(film, start_s, (film.stream,)):
        if packet.pts is None or packet.dts is None or packet.is_corrupt:
            return None
        time_s = _time_s(packet, film)
        if first_s is None:
            if not packet.is_keyframe or not -_EXACT_S <= start_s - time_s < film.frame_s:
                if packet.is_keyframe and time_s < start_s:
                    continue
                if time_s < start_s - film.frame_s:
                    continue
                return None
            first_s = time_s
        if time_s < first_s:
            continue  # leading pictures: they need what comes before the cut
        if first_s < time_s <= start_s + _EXACT_S:
            return None  # another frame is shown at the start
        if time_s >= end_s - _EXACT_S:
            closed = True
            behind += 1
            if behind > 64:
                break
            continue
        if closed:
            return None  # this frame was coded behind one that comes after the end
        latest_s = max(latest_s, time_s)
        ends_s = max(ends_s, time_s + (float(packet.duration * packet.time_base) or film.frame_s))
        count += 1
        tell(0.5 * (time_s - first_s) / (end_s - first_s))
    return None if first_s is None or not count else (first_s, ends_s, count)


def _write(
    film: Film,
    span: tuple[float, float],
    count: int,
    target: Path,
    form: str,
    tags: dict[str, str],
) -> None:
    import av

    first_s, ends_s = span
    voice = sound_stream(film)
    container = open_to_write(target, form, tags)
    quiet = True
    try:
        streams = {film.stream.index: container.add_stream_from_template(film.stream)}
        if voice is not None:
            streams[voice.index] = container.add_stream_from_template(voice)
        read = [film.stream] if voice is None else [film.stream, voice]
        for packet in _packets(film, first_s, read):
            time_s = _time_s(packet, film)
            own = packet.stream.index == film.stream.index
            if own and count and time_s >= first_s - 1e-9:
                count -= 1
            elif own or not first_s <= time_s + _half_s(packet) < ends_s:
                if not count and time_s > ends_s + 1.0:
                    break
                continue
            shift = round((first_s + film.start_s) / packet.time_base)
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.duration = packet.duration or round(film.frame_s / packet.time_base)
            packet.stream = streams[packet.stream.index]
            container.mux(packet)
        quiet = False
    except (av.FFmpegError, OSError) as error:
        raise not_writable(target, error) from None
    finally:
        close_written(container, target, quiet=quiet)


def _packets(film: Film, from_s: float, streams: Any) -> Iterator[Any]:
    import av

    try:
        film.container.seek(
            int((from_s + _EXACT_S + film.start_s) / film.stream.time_base), stream=film.stream
        )
        for packet in film.container.demux(*streams):
            if packet.pts is not None or packet.size:
                yield packet
    except av.FFmpegError:
        return


def _codec(stream: Any) -> str:
    """The name of a codec, whichever library decodes it."""
    return str(stream.codec_context.codec.canonical_name)


def _time_s(packet: Any, film: Film) -> float:
    return float((packet.pts or 0) * packet.time_base) - film.start_s


def _half_s(packet: Any) -> float:
    return float((packet.duration or 0) * packet.time_base) / 2
