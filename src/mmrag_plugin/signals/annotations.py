"""Read what people and programs write about a media in the fields of one record."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from mmrag_plugin.media import Signal, kind_of
from mmrag_plugin.people import people_signals
from mmrag_plugin.signals.plain_text import plain_text

FILE_FIELDS = frozenset(
    "file filename filepath path image imagefile imagename imagepath img imgname photo picture "
    "media video videoname sourcefile".split()
)
_TEXT_FIELDS = (
    "title headline caption captions caption1 caption2 caption3 caption4 caption5 description "
    "imagedescription captionabstract text texts sentences comment usercomment alt alttext label"
).split()
_LIST_FIELDS = (
    "keywords keyword tags tag subject subjects labels places location city state country"
).split()
_PEOPLE_FIELDS = "people persons faces personinimage".split()
WORD_FIELDS = frozenset([*_TEXT_FIELDS, *_LIST_FIELDS, *_PEOPLE_FIELDS])

_INNER_FIELDS = ("name", "raw", "text", "caption", "value")
_SEPARATOR = re.compile(r"\s*[;|\n]\s*")


def field_name(name: object) -> str:
    """Fold the many ways to write a field: ``File Name``, ``file_name`` and ``fileName``."""
    return re.sub(r"[\W_]", "", str(name)).casefold()


def annotations_of(record: Mapping[str, object]) -> Iterator[Signal]:
    """Give ``annotation`` signals: each title, caption and text by itself, each list as one.

    People of all fields stand together.
    """
    fields = {field_name(name): value for name, value in record.items()}
    for name in _TEXT_FIELDS:
        for text in _texts(fields.get(name)):
            # Google Takeout puts the file's name where the title belongs; see takeout.py
            if not (name == "title" and kind_of(text)):
                yield Signal("annotation", text)
    for name in _LIST_FIELDS:
        listed = _parts(fields.get(name))
        if words := plain_text(", ".join(listed)):
            yield Signal("annotation", words, tags=_tags(fields.get(name), listed))
    yield from people_signals(part for name in _PEOPLE_FIELDS for part in _parts(fields.get(name)))


def file_of(record: Mapping[str, object]) -> str | None:
    """Say which file a record is about, as written; None when no field says so."""
    for name, value in record.items():
        if field_name(name) in FILE_FIELDS and isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _parts(value: object) -> list[str]:
    parts = (part for text in _texts(value) for part in _SEPARATOR.split(text))
    return [part for part in parts if part]


def _tags(value: object, listed: list[str]) -> tuple[str, ...]:
    """The items of a list as they are; where one text holds them, commas are between them."""
    if isinstance(value, list):
        return tuple(listed)
    return tuple(name for part in listed for name in part.split(","))


def _texts(value: object) -> list[str]:
    """Read a text, a list of texts, or records that hold a name or a text."""
    if isinstance(value, list):
        return [text for item in value for text in _texts_of_item(item)]
    return _texts_of_item(value)


def _texts_of_item(item: object) -> list[str]:
    if isinstance(item, Mapping):
        item = next((item[key] for key in _INNER_FIELDS if isinstance(item.get(key), str)), None)
    text = plain_text(item) if isinstance(item, str) else ""
    return [text] if text else []
