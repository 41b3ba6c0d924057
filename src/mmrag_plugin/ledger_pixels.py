"""The ledger's lines about pixels: what of a changed file may hold, if it shows what it showed.

When a file changes, what was seen in it is set aside. If its pixels turn out to be the same, as
when only a rating was written into it, that is taken up again, and nothing is looked at anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_marks import enter_signals
from mmrag_plugin.ledger_tables import (
    WRITING,
    media,
    pixels,
    signals,
    signals_aside,
    stages,
    stages_aside,
)
from mmrag_plugin.media import Kind, Signal

_SEEN = ("embed", "ocr")  # what these stages find depends on the pixels alone


@dataclass(frozen=True)
class SetAside:
    """A changed media that was embedded before: under which stamp, and what it showed."""

    media_id: str
    kind: Kind
    stamp: str
    pixels_hash: str


class PixelLines:
    """What media showed when they were embedded; every method is one short transaction."""

    _database: LedgerDatabase

    def put_pixels(self, found: Mapping[str, str]) -> None:
        """Keep the hashes of what is embedded, by media."""
        with self._database.writing() as connection:
            rows = [{"media_id": media_id, "pixels_hash": seen} for media_id, seen in found.items()]
            self._database.upsert_all(connection, pixels, rows, ["media_id"])

    def set_aside(self) -> list[SetAside]:
        """The changed media that may show what they showed, in the order of their ids."""
        query = (
            sa.select(media.c.media_id, media.c.kind, stages_aside.c.stamp, pixels.c.pixels_hash)
            .join_from(stages_aside, media, media.c.media_id == stages_aside.c.media_id)
            .join(pixels, pixels.c.media_id == media.c.media_id)
            .where(stages_aside.c.stage == "embed")
            .order_by(media.c.media_id)
        )
        with self._database.reading() as connection:
            return [SetAside(*row) for row in connection.execute(query)]

    def take_up(self, media_ids: Iterable[str]) -> None:
        """Say that media show what they showed: what was seen in them holds.

        What stands beside their vectors, as the date, may have changed.
        """
        with self._database.writing() as connection:
            for media_id in media_ids:
                mine = stages_aside.c.media_id == media_id
                for row in list(connection.execute(sa.select(stages_aside).where(mine))):
                    values = {"stamp": row.stamp, "made": row.made, "state": "done"}
                    if row.stage == "embed":
                        values["state"] = WRITING  # whole, and outdated
                    else:
                        said = _signals_aside(connection, media_id, row.stage)
                        enter_signals(connection, row.stage, {media_id: said})
                    here = sa.and_(stages.c.media_id == media_id, stages.c.stage == row.stage)
                    connection.execute(stages.update().where(here).values(**values))
                # in Milvus stands what was known when the file was read without them
                connection.execute(
                    media.update()
                    .where(media.c.media_id == media_id, media.c.words_stamp != "")
                    .values(words_stamp=WRITING)
                )
                drop_set_aside(connection, [media_id])

    def forget_set_aside(self, media_ids: Iterable[str]) -> None:
        """Say that what was seen in media does not hold any more."""
        with self._database.writing() as connection:
            drop_set_aside(connection, media_ids)


def put_aside(connection: Connection, media_id: str) -> None:
    """Set aside what was seen in a media, unless that was done before and not decided on yet."""
    mine = sa.and_(
        stages.c.media_id == media_id,
        stages.c.stage.in_(_SEEN),
        sa.or_(stages.c.state == "done", sa.and_(stages.c.state == WRITING, stages.c.stamp != "")),
    )
    columns = ["media_id", "stage", "stamp", "made"]
    whole = sa.select(*(stages.c[name] for name in columns)).where(mine)
    found = [row.stage for row in connection.execute(whole)]
    if "embed" not in found:
        return
    drop_set_aside(connection, [media_id])
    connection.execute(stages_aside.insert().from_select(columns, whole))
    columns = ["media_id", "stage", "number", "source", "text", "start_s", "end_s"]
    said = sa.select(*(signals.c[name] for name in columns)).where(
        signals.c.media_id == media_id, signals.c.stage.in_(found)
    )
    connection.execute(signals_aside.insert().from_select(columns, said))


def drop_set_aside(connection: Connection, media_ids: Iterable[str]) -> None:
    """Drop what was set aside of media."""
    for batch in batches(media_ids):
        for table in (stages_aside, signals_aside):
            connection.execute(table.delete().where(table.c.media_id.in_(batch)))


def _signals_aside(connection: Connection, media_id: str, stage: str) -> list[Signal]:
    table = signals_aside.c
    query = (
        sa.select(table.source, table.text, table.start_s, table.end_s)
        .where(table.media_id == media_id, table.stage == stage)
        .order_by(table.number)
    )
    return [Signal(*row) for row in connection.execute(query)]
