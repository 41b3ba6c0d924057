"""The ledger's lines about marks and places: what media can be counted, filtered and hidden by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import (
    WRITTEN,
    facts,
    marks,
    media,
    places,
    read_anew,
    signals,
    stages,
    written_by_person,
)
from mmrag_plugin.marks import MarkKind, folded, marks_of
from mmrag_plugin.media import Signal
from mmrag_plugin.people import people_signals
from mmrag_plugin.places import PlaceName

_NAME_CHARS = 200
_VERSION = 2  # of how marks are taken out of signals


class MarkLines:
    """Tags, people, albums and places; every method is one short transaction."""

    _database: LedgerDatabase

    def media_ids_marked(self, kind: MarkKind, name: str) -> frozenset[str]:
        """Media that are marked with a name, whatever its case."""
        query = sa.select(marks.c.media_id).where(
            marks.c.kind == kind, marks.c.folded == folded(name)
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def placeless(self) -> dict[str, tuple[float, float]]:
        """Media with a position whose place has no name yet, each with latitude and longitude."""
        query = (
            sa.select(media.c.media_id, media.c.latitude, media.c.longitude)
            .outerjoin_from(media, places, places.c.media_id == media.c.media_id)
            .where(
                media.c.latitude.is_not(None),
                media.c.longitude.is_not(None),
                places.c.media_id.is_(None),
            )
        )
        with self._database.reading() as connection:
            return {media_id: (north, east) for media_id, north, east in connection.execute(query)}

    def place_names(self, media_ids: Sequence[str]) -> dict[str, str]:
        """Where media were taken, ``Lisbon, Portugal``, those of which it is known."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                rows = connection.execute(sa.select(places).where(places.c.media_id.in_(batch)))
                for row in rows:
                    names = [row.city or row.region, row.country]
                    found[row.media_id] = ", ".join(name for name in names if name)
        return {media_id: name for media_id, name in found.items() if name}

    def put_places(self, found: Mapping[str, PlaceName]) -> None:
        """Enter the names of the places of media."""
        with self._database.writing() as connection:
            for media_id, place in found.items():
                row = {"media_id": media_id, **vars(place)}
                self._database.upsert(connection, places, row, ["media_id"])

    def _mark_what_is_known(self) -> None:
        """Take the marks out of signals that an earlier program entered."""
        with self._database.reading() as connection:
            done = connection.scalar(sa.select(facts.c.value).where(facts.c.key == "marks"))
        if done == _VERSION:
            return
        query = (  # what the person wrote is kept apart, and files are read again: both have lists
            sa.select(signals.c.media_id, signals.c.stage, signals.c.text)
            .where(signals.c.source == "annotation", signals.c.stage != WRITTEN)
            .order_by(signals.c.media_id, signals.c.stage, signals.c.number)
        )
        mine = written_by_person.c
        written = sa.select(mine.media_id, mine.kind, mine.text).where(
            mine.media_id.in_(sa.select(media.c.media_id))
        )
        with self._database.writing() as connection:
            said: dict[tuple[str, str], list[Signal]] = {}
            for media_id, stage, text in connection.execute(query):
                said.setdefault((media_id, stage), []).append(Signal("annotation", text))
            read = [media_id for media_id, stage in said if stage == "read"]
            for read_batch in batches(read):
                connection.execute(read_anew().where(stages.c.media_id.in_(read_batch)))
            for media_id, kind, text in connection.execute(written):
                words = people_signals([text])
                if kind != "person":
                    words = [Signal("annotation", text, tags=(text,) if kind == "tag" else ())]
                said.setdefault((media_id, WRITTEN), []).extend(words)
            for batch in batches(said.items()):
                for (media_id, stage), words in batch:
                    put_marks(connection, stage, {media_id: words})
            self._database.upsert(connection, facts, {"key": "marks", "value": _VERSION}, ["key"])


def put_marks(connection: Connection, stage: str, found: Mapping[str, Sequence[Signal]]) -> None:
    """Enter the marks in what a stage has found of media, in the place of earlier ones."""
    _delete(connection, marks, stage, found)
    rows = {
        (media_id, mark.kind, mark.folded): {
            "media_id": media_id,
            "stage": stage,
            "kind": mark.kind,
            "folded": mark.folded,
            "name": mark.name[:_NAME_CHARS],
        }
        for media_id, words in found.items()
        for mark in marks_of(words)
    }
    if rows:
        connection.execute(marks.insert(), list(rows.values()))


def enter_signals(
    connection: Connection, stage: str, found: Mapping[str, Sequence[Signal]]
) -> None:
    """Enter what a stage has found of media, and its marks, in the place of earlier ones."""
    _delete(connection, signals, stage, found)
    rows = [
        {
            "media_id": media_id,
            "stage": stage,
            "number": number,
            "source": signal.source,
            "text": signal.text,
            "start_s": signal.start_s,
            "end_s": signal.end_s,
        }
        for media_id, words in found.items()
        for number, signal in enumerate(words)
    ]
    if rows:
        connection.execute(signals.insert(), rows)
    put_marks(connection, stage, found)


def _delete(connection: Connection, table: sa.Table, stage: str, media_ids: Iterable[str]) -> None:
    for batch in batches(media_ids):
        mine = sa.and_(table.c.media_id.in_(batch), table.c.stage == stage)
        connection.execute(table.delete().where(mine))
