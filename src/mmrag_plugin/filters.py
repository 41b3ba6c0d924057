"""What a search is restricted to, in a person's terms, and what the ledger makes of it."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.folder_names import folders_named
from mmrag_plugin.marks import GENERATED
from mmrag_plugin.media import Kind
from mmrag_plugin.metadata import RowFilter
from mmrag_plugin.walking import expand, is_encodable, real_path

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

_DATE = re.compile(r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2}))?)?")
_DAY = re.compile(r"(\d{1,2})-(\d{1,2})")


@dataclass(frozen=True)
class Filters:
    """Restrictions of a search; all that are set must hold.

    ``since`` and ``until`` are dates, ``2019``, ``2019-05`` or ``2019-05-20``, both inclusive to
    their end. ``folder`` is an absolute path, or a path or name of a folder inside the library's.
    ``camera`` is part of a camera's name. ``has_text`` asks for text in the picture, or for none.
    ``yearly`` is a span of days in any year, ``("12-20", "01-06")``. ``near`` and ``people`` are
    names that stand in a folder's or file's name, in what the file says of itself or in what
    somebody wrote about it; ``phrases`` stand word for word in any text about it. ``tags`` are
    keywords. ``leave_out`` are ids of media. ``generated`` lets pictures in that mmrag had a model
    make; the tag of these does, too. ``inside`` is the id of the one media that is searched.
    """

    kind: Kind | None = None
    since: str | None = None
    until: str | None = None
    folder: str | None = None
    camera: str | None = None
    has_text: bool | None = None
    leave_out: frozenset[str] = frozenset()
    near: str | None = None
    people: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    yearly: tuple[str, str] | None = None
    tags: tuple[str, ...] = ()
    generated: bool | None = None
    inside: str | None = None

    def resolve(self, ledger: Ledger) -> RowFilter | None:
        """Turn the restrictions into one on rows; None when there is none.

        Raises UsageError for a date that is none, and a folder, camera or name that the library
        doesn't know.
        """
        generated = frozenset[str]()
        if not self.generated and GENERATED not in self.tags and not self.inside:
            generated = ledger.media_ids_marked("tag", GENERATED)
        if not generated and self in (Filters(), Filters(generated=True)):
            return None
        if self.since and self.until and _first_second(self.since) > _last_second(self.until):
            raise UsageError(
                f"Nothing was taken since {self.since} and until {self.until}.", "Swap the dates."
            )
        left_out = self.leave_out | generated
        allowed = list(self._allowed(ledger))
        if self.has_text is not None:
            with_text = ledger.media_ids_with_text()
            if self.has_text:
                allowed.append(with_text)
            else:
                left_out |= with_text
        only: frozenset[str] | None = None
        if allowed:
            only, left_out = allowed[0].intersection(*allowed) - left_out, frozenset()
        return RowFilter(
            kind=self.kind,
            taken_from_s=None if self.since is None else _first_second(self.since),
            taken_to_s=None if self.until is None else _last_second(self.until),
            cameras=None if self.camera is None else self._cameras(ledger),
            media_ids=only,
            not_media_ids=left_out or None,
        )

    def _allowed(self, ledger: Ledger) -> Iterator[frozenset[str]]:
        """The media that pass each restriction that only the ledger can tell."""
        if self.inside:
            if not (is_encodable(self.inside) and ledger.media_rows([self.inside])):
                raise UsageError(
                    f"There is no media {self.inside!r} in this library.",
                    "Take an id that a search showed.",
                )
            yield frozenset({self.inside})
        if self.folder:
            yield self._media_in_folder(ledger)
        if self.yearly:
            first, last = map(_day_of_year, self.yearly)
            yield ledger.media_ids_in_season(first, last)
        for name in (*([self.near] if self.near else []), *self.people):
            named = ledger.media_ids_named(name)
            if not named:
                raise UsageError(
                    f"Nothing in this library is marked with the name {name!r}.",
                    "Names come from folders, files, keywords and captions beside the media.",
                )
            yield named
        for tag in self.tags:
            tagged = ledger.media_ids_marked("tag", tag)
            if not tagged:
                raise UsageError(
                    f"Nothing in this library has the tag {tag!r}.", "mmrag facets tag lists them."
                )
            yield tagged
        for phrase in self.phrases:
            yield ledger.media_ids_quoting(phrase)

    def _cameras(self, ledger: Ledger) -> tuple[str, ...]:
        found = ledger.cameras_like(self.camera or "")
        if not found:
            known = ", ".join(name for name in ledger.cameras_like("") if name)
            raise UsageError(
                f"No camera of this library has {self.camera!r} in its name.",
                f"There are: {known}." if known else "No media names a camera.",
            )
        return found

    def _media_in_folder(self, ledger: Ledger) -> frozenset[str]:
        folder = expand(self.folder or "")
        roots = ledger.roots()
        places = [real_path(folder), *(str(Path(root) / folder) for root in roots)]
        found = frozenset[str]().union(*(ledger.media_ids_under(place) for place in places))
        if not found:
            found = ledger.media_ids_in_folders_called(self.folder or "")
        if not found:  # as the counts by folder call it, where two of the library's have one name
            named = next(folders_named(self.folder or "", roots))
            found = frozenset[str]().union(*(ledger.media_ids_under(place) for place in named))
        if not found:
            raise UsageError(
                f"No media of this library lies in the folder {self.folder}.",
                "Name a folder that was indexed, or one inside it: mmrag status lists them.",
            )
        return found


def _day_of_year(day: str) -> str:
    """A day as MM-DD; 02-29 is one. Raises UsageError."""
    match = _DAY.fullmatch(day.strip())
    try:
        if match is None:
            raise ValueError
        return f"{datetime(2000, int(match[1]), int(match[2]), tzinfo=timezone.utc):%m-%d}"
    except ValueError:
        raise UsageError(f"{day!r} is not a day of the year.", "Write 06-21.") from None


def _first_second(date: str) -> int:
    return int(_parse(date)[0].timestamp())


def _last_second(date: str) -> int:
    return int(_parse(date)[1].timestamp())


def _parse(date: str) -> tuple[datetime, datetime]:
    """The first and the last second of a date."""
    match = _DATE.fullmatch(date.strip())
    try:
        if match is None:
            raise ValueError
        year, month, day = int(match[1]), int(match[2] or 1), int(match[3] or 1)
        first = datetime(year, month, day, tzinfo=timezone.utc)
    except ValueError:
        raise UsageError(f"{date!r} is not a date.", "Write 2019, 2019-05 or 2019-05-20.") from None
    if match[3]:
        days = 1
    elif match[2]:
        days = calendar.monthrange(year, month)[1]
    else:
        days = 366 if calendar.isleap(year) else 365
    return first, first + timedelta(days=days, seconds=-1)
