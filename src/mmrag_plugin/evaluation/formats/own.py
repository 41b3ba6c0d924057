"""Our own format: JSON lines, one query each.

    {"query": "a dog in the snow", "relevant": ["dog.jpg"]}
    {"query": "the goal", "relevant": [{"media": "match.mp4", "start_s": 61, "end_s": 66}]}
    {"query": "a zebra", "relevant": []}

``relevant`` names media by id, path or file name, with a ``grade`` from 1 up where some fit better.
An empty list says that nothing in the library answers the query.
"""

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
    mapping,
    media_name,
    span,
    words,
)

MAX_GRADE = 100


class OwnLines(SetFormat):
    """``query`` and ``relevant``, one a line."""

    name = "mmrag"

    def recognises(self, content: Content) -> bool:
        """Whether the first line says ``query`` and ``relevant``."""
        return isinstance(content.first, dict) and {"query", "relevant"} <= content.first.keys()

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """One query a line."""
        for where, record in content.records():
            if split is not None and record.get("split") != split:
                continue
            relevant = entries(record.get("relevant"), f"{where}, relevant")
            wanted = tuple(_wanted(entry, at) for at, entry in relevant)
            yield Query(words(record, "query", where), wanted)


def _wanted(entry: Any, where: str) -> Wanted:
    if not isinstance(entry, dict):
        return Wanted(media_name(entry, where))
    named = mapping(entry, where)
    grade = named.get("grade", 1)
    if not isinstance(grade, int) or isinstance(grade, bool) or not 1 <= grade <= MAX_GRADE:
        raise bad(where, f"has a grade that is no whole number from 1 to {MAX_GRADE}")
    media = media_name(named.get("media", named.get("path")), where)
    if named.get("start_s") is None and named.get("end_s") is None:
        return Wanted(media, grade=grade)
    return Wanted(media, *span(named.get("start_s"), named.get("end_s"), where), grade)
