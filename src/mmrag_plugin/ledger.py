"""The ledger: what is known about media, where they lie, and which stage is done with them.

It is the truth; Milvus holds a projection of it that can be rebuilt. SQLite by default, PostgreSQL
where several machines share a library. Paths live only here, so a move touches one row.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine, Row

from mmrag_plugin.errors import LibraryBusy, NotALibrary, ServiceError, StorageError
from mmrag_plugin.ledger_tables import (
    SCHEMA_VERSION,
    facts,
    lease,
    media,
    metadata,
    paths,
    roots,
    signals,
    stages,
)
from mmrag_plugin.media import Kind, MediaFacts, Signal, Stage

LEASE_S = 30.0  # a writer that has not been heard of for this long is gone
WRITING = "writing"  # rows may stand in Milvus that the ledger does not know of yet
_CHUNK = 500  # ids in one statement: below the parameter limits of every database
_T = TypeVar("_T")


@dataclass(frozen=True)
class KnownPath:
    """What the ledger knows about one file on disk."""

    path: str
    media_id: str
    size_bytes: int
    mtime_ns: int
    sidecar_stamp: str
    content_hash: str


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


@dataclass(frozen=True)
class Failure:
    """A file that a stage could not deal with."""

    path: str
    stage: str
    reason: str
    remedy: str


def _batches(items: Iterable[_T], size: int = _CHUNK) -> Iterator[list[_T]]:
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class Ledger:
    """One library's ledger. Thread-safe; every method is one short transaction."""

    def __init__(self, url: str) -> None:
        """Open or create the ledger at a SQLAlchemy URL.

        Raises StorageError when the disk is full or not writable, NotALibrary when the file is no
        ledger or a newer program's, ServiceError when the database server can't be reached.
        """
        self.url = sa.make_url(url)
        self._engine = _engine(self.url)
        self._writer = self._engine.execution_options(write=True)
        self._open = threading.local()  # the connection of this thread's ``transaction``
        with self._storage_errors():
            metadata.create_all(self._engine)
            with self._writer.begin() as connection:
                self._insert_missing(connection, facts, {"key": "schema", "value": SCHEMA_VERSION})
                self._insert_missing(connection, facts, {"key": "id", "value": uuid4().hex[:12]})
            found = self.fact("schema")
        if found != SCHEMA_VERSION:
            raise NotALibrary(
                f"The ledger {self.url.render_as_string()} has version {found}, this program "
                f"reads version {SCHEMA_VERSION}.",
                "Upgrade mmrag.",
            )

    def close(self) -> None:
        """Give the database's files and connections back."""
        self._engine.dispose()

    # ---- facts about the library -------------------------------------------------------------

    def fact(self, key: str) -> Any:
        """A fact about the library, as JSON; None when it was never stated."""
        with self._storage_errors(), self._engine.connect() as connection:
            return connection.scalar(sa.select(facts.c.value).where(facts.c.key == key))

    def state(self, **values: Any) -> None:
        """State facts about the library."""
        with self._writing() as connection:
            for key, value in values.items():
                self._upsert(connection, facts, {"key": key, "value": value}, ["key"])

    def add_root(self, root: str) -> None:
        """Remember a folder that belongs to the library."""
        with self._writing() as connection:
            self._insert_missing(connection, roots, {"path": root})

    def drop_roots(self, gone: Iterable[str]) -> None:
        """Forget folders of the library."""
        with self._writing() as connection:
            connection.execute(roots.delete().where(roots.c.path.in_(list(gone))))

    def roots(self) -> list[str]:
        """The folders of the library."""
        with self._reading() as connection:
            return list(connection.scalars(sa.select(roots.c.path).order_by(roots.c.path)))

    # ---- paths and media ---------------------------------------------------------------------

    def known_paths(self, root: str) -> dict[str, KnownPath]:
        """All known files at or under a folder, by path."""
        query = sa.select(
            paths.c.path,
            paths.c.media_id,
            paths.c.size_bytes,
            paths.c.mtime_ns,
            paths.c.sidecar_stamp,
            media.c.content_hash,
        ).join_from(paths, media)
        with self._reading() as connection:
            rows = connection.execute(query.where(_under(root)))
            return {row.path: KnownPath(*row) for row in rows}

    def media_with_hash(self, content_hash: str) -> dict[str, list[str]]:
        """The media with exactly this content, each with its known paths."""
        query = (
            sa.select(media.c.media_id, paths.c.path)
            .outerjoin_from(media, paths)
            .where(media.c.content_hash == content_hash)
            .order_by(media.c.media_id, paths.c.path)
        )
        found: dict[str, list[str]] = {}
        with self._reading() as connection:
            for media_id, path in connection.execute(query):
                found.setdefault(media_id, []).extend([path] if path else [])
        return found

    def mint(self, content_hash: str, kind: Kind) -> str:
        """Enter a new media and return its id.

        The id begins as the hash of the content at first sight, so two runs over the same files
        agree; it stays when the content changes, and then a twin of the old content gets a suffix.
        """
        with self._writing() as connection:
            base = content_hash[:16]
            taken = set(
                connection.scalars(
                    sa.select(media.c.media_id).where(media.c.media_id.startswith(base))
                )
            )
            media_id, number = base, 2
            while media_id in taken:
                media_id, number = f"{base}-{number}", number + 1
            connection.execute(
                media.insert().values(media_id=media_id, kind=kind, content_hash=content_hash)
            )
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
        with self._writing() as connection:
            self._upsert(connection, paths, row, ["path"])

    def drop_paths(self, gone: Iterable[str]) -> None:
        """Forget paths; their media stay until ``drop_media``."""
        with self._writing() as connection:
            for batch in _batches(gone):
                connection.execute(paths.delete().where(paths.c.path.in_(batch)))

    def pathless(self) -> list[str]:
        """Media that no path leads to any more."""
        query = (
            sa.select(media.c.media_id)
            .outerjoin_from(media, paths)
            .where(paths.c.path.is_(None))
            .order_by(media.c.media_id)
        )
        with self._reading() as connection:
            return list(connection.scalars(query))

    def drop_media(self, media_ids: Iterable[str]) -> None:
        """Forget media with everything that hangs on them."""
        with self._writing() as connection:
            for batch in _batches(media_ids):
                for table in (signals, stages, paths, media):
                    connection.execute(table.delete().where(table.c.media_id.in_(batch)))

    def content_changed(self, media_id: str, content_hash: str) -> None:
        """Note an in-place edit: every stage has to look again, the id stays."""
        with self._writing() as connection:
            connection.execute(
                media.update().where(media.c.media_id == media_id).values(content_hash=content_hash)
            )
            connection.execute(
                stages.update()
                .where(stages.c.media_id == media_id)
                .values(state=WRITING, stamp="", reason="", remedy="")
            )

    def redo(self, stage: Stage, media_ids: Iterable[str]) -> None:
        """Have a stage look at media again."""
        with self._writing() as connection:
            for batch in _batches(media_ids):
                connection.execute(
                    stages.update()
                    .where(stages.c.media_id.in_(batch), stages.c.stage == stage)
                    .values(state=WRITING, stamp="")
                )

    def forget_words(self, media_ids: Iterable[str]) -> None:
        """Have the words of media written to Milvus again."""
        with self._writing() as connection:
            for batch in _batches(media_ids):
                connection.execute(
                    media.update()
                    .where(media.c.media_id.in_(batch))
                    .values(words_stamp=WRITING, words_rows=0)
                )

    def relocate(self, old: str, new: str) -> int:
        """Rewrite the beginning of all paths and roots from ``old`` to ``new``; says how many."""
        moved = 0
        with self._writing() as connection:
            for table, columns in ((paths, ("path", "root")), (roots, ("path",))):
                for column in (table.c[name] for name in columns):
                    inside = sa.or_(column == old, _starts_with(column, old.rstrip("/") + "/"))
                    rest = sa.func.substr(column, len(old) + 1)
                    result = connection.execute(
                        table.update().where(inside).values({column.name: sa.literal(new) + rest})
                    )
                    if table is paths and column.name == "path":
                        moved = result.rowcount
        return moved

    def media_rows(self, media_ids: Sequence[str] | None = None) -> dict[str, MediaRow]:
        """Media by id (all of them without ids); ids that are unknown are left out."""
        rows: dict[str, MediaRow] = {}
        with self._reading() as connection:
            for batch in [None] if media_ids is None else _batches(media_ids):
                query = _media_query()
                if batch is not None:
                    query = query.where(media.c.media_id.in_(batch))
                for row in connection.execute(query):
                    rows.setdefault(row.media_id, MediaRow(*row))
        return rows

    def paths_of(self, media_ids: Sequence[str]) -> dict[str, list[str]]:
        """Every path of some media."""
        found: dict[str, list[str]] = {}
        with self._reading() as connection:
            for batch in _batches(media_ids):
                query = (
                    sa.select(paths.c.media_id, paths.c.path)
                    .where(paths.c.media_id.in_(batch))
                    .order_by(paths.c.path)
                )
                for media_id, path in connection.execute(query):
                    found.setdefault(media_id, []).append(path)
        return found

    def media_ids_under(self, folder: str) -> frozenset[str]:
        """Media with a path at or under a folder."""
        with self._reading() as connection:
            return frozenset(
                connection.scalars(sa.select(paths.c.media_id).where(_under(folder)).distinct())
            )

    def media_ids_with_text(self) -> frozenset[str]:
        """Media in whose pictures text was read."""
        query = sa.select(signals.c.media_id).where(signals.c.source == "ocr").distinct()
        with self._reading() as connection:
            return frozenset(connection.scalars(query))

    def cameras_like(self, words: str) -> tuple[str, ...]:
        """The cameras whose name contains the words, whatever their case."""
        query = (
            sa.select(media.c.camera)
            .where(sa.func.lower(media.c.camera).contains(words.lower(), autoescape=True))
            .distinct()
            .order_by(media.c.camera)
        )
        with self._reading() as connection:
            return tuple(connection.scalars(query))

    # ---- stages ------------------------------------------------------------------------------

    def pending(self, stage: Stage, stamp: str, *, after: Stage | None = None) -> list[str]:
        """Media that a stage has still to do, oldest path first.

        Done and failed count only with the same stamp; with ``after`` only media with which that
        stage is done are named.
        """
        finished = sa.and_(stages.c.state.in_(["done", "failed"]), stages.c.stamp == stamp)
        first_path = sa.func.min(paths.c.path)
        query = (
            sa.select(media.c.media_id)
            .join_from(media, paths)
            .where(
                ~sa.exists().where(
                    stages.c.media_id == media.c.media_id, stages.c.stage == stage, finished
                )
            )
            .group_by(media.c.media_id)
            .order_by(first_path)
        )
        if after:
            earlier = stages.alias()
            query = query.where(
                sa.exists().where(
                    earlier.c.media_id == media.c.media_id,
                    earlier.c.stage == after,
                    earlier.c.state == "done",
                )
            )
        with self._reading() as connection:
            return list(connection.scalars(query))

    def touched(self, stage: Stage, media_ids: Sequence[str]) -> set[str]:
        """Those of the media for which a stage may have left rows in Milvus."""
        found: set[str] = set()
        with self._reading() as connection:
            for batch in _batches(media_ids):
                query = sa.select(stages.c.media_id).where(
                    stages.c.media_id.in_(batch), stages.c.stage == stage
                )
                found.update(connection.scalars(query))
        return found

    def begin(self, stage: Stage, media_ids: Sequence[str]) -> None:
        """Say that rows of these media are about to be written."""
        self._mark(stage, [{"media_id": m, "state": WRITING, "stamp": ""} for m in media_ids])

    def done(self, stage: Stage, stamp: str, made: Mapping[str, int]) -> None:
        """Say that a stage is done with media, and how many items (rows, frames) it made."""
        self._mark(
            stage,
            [
                {"media_id": m, "state": "done", "stamp": stamp, "made": made[m]}
                for m in sorted(made)
            ],
        )

    def failed(self, stage: Stage, stamp: str, media_id: str, reason: str, remedy: str) -> None:
        """Say that a stage can't deal with a media as it is; a change of the file tries again."""
        row = {"media_id": media_id, "state": "failed", "stamp": stamp}
        self._mark(stage, [{**row, "reason": reason, "remedy": remedy}])

    def retry_failed(self) -> None:
        """Have failed stages try again although nothing changed."""
        with self._writing() as connection:
            connection.execute(
                stages.update().where(stages.c.state == "failed").values(state=WRITING, stamp="")
            )

    def failures(self) -> list[Failure]:
        """What failed and has not changed since, the first failing stage of each path."""
        query = (
            sa.select(paths.c.path, stages.c.stage, stages.c.reason, stages.c.remedy)
            .join_from(stages, paths, stages.c.media_id == paths.c.media_id)
            .where(stages.c.state == "failed")
            .order_by(paths.c.path)
        )
        order = ["read", "embed", "ocr", "caption", "speech"]
        first: dict[str, Failure] = {}
        with self._reading() as connection:
            for row in connection.execute(query):
                failure = Failure(*row)
                known = first.get(failure.path)
                if known is None or order.index(failure.stage) < order.index(known.stage):
                    first[failure.path] = failure
        return list(first.values())

    # ---- what was read about media -----------------------------------------------------------

    def put_read(self, stamp: str, read: Mapping[str, tuple[MediaFacts, Sequence[Signal]]]) -> None:
        """Enter what the read stage found: facts and signals, and that it is done."""
        with self._writing() as connection:
            for media_id, (found, words) in read.items():
                connection.execute(
                    media.update()
                    .where(media.c.media_id == media_id)
                    .values(
                        width_px=found.width_px,
                        height_px=found.height_px,
                        duration_s=found.duration_s,
                        taken_at=found.taken_at,
                        camera=found.camera,
                        latitude=found.latitude,
                        longitude=found.longitude,
                    )
                )
                self._replace_signals(connection, media_id, "read", words)
        self.done("read", stamp, {media_id: len(words) for media_id, (_, words) in read.items()})

    def put_signals(self, stage: Stage, stamp: str, found: Mapping[str, Sequence[Signal]]) -> None:
        """Enter the signals that a later stage found, and that it is done."""
        with self._writing() as connection:
            for media_id, words in found.items():
                self._replace_signals(connection, media_id, stage, words)
        self.done(stage, stamp, {media_id: len(words) for media_id, words in found.items()})

    def signals_of(self, media_ids: Sequence[str]) -> dict[str, list[tuple[str, Signal]]]:
        """The signals of media, each with the stage that found it, in the order they were found."""
        found: dict[str, list[tuple[str, Signal]]] = {media_id: [] for media_id in media_ids}
        with self._reading() as connection:
            for batch in _batches(media_ids):
                query = (
                    sa.select(
                        signals.c.media_id,
                        signals.c.stage,
                        signals.c.source,
                        signals.c.text,
                        signals.c.start_s,
                        signals.c.end_s,
                    )
                    .where(signals.c.media_id.in_(batch))
                    .order_by(signals.c.media_id, signals.c.stage.desc(), signals.c.number)
                )
                for media_id, stage, *rest in connection.execute(query):
                    found[media_id].append((stage, Signal(*rest)))
        return found

    def unprojected(self, stamp: str) -> list[str]:
        """Media whose words in Milvus are missing, outdated or another text model's."""
        query = (
            sa.select(media.c.media_id)
            .where(
                media.c.words_stamp != stamp,
                sa.exists().where(
                    stages.c.media_id == media.c.media_id,
                    stages.c.stage == "read",
                    stages.c.state == "done",
                ),
            )
            .order_by(media.c.media_id)
        )
        with self._reading() as connection:
            return list(connection.scalars(query))

    def projected_before(self, media_ids: Sequence[str]) -> set[str]:
        """Those of the media whose words may already stand in Milvus."""
        found: set[str] = set()
        with self._reading() as connection:
            for batch in _batches(media_ids):
                query = sa.select(media.c.media_id).where(
                    media.c.media_id.in_(batch), media.c.words_stamp != ""
                )
                found.update(connection.scalars(query))
        return found

    def set_words_stamp(self, media_ids: Sequence[str], stamp: str, rows: Sequence[int]) -> None:
        """Say under which stamp the words of media stand in Milvus, and in how many rows."""
        with self._writing() as connection:
            for media_id, count in zip(media_ids, rows, strict=True):
                connection.execute(
                    media.update()
                    .where(media.c.media_id == media_id)
                    .values(words_stamp=stamp, words_rows=count)
                )

    # ---- counting ----------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """Media per kind, states per stage, signals per source, and rows owed to Milvus."""
        with self._reading() as connection:
            kinds = connection.execute(
                sa.select(media.c.kind, sa.func.count()).group_by(media.c.kind)
            )
            states = connection.execute(
                sa.select(stages.c.stage, stages.c.state, sa.func.count()).group_by(
                    stages.c.stage, stages.c.state
                )
            )
            sources = connection.execute(
                sa.select(signals.c.source, sa.func.count()).group_by(signals.c.source)
            )
            frames = connection.scalar(
                sa.select(sa.func.coalesce(sa.func.sum(stages.c.made), 0)).where(
                    stages.c.stage == "embed", stages.c.state == "done"
                )
            )
            words = connection.scalar(
                sa.select(sa.func.coalesce(sa.func.sum(media.c.words_rows), 0))
            )
            return {
                "kinds": {kind: count for kind, count in kinds},
                "stages": {f"{stage}:{state}": count for stage, state, count in states},
                "signals": {source: count for source, count in sources},
                "rows": {"frames": int(frames or 0), "signals": int(words or 0)},
            }

    def dates(self) -> tuple[str | None, str | None]:
        """The earliest and the latest ``taken_at``."""
        with self._reading() as connection:
            earliest, latest = connection.execute(
                sa.select(sa.func.min(media.c.taken_at), sa.func.max(media.c.taken_at))
            ).one()
            return earliest, latest

    def stage_made(self, stage: Stage) -> dict[str, int]:
        """How many rows or signals a stage made of each media with which it is done."""
        query = sa.select(stages.c.media_id, stages.c.made).where(
            stages.c.stage == stage, stages.c.state == "done"
        )
        with self._reading() as connection:
            return {media_id: items for media_id, items in connection.execute(query)}

    def words_rows(self) -> dict[str, int]:
        """How many rows of words each media should have in Milvus."""
        with self._reading() as connection:
            query = sa.select(media.c.media_id, media.c.words_rows)
            return {media_id: rows for media_id, rows in connection.execute(query)}

    # ---- one writer --------------------------------------------------------------------------

    @contextmanager
    def writer(self, purpose: str) -> Iterator[None]:
        """Hold the single writer's lease while the block runs, kept alive by a thread.

        Raises LibraryBusy naming the process that holds it. The lease of a process that died is
        taken over, at once on the same machine, after LEASE_S elsewhere.
        """
        holder = uuid4().hex
        self._take_lease(holder, purpose)
        released = threading.Event()

        def keep() -> None:
            while not released.wait(LEASE_S / 4):
                with self._writing() as connection:
                    connection.execute(
                        lease.update()
                        .where(lease.c.holder == holder)
                        .values(expires=time.time() + LEASE_S)
                    )

        keeper = threading.Thread(target=keep, name="mmrag-lease", daemon=True)
        keeper.start()
        try:
            yield
        finally:
            released.set()
            keeper.join()
            with self._writing() as connection:
                connection.execute(lease.delete().where(lease.c.holder == holder))

    def lease_holder(self) -> str | None:
        """What the present writer is doing, in words; None when nobody writes."""
        with self._reading() as connection:
            row = connection.execute(sa.select(lease)).one_or_none()
        return None if row is None or _is_gone(row) else f"{row.purpose} (process {row.pid})"

    def _take_lease(self, holder: str, purpose: str) -> None:
        mine = {
            "name": "writer",
            "holder": holder,
            "purpose": purpose,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "expires": time.time() + LEASE_S,
        }
        with self._writing() as connection:
            row = connection.execute(sa.select(lease)).one_or_none()
            if row is not None and _is_gone(row):
                connection.execute(lease.delete().where(lease.c.holder == row.holder))
            self._insert_missing(connection, lease, mine)
            row = connection.execute(sa.select(lease)).one()
        if row.holder != holder:
            raise LibraryBusy(
                f"Process {row.pid} on {row.host} is writing to this library ({row.purpose}).",
                "Wait until it is done, or stop it; searching works meanwhile.",
            )

    # ---- inside ------------------------------------------------------------------------------

    def _mark(self, stage: Stage, rows: Iterable[Mapping[str, Any]]) -> None:
        blank = {"stage": stage, "made": 0, "reason": "", "remedy": ""}
        with self._writing() as connection:
            for row in rows:
                self._upsert(connection, stages, {**blank, **row}, ["media_id", "stage"])

    def _replace_signals(
        self, connection: Connection, media_id: str, stage: Stage, words: Sequence[Signal]
    ) -> None:
        mine = sa.and_(signals.c.media_id == media_id, signals.c.stage == stage)
        connection.execute(signals.delete().where(mine))
        if words:
            connection.execute(
                signals.insert(),
                [
                    {
                        "media_id": media_id,
                        "stage": stage,
                        "number": number,
                        "source": signal.source,
                        "text": signal.text,
                        "start_s": signal.start_s,
                        "end_s": signal.end_s,
                    }
                    for number, signal in enumerate(words)
                ],
            )
        # what stands in Milvus about this media is outdated from here on
        connection.execute(
            media.update()
            .where(media.c.media_id == media_id, media.c.words_stamp != "")
            .values(words_stamp=WRITING)
        )

    def _insert(self) -> Callable[[sa.Table], Any]:
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgres_insert

            return postgres_insert
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert

    def _insert_missing(
        self, connection: Connection, table: sa.Table, row: Mapping[str, Any]
    ) -> None:
        connection.execute(self._insert()(table).values(**row).on_conflict_do_nothing())

    def _upsert(
        self, connection: Connection, table: sa.Table, row: Mapping[str, Any], keys: list[str]
    ) -> None:
        rest = {name: value for name, value in row.items() if name not in keys}
        statement = self._insert()(table).values(**row)
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything that this thread does inside the block one transaction."""
        with self._writing() as connection:
            self._open.connection = connection
            try:
                yield
            finally:
                self._open.connection = None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        if connection := getattr(self._open, "connection", None):
            yield connection
            return
        with self._storage_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if connection := getattr(self._open, "connection", None):
            yield connection
            return
        with self._storage_errors(), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise _explained(self.url, error) from error


def sqlite_url(path: Path) -> str:
    """The URL of a ledger in one file."""
    return str(sa.URL.create("sqlite", database=str(path)))


def _engine(url: sa.URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True)
    engine = sa.create_engine(url, connect_args={"timeout": 30})

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # we begin transactions ourselves: the driver's deferred ones can't be upgraded to write
        # while another process reads and would fail with "database is locked" at once
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        # a power loss may take the last lines, never their order: work is done again, not lost
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _explained(url: sa.URL, error: sa.exc.DBAPIError) -> Exception:
    detail = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    where = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "postgresql":
        return ServiceError(
            f"The ledger {where} can't be used: {detail}.", "Check MMRAG_LEDGER_URL and the server."
        )
    path = url.database
    if "not a database" in detail or "malformed" in detail:
        return NotALibrary(f"{path} is not a ledger of mmrag ({detail}).", "Restore a backup.")
    if "full" in detail:
        return StorageError(f"The disk is full: {path} can't be written.", "Free some space.")
    return StorageError(
        f"The ledger {path} can't be used: {detail}.", "Check its permissions and free space."
    )


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


def _starts_with(column: sa.ColumnElement[str], prefix: str) -> sa.ColumnElement[bool]:
    # LIKE ignores case in SQLite and treats % and _ as wildcards: compare the beginning itself
    return sa.func.substr(column, 1, len(prefix)) == prefix


def _under(folder: str) -> sa.ColumnElement[bool]:
    return sa.or_(
        paths.c.path == folder, _starts_with(paths.c.path, folder.rstrip(os.sep) + os.sep)
    )


def _is_gone(row: Row[Any]) -> bool:
    if row.expires < time.time():
        return True
    if row.host != socket.gethostname():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
