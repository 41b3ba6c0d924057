"""A ledger copied into another database, table by table in one transaction, and compared."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.errors import StorageError
from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import facts, lease, metadata, written_by_person

_ROWS = 1000
_BORN_WITH = ("schema", "id", "marks")  # the facts that a ledger has as soon as it is made
TABLES = [table for table in metadata.sorted_tables if table is not lease]

Row = Mapping[str, Any]


def copy_tables(
    source: LedgerDatabase, target: LedgerDatabase, advance: Callable[[int], None]
) -> int:
    """Give the target the rows of the source in the place of its own; says how many.

    All or nothing. Raises StorageError where the target does not give back what it was given.
    """
    count = 0
    with source.one_look(), source.reading() as here, target.transaction(), target.writing() as to:
        for table in reversed(TABLES):
            to.execute(table.delete())
        for table in TABLES:
            for batch in batches(_rows(here, table), _ROWS):
                to.execute(table.insert(), [target.kept(row) for row in batch])
                advance(len(batch))
        target.go_on_counting(to, written_by_person.c.number)
        for table in TABLES:
            theirs = _rows(to, table)
            for row in _rows(here, table):
                if next(theirs, None) != target.kept(row):
                    raise _differs(table)
                count += 1
            if next(theirs, None) is not None:
                raise _differs(table)
    return count


def is_empty(database: LedgerDatabase) -> bool:
    """Whether a ledger holds nothing but what it is born with."""
    with database.reading() as connection:
        stated = connection.scalars(sa.select(facts.c.key))
        if not set(stated).issubset(_BORN_WITH):
            return False
        others = (table for table in TABLES if table is not facts)
        return not any(connection.execute(sa.select(table).limit(1)).first() for table in others)


def _rows(connection: Connection, table: sa.Table) -> Iterator[Row]:
    """The rows of a table in the order of its keys."""
    query = sa.select(table).order_by(*table.primary_key)
    found = connection.execution_options(yield_per=_ROWS).execute(query)
    return (dict(row) for row in found.mappings())


def _differs(table: sa.Table) -> StorageError:
    return StorageError(
        f"The database does not give back the table {table.name} as it was written.",
        "The ledger stays where it is.",
    )
