"""The ledger counted: how many media each year, place, folder or name has, and which those are.

A restriction on rows (``RowFilter``) becomes conditions of the database; only sets of ids, which
may be longer than a statement, are compared here.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.folder_names import folder_name, root_names
from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.ledger_media import under
from mmrag_plugin.ledger_tables import marks, media, paths, places, roots
from mmrag_plugin.metadata import NO_DATE_S, RowFilter, camera_column

Facet = Literal[
    "year",
    "month",
    "day",
    "place",
    "country",
    "region",
    "city",
    "folder",
    "kind",
    "camera",
    "person",
    "tag",
    "album",
]
PERIODS = {"year": 4, "month": 7, "day": 10}  # letters of a date that name one
_PLACES: dict[str, tuple[str, ...]] = {
    "country": ("country",),
    "region": ("region", "country"),
    "city": ("city", "region", "country"),
    "place": ("city", "region", "country"),
}
_MARKS = ("person", "tag", "album")
_LAST_SECOND = datetime.max.replace(tzinfo=timezone.utc, microsecond=0).timestamp()
Counts = dict[str, tuple[str, int]]  # a value: how it is shown, and how many media have it


class FacetLines:
    """Counts and pages of media; every method is one short transaction."""

    _database: LedgerDatabase

    def facet_counts(
        self, by: Facet, where: RowFilter | None, folders: Sequence[str] = ()
    ) -> tuple[Counts, int, int]:
        """Count the media that pass by a facet's values; in all, and those without a value.

        By folder it counts what lies in the folders inside ``folders`` (in the library's own
        folders without any), at whatever depth.
        """
        with self._database.reading() as connection:
            passing = _Passing(connection, where)
            total = passing.count()
            if by == "folder":
                known = connection.scalars(sa.select(roots.c.path))
                counts, valued = _by_folder(passing, folders, root_names(known))
            elif by in _MARKS:
                counts, valued = _by_mark(passing, by)
            else:
                counts, valued = _by_column(passing, by)
        return counts, total, total - valued

    def media_page(
        self,
        where: RowFilter | None,
        by: Facet | None = None,
        values: Sequence[str] = (),
        *,
        limit: int,
        after: tuple[str, str] | None = None,
        oldest_first: bool = False,
    ) -> list[tuple[str, str | None]]:
        """Media that pass and have one of a facet's values, with their dates, newest first.

        ``after`` is the date (empty for none) and the id of the media before; those without a date
        come last.
        """
        taken, media_id = media.c.taken_at, media.c.media_id
        query = sa.select(media_id, taken)
        if by is not None:
            query = query.where(_has(by, values))
        if oldest_first:
            query = query.order_by(taken.asc().nulls_last(), media_id.asc())
        else:
            query = query.order_by(taken.desc().nulls_last(), media_id.desc())
        if after is not None:
            query = query.where(_behind(*after, oldest_first=oldest_first))
        with self._database.reading() as connection:
            passing = _Passing(connection, where)
            if not passing.by_ids:
                query = query.limit(limit)
            found: list[tuple[str, str | None]] = []
            for row in passing.rows(query):
                found.append((row[0], row[1]))
                if len(found) == limit:
                    break
        return found

    def media_count(
        self, where: RowFilter | None, by: Facet | None = None, values: Sequence[str] = ()
    ) -> int:
        """How many media pass and have one of a facet's values."""
        with self._database.reading() as connection:
            return _Passing(connection, where).count(None if by is None else _has(by, values))


class _Passing:
    """The media that pass a restriction, in one transaction."""

    def __init__(self, connection: Connection, where: RowFilter | None) -> None:
        self._connection = connection
        where = where or RowFilter()
        self._only, self._not = where.media_ids, where.not_media_ids or frozenset()
        self.by_ids = self._only is not None or bool(self._not)
        self._conditions = list(_conditions(connection, where))

    def rows(self, query: sa.Select[Any]) -> Iterator[Any]:
        """The rows of a query over media that pass; each begins with the id of its media."""
        for row in self._connection.execute(query.where(*self._conditions)):
            if (self._only is None or row[0] in self._only) and row[0] not in self._not:
                yield row

    def count(self, condition: sa.ColumnElement[bool] | None = None) -> int:
        """How many there are, of those that a condition holds for."""
        wanted = () if condition is None else (condition,)
        if self.by_ids:
            return sum(1 for _ in self.rows(sa.select(media.c.media_id).where(*wanted)))
        query = sa.select(sa.func.count()).select_from(media).where(*self._conditions, *wanted)
        return self._connection.scalar(query) or 0

    def counts(self, key: sa.ColumnElement[str]) -> Counter[str]:
        """How many there are of each value of a column of media or of what is joined to them."""
        source = media.outerjoin(places, places.c.media_id == media.c.media_id)
        if self.by_ids:
            query = sa.select(media.c.media_id, key).select_from(source)
            return Counter(row[1] for row in self.rows(query))
        grouped = sa.select(key, sa.func.count()).select_from(source).where(*self._conditions)
        found = self._connection.execute(grouped.group_by(key))
        return Counter({value: count for value, count in found})


