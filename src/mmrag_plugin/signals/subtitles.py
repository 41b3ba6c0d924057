"""Read SubRip (.srt) and WebVTT (.vtt) the way players do: what can be read is read.

WebVTT: https://www.w3.org/TR/webvtt1/. SubRip has no specification; this follows what editors and
downloaders write.
"""

from __future__ import annotations

import html
import re
from itertools import pairwise, takewhile

from mmrag_plugin.errors import UsageError
from mmrag_plugin.media import Signal
from mmrag_plugin.signals.plain_text import plain_text
from mmrag_plugin.timecode import parse_time

_TIMING = re.compile(r"\s*(\d[\d:.,]{2,15})\s*-->\s*(\d[\d:.,]{2,15})(?:\s|$)", re.ASCII)
_VOICE = re.compile(r"<v(?:\.[^\s<>]{0,80})?\s+([^<>]{1,80})>")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<\d[\d:.]{3,14}>|\{\\[^{}]{0,200}\}", re.ASCII)


def parse_subtitles(text: str) -> list[Signal]:
    """Give one ``subtitle`` signal per cue, in order of time.

    Cues may overlap, stand out of order, lack their index, their hours or the blank line between
    them. Styling, cue settings, comments and style sheets are left out; a speaker's name
    (``<v Anna>``) stays as ``Anna: ``. A cue that ends before it starts gets no length; one whose
    times make no sense is left out.
    """
    text = text.removeprefix("\ufeff")
    blank_ends_cue = text.startswith("WEBVTT")  # SubRip text may hold a blank line
    lines = [line.strip() for line in text.splitlines()]
    timings = [(at, match) for at, line in enumerate(lines) if (match := _TIMING.match(line))]
    cues = []
    for (at, timing), (until, _) in pairwise([*timings, (len(lines), None)]):
        span = _span(timing)
        body = lines[at + 1 : until]
        if blank_ends_cue:
            body = list(takewhile(bool, body))
        while body and not body[-1]:
            body.pop()
        if until < len(lines) and _is_index(body, before=lines[at - 1] if at else ""):
            body.pop()
        if span and (words := _words(body)):
            cues.append(Signal("subtitle", words, *span))
    return sorted(cues, key=lambda cue: (cue.start_s or 0.0, cue.end_s or 0.0))


def _span(timing: re.Match[str] | None) -> tuple[float, float] | None:
    if timing is None:
        return None
    try:
        start_s, end_s = parse_time(timing[1]), parse_time(timing[2])
    except UsageError:
        return None
    return start_s, max(start_s, end_s)


def _is_index(body: list[str], before: str) -> bool:
    """Whether a cue's last line is the number of the next cue and not a line that is spoken."""
    if not body or not (body[-1].isascii() and body[-1].isdecimal()) or len(body[-1]) > 9:
        return False
    counts_on = before.isascii() and before.isdecimal() and body[-1] == str(int(before[:9]) + 1)
    return counts_on or (len(body) > 1 and not body[-2])


def _words(body: list[str]) -> str:
    marked = _VOICE.sub(r"\1: ", "\n".join(body))
    return plain_text(html.unescape(_TAG.sub("", marked)))
