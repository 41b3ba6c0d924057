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


def format_time(time_s: float) -> str:
    """Print seconds the short way people read them: ``0:05``, ``1:23``, ``1:02:03``."""
    whole = math.floor(max(time_s, 0.0) + 1e-6)
    minutes, seconds = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def format_span(start_s: float | None, end_s: float | None) -> str:
    """Print a span as ``0:05-0:09``; an empty string for images."""
    if start_s is None:
        return ""
    begin = format_time(start_s)
    end = format_time(end_s) if end_s is not None else begin
    return begin if end == begin else f"{begin}-{end}"
