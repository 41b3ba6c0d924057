"""The ledger's lines that keep a hidden media hidden, whatever becomes of its file.

A media is hidden by its id, and a file that was edited comes back under another one after it was
away. So a rule about a media goes with the contents that the media has, and had.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.ledger_tables import hidden_contents, hiding, left_out_files, media

_LIKE_IT = sa.select(hidden_contents.c.media_id).where(  # put together once, not for each new media
    hidden_contents.c.content_hash == sa.bindparam("same"),
    hidden_contents.c.media_id != sa.bindparam("new"),
)
_RULE_ABOUT = sa.select(hiding.c.target).where(
    hiding.c.kind == "media", hiding.c.target == sa.bindparam("target")
)


def keep_hidden(
    database: LedgerDatabase, connection: Connection, media_id: str, content_hash: str
) -> None:
    """Note the content of a media, if a rule hides that media."""
    if connection.scalar(_RULE_ABOUT, {"target": media_id}) is not None:
        row = {"media_id": media_id, "content_hash": content_hash}
        database.insert_missing(connection, hidden_contents, row)


def hide_again(
    database: LedgerDatabase, connection: Connection, media_id: str, content_hash: str
) -> None:
    """Hide a new media that has a content of a hidden one; the rule of one that is gone is its."""
    new = {"new": media_id, "same": content_hash}
    for other in list(connection.scalars(_LIKE_IT, new)):
        hide_like(database, connection, media_id, other)
        if connection.scalar(sa.select(media.c.media_id).where(media.c.media_id == other)) is None:
            connection.execute(hiding.delete().where(_about(other)))
            files = left_out_files.c.kind == "media", left_out_files.c.target == other
            connection.execute(left_out_files.update().where(*files).values(target=media_id))
            for known in list(connection.scalars(_contents_of(other))):
                row = {"media_id": media_id, "content_hash": known}
                database.insert_missing(connection, hidden_contents, row)
            connection.execute(hidden_contents.delete().where(hidden_contents.c.media_id == other))
    keep_hidden(database, connection, media_id, content_hash)


def hide_like(
    database: LedgerDatabase, connection: Connection, media_id: str, other: str, name: str = ""
) -> None:
    """Hide a media as another one is hidden by its id, if it is."""
    for rule in list(connection.execute(sa.select(hiding).where(_about(other)))):
        row = {"kind": "media", "target": media_id, "name": name or rule.name}
        database.insert_missing(connection, hiding, {**row, "level": rule.level})


def _about(media_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(hiding.c.kind == "media", hiding.c.target == media_id)


def _contents_of(media_id: str) -> sa.Select[tuple[str]]:
    return sa.select(hidden_contents.c.content_hash).where(hidden_contents.c.media_id == media_id)
