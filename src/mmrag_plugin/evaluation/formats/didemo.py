"""DiDeMo: descriptions of moments, each timed by several people in steps of five seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from mmrag_plugin.evaluation.formats.base import (
    Content,
    Query,
    SetFormat,
    Wanted,
    bad,
    entries,
    mapping,
    media_name,
    refuse_split,
    span,
    words,
)

STEP_S = 5


class DiDeMo(SetFormat):
    """A list with ``video``, ``description`` and ``times``: pairs of first and last step."""

    name = "didemo"

    def recognises(self, content: Content) -> bool:
        """Whether its first entry has these three."""
        value = content.value
        first = value[0] if isinstance(value, list) and value else None
        return isinstance(first, dict) and {"video", "description", "times"} <= first.keys()

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query for each description; its moment is the one that most people named."""
        refuse_split(split)
        for where, entry in entries(content.value, "the list"):
            record = mapping(entry, where)
            named = Counter(_steps(time, at) for at, time in entries(record.get("times"), where))
            if not named:
                raise bad(where, "has no times")
            (first, last), _ = named.most_common(1)[0]
            seconds = span(first * STEP_S, (last + 1) * STEP_S, where)
            video = Wanted(media_name(record.get("video"), where), *seconds)
            yield Query(words(record, "description", where), (video,))


def _steps(time: Any, where: str) -> tuple[int, int]:
    if isinstance(time, list) and len(time) == 2 and all(type(step) is int for step in time):
        return time[0], time[1]
    raise bad(where, "is no pair of steps")
