"""What a film says about itself: size, length, date, camera, place, titles and subtitles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmrag_plugin.animations import Animation
from mmrag_plugin.dates import dated, iso_date, most_trusted
from mmrag_plugin.film_sound import has_sound
from mmrag_plugin.films import Film, demuxed, open_film, unreadable
from mmrag_plugin.media import MediaFacts, Signal
from mmrag_plugin.places import Position, degrees, position
from mmrag_plugin.readers.exif import annotation_signals, camera_name, picture_facts
from mmrag_plugin.xmp import clean_text

_MAX_CUES = 20_000
_MAX_CUE_CHARS = 10_000
_STYLING = re.compile(r"\{[^{}]{0,200}\}|<[^<>]{0,200}>")
_APPLE = "com.apple.quicktime."
_DATES = (f"{_APPLE}creationdate", "creation_time", "date", "date_recorded", "datetimeoriginal")
_TEXTS = ("title", "description", "synopsis", "comment", "subject", "summary")
_KEYWORDS = ("keywords", "genre", "show", "artist")
_MAKES = (f"{_APPLE}make", "com.android.manufacturer", "make", "make-eng")
_MODELS = (f"{_APPLE}model", "com.android.model", "model", "model-eng")
_PLACES = (f"{_APPLE}location.iso6709", "location", "location-eng")
_ISO_6709 = re.compile(r"([+-]\d{1,2}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)(?:[+-][\d.]+)?/?.*")


def film_facts(path: Path) -> MediaFacts:
    """Collect what a film or an animated picture says about itself.

    Decodes one frame: only frames tell which way a film is turned. Raises MediaError where there is
    none, such as in a sound file with a cover.
    """
    with open_film(path) as film:
        if isinstance(film, Animation):
            return replace(picture_facts(film.image), duration_s=film.duration_s)
        return _facts(film)


def _facts(film: Film) -> MediaFacts:
    frame = next((frame for _, frame in film.frames("keys")), None)
    if frame is None:  # the only key frame may be the damaged one
        frame = next((frame for _, frame in film.frames(from_s=0.0)), None)
    if frame is None:
        raise unreadable(film.path, "no frame of it can be decoded")
    width_px, height_px = film.upright_size(frame)
    tags = _tags(film)
    latitude, longitude = _position(_first(tags, _PLACES))
    signals = annotation_signals(
        [tags[name] for name in _names(_TEXTS) if name in tags],
        [word for name in _names(_KEYWORDS) for word in re.split(r"[;,]", tags.get(name, ""))],
    )
    dates = tuple(date for name in _DATES for date in dated(iso_date(tags.get(name, "")), "film"))
    taken = most_trusted(dates)
    return MediaFacts(
        width_px=width_px,
        height_px=height_px,
        duration_s=film.duration_s or film.measured_duration_s(),
        taken_at=taken.taken_at if taken else None,
        dates=dates,
        camera=camera_name(_first(tags, _MAKES), _first(tags, _MODELS)),
        latitude=latitude,
        longitude=longitude,
        signals=(*signals, *_subtitles(film)),
        has_sound=has_sound(film),
    )


def _tags(film: Film) -> dict[str, str]:
    """Return the film's tags with names in lower case; the container's win over the stream's."""
    return {
        name.lower(): clean_text(text)
        for tags in (film.stream.metadata, film.container.metadata)
        for name, text in tags.items()
    }


def _names(names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        yield name
        yield _APPLE + name


def _first(tags: dict[str, str], names: tuple[str, ...]) -> str:
    return next((tags[name] for name in names if tags.get(name)), "")


def _position(text: str) -> Position:
    match = _ISO_6709.fullmatch(text)
    if not match:
        return None, None
    return position(degrees(match[1], 90), degrees(match[2], 180))


def _subtitles(film: Film) -> tuple[Signal, ...]:
    """Read the cues of all text subtitle streams; identical cues of two streams once."""
    import av

    streams = [
        stream
        for stream in film.container.streams.subtitles
        if stream.codec_context is not None and stream.codec_context.codec.is_decoder
    ]
    cues: dict[Signal, None] = {}
    if not streams:
        return ()
    try:
        film.container.seek(0)
        for packet in demuxed(film.container, *streams):
            if packet.pts is None or len(cues) >= _MAX_CUES:
                continue
            start_s = max(float(packet.pts * packet.time_base) - film.start_s, 0.0)
            end_s = start_s + float((packet.duration or 0) * packet.time_base)
            if text := _cue_text(packet):
                cues[Signal("subtitle", text, round(start_s, 3), round(end_s, 3))] = None
    except av.FFmpegError:
        pass  # broken off: what was read counts
    return tuple(sorted(cues, key=lambda cue: cue.start_s or 0.0))


def _cue_text(packet: Any) -> str:
    import av

    try:
        rectangles = [rectangle for cue in packet.decode() for rectangle in _rectangles(cue)]
    except (av.FFmpegError, ValueError):
        return ""
    lines = [
        rectangle.dialogue.decode(errors="replace")
        for rectangle in rectangles
        if hasattr(rectangle, "dialogue")  # others are bitmaps
    ]
    plain = _STYLING.sub("", "\n".join(lines)[:_MAX_CUE_CHARS])
    return clean_text(re.sub(r"\\[Nnh]", " ", plain))


def _rectangles(cue: Any) -> Any:
    return cue.rects if hasattr(cue, "rects") else (cue,)
