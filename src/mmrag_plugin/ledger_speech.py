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

# Subtitles that cover less of a long film are of signs, or of a sentence in another language.
LONG_S = 300.0
FEW = 0.02

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
        """Films with sound that nobody subtitled and that were not heard yet, first path first."""
        finished = sa.and_(stages.c.state.in_(["done", "failed"]), stages.c.stamp == stamp)
        mine = stages.c.media_id == media.c.media_id
        query = (
            sa.select(media.c.media_id)
            .join_from(media, sounding)
            .join(paths, paths.c.media_id == media.c.media_id)
            .where(
                ~sa.exists().where(mine, stages.c.stage == "speech", finished),
                sa.exists().where(mine, stages.c.stage == "read", stages.c.state == "done"),
                media.c.media_id.not_in(_subtitled()),
            )
            .group_by(media.c.media_id)
            .order_by(sa.func.min(paths.c.path))
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def drop_speech_of_subtitled(self) -> None:
        """Drop the speech of films that have subtitles by now; what was heard is kept."""
        query = sa.select(stages.c.media_id).where(
            stages.c.stage == "speech", stages.c.media_id.in_(_subtitled())
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
        gone = set(media_ids)
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                theirs = sa.select(media.c.content_hash).where(media.c.media_id.in_(batch))
                owners = sa.select(media.c.content_hash, media.c.media_id).where(
                    media.c.content_hash.in_(theirs)
                )
                found = connection.execute(owners).all()
                kept = {content_hash for content_hash, media_id in found if media_id not in gone}
                dropped = sorted({content_hash for content_hash, _ in found} - kept)
                for table in (heard, heard_out):
                    connection.execute(table.delete().where(table.c.content_hash.in_(dropped)))


def _subtitled() -> sa.Select[tuple[str]]:
    """The media ids of films whose subtitles are what is said in them."""
    shown_s = sa.func.sum(sa.func.coalesce(signals.c.end_s - signals.c.start_s, 0.0))
    length_s = sa.func.coalesce(sa.func.max(media.c.duration_s), 0.0)
    return (
        sa.select(signals.c.media_id)
        .join(media, media.c.media_id == signals.c.media_id)
        .where(signals.c.source == "subtitle")
        .group_by(signals.c.media_id)
        .having(sa.or_(length_s < LONG_S, shown_s >= FEW * length_s))
    )


def _piece(end_s: float, content: dict[str, Any]) -> HeardPiece:
    first, *levels = content["levels"]
    segments = tuple(
        (start_s, until_s, text, language)
        for start_s, until_s, text, language in content["segments"]
    )
    return HeardPiece(end_s, segments, content["language"], first, tuple(levels))
