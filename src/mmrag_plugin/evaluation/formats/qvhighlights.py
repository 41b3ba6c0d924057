"""QVHighlights: JSON lines with a query, a video and the windows that show what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmrag_plugin.evaluation.formats.base import (
    Content,
    Query,
    SetFormat,
    Wanted,
    bad,
    entries,
    media_name,
    refuse_split,
    span,
    words,
)


class QvHighlights(SetFormat):
    """``query``, ``vid`` and ``relevant_windows``, one a line."""

    name = "qvhighlights"

    def recognises(self, content: Content) -> bool:
        """Whether the first line has these three."""
        first = content.first
        return isinstance(first, dict) and {"query", "vid", "relevant_windows"} <= first.keys()

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query a line; any of its windows answers it."""
        refuse_split(split)
        for where, record in content.records():
            video = media_name(record.get("vid"), where)
            windows = entries(record.get("relevant_windows"), f"{where}, relevant_windows")
            wanted = tuple(Wanted(video, *_window(window, at)) for at, window in windows)
            if not wanted:
                raise bad(where, "has no relevant windows")
            yield Query(words(record, "query", where), wanted)


def _window(window: Any, where: str) -> tuple[float, float]:
    if not isinstance(window, list) or len(window) != 2:
        raise bad(where, "is no window")
    return span(window[0], window[1], where)
