"""The ledger's database: SQLite or PostgreSQL, its transactions, and its errors in our words.

What a transaction reads is of one moment, and only one transaction writes at a time, on both: what
the ledger does counts on that.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mmrag_plugin.errors import (
    LibraryBusy,
    MissingExtra,
    NotALibrary,
    ServiceError,
    StorageError,
    UsageError,
)
from mmrag_plugin.tracing import span

RECONNECT_S = 5.0  # how long a server is waited for that was there, and may be starting again
LOCKED_S = 30.0  # how long another one's transaction is waited for
_CHUNK = 500  # ids in one statement: below the parameter limits of every database
_INSTEAD_OF_NUL = "\ufffd"  # which no text in PostgreSQL may hold
_POSTGRES = {  # so that a machine which went without a word is noticed
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "mmrag",
}
_ONE_AT_A_TIME = "SELECT pg_advisory_xact_lock(hashtext('mmrag in ' || current_schema()))"
_T = TypeVar("_T")


def batches(items: Iterable[_T], size: int = _CHUNK) -> Iterator[list[_T]]:
    """Split into lists of at most ``size``, by default what goes into one statement."""
    batch: list[_T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


class LedgerDatabase:
    """Connections and transactions; thread-safe."""

    def __init__(self, url: str, *, for_assistants: bool = False) -> None:
        """With ``for_assistants`` tables are seen through the views of ``ledger_views``."""
        self.url = _checked(url)
        self._is_server = self.url.get_backend_name() == "postgresql"
        self._engine = _engine(self.url)
        if for_assistants:
            _put_views_before(self._engine)
        # who waits for others must see what they wrote, and a snapshot is as old as the waiting
        fresh = {"isolation_level": "READ COMMITTED"} if self._is_server else {}
        self._writer = self._engine.execution_options(write=True, **fresh)
        self._renewer = self._engine.execution_options(write="one row", **fresh)
        self._open = threading.local()  # the connection of this thread's ``transaction``
        self.before_writing: Callable[[], None] = lambda: None  # may refuse by raising
        self.patience_s = RECONNECT_S
        self._was_reached = False

    def close(self) -> None:
        """Give files and connections back."""
        self._engine.dispose()

    def create(self, metadata: sa.MetaData) -> None:
        """Make the tables that are not there yet."""
        with self._storage_errors():
            present = set(sa.inspect(self._engine).get_table_names())
        if not present.issuperset(metadata.tables):
            with self.writing() as connection:  # of two processes, the second waits and finds them
                metadata.create_all(connection)

    def insert(self) -> Callable[[sa.Table], Any]:
        """The INSERT of this database that knows ON CONFLICT."""
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects.postgresql import insert as postgres_insert

            return postgres_insert
        from sqlalchemy.dialects.sqlite import insert as sqlite_insert

        return sqlite_insert

    def among(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
        """The condition that a column holds one of any number of ids, given by ``these``.

        The ids are one parameter: as many parameters as ids take longer than to look them up.
        """
        if self._engine.dialect.name == "postgresql":
            return column == sa.any_(sa.bindparam("ids", type_=sa.ARRAY(sa.Text)))
        listed = sa.func.json_each(sa.bindparam("ids", type_=sa.Text))
        return column.in_(sa.select(listed.table_valued("value").c.value))

    def these(self, ids: Sequence[str]) -> dict[str, Any]:
        """The parameter of ``among``."""
        postgres = self._engine.dialect.name == "postgresql"
        return {"ids": list(ids) if postgres else json.dumps(list(ids))}

    def insert_missing(
        self, connection: Connection, table: sa.Table, row: Mapping[str, Any]
    ) -> None:
        """Insert a row unless its key is there."""
        connection.execute(self.insert()(table).values(**row).on_conflict_do_nothing())

    def upsert(
        self, connection: Connection, table: sa.Table, row: Mapping[str, Any], keys: list[str]
    ) -> None:
        """Insert a row, or bring the one with its keys up to date."""
        self.upsert_all(connection, table, [row], keys)

    def upsert_all(
        self,
        connection: Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        keys: list[str],
    ) -> None:
        """Insert rows, all with the same columns, or bring those with their keys up to date."""
        if rows:
            statement = _upserting(self.insert(), table, tuple(rows[0]), tuple(keys))
            connection.execute(statement, [dict(row) for row in rows])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything that this thread does inside the block one transaction."""
        with self.writing() as connection:
            self._open.connection = connection
            try:
                yield
            finally:
                self._open.connection = None

    @contextmanager
    def one_look(self) -> Iterator[None]:
        """Have everything that this thread reads inside the block be of one moment."""
        if self._connection is not None:
            yield
            return
        with self._storage_errors(), self._connected(self._engine) as connection:
            self._open.looking = connection
            try:
                yield
            finally:
                self._open.looking = None

    @property
    def _connection(self) -> Connection | None:
        """The connection of this thread's ``transaction`` or ``one_look``."""
        transaction: Connection | None = getattr(self._open, "connection", None)
        return transaction or getattr(self._open, "looking", None)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection to read from: this thread's transaction or look, or one of its own."""
        if connection := self._connection:
            yield connection
            return
        with (
            self._storage_errors(),
            _timed("ledger.read"),
            self._connected(self._engine) as connection,
        ):
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection to write with: this thread's transaction, or one of its own."""
        if connection := getattr(self._open, "connection", None):
            yield connection
            return
        self.before_writing()
        with (
            self._storage_errors(),
            _timed("ledger.write"),
            self._connected(self._writer) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def writing_anyway(self) -> Iterator[Connection]:
        """A connection to write one row with, whatever ``before_writing`` says, beside others."""
        with (
            self._storage_errors(),
            _timed("ledger.write"),
            self._connected(self._renewer) as connection,
            connection.begin(),
        ):
            yield connection

    def kept(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row as this database gives it back."""
        if not self._is_server:
            return dict(row)
        return {
            name: value.replace("\0", _INSTEAD_OF_NUL) if isinstance(value, str) else value
            for name, value in row.items()
        }

    def go_on_counting(self, connection: Connection, column: sa.Column[int]) -> None:
        """Have a column that counts by itself go on behind the numbers that were given to it."""
        if self._is_server:
            last = sa.select(sa.func.max(column)).scalar_subquery()
            sequence = sa.func.pg_get_serial_sequence(f'"{column.table.name}"', column.name)
            connection.execute(sa.select(sa.func.setval(sequence, last)))

    def now(self) -> sa.ColumnElement[float]:
        """The time in seconds, by the one clock that all who share this database have."""
        if not self._is_server:
            return sa.literal(time.time())
        return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)

    def _connected(self, engine: Engine) -> Connection:
        """A connection; a server that was there and is starting again is waited for."""
        waiting = self._was_reached and self._is_server
        deadline = time.monotonic() + (self.patience_s if waiting else 0)
        while True:
            try:
                connection = engine.connect()
            except sa.exc.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
            else:
                self._was_reached = True
                return connection

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise _explained(self.url, error) from error
        except UnicodeEncodeError as error:  # half characters, from file names that are no text
            raise UsageError(f"{error.object!r} is no valid text.", "Rename it.") from None


@lru_cache(maxsize=256)  # to put a statement together takes longer than to execute it
def _upserting(
    insert: Callable[[sa.Table], Any],
    table: sa.Table,
    columns: tuple[str, ...],
    keys: tuple[str, ...],
) -> sa.Insert:
    statement = insert(table).values({name: sa.bindparam(name) for name in columns})
    rest = {name: statement.excluded[name] for name in columns if name not in keys}
    inserted: sa.Insert = statement.on_conflict_do_update(index_elements=keys, set_=rest)
    return inserted


@contextmanager
def _timed(name: str) -> Iterator[None]:
    """A span that nothing is within: blocks of generators are left and entered again."""
    now = span(name).begin()
    try:
        yield
    except BaseException as error:
        now.end(error)
        raise
    now.end()


def _checked(url: str) -> sa.URL:
    try:
        found = sa.make_url(url)
        if found.drivername == "postgres":  # as many write it
            found = found.set(drivername="postgresql")
        if found.get_backend_name() not in ("sqlite", "postgresql"):
            raise ValueError
    except (sa.exc.ArgumentError, ValueError):
        # it may hold a password, so it is not repeated
        raise UsageError(
            "MMRAG_LEDGER_URL is no address of a PostgreSQL database.",
            "Write it like postgresql://USER:PASSWORD@HOST/DATABASE, or leave it out.",
        ) from None
    if found.get_backend_name() == "postgresql" and find_spec("psycopg") is None:
        raise MissingExtra(
            "The ledger can't be kept in PostgreSQL: psycopg is not installed.",
            'Install it: pip install "mmrag-plugin[postgres]"',
        )
    return found


def _engine(url: sa.URL) -> Engine:
    return _postgres(url) if url.get_backend_name() == "postgresql" else _sqlite(url)


def _sqlite(url: sa.URL) -> Engine:
    engine = sa.create_engine(url, connect_args={"timeout": LOCKED_S})

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


def _postgres(url: sa.URL) -> Engine:
    from psycopg.types.string import StrDumper

    class TextWithoutNul(StrDumper):
        """Text as PostgreSQL takes it."""

        def dump(self, obj: str) -> Any:
            return super().dump(obj.replace("\0", _INSTEAD_OF_NUL))

    engine = sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="REPEATABLE READ",
        pool_pre_ping=True,
        connect_args={name: value for name, value in _POSTGRES.items() if name not in url.query},
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.adapters.register_dumper(str, TextWithoutNul)
        connection.execute(f"SET lock_timeout = {round(LOCKED_S * 1000)}")
        connection.commit()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("write") is True:
            connection.exec_driver_sql(_ONE_AT_A_TIME)

    return engine


def _put_views_before(engine: Engine) -> None:
    from mmrag_plugin.ledger_views import view_statements

    @sa.event.listens_for(engine, "connect")
    def _create(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":
            for statement in view_statements("main"):
                cursor.execute(statement)
        else:
            schema = cursor.execute("SELECT quote_ident(current_schema())").fetchone()[0]
            cursor.execute("; ".join(view_statements(schema)))
            connection.commit()
        cursor.close()


def shown(url: sa.URL) -> str:
    """An address as people may see it: without passwords, which may stand behind the ? too."""
    secrets = [name for name in url.query if "password" in name]
    return url.difference_update_query(secrets).render_as_string(hide_password=True)


def _explained(url: sa.URL, error: sa.exc.DBAPIError) -> Exception:
    detail = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    where = shown(url)
    if url.get_backend_name() == "postgresql":
        if "lock timeout" in detail:
            return LibraryBusy(
                f"Another process has been writing to the ledger {where} for {LOCKED_S:.0f} s.",
                "Try again when it is done.",
            )
        return ServiceError(
            f"The ledger {where} can't be used: {detail.rstrip('.')}.",
            "Check MMRAG_LEDGER_URL and the server.",
        )
    path = url.database
    if "not a database" in detail or "malformed" in detail:
        return NotALibrary(f"{path} is not a ledger of mmrag ({detail}).", "Restore a backup.")
    if "full" in detail:
        return StorageError(f"The disk is full: {path} can't be written.", "Free some space.")
    return StorageError(
        f"The ledger {path} can't be used: {detail}.", "Check its permissions and free space."
    )
