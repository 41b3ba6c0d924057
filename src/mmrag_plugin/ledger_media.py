"""The ledger's lines about media: their paths, their facts, and what they are filtered by."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_annotations import annotations_edited, give_back_annotations
from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_hidden_contents import hide_again, keep_hidden
from mmrag_plugin.ledger_looks import outdate_groups
from mmrag_plugin.ledger_pixels import drop_set_aside, put_aside
from mmrag_plugin.ledger_tables import (
    WRITING,
    WRITTEN,
    annotated,
    date_sources,
    groups,
    looks,
    marks,
    media,
    paths,
    pixels,
    places,
    read_anew,
    shots,
    signals,
    signals_aside,
    sounding,
    stages,
    stages_aside,
)
from mmrag_plugin.ledger_words import count_terms
from mmrag_plugin.media import Kind, Stage
from mmrag_plugin.metadata import camera_column

_ROWS = 1000  # fetched at once: one by one takes twice as long, all together memory
_ABOUT_MEDIA = (
    signals_aside,
    stages_aside,
    pixels,
    annotated,
    groups,
    looks,
    shots,
    sounding,
    date_sources,
    places,
    marks,
    signals,
    stages,
    paths,
    media,
)

# Statements about each file, put together once: that takes longer than to execute them.
_WITH_HASH = (
    sa.select(media.c.media_id, paths.c.path)
    .outerjoin_from(media, paths)
    .where(media.c.content_hash == sa.bindparam("same"), media.c.kind == sa.bindparam("of_kind"))
    .order_by(media.c.media_id, paths.c.path)
)
_WITH_ID = sa.select(media.c.media_id).where(media.c.media_id == sa.bindparam("wanted"))
_MINT = media.insert()


# What tells of a file, without a look into it, that it is as it was: size in bytes, time in
# nanoseconds, sidecar stamp. A plain tuple, for a scan holds one of each file.
Seen = tuple[int, int, str]


class KnownPath(NamedTuple):
    """What the ledger knows about one file on disk."""

    path: str
    media_id: str
    size_bytes: int
    mtime_ns: int
    sidecar_stamp: str
    content_hash: str

    @property
    def seen(self) -> Seen:
        """How the file was seen last."""
        return self.size_bytes, self.mtime_ns, self.sidecar_stamp


@dataclass(frozen=True)
class MediaRow:
    """What the ledger knows about one media; ``path`` is the first of its paths."""

    media_id: str
    kind: Kind
    path: str
    root: str
    taken_at: str | None
    camera: str
    width_px: int
    height_px: int
    duration_s: float | None
    latitude: float | None
    longitude: float | None


class MediaLines:
    """What is known about media and where they lie; every method is one short transaction."""

    _database: LedgerDatabase

    def known_paths(self, root: str) -> dict[str, KnownPath]:
        """All known files at or under a folder, by path."""
        with self._database.reading() as connection:
            rows = connection.execute(_known_query().where(under(root)))
            return {row.path: KnownPath(*row) for row in rows}

    def seen_paths(self, root: str) -> dict[str, Seen]:
        """All files at or under a folder as they were last seen, by path."""
        seen = paths.c.size_bytes, paths.c.mtime_ns, paths.c.sidecar_stamp
        query = sa.select(paths.c.path, *seen).where(under(root))
        with self._database.reading() as connection:
            parts = connection.execute(query).partitions(_ROWS)
            return {row[0]: (row[1], row[2], row[3]) for part in parts for row in part}

    def known_files(self, files: Iterable[str]) -> dict[str, KnownPath]:
        """Those of some files that are known, by path; one query for many."""
        found: dict[str, KnownPath] = {}
        with self._database.reading() as connection:
            for batch in batches(files):
                rows = connection.execute(_known_query().where(paths.c.path.in_(batch)))
                found.update((row.path, KnownPath(*row)) for row in rows)
        return found

    def media_with_hash(self, content_hash: str, kind: Kind) -> dict[str, list[str]]:
        """The media of a kind with exactly this content, each with its known paths."""
        found: dict[str, list[str]] = {}
        with self._database.reading() as connection:
            same = {"same": content_hash, "of_kind": kind}
            for media_id, path in connection.execute(_WITH_HASH, same):
                found.setdefault(media_id, []).extend([path] if path else [])
        return found

    def mint(self, content_hash: str, kind: Kind) -> str:
        """Enter a new media and return its id.

        The id begins as the hash of the content at first sight, so two runs over the same files
        agree; it stays when the content changes, and then a twin of the old content gets a suffix.
        """
        with self._database.writing() as connection:
            base = content_hash[:16]
            media_id, number = base, 2
            while connection.scalar(_WITH_ID, {"wanted": media_id}):
                media_id, number = f"{base}-{number}", number + 1
            row = {"media_id": media_id, "kind": kind, "content_hash": content_hash}
            connection.execute(_MINT, row)
            give_back_annotations(self._database, connection, media_id, content_hash)
            hide_again(self._database, connection, media_id, content_hash)
            return media_id

    def put_path(self, known: KnownPath, root: str) -> None:
        """Enter a path, or bring what is known about it up to date."""
        row = {
            "path": known.path,
            "media_id": known.media_id,
            "root": root,
            "size_bytes": known.size_bytes,
            "mtime_ns": known.mtime_ns,
            "sidecar_stamp": known.sidecar_stamp,
        }
        with self._database.writing() as connection:
            self._database.upsert(connection, paths, row, ["path"])

    def _adopt(self, connection: Connection, root: str, inside: sa.ColumnElement[bool]) -> None:
        """Enter what lies inside a root as found under it; its words change with that."""
        strangers = sa.and_(inside, paths.c.root != root)
        here = sa.select(paths.c.media_id).where(strangers)
        connection.execute(read_anew().where(stages.c.media_id.in_(here)))
        connection.execute(paths.update().where(strangers).values(root=root))

    def drop_paths(self, gone: Iterable[str]) -> None:
        """Forget paths; their media stay until ``drop_media``, and are looked at again."""
        with self._database.writing() as connection:
            for batch in batches(gone):
                here = sa.select(paths.c.media_id).where(paths.c.path.in_(batch))
                _look_again(connection, stages.c.media_id.in_(here))
                connection.execute(paths.delete().where(paths.c.path.in_(batch)))

    def look_again(self, media_ids: Iterable[str]) -> None:
        """Have media looked at again whose paths, or what stands beside them, changed.

        Folder and file names are words, so they are read again; and what failed is tried again, as
        its reason names a path.
        """
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                _look_again(connection, stages.c.media_id.in_(batch))

    def forget_sidecars(self, unseen: Iterable[str]) -> None:
        """Note that nobody looked beside these files; a scan that finds sidecars there does."""
        with self._database.writing() as connection:
            for batch in batches(unseen):
                connection.execute(
                    paths.update().where(paths.c.path.in_(batch)).values(sidecar_stamp="")
                )

    def pathless(self) -> list[str]:
        """Media that no path leads to any more."""
        query = (
            sa.select(media.c.media_id)
            .outerjoin_from(media, paths)
            .where(paths.c.path.is_(None))
            .order_by(media.c.media_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def drop_media(self, media_ids: Iterable[str]) -> None:
        """Forget media with everything that hangs on them, but for what the person wrote."""
        with self._database.writing() as connection:
            outdate_groups(connection)
            for batch in batches(media_ids):
                count_terms(self._database, connection, dict.fromkeys(batch, frozenset()))
                for table in _ABOUT_MEDIA:
                    connection.execute(table.delete().where(table.c.media_id.in_(batch)))

    def content_changed(self, media_id: str, content_hash: str, kind: Kind) -> None:
        """Note an in-place edit: every stage has to look again, the id stays.

        What was seen in the old content is set aside, what was heard forgotten; what is written
        about the media (path, sidecar) holds until it is read again.
        """
        with self._database.writing() as connection:
            put_aside(connection, media_id)
            connection.execute(
                media.update()
                .where(media.c.media_id == media_id)
                .values(content_hash=content_hash, kind=kind)
            )
            connection.execute(
                stages.update()
                .where(stages.c.media_id == media_id)
                .values(state=WRITING, stamp="", reason="", remedy="")
            )
            annotations_edited(connection, media_id, content_hash)
            keep_hidden(self._database, connection, media_id, content_hash)
            for table in (signals, marks):
                seen = table.c.stage.not_in(("read", WRITTEN))
                connection.execute(table.delete().where(table.c.media_id == media_id, seen))

    def redo(self, stage: Stage, media_ids: Iterable[str]) -> None:
        """Have a stage look at media again."""
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                connection.execute(
                    stages.update()
                    .where(stages.c.media_id.in_(batch), stages.c.stage == stage)
                    .values(state=WRITING, stamp="")
                )
                if stage != "read":
                    drop_set_aside(connection, batch)

    def media_rows(self, media_ids: Sequence[str] | None = None) -> dict[str, MediaRow]:
        """Media by id (all of them without ids); ids that are unknown are left out."""
        rows: dict[str, MediaRow] = {}
        with self._database.reading() as connection:
            for batch in [None] if media_ids is None else batches(media_ids):
                query = _media_query()
                if batch is not None:
                    query = query.where(media.c.media_id.in_(batch))
                for row in connection.execute(query):
                    rows.setdefault(row.media_id, MediaRow(*row))
        return rows

    def paths_of(self, media_ids: Sequence[str]) -> dict[str, list[str]]:
        """Every path of some media."""
        places = self.places_of(media_ids)
        return {media_id: [path for path, _ in found] for media_id, found in places.items()}

    def places_of(self, media_ids: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
        """Every path of some media with the root that it was found under."""
        found: dict[str, list[tuple[str, str]]] = {}
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                query = (
                    sa.select(paths.c.media_id, paths.c.path, paths.c.root)
                    .where(paths.c.media_id.in_(batch))
                    .order_by(paths.c.path)
                )
                for media_id, path, root in connection.execute(query):
                    found.setdefault(media_id, []).append((path, root))
        return found

    def media_ids_beginning(self, start: str, limit: int) -> list[str]:
        """Some media whose id begins like that, in the order of their ids."""
        media_id = media.c.media_id
        query = sa.select(media_id).where(_starts_with(media_id, start)).order_by(media_id)
        with self._database.reading() as connection:
            return list(connection.scalars(query.limit(limit)))

    def media_ids_under(self, folder: str) -> frozenset[str]:
        """Media with a path at or under a folder."""
        with self._database.reading() as connection:
            return frozenset(
                connection.scalars(sa.select(paths.c.media_id).where(under(folder)).distinct())
            )

    def media_ids_in_folders_called(self, name: str) -> frozenset[str]:
        """Media in folders of this name (or end of a path), at any depth, whatever their case.

        The library's own folders count with their names, not with those above them.
        """
        wanted = f"/{name.strip('/').casefold()}/"
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(paths.c.media_id, paths.c.path, paths.c.root))
            return frozenset(
                media_id
                for media_id, path, root in rows
                if wanted in os.path.dirname(path[_above(root) :]).casefold() + "/"  # noqa: PTH120
            )

    def media_ids_called(self, name: str) -> frozenset[str]:
        """Media with a file of just this name, in whatever folder."""
        query = sa.select(paths.c.media_id).where(_ends_with(paths.c.path, os.sep + name))
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def cameras_like(self, words: str) -> tuple[str, ...]:
        """The cameras, as Milvus has them, whose name contains the words in any case."""
        wanted = words.casefold()  # the database's lower() knows no letters beyond ASCII
        with self._database.reading() as connection:
            cameras = connection.scalars(sa.select(media.c.camera).distinct())
            found = {camera_column(name) for name in cameras if wanted in name.casefold()}
        return tuple(sorted(found))


def _known_query() -> sa.Select[Any]:
    return sa.select(
        paths.c.path,
        paths.c.media_id,
        paths.c.size_bytes,
        paths.c.mtime_ns,
        paths.c.sidecar_stamp,
        media.c.content_hash,
    ).join_from(paths, media)


def _media_query() -> sa.Select[Any]:
    return (
        sa.select(
            media.c.media_id,
            media.c.kind,
            paths.c.path,
            paths.c.root,
            media.c.taken_at,
            media.c.camera,
            media.c.width_px,
            media.c.height_px,
            media.c.duration_s,
            media.c.latitude,
            media.c.longitude,
        )
        .join_from(media, paths)
        .order_by(paths.c.path)
    )


def _above(root: str) -> int:
    """How long the path of the folder over a root is, up to the slash."""
    return len(root.rstrip(os.sep).rpartition(os.sep)[0])


def _starts_with(column: sa.ColumnElement[str], prefix: str) -> sa.ColumnElement[bool]:
    # LIKE ignores case in SQLite and treats % and _ as wildcards: compare the beginning itself
    return sa.func.substr(column, 1, len(prefix)) == prefix


def _ends_with(column: sa.ColumnElement[str], end: str) -> sa.ColumnElement[bool]:
    length = sa.func.length(column)
    return sa.func.substr(column, length - len(end) + 1, len(end)) == end


def under(folder: str) -> sa.ColumnElement[bool]:
    """The condition that a media's path is a folder or lies in it."""
    return at_or_under(paths.c.path, folder)


def at_or_under(column: sa.ColumnElement[str], folder: str) -> sa.ColumnElement[bool]:
    """The condition that a path is a folder or lies in it."""
    return sa.or_(column == folder, _starts_with(column, folder.rstrip(os.sep) + os.sep))


def _look_again(connection: Connection, these: sa.ColumnElement[bool]) -> None:
    connection.execute(read_anew().where(these))
    # failed still, for the report, but under no stamp
    connection.execute(stages.update().where(these, stages.c.state == "failed").values(stamp=""))
