"""Look through a library by years, places, folders and names: counted by the ledger alone."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, get_args

from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.folder_names import folders_called, folders_named
from mmrag_plugin.ledger_facets import PERIODS, Facet
from mmrag_plugin.marks import folded

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger, MediaRow

__all__ = ["FACETS", "Facet", "FacetValue", "Facets", "MediaPage", "count_by", "page_of"]

FACETS: tuple[Facet, ...] = get_args(Facet)
MAX_EXAMPLES = 20
_MARKS = ("person", "tag", "album")
_SEVERAL = ("place", "city", "region")  # several of one name, which the rest of the label tells
_MOST_FOLDERS = 100  # of one name, in one statement
_PERIOD = re.compile(r"\d{4}(-\d{2}(-\d{2})?)?")
_CURSOR = re.compile(r"([0-9TZ:+.-]{0,40})\|([0-9a-f]{1,32}(?:-\d{1,9})?)")


@dataclass(frozen=True)
class FacetValue:
    """One value of a facet, and how many media have it.

    ``value`` is what ``page_of`` takes, ``label`` how people call it. ``media_ids`` are the newest
    of them, if any were asked for.
    """

    value: str
    label: str
    count: int
    media_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facets:
    """The values of a facet among the media that pass.

    ``total`` is how many media pass, ``without`` how many of them have no value, ``distinct`` how
    many values there are, of which ``values`` may be a part. A media may have several values.
    """

    by: Facet
    values: list[FacetValue]
    distinct: int
    total: int
    without: int

    def as_dict(self) -> dict[str, object]:
        """The shape that ``--json`` prints."""
        return {
            "by": self.by,
            "values": [
                {
                    "value": item.value,
                    "label": item.label,
                    "count": item.count,
                    **({"media_ids": list(item.media_ids)} if item.media_ids else {}),
                }
                for item in self.values
            ],
            "distinct": self.distinct,
            "total": self.total,
            "without": self.without,
        }


@dataclass(frozen=True)
class MediaPage:
    """Some media in the order of their dates; ``next`` asks for those after them, if any are."""

    media: list[MediaRow]
    total: int
    next: str | None = None


def count_by(
    ledger: Ledger,
    by: Facet,
    filters: Filters | None = None,
    *,
    folder: str | None = None,
    limit: int = 100,
    offset: int = 0,
    examples: int = 0,
) -> Facets:
    """Count the media that pass by the values of a facet; periods newest first, others by count.

    By ``folder`` the library's own folders are counted, or those inside ``folder`` (a value that
    was given before), each with all below it. ``examples`` asks for so many media of each value.
    Raises UsageError for an unknown facet, an impossible filter and a number out of bounds.
    """
    _check(by)
    if limit < 1 or offset < 0 or not 0 <= examples <= MAX_EXAMPLES:
        raise UsageError(
            f"limit {limit}, offset {offset} or examples {examples} makes no sense.",
            f"Ask for 1 value or more, from the 0th on, with up to {MAX_EXAMPLES} examples.",
        )
    where = replace(filters or Filters(), generated=True).resolve(ledger)
    places = _places(ledger, folder) if folder and by == "folder" else ()
    counts, total, without = ledger.facet_counts(by, where, places)
    if by in PERIODS:
        order = sorted(counts, reverse=True)
    else:
        order = sorted(counts, key=lambda value: (-counts[value][1], counts[value][0].casefold()))
    values = []
    for value in order[offset : offset + limit]:
        label, count = counts[value]
        shown: tuple[str, ...] = ()
        if examples:
            shown = tuple(m for m, _ in ledger.media_page(where, by, (value,), limit=examples))
        values.append(FacetValue(value, label, count, shown))
    return Facets(by, values, len(counts), total, without)


def page_of(
    ledger: Ledger,
    filters: Filters | None = None,
    *,
    by: Facet | None = None,
    value: str | None = None,
    limit: int = 50,
    after: str | None = None,
    oldest_first: bool = False,
) -> MediaPage:
    """The media that pass and have a facet's value, in the order of their dates, page by page.

    ``value`` is one that ``count_by`` gave, or as people write it: a label, a name in any case, a
    place without its country (all that are called so).
    ``after`` is the ``next`` of the page before; what came or went meanwhile shifts nothing.
    Raises UsageError for an unknown facet or value and for a mark that is none.
    """
    if limit < 1:
        raise UsageError(f"A limit of {limit} media makes no sense.", "Ask for 1 or more.")
    where = replace(filters or Filters(), generated=True).resolve(ledger)
    exact = () if by is None else _values(ledger, by, value or "")
    began = None if after is None else _read_cursor(after)
    rows = ledger.media_page(
        where, by, exact, limit=limit + 1, after=began, oldest_first=oldest_first
    )
    media = ledger.media_rows([media_id for media_id, _ in rows[:limit]])
    last = rows[limit - 1] if len(rows) > limit else None
    return MediaPage(
        [media[media_id] for media_id, _ in rows[:limit] if media_id in media],
        ledger.media_count(where, by, exact),
        None if last is None else f"{last[1] or ''}|{last[0]}",
    )


def _check(by: str) -> None:
    if by not in FACETS:
        raise UsageError(f"Media are not counted by {by!r}.", f"Choose among {', '.join(FACETS)}.")


def _values(ledger: Ledger, by: Facet, value: str) -> tuple[str, ...]:
    """What somebody means by a value, as the ledger compares it."""
    _check(by)
    if not value:
        raise UsageError(f"Which {by} is meant?", f"Name one: count by {by} lists them.")
    if by in PERIODS:
        if not _PERIOD.fullmatch(value):
            raise UsageError(f"{value!r} is no {by}.", "Write 2019, 2019-05 or 2019-05-20.")
        return (value,)
    if by in _MARKS:
        return (folded(value),)
    if by == "folder":
        return _places(ledger, value)
    counts, _, _ = ledger.facet_counts(by, None)
    if value in counts:
        return (value,)
    wanted = folded(value)
    labels = {known: folded(label) for known, (label, _) in counts.items()}
    named = tuple(known for known, label in labels.items() if label == wanted)
    if not named and by in _SEVERAL:
        named = tuple(known for known, label in labels.items() if label.startswith(f"{wanted},"))
    if not named:
        raise UsageError(f"No media of this library has the {by} {value!r}.", _known(counts))
    return named


def _known(counts: dict[str, tuple[str, int]]) -> str:
    labels = [label for label, _ in sorted(counts.values(), key=lambda item: -item[1])]
    more = ", ..." if len(labels) > 10 else ""
    return f"There are: {', '.join(labels[:10])}{more}." if labels else "There are none."


def _places(ledger: Ledger, folder: str) -> tuple[str, ...]:
    """The paths of folders with media that are meant by a path, a label or a name."""
    if os.path.isabs(folder):  # noqa: PTH117
        return (folder.rstrip(os.sep) or os.sep,)
    roots = ledger.roots()
    for places in folders_named(folder, roots):
        if found := tuple(place for place in places if ledger.media_ids_under(place)):
            return found
    called = ledger.paths_of(sorted(ledger.media_ids_in_folders_called(folder)))
    paths = (path for copies in called.values() for path in copies)
    found = tuple(folders_called(folder, paths, roots))
    if not 0 < len(found) <= _MOST_FOLDERS:
        raise UsageError(
            f"{len(found)} folders are called {folder!r}."
            if found
            else f"No media of this library lies in the folder {folder!r}.",
            "Count by folder to see which there are.",
        )
    return found


def _read_cursor(after: str) -> tuple[str, str]:
    match = _CURSOR.fullmatch(after)
    if match is None:
        raise UsageError(f"{after[:60]!r} marks no page.", "Begin with the first page.")
    return match[1], match[2]
