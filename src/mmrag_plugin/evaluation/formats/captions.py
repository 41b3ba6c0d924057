"""Captions by file, as with Flickr8k: every caption is a query that its photo answers.

As JSON ``{"a.jpg": ["a dog runs", ...]}`` or ``[{"file_name": "a.jpg", "caption": "a dog runs"}]``,
as ``Flickr8k.token.txt`` (``a.jpg#0<tab>a dog runs``) or as a CSV ``image,caption``.
"""

from __future__ import annotations

import re
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
    words,
)

_TOKEN_LINE = re.compile(r"(?P<name>[^\t]+?)#\d+\t(?P<caption>.*)")
_NAMES = ("file_name", "filename", "file", "image", "path")


class Captions(SetFormat):
    """Captions of photos, by the names of their files."""

    name = "captions"

    def recognises(self, content: Content) -> bool:
        """Whether it maps names to captions, lists both, or has lines or a table of them."""
        value = content.value
        if isinstance(value, dict):
            return bool(value) and all(_are_captions(item) for item in value.values())
        if isinstance(value, list):
            first = value[0] if value else None
            return isinstance(first, dict) and "caption" in first and bool(first.keys() & {*_NAMES})
        return _is_table(content) or _is_tokens(content)

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query for each caption."""
        refuse_split(split)
        found: _Found
        if _is_table(content):
            found = ((w, row.get("image"), row.get("caption")) for w, row in content.table())
        elif isinstance(content.value, dict):
            found = _by_name(content.value)
        elif isinstance(content.value, list):
            found = _listed(content.value)
        else:
            found = _token_lines(content)
        for where, name, caption in found:
            yield Query(
                words({"caption": caption}, "caption", where), (Wanted(_name(name, where)),)
            )


_Found = Iterator[tuple[str, Any, Any]]


def _name(name: Any, where: str) -> str:
    return media_name(name, where)


def _by_name(value: dict[str, Any]) -> _Found:
    for number, (name, captions) in enumerate(value.items(), 1):
        for caption in captions if isinstance(captions, list) else [captions]:
            yield f"file {number}", name, caption


def _listed(value: list[Any]) -> _Found:
    for where, entry in entries(value, "the list"):
        record = mapping(entry, where)
        name = next((record[key] for key in _NAMES if key in record), None)
        yield where, name, record.get("caption")


def _token_lines(content: Content) -> _Found:
    for at, line in content.lines:
        found = _TOKEN_LINE.fullmatch(line.rstrip("\r"))
        if found is None:
            raise bad(f"line {at}", "is not NAME#NUMBER, a tab and a caption")
        yield f"line {at}", found["name"], found["caption"]


def _are_captions(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _is_table(content: Content) -> bool:
    return [cell.strip() for cell in content.header[:2]] == ["image", "caption"]


def _is_tokens(content: Content) -> bool:
    first = content.lines[0][1].rstrip("\r") if content.lines else ""
    return _TOKEN_LINE.fullmatch(first) is not None
