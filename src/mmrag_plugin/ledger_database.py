"""The ledger's database: SQLite or PostgreSQL, its transactions, and its errors in our words."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from mmrag_plugin.errors import MissingExtra, NotALibrary, ServiceError, StorageError, UsageError
from mmrag_plugin.tracing import span

_CHUNK = 500  # ids in one statement: below the parameter limits of every database
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
        self._engine = _engine(self.url)
        if for_assistants:
            _put_views_before(self._engine)
        self._writer = self._engine.execution_options(write=True)
        self._open = threading.local()  # the connection of this thread's ``transaction``
        self.before_writing: Callable[[], None] = lambda: None  # may refuse by raising

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
        rest = {name: value for name, value in row.items() if name not in keys}
        statement = self.insert()(table).values(**row)
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))

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
        with self._storage_errors(), self._engine.connect() as connection:
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
        with self._storage_errors(), _timed("ledger.read"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A connection to write with: this thread's transaction, or one of its own."""
        if connection := getattr(self._open, "connection", None):
            yield connection
            return
        self.before_writing()
        with self.writing_anyway() as connection:
            yield connection

    @contextmanager
    def writing_anyway(self) -> Iterator[Connection]:
        """A connection to write with, whatever ``before_writing`` says."""
        with self._storage_errors(), _timed("ledger.write"), self._writer.begin() as connection:
            yield connection

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise _explained(self.url, error) from error
        except UnicodeEncodeError as error:  # half characters, from file names that are no text
            raise UsageError(f"{error.object!r} is no valid text.", "Rename it.") from None


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


def _put_views_before(engine: Engine) -> None:
    from mmrag_plugin.ledger_views import view_statements

    @sa.event.listens_for(engine, "connect")
    def _create(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        if engine.dialect.name == "sqlite":
            schema = "main"
        else:
            cursor.execute("SELECT current_schema()")
            schema = cursor.fetchone()[0]
        for statement in view_statements(schema):
            cursor.execute(statement)
        cursor.close()
        if engine.dialect.name != "sqlite":
            connection.commit()


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
