"""Annotating: what a person writes about their photos and films, checked before it is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.ledger_annotations import Annotation, AnnotationKind
from mmrag_plugin.marks import MAX_NAME_CHARS
from mmrag_plugin.xmp import clean_text

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow

MAX_CAPTION_CHARS = 4_000
MAX_AT_ONCE = 100
_SEPARATORS = re.compile(r"[,;\n]")


@dataclass(frozen=True)
class Annotated:
    """What is recorded of a media now, and what became of a wish.

    ``searchable`` is whether the words are found already; ``note`` says when, if they are not.
    """

    media_id: str
    annotations: list[Annotation]
    added: int
    removed: int
    searchable: bool = True
    note: str = ""

    def as_dict(self) -> dict[str, object]:
        """The shape that ``--json`` prints."""
        return {
            "media_id": self.media_id,
            "annotations": [vars(item) for item in self.annotations],
            "added": self.added,
            "removed": self.removed,
            "searchable": self.searchable,
            "note": self.note,
        }


@dataclass
class Imported:
    """What became of a file of annotations; ``refused`` names lines with the reason."""

    added: int = 0
    known: int = 0
    refused: list[str] = field(default_factory=list)
    searchable: bool = True
    note: str = ""


def checked(
    row: MediaRow,
    captions: Iterable[str] = (),
    tags: Iterable[str] = (),
    people: Iterable[str] = (),
    start_s: float | None = None,
    end_s: float | None = None,
) -> list[Annotation]:
    """The annotations of a media that are meant, cleaned of what no text has.

    A tag with commas is several. Raises UsageError for one that is empty or too long, for a time
    that the media does not have, and for too many at once.
    """
    span = _span(row, start_s, end_s)
    items = [Annotation("caption", _text(text, "caption"), *span) for text in captions]
    names = [name for text in tags for name in _SEPARATORS.split(text)]
    items += [Annotation("tag", _text(name, "tag"), *span) for name in names]
    items += [
        Annotation("person", _text(_SEPARATORS.sub(" ", name), "person"), *span) for name in people
    ]
    if len(items) > MAX_AT_ONCE:
        raise UsageError(
            f"{len(items)} annotations of one media at once are too many.",
            f"Give up to {MAX_AT_ONCE}.",
        )
    return items


def meant(
    known: Sequence[Annotation],
    asked: Sequence[Annotation],
    span: tuple[float | None, float | None],
) -> list[Annotation]:
    """What of the known annotations is to be taken back: what is asked for, or all of a span.

    Without a span all is. Raises UsageError for what is not there.
    """
    if not asked:
        return [item for item in known if span in ((None, None), (item.start_s, item.end_s))]
    there = {item.same for item in known}
    for item in asked:
        if item.same not in there:
            raise UsageError(
                f"There is no {item.kind} {item.text!r} of yours to take back.",
                "See what is recorded: mmrag annotate MEDIA, without anything else.",
            )
    return list(asked)


def _span(
    row: MediaRow, start_s: float | None, end_s: float | None
) -> tuple[float | None, float | None]:
    if start_s is None and end_s is None:
        return None, None
    if row.kind != "video":
        raise UsageError("A photo has no times.", "Leave the times out, or name a film.")
    first = 0.0 if start_s is None else start_s
    last = first if end_s is None else end_s
    length_s = math.inf if row.duration_s is None else row.duration_s
    if not (math.isfinite(first) and math.isfinite(last) and 0 <= first <= last <= length_s + 1):
        raise UsageError(
            f"The film has no part from {first:g} to {last:g} seconds.",
            f"It is {length_s:g} seconds long." if math.isfinite(length_s) else "",
        )
    return round(first, 3), round(last, 3)


def _text(text: str, kind: AnnotationKind) -> str:
    cleaned = clean_text(text)
    limit = MAX_CAPTION_CHARS if kind == "caption" else MAX_NAME_CHARS
    if not any(char.isalnum() for char in cleaned):
        raise UsageError(f"The {kind} {text[:40]!r} says nothing.", "Write some words.")
    if len(cleaned) > limit:
        raise UsageError(
            f"The {kind} {cleaned[:40]!r}... has {len(cleaned)} characters.",
            f"Write up to {limit}.",
        )
    try:
        cleaned.encode()
    except UnicodeEncodeError:
        raise UsageError(f"The {kind} {cleaned[:40]!r} is no valid text.") from None
    return cleaned