def _conditions(connection: Connection, where: RowFilter) -> Iterator[sa.ColumnElement[bool]]:
    if where.kind is not None:
        yield media.c.kind == where.kind
    if where.taken_from_s is not None or where.taken_to_s is not None:
        yield media.c.taken_at.is_not(None)
        if where.taken_from_s is not None and where.taken_from_s > NO_DATE_S:
            yield media.c.taken_at >= _clock(where.taken_from_s)
        if where.taken_to_s is not None:
            # an offset stands behind the seconds; "z" sorts behind it in every collation
            yield media.c.taken_at <= _clock(where.taken_to_s) + "z"
    if where.cameras is not None:
        known = connection.scalars(sa.select(media.c.camera).distinct())
        yield media.c.camera.in_([name for name in known if camera_column(name) in where.cameras])


def _clock(seconds: int) -> str:
    moment = datetime.fromtimestamp(min(seconds, _LAST_SECOND), timezone.utc)
    return moment.replace(tzinfo=None).isoformat()


def _by_column(passing: _Passing, by: Facet) -> tuple[Counts, int]:
    counts = passing.counts(_key(by))
    named = {value: count for value, count in counts.items() if value}
    shown = {value: (_shown(by, value), count) for value, count in named.items()}
    return shown, sum(named.values())


def _by_mark(passing: _Passing, kind: str) -> tuple[Counts, int]:
    query = sa.select(media.c.media_id, marks.c.folded, marks.c.name).join_from(
        media, marks, sa.and_(marks.c.media_id == media.c.media_id, marks.c.kind == kind)
    )
    having: dict[str, set[str]] = defaultdict(set)
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for media_id, folded, name in passing.rows(query):
        having[folded].add(media_id)
        spellings[folded][name] += 1
    shown = {
        folded: (min(spellings[folded].items(), key=lambda item: (-item[1], item[0]))[0], len(ids))
        for folded, ids in having.items()
    }
    return shown, len(set().union(*having.values())) if having else 0


def _by_folder(
    passing: _Passing, folders: Sequence[str], names: dict[str, str]
) -> tuple[Counts, int]:
    query = sa.select(media.c.media_id, paths.c.path, paths.c.root).join_from(
        media, paths, paths.c.media_id == media.c.media_id
    )
    if folders:
        query = query.where(sa.or_(*map(under, folders)))
    places = [(folder, folder.rstrip(os.sep) + os.sep) for folder in folders]
    having: dict[str, set[str]] = defaultdict(set)
    labels: dict[str, str] = {}
    for media_id, path, root in passing.rows(query):
        own = os.path.dirname(path) if path == root else root  # noqa: PTH120
        inside = own
        for folder, above in places:
            if path.startswith(above):
                name, slash, _ = path[len(above) :].partition(os.sep)
                inside = above + name if slash else folder
                break
        having[inside].add(media_id)
        if inside not in labels:
            labels[inside] = folder_name(inside, own, names)
    shown = {place: (labels[place], len(ids)) for place, ids in having.items()}
    return shown, len(set().union(*having.values())) if having else 0


def _key(by: Facet) -> sa.ColumnElement[str]:
    if by in PERIODS:
        return sa.func.substr(media.c.taken_at, 1, PERIODS[by])
    if by in _PLACES:
        names = [places.c[level] for level in _PLACES[by]]
        joined: sa.ColumnElement[str] = names[0]
        for name in names[1:]:
            joined = joined + "|" + name
        named = places.c.country != "" if by == "place" else names[0] != ""
        return sa.case((named, joined), else_="")
    return media.c.kind if by == "kind" else media.c.camera


def _shown(by: Facet, value: str) -> str:
    return ", ".join(dict.fromkeys(filter(None, value.split("|")))) if by in _PLACES else value


def _has(by: Facet, values: Sequence[str]) -> sa.ColumnElement[bool]:
    """The condition that a media has one of a facet's values."""
    return sa.or_(*(_is(by, value) for value in values))


def _is(by: Facet, value: str) -> sa.ColumnElement[bool]:
    if by in PERIODS:  # as a span of text, which the index on dates knows
        return sa.and_(media.c.taken_at >= value, media.c.taken_at < value + "z")
    if by == "folder":
        return media.c.media_id.in_(sa.select(paths.c.media_id).where(under(value)))
    if by in _MARKS:
        named = sa.and_(marks.c.kind == by, marks.c.folded == value)
        return media.c.media_id.in_(sa.select(marks.c.media_id).where(named))
    if by in _PLACES:
        named = _key(by) == value
        return media.c.media_id.in_(sa.select(places.c.media_id).where(named))
    return _key(by) == value


def _behind(taken_at: str, media_id: str, *, oldest_first: bool) -> sa.ColumnElement[bool]:
    """The condition that a media comes after another in the order of a page."""
    taken, key = media.c.taken_at, media.c.media_id
    later = key > media_id if oldest_first else key < media_id
    if not taken_at:
        return sa.and_(taken.is_(None), later)
    beyond = taken > taken_at if oldest_first else taken < taken_at
    return sa.or_(beyond, sa.and_(taken == taken_at, later), taken.is_(None))
