"""One writer at a time: a lease in the ledger, kept alive while its process lives."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Row

from mmrag_plugin.errors import LibraryBusy
from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.ledger_tables import lease

LEASE_S = 30.0  # a writer that has not been heard of for this long is gone


class WriterLease:
    """The right to write to one library."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database

    @contextmanager
    def hold(self, purpose: str) -> Iterator[None]:
        """Hold the single writer's lease while the block runs, kept alive by a thread.

        Raises LibraryBusy naming the process that holds it. The lease of a process that died is
        taken over, at once on the same machine, after LEASE_S elsewhere.
        """
        holder = uuid4().hex
        self._take(holder, purpose)
        released = threading.Event()

        def keep() -> None:
            while not released.wait(LEASE_S / 4):
                with self._database.writing() as connection:
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
            with self._database.writing() as connection:
                connection.execute(lease.delete().where(lease.c.holder == holder))

    def holder(self) -> str | None:
        """What the present writer is doing, in words; None when nobody writes."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(lease)).one_or_none()
        return None if row is None or _is_gone(row) else f"{row.purpose} (process {row.pid})"

    def _take(self, holder: str, purpose: str) -> None:
        mine = {
            "name": "writer",
            "holder": holder,
            "purpose": purpose,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "expires": time.time() + LEASE_S,
        }
        with self._database.writing() as connection:
            row = connection.execute(sa.select(lease)).one_or_none()
            if row is not None and _is_gone(row):
                connection.execute(lease.delete().where(lease.c.holder == row.holder))
            self._database.insert_missing(connection, lease, mine)
            row = connection.execute(sa.select(lease)).one()
        if row.holder != holder:
            raise LibraryBusy(
                f"Process {row.pid} on {row.host} is writing to this library ({row.purpose}).",
                "Wait until it is done, or stop it; searching works meanwhile.",
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
