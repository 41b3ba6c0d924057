"""One writer at a time: a lease in the ledger, kept alive while its process lives."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from mmrag_plugin.errors import LibraryBusy, MmragError
from mmrag_plugin.ledger_database import RECONNECT_S, LedgerDatabase
from mmrag_plugin.ledger_tables import lease

ANNOTATING = "annotating"
SHORT_S = 10.0  # how long others wait for whoever does only that
PATIENCE_S = 60.0  # how long a writer waits for a database server that went away
LEASE_S = 30.0  # a writer that has not been heard of for this long is gone


class WriterLease:
    """The right to write to one library."""

    def __init__(self, database: LedgerDatabase) -> None:
        self._database = database
        self._mine = ""
        self._valid_until = 0.0

    @contextmanager
    def hold(self, purpose: str) -> Iterator[None]:
        """Hold the single writer's lease while the block runs, kept alive by a thread.

        Raises LibraryBusy naming the process that holds it. The lease of a process that died is
        taken over, at once on the same machine, after LEASE_S elsewhere. A process that slept so
        long that it lost the lease is refused at its next write, with LibraryBusy too. Who only
        enters an annotation is waited for.
        """
        deadline = time.monotonic() + SHORT_S
        while not self._taken(purpose, patient=time.monotonic() < deadline):
            time.sleep(0.1)
        released = threading.Event()

        def keep() -> None:
            while not released.wait(LEASE_S / 4):
                with suppress(MmragError):  # what stands in its way, the writer itself will meet
                    self._renew()

        keeper = threading.Thread(target=keep, name="mmrag-lease", daemon=True)
        keeper.start()
        self._database.before_writing, self._database.patience_s = self._check, PATIENCE_S
        try:
            yield
        finally:
            self._database.before_writing, self._database.patience_s = lambda: None, RECONNECT_S
            released.set()
            keeper.join()
            with suppress(MmragError), self._database.writing() as connection:
                connection.execute(lease.delete().where(lease.c.holder == self._mine))

    def _check(self) -> None:
        if time.time() > self._valid_until:
            self._renew()

    def _renew(self) -> None:
        valid_until = time.time() + LEASE_S
        with self._database.writing_anyway() as connection:
            renewed = connection.execute(
                lease.update()
                .where(lease.c.holder == self._mine)
                .values(expires=self._database.now() + LEASE_S)
            )
        if not renewed.rowcount:
            raise LibraryBusy(
                "This process was stopped for so long that another one writes to the library now.",
                "Run the command again; nothing is lost.",
            )
        self._valid_until = valid_until

    def holder(self) -> str | None:
        """What the present writer is doing, in words; None when nobody writes."""
        with self._database.reading() as connection:
            row = self._row(connection)
        if row is None or _is_gone(row):
            return None
        where = "" if _is_of_this_machine(row) else f" on {row.host}"
        return f"{row.purpose} (process {row.pid}{where})"

    def _row(self, connection: Connection) -> Row[Any] | None:
        ran_out = (lease.c.expires < self._database.now()).label("ran_out")
        return connection.execute(sa.select(lease, ran_out)).one_or_none()

    def _taken(self, purpose: str, *, patient: bool) -> bool:
        """Take the lease; where a short writer has it and one is patient, say that it wasn't."""
        holder, valid_until = f"{_machine()}:{uuid4().hex}", time.time() + LEASE_S
        mine = {
            "name": "writer",
            "holder": holder,
            "purpose": purpose,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "expires": self._database.now() + LEASE_S,
        }
        with self._database.writing() as connection:
            row = self._row(connection)
            if row is not None and _is_gone(row):
                connection.execute(lease.delete().where(lease.c.holder == row.holder))
            self._database.insert_missing(connection, lease, mine)
            row = connection.execute(sa.select(lease)).one()
        if row.holder != holder:
            if patient and row.purpose == ANNOTATING:
                return False
            raise LibraryBusy(
                f"Process {row.pid} on {row.host} is writing to this library ({row.purpose}).",
                "Wait until it is done, or stop it; searching works meanwhile.",
            )
        self._mine, self._valid_until = holder, valid_until
        return True


def _is_gone(row: Row[Any]) -> bool:
    if row.ran_out:
        return True
    if not _is_of_this_machine(row):
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _is_of_this_machine(row: Row[Any]) -> bool:
    """Whether the writer's process could be seen from here."""
    return str(row.holder).startswith(f"{_machine()}:")


def _machine() -> str:
    """What tells apart where a process number means something else: machines, and containers."""
    known = [socket.gethostname()]  # which several of them may share
    with suppress(OSError):
        known.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        known.append(str(Path("/proc/self/ns/pid").readlink()))
    return hashlib.blake2b("|".join(known).encode(), digest_size=6).hexdigest()
