"""The tags, people and albums that media are marked with, out of what is said of them.

Files and programs write keywords, names and albums into one kind of text, an ``annotation``. Where
that is a list, its items are the tags, however long. In a text that nobody called a list, what is
short enough is one: ``beach, summer`` are two tags, a sentence is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from mmrag_plugin.media import Signal
from mmrag_plugin.people import people_in

# ``part`` is what stands beside longer texts, in a list's item or in a caption: too vague to be
# counted as a tag, but nobody who hides a tag wants such a media shown.
MarkKind = Literal["tag", "person", "album", "part"]

GENERATED = "mmrag generated"  # the tag of pictures that mmrag had a model make
MAX_NAME_CHARS = 60  # of a tag or a person that somebody writes with mmrag
_ALBUM = "Album: "
_PEOPLE = "People: "
_MAX_CHARS = 60
_MAX_WORDS = 4
_MAX_FOLDED_CHARS = 200
_MAX_TAGS = 1_000  # of one list


@dataclass(frozen=True)
class Mark:
    """A name that a media is marked with; ``folded`` is how it is compared."""

    kind: MarkKind
    name: str

    @property
    def folded(self) -> str:
        """The name whatever its case and spaces."""
        return folded(self.name)


def folded(name: str) -> str:
    """A name as names are compared: whatever their case, with single spaces, and cut to bounds."""
    return " ".join(name.casefold().split())[:_MAX_FOLDED_CHARS].rstrip()


def marks_of(signals: Iterable[Signal]) -> list[Mark]:
    """The marks in what is said of a media, each name once."""
    found: dict[tuple[str, str], Mark] = {}
    for mark in _marks(list(signals)):
        if mark.folded:
            found.setdefault((mark.kind, mark.folded), mark)
    return list(found.values())


def _marks(signals: list[Signal]) -> Iterator[Mark]:
    for signal in signals:
        listed = signal.tags is not None
        if signal.source != "annotation" or (signal.text.startswith(_PEOPLE) and not listed):
            continue
        if signal.text.startswith(_ALBUM) and not listed:
            yield Mark("album", signal.text.removeprefix(_ALBUM).strip()[:200])
            continue
        parts = [part.strip() for part in signal.text.replace("\n", ",").split(",")]
        short = [part for part in parts if _is_short(part)]
        if signal.tags is None:
            kind: MarkKind = "tag" if len(short) == len(parts) else "part"
            yield from (Mark(kind, part) for part in short)
            continue
        tags = [Mark("tag", name.strip()) for name in signal.tags[:_MAX_TAGS]]
        known = {tag.folded for tag in tags}
        yield from tags
        yield from (Mark("part", part) for part in short if folded(part) not in known)
    yield from (Mark("person", name) for name in people_in(signals))


def _is_short(text: str) -> bool:
    return 0 < len(text) <= _MAX_CHARS and len(text.split()) <= _MAX_WORDS and text[-1] not in ".!?"
