"""Cut a film without decoding it, where the cut allows: bit by bit the same pictures and sound."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.films import Film, demuxed, open_film
from mmrag_plugin.makers.base import Told
from mmrag_plugin.makers.film_writing import close_written, not_writable, open_to_write
from mmrag_plugin.makers.sounds import sound_stream
from mmrag_plugin.motion_photos import FilmPart

_EXACT_S = 1e-3
_REORDERED = 64  # packets within which one that is shown earlier may follow
_SOUND_BEHIND_S = 1.0  # sound may lie so far behind its pictures in a file
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
        first_s, ends_s, shown = kept
        _write(film, (first_s, ends_s), shown, target, form, tags)
        return ends_s - first_s


def _kept(
    film: Film, start_s: float, end_s: float, tell: Told
) -> tuple[float, float, list[int]] | None:
    """When the first frame is shown, when the last ends, and the times of all as they are coded.

    None where they don't stand alone. Reads the packets, which is fast, and decodes nothing.
    """
    first_s: float | None = None
    ends_s, shown, behind = 0.0, [], 0  # behind: packets that come after the end
    for packet in _packets(film, start_s, (film.stream,)):
        if packet.pts is None or packet.is_corrupt:
            return None
        time_s = _time_s(packet, film)
        if first_s is None:
            if time_s < start_s - film.frame_s:
                continue
            if not (packet.is_keyframe and -_EXACT_S <= start_s - time_s < film.frame_s):
                return None
            first_s = time_s
        if time_s < first_s:
            continue  # leading pictures: they need what comes before the cut
        if first_s < time_s <= start_s + _EXACT_S:
            return None  # another frame is shown at the start
        if time_s >= end_s - _EXACT_S:
            behind += 1
            if behind > _REORDERED:
                break
            continue
        if behind:
            return None  # this frame was coded behind one that comes after the end
        shown.append(packet.pts)
        ends_s = max(ends_s, time_s + (float(packet.duration * packet.time_base) or film.frame_s))
        tell(0.5 * (time_s - first_s) / (end_s - first_s))
    return None if first_s is None or not shown else (first_s, ends_s, shown)


def _coded_at(shown: list[int], frame_ticks: int) -> list[int]:
    """Decoding times for frames in the order in which they are coded: even, and none too late.

    Containers such as Matroska keep none.
    """
    ordered = sorted(shown)
    place = {ticks: number for number, ticks in enumerate(ordered)}
    delay = max(number - place[ticks] for number, ticks in enumerate(shown))
    early = [ordered[0] - frame_ticks * (delay - number) for number in range(delay)]
    return [*early, *ordered[: len(ordered) - delay]]


def _write(
    film: Film,
    span: tuple[float, float],
    shown: list[int],
    target: Path,
    form: str,
    tags: dict[str, str],
) -> None:
    import av

    first_s, ends_s = span
    voice = sound_stream(film)
    container = open_to_write(target, form, tags)
    coded = iter(_coded_at(shown, round(film.frame_s / film.stream.time_base)))
    left, quiet = set(shown), True
    try:
        streams = {film.stream.index: container.add_stream_from_template(film.stream, opaque=True)}
        if voice is not None:
            streams[voice.index] = container.add_stream_from_template(voice, opaque=True)
        read = [film.stream] if voice is None else [film.stream, voice]
        for packet in _packets(film, first_s, read):
            time_s = _time_s(packet, film)
            if packet.stream.index == film.stream.index:
                if packet.pts not in left:
                    continue
                left.remove(packet.pts)
                packet.dts = next(coded)
                packet.duration = packet.duration or round(film.frame_s / packet.time_base)
            elif not first_s <= time_s + _half_s(packet) < ends_s:
                if not left and time_s > ends_s + _SOUND_BEHIND_S:
                    break
                continue
            else:
                packet.dts = packet.pts
            shift = round((first_s + film.start_s) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
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
        for packet in demuxed(film.container, *streams):
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
