"""A library's ledger moved from its file to PostgreSQL, or back; the other half of migrating."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field

import sqlalchemy as sa

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.ledger import MOVED_TO, Ledger, sqlite_url
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_place import LEDGER_FILE
from mmrag_plugin.settings import CONFIG_FILE, Settings
from mmrag_plugin.settings_file import write_settings

PURPOSE = "moving its ledger"


@dataclass
class LedgerReport:
    """What a move of the ledger did; addresses are without passwords."""

    origin: str
    target: str
    rows: int
    warnings: list[str] = field(default_factory=list)


def move_ledger(
    library: MediaLibrary, url: str, advance: Callable[[int], None], *, keep_password: bool = False
) -> LedgerReport:
    """Copy the ledger to a PostgreSQL address (empty: to the library's own file), and switch.

    It is copied and compared in one transaction of the new database, so that whatever ends it
    leaves everything as it was; ``advance`` hears of lines that were copied. Raises UsageError
    where the new place holds another ledger.
    """
    directory, ledger = library.directory, library.ledger
    with (
        ledger.writer(PURPOSE),
        closing(Ledger(url or sqlite_url(directory / LEDGER_FILE))) as target,
    ):
        origin, there = ledger.address, target.address
        if origin == there:
            raise UsageError(f"The ledger is {there} already.", "Name another place.")
        left_by_us = target.fact("id") == ledger.fact("id") and target.fact(MOVED_TO)
        if not left_by_us and not target.is_empty():
            raise UsageError(
                f"{there} holds another ledger, or one that this library did not leave there.",
                "Name an empty database or schema.",
            )
        if url:
            ledger.state(library=library.settings.library)  # whose it is, as all machines call it
        rows = ledger.copy_to(target, advance)
        kept = sa.make_url(url) if url else None
        password = kept is not None and kept.password is not None
        if kept is not None and not keep_password:
            kept = kept.set(password=None)
        written = None if kept is None else kept.render_as_string(hide_password=False)
        write_settings(directory / CONFIG_FILE, {"ledger_url": written})
        ledger.state(**{MOVED_TO: there})
    report = LedgerReport(origin, there, rows)
    known = os.environ.get("MMRAG_LEDGER_URL", "")
    if known and known != url:
        report.warnings.append(
            "MMRAG_LEDGER_URL in the environment says something else, and wins over "
            f"{CONFIG_FILE}: take it out or change it."
        )
    elif password and not keep_password and not known:
        report.warnings.append(
            "The password is not kept: set PGPASSWORD or MMRAG_LEDGER_URL for the commands to "
            "come, or write it into ~/.pgpass."
        )
    return report


def back_to_file(settings: Settings) -> LedgerReport:
    """Use the ledger in the library's own file as it was left, where the server's is lost."""
    file = settings.directory / LEDGER_FILE
    if not file.is_file():
        raise NotFound(f"There is no ledger in {file}.", "Bring one back from a backup.")
    with closing(Ledger(sqlite_url(file))) as ledger:
        ledger.state(**{MOVED_TO: None})
        rows = len(ledger.media_rows())
        write_settings(settings.directory / CONFIG_FILE, {"ledger_url": None})
        return LedgerReport("", ledger.address, rows)
