"""The ledger's lines about speech: what was heard in films, and which are still to be heard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import (
    WRITING,
    heard,
    heard_out,
    media,
    paths,
    signals,
    sounding,
    stages,
)

_Segment = tuple[float, float, str, str]  # start_s, end_s, text, language


@dataclass(frozen=True)
class HeardPiece:
    """What was heard in a piece of a film, which ends at ``end_s``.

    ``levels`` say how loud each window of it is, from the window with number ``first_level`` on.
    """

    end_s: float
    segments: tuple[_Segment, ...]
    language: str
    first_level: int
    levels: tuple[int, ...]


class SpeechLines:
    """What was heard in films; every method is one short transaction."""

    _database: LedgerDatabase

    def to_hear(self, stamp: str) -> list[str]:
        """Films with sound and without subtitles that were not heard yet, first path first."""
        finished = sa.and_(stages.c.state.in_(["done", "failed"]), stages.c.stamp == stamp)
        mine = stages.c.media_id == media.c.media_id
        query = (
            sa.select(media.c.media_id)
            .join_from(media, sounding)
            .join(paths, paths.c.media_id == media.c.media_id)
            .where(
                ~sa.exists().where(mine, stages.c.stage == "speech", finished),
                sa.exists().where(mine, stages.c.stage == "read", stages.c.state == "done"),
                ~sa.exists().where(
                    signals.c.media_id == media.c.media_id, signals.c.source == "subtitle"
                ),
            )
            .group_by(media.c.media_id)
            .order_by(sa.func.min(paths.c.path))
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def drop_speech_of_subtitled(self) -> None:
        """Drop the speech of films that have subtitles by now; what was heard is kept."""
        subtitled = sa.select(signals.c.media_id).where(signals.c.source == "subtitle")
        query = sa.select(stages.c.media_id).where(
            stages.c.stage == "speech", stages.c.media_id.in_(subtitled)
        )
        with self._database.reading() as connection:
            found = list(connection.scalars(query))
        with self._database.writing() as connection:
            for batch in batches(found):
                said = sa.and_(signals.c.media_id.in_(batch), signals.c.stage == "speech")
                connection.execute(signals.delete().where(said))
                listened = sa.and_(stages.c.media_id.in_(batch), stages.c.stage == "speech")
                connection.execute(stages.delete().where(listened))
                written = sa.and_(media.c.media_id.in_(batch), media.c.words_stamp != "")
                connection.execute(media.update().where(written).values(words_stamp=WRITING))

    def content_of(self, media_id: str) -> str:
        """The hash of a media's content; empty for one that is not known."""
        query = sa.select(media.c.content_hash).where(media.c.media_id == media_id)
        with self._database.reading() as connection:
            return connection.scalar(query) or ""

    def heard(self, content_hash: str, stamp: str) -> list[HeardPiece]:
        """What was heard in a content so far, piece by piece."""
        query = (
            sa.select(heard.c.end_s, heard.c.content)
            .where(heard.c.content_hash == content_hash, heard.c.stamp == stamp)
            .order_by(heard.c.number)
        )
        with self._database.reading() as connection:
            return [_piece(end_s, content) for end_s, content in connection.execute(query)]

    def put_heard(self, content_hash: str, stamp: str, number: int, piece: HeardPiece) -> None:
        """Keep what was heard in the next piece of a content."""
        row = {
            "content_hash": content_hash,
            "stamp": stamp,
            "number": number,
            "end_s": piece.end_s,
            "content": {
                "segments": piece.segments,
                "language": piece.language,
                "levels": [piece.first_level, *piece.levels],
            },
        }
        with self._database.writing() as connection:
            self._database.upsert(connection, heard, row, ["content_hash", "stamp", "number"])

    def put_heard_out(self, content_hash: str, stamp: str, duration_s: float) -> None:
        """Say that a content was heard up to its end."""
        row = {"content_hash": content_hash, "stamp": stamp, "duration_s": duration_s}
        with self._database.writing() as connection:
            self._database.upsert(connection, heard_out, row, ["content_hash", "stamp"])

    def is_heard_out(self, content_hash: str, stamp: str) -> bool:
        """Whether a content was heard up to its end."""
        query = sa.select(heard_out).where(
            heard_out.c.content_hash == content_hash, heard_out.c.stamp == stamp
        )
        with self._database.reading() as connection:
            return connection.execute(query).first() is not None

    def heard_out_of_length(self, stamp: str, duration_s: float, within_s: float) -> list[str]:
        """Contents that were heard up to their end, of films about as long."""
        length = heard_out.c.duration_s
        query = (
            sa.select(heard_out.c.content_hash)
            .where(
                heard_out.c.stamp == stamp,
                length.between(duration_s - within_s, duration_s + within_s),
            )
            .order_by(heard_out.c.content_hash)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def forget_heard(self, media_ids: Sequence[str]) -> None:
        """Drop what was heard in media, unless others have the same content."""
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                theirs = set(
                    connection.scalars(
                        sa.select(media.c.content_hash).where(media.c.media_id.in_(batch))
                    )
                )
                others = sa.select(media.c.content_hash).where(
                    media.c.content_hash.in_(theirs), media.c.media_id.not_in(media_ids)
                )
                for content_hash in sorted(theirs - set(connection.scalars(others))):
                    for table in (heard, heard_out):
                        mine = table.c.content_hash == content_hash
                        connection.execute(table.delete().where(mine))


def _piece(end_s: float, content: dict[str, Any]) -> HeardPiece:
    first, *levels = content["levels"]
    segments = tuple(
        (start_s, until_s, text, language)
        for start_s, until_s, text, language in content["segments"]
    )
    return HeardPiece(end_s, segments, content["language"], first, tuple(levels))
