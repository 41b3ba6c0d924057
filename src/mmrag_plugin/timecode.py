"""Times in films: parse what people and subtitle files write, print what people read."""

from __future__ import annotations

import math
import re

from mmrag_plugin.errors import UsageError

_CLOCK = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:[.,](\d{1,6}))?")
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*s?", re.IGNORECASE)


def parse_time(text: str) -> float:
    """Read ``83``, ``83.5s``, ``1:23``, ``1:23.5`` or ``01:02:03,250`` as seconds.

    Raises UsageError on anything else, negative times and minutes or seconds above 59 included.
    """
    stripped = text.strip()
    if match := _SECONDS.fullmatch(stripped):
        return float(match[1])
    if match := _CLOCK.fullmatch(stripped):
        hours, minutes, seconds = int(match[1] or 0), int(match[2]), int(match[3])
        if seconds < 60 and (minutes < 60 or match[1] is None):
            return hours * 3600 + minutes * 60 + seconds + float(f"0.{match[4] or 0}")
    raise UsageError(f"{text!r} is not a time.", "Write seconds (83.5) or a clock time (1:23.5).")


def parse_span(
    start: str | None, end: str | None, *, duration_s: float | None
) -> tuple[float | None, float | None]:
    """Read where a part of a video begins and ends, in seconds; nothing stands for nothing said.

    Raises UsageError for what is no time, lies behind the end, or begins after it ends.
    """
    start_s = parse_time(start) if start else None
    end_s = parse_time(end) if end else None
    for time_s in (start_s, end_s):
        if time_s is not None and duration_s is not None and time_s > duration_s:
            raise UsageError(
                f"{format_time(time_s)} is after the end of this video.",
                f"It is {format_time(duration_s)} long.",
            )
    if start_s is not None and end_s is not None and end_s < start_s:
        raise UsageError(f"The end {end} comes before the start {start}.", "Swap them.")
    return start_s, end_s


def format_time(time_s: float) -> str:
    """Print seconds the short way people read them: ``0:05``, ``1:23``, ``1:02:03``."""
    whole = math.floor(max(time_s, 0.0) + 1e-6)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_instant(time_s: float) -> str:
    """Print seconds to the tenth, where times lie close together: ``0:05.2``."""
    tenths = math.floor(max(time_s, 0.0) * 10 + 0.5)
    return f"{format_time(tenths // 10)}.{tenths % 10}"


def format_span(start_s: float | None, end_s: float | None) -> str:
    """Print a span as ``0:05-0:09``; an empty string for images."""
    if start_s is None:
        return ""
    begin = format_time(start_s)
    end = format_time(end_s) if end_s is not None else begin
    return begin if end == begin else f"{begin}-{end}"
