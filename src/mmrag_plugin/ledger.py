"""The ledger: what is known about media, where they lie, and which stage is done with them.

It is the truth; Milvus holds a projection of it that can be rebuilt. SQLite by default, PostgreSQL
where several machines share a library. Paths live only here, so a move touches one row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from mmrag_plugin.errors import NotALibrary, UsageError
from mmrag_plugin.ledger_annotations import AnnotationLines
from mmrag_plugin.ledger_captions import CaptionLines, Shot
from mmrag_plugin.ledger_database import LedgerDatabase, shown
from mmrag_plugin.ledger_facets import FacetLines
from mmrag_plugin.ledger_hiding import HidingLines
from mmrag_plugin.ledger_lease import WriterLease
from mmrag_plugin.ledger_looks import LookLines
from mmrag_plugin.ledger_marks import MarkLines
from mmrag_plugin.ledger_media import (
    KnownPath,
    MediaLines,
    MediaRow,
    Seen,
    at_or_under,
    under,
)
from mmrag_plugin.ledger_names import NameLines
from mmrag_plugin.ledger_pixels import PixelLines
from mmrag_plugin.ledger_relocating import RelocatingLines
from mmrag_plugin.ledger_speech import HeardPiece, SpeechLines
from mmrag_plugin.ledger_stages import BadSidecar, Failure
from mmrag_plugin.ledger_tables import (
    SCHEMA_VERSION,
    WRITING,
    date_sources,
    facts,
    left_out,
    media,
    metadata,
    paths,
    roots,
    signals,
    stages,
)
from mmrag_plugin.ledger_words import WordLines
from mmrag_plugin.media import Stage

__all__ = [
    "MOVED_TO",
    "WRITING",
    "BadSidecar",
    "Failure",
    "HeardPiece",
    "KnownPath",
    "Ledger",
    "MediaRow",
    "Seen",
    "Shot",
    "sqlite_url",
]


MOVED_TO = "moved_to"  # the fact that a ledger is out of date, and where the new one is


class Ledger(
    MediaLines,
    NameLines,
    CaptionLines,
    SpeechLines,
    WordLines,
    MarkLines,
    FacetLines,
    LookLines,
    PixelLines,
    RelocatingLines,
    HidingLines,
    AnnotationLines,
):
    """One library's ledger. Thread-safe; every method is one short transaction."""

    def __init__(self, url: str, *, for_assistants: bool = False) -> None:
        """Open or create the ledger at a SQLAlchemy URL.

        In one ``for_assistants`` what is hidden from them is not there, and media can't be changed.

        Raises StorageError when the disk is full or not writable, NotALibrary when the file is no
        ledger or a newer program's, ServiceError when the database server can't be reached.
        """
        self.url = url
        if for_assistants:
            Ledger(url).close()  # what has to be made is made without views
        self._database = LedgerDatabase(url, for_assistants=for_assistants)
        self._beneath = LedgerDatabase(url) if for_assistants else self._database
        self._lease = WriterLease(self._database)
        self._database.create(metadata)
        if self.fact("schema") is None:
            with self._database.writing() as connection:
                for key, value in (("schema", SCHEMA_VERSION), ("id", uuid4().hex[:12])):
                    self._database.insert_missing(connection, facts, {"key": key, "value": value})
        found = self.fact("schema")
        if found != SCHEMA_VERSION:
            self.close()
            raise NotALibrary(
                f"The ledger {self.address} has version {found}, "
                f"this program reads version {SCHEMA_VERSION}.",
                "Upgrade mmrag.",
            )
        self._mark_what_is_known()

    @property
    def address(self) -> str:
        """Where it is kept, as people may see it: without a password."""
        return shown(self._database.url)

    def copy_to(self, other: Ledger, advance: Callable[[int], None]) -> int:
        """Give another ledger these lines in the place of its own; says how many they are."""
        from mmrag_plugin.ledger_copy import copy_tables

        return copy_tables(self._database, other._database, advance)

    def is_empty(self) -> bool:
        """Whether nothing has been entered yet."""
        from mmrag_plugin.ledger_copy import is_empty

        return is_empty(self._database)

    def require_here(self) -> None:
        """Raise UsageError where the ledger was moved and this one is out of date."""
        if (there := self.fact(MOVED_TO)) is not None:
            raise UsageError(
                f"The ledger of this library was moved to {there}; this one is out of date: "
                f"{self.address}.",
                "Start this program again, or name the new place in the library's config.toml or "
                "MMRAG_LEDGER_URL.",
            )

    def close(self) -> None:
        """Give the database's files and connections back."""
        self._database.close()
        self._beneath.close()

    # ---- facts about the library -------------------------------------------------------------

    def fact(self, key: str) -> Any:
        """A fact about the library, as JSON; None when it was never stated."""
        with self._database.reading() as connection:
            return connection.scalar(sa.select(facts.c.value).where(facts.c.key == key))

    def state(self, **values: Any) -> None:
        """State facts about the library."""
        with self._database.writing() as connection:
            for key, value in values.items():
                self._database.upsert(connection, facts, {"key": key, "value": value}, ["key"])

    def become_another(self) -> str:
        """Take a new id, under which nothing stands in Milvus yet; says which."""
        new = uuid4().hex[:12]
        with self.transaction():
            self.state(id=new)
            media_ids = list(self.media_rows())
            self.redo("embed", media_ids)
            self.begin_words(media_ids)
        return new

    def add_root(self, root: str, *, is_file: bool = False) -> None:
        """Remember a folder or file that belongs to the library, unless it lies in one that does.

        Folders inside it are part of it from now on, and their media are read again: the names of
        the folders between are words too. What was left out until it is named is so no more.
        """
        with self._database.writing() as connection:
            connection.execute(left_out.delete().where(left_out.c.path == root))
        if self.root_over(root) is None:
            with self._database.writing() as connection:
                if not is_file:  # nothing lies in a file, and to look for it takes long
                    connection.execute(roots.delete().where(at_or_under(roots.c.path, root)))
                connection.execute(roots.insert().values(path=root))
                self._adopt(connection, root, paths.c.path == root if is_file else under(root))

    def root_over(self, path: str) -> str | None:
        """The folder of the library that a path is or lies in."""
        places = [path, *map(str, Path(path).parents)]
        with self._database.reading() as connection:
            return connection.scalar(sa.select(roots.c.path).where(roots.c.path.in_(places)))

    def drop_roots(self, folder: str) -> None:
        """Forget the library's folders at or under a folder, and what is left out there."""
        with self._database.writing() as connection:
            for table in (roots, left_out):
                connection.execute(table.delete().where(at_or_under(table.c.path, folder)))

    def leave_out(self, path: str) -> None:
        """Have scans leave out a file or folder until it is named."""
        with self._database.writing() as connection:
            connection.execute(left_out.delete().where(at_or_under(left_out.c.path, path)))
            self._database.insert_missing(connection, left_out, {"path": path})

    def left_out(self) -> list[str]:
        """The files and folders that scans leave out."""
        with self._database.reading() as connection:
            return list(connection.scalars(sa.select(left_out.c.path).order_by(left_out.c.path)))

    def roots(self) -> list[str]:
        """The folders of the library."""
        with self._database.reading() as connection:
            return list(connection.scalars(sa.select(roots.c.path).order_by(roots.c.path)))

    # ---- counting ----------------------------------------------------------------------------

    def counts(self) -> dict[str, dict[str, int]]:
        """Media per kind, states per stage, signals and dates per source, rows owed to Milvus."""
        with self._database.reading() as connection:
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
            dates = connection.execute(
                sa.select(date_sources.c.source, sa.func.count())
                .group_by(date_sources.c.source)
                .order_by(sa.func.count().desc(), date_sources.c.source)
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
                "dates": {source: count for source, count in dates},
                "rows": {"frames": int(frames or 0), "signals": int(words or 0)},
            }

    def dates(self) -> tuple[str | None, str | None]:
        """The earliest and the latest ``taken_at``."""
        with self._database.reading() as connection:
            earliest, latest = connection.execute(
                sa.select(sa.func.min(media.c.taken_at), sa.func.max(media.c.taken_at))
            ).one()
            return earliest, latest

    def stage_made(self, stage: Stage, limit: int | None = None) -> dict[str, int]:
        """How many rows or signals a stage made of each media with which it is done.

        With a ``limit`` of any so many media: ids begin as hashes, so their order is chance.
        """
        query = (
            sa.select(stages.c.media_id, stages.c.made)
            .where(stages.c.stage == stage, stages.c.state == "done")
            .order_by(stages.c.media_id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return {media_id: items for media_id, items in connection.execute(query)}

    # ---- one writer --------------------------------------------------------------------------

    def writer(self, purpose: str) -> AbstractContextManager[None]:
        """Hold the single writer's lease while the block runs. Raises LibraryBusy."""
        self.require_here()
        return self._lease.hold(purpose)

    def lease_holder(self) -> str | None:
        """What the present writer is doing, in words; None when nobody writes."""
        return self._lease.holder()

    def transaction(self) -> AbstractContextManager[None]:
        """Make everything that this thread does inside the block one transaction."""
        return self._database.transaction()

    def one_look(self) -> AbstractContextManager[None]:
        """Have all that this thread reads inside the block be of one moment, and read at once."""
        return self._database.one_look()


def sqlite_url(path: Path) -> str:
    """The URL of a ledger in one file."""
    return str(sa.URL.create("sqlite", database=str(path)))
