"""The ledger's lines about what the person wrote with mmrag: captions, tags and people of media.

They stand in a table of their own, apart from what files say, and beside a media's id they keep the
hash of its content: when a media that went comes back, whatever its id is then, they are its again.
Of a media that is edited a copy stays under the old hash, for it may have been another picture.
What they say is entered as signals as well, so that all that reads signals knows of it. A media in
``annotated`` has words that don't stand in Milvus yet; the mark beside it tells a later annotation
from the one that was being written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_marks import enter_signals
from mmrag_plugin.ledger_tables import (
    WRITTEN,
    annotated,
    media,
    paths,
    written_by_person,
)
from mmrag_plugin.marks import folded
from mmrag_plugin.media import Signal
from mmrag_plugin.people import people_signals

AnnotationKind = Literal["caption", "tag", "person"]


@dataclass(frozen=True)
class Annotation:
    """A piece of what the person wrote about a media, or about a span of a film."""

    kind: AnnotationKind
    text: str
    start_s: float | None = None
    end_s: float | None = None

    @property
    def same(self) -> tuple[str, str, float | None, float | None]:
        """What is equal in two that say the same; captions differ by case, names don't."""
        text = self.text if self.kind == "caption" else folded(self.text)
        return self.kind, text, self.start_s, self.end_s


@dataclass(frozen=True)
class KeptAnnotation:
    """An annotation with what it is about; ``path`` is empty where the media is gone."""

    media_id: str
    content_hash: str
    path: str
    annotation: Annotation


class AnnotationLines:
    """Annotations by the person; every method is one short transaction."""

    _database: LedgerDatabase

    def annotate(
        self, media_id: str, add: Sequence[Annotation], remove: Sequence[Annotation] = ()
    ) -> tuple[int, int]:
        """Enter annotations of a media and take others back; how many of each it had not, or had.

        Its words have to be written to Milvus anew.
        """
        with self._database.writing() as connection:
            known = {kept.same: number for number, kept in _of(connection, media_id).items()}
            going = {known[item.same] for item in remove if item.same in known}
            taken_back = {item.same for item in remove}
            before = _of(connection, _before(media_id)).items()
            going_too = {number for number, kept in before if kept.same in taken_back}
            connection.execute(
                written_by_person.delete().where(written_by_person.c.number.in_(going | going_too))
            )
            new = {item.same: item for item in add if item.same not in known}
            content_hash = connection.scalar(
                sa.select(media.c.content_hash).where(media.c.media_id == media_id)
            )
            about = {"media_id": media_id, "content_hash": content_hash}
            if new:
                rows = [{**about, **vars(item)} for item in new.values()]
                connection.execute(written_by_person.insert(), rows)
            if new or going:
                enter_annotations(self._database, connection, media_id)
        return len(new), len(going)

    def annotations_of(self, media_id: str) -> list[Annotation]:
        """What the person wrote about a media, in the order of writing."""
        with self._database.reading() as connection:
            return list(_of(connection, media_id).values())

    def kept_annotations(self) -> list[KeptAnnotation]:
        """All annotations, also of media that are gone; in the order of paths and of writing.

        Copies that are kept for what was there before an edit are not among them.
        """
        first_path = (
            sa.select(sa.func.min(paths.c.path))
            .where(paths.c.media_id == written_by_person.c.media_id)
            .scalar_subquery()
        )
        query = (
            sa.select(written_by_person, first_path.label("path"))
            .where(written_by_person.c.media_id.not_like(_before("%")))
            .order_by(written_by_person.c.number)
        )
        with self._database.reading() as connection:
            found = [
                KeptAnnotation(
                    row.media_id,
                    row.content_hash,
                    row.path or "",
                    Annotation(row.kind, row.text, row.start_s, row.end_s),
                )
                for row in connection.execute(query)
            ]
        return sorted(found, key=lambda kept: (kept.path, kept.media_id))

    def annotated_marks(self, media_ids: Sequence[str] | None = None) -> dict[str, str]:
        """Media (of some, or of all) whose annotations are not in Milvus yet, with their marks."""
        found: dict[str, str] = {}
        with self._database.reading() as connection:
            for batch in [None] if media_ids is None else batches(media_ids):
                query = sa.select(annotated.c.media_id, annotated.c.mark)
                if batch is not None:
                    query = query.where(annotated.c.media_id.in_(batch))
                found.update({media_id: mark for media_id, mark in connection.execute(query)})
        return found


def enter_annotations(database: LedgerDatabase, connection: Connection, media_id: str) -> None:
    """Enter what the person wrote as signals of a media, and have its words written anew."""
    words = _as_signals(_of(connection, media_id).values())
    enter_signals(connection, WRITTEN, {media_id: words})
    database.upsert(
        connection, annotated, {"media_id": media_id, "mark": uuid4().hex}, ["media_id"]
    )


def annotations_edited(connection: Connection, media_id: str, content_hash: str) -> None:
    """Take the annotations of a media along to its new content, with copies for the old one."""
    mine = written_by_person.c.media_id == media_id
    before = written_by_person.c.media_id == _before(media_id)
    undone = sa.and_(before, written_by_person.c.content_hash == content_hash)
    connection.execute(written_by_person.delete().where(undone))
    columns = (column for column in written_by_person.c if column.name != "number")
    old = sa.select(*columns).where(mine, written_by_person.c.content_hash != content_hash)
    rows = [{**row, "media_id": _before(media_id)} for row in connection.execute(old).mappings()]
    if rows:
        connection.execute(written_by_person.insert(), rows)
    connection.execute(written_by_person.update().where(mine).values(content_hash=content_hash))


_NOT_OF_IT = (  # put together once, as they are executed for each new media
    written_by_person.update()
    .where(
        written_by_person.c.media_id == sa.bindparam("new"),
        written_by_person.c.content_hash != sa.bindparam("same"),
    )
    .values(media_id="gone:" + sa.func.substr(written_by_person.c.content_hash, 1, 16))
)
_OF_IT = (
    written_by_person.update()
    .where(
        written_by_person.c.content_hash == sa.bindparam("same"),
        written_by_person.c.media_id.not_in(
            sa.select(media.c.media_id).where(media.c.media_id != sa.bindparam("new"))
        ),
    )
    .values(media_id=sa.bindparam("new"))
)


def give_back_annotations(
    database: LedgerDatabase, connection: Connection, media_id: str, content_hash: str
) -> None:
    """Make the annotations of a media that is gone those of a new one with the same content."""
    # an id tells of a media's first content: what was written under it of another one is not of it
    new = {"new": media_id, "same": content_hash}
    connection.execute(_NOT_OF_IT, new)
    found = connection.execute(_OF_IT, new)
    if found.rowcount:
        said = set()
        for number, kept in _of(connection, media_id).items():
            if kept.same in said:  # of two media that had this content one after the other
                connection.execute(
                    written_by_person.delete().where(written_by_person.c.number == number)
                )
            said.add(kept.same)
        enter_annotations(database, connection, media_id)


def drop_written(connection: Connection, written: Mapping[str, str]) -> None:
    """Say that annotations stand in Milvus, unless others came while they were written."""
    for media_id, mark in written.items():
        connection.execute(
            annotated.delete().where(annotated.c.media_id == media_id, annotated.c.mark == mark)
        )


def _before(media_id: str) -> str:
    """Under which id, that no media has, copies for a media's earlier contents are kept."""
    return f"was:{media_id}"


def _of(connection: Connection, media_id: str) -> dict[int, Annotation]:
    """The annotations of a media by number."""
    query = (
        sa.select(written_by_person)
        .where(written_by_person.c.media_id == media_id)
        .order_by(written_by_person.c.number)
    )
    return {
        row.number: Annotation(row.kind, row.text, row.start_s, row.end_s)
        for row in connection.execute(query)
    }


def _as_signals(items: Iterable[Annotation]) -> list[Signal]:
    """Captions one by one, and of each span its tags together and its people together."""
    found: list[Signal] = []
    spans: dict[tuple[float | None, float | None], list[Annotation]] = {}
    for item in items:
        spans.setdefault((item.start_s, item.end_s), []).append(item)
    for (start_s, end_s), here in spans.items():
        said = [Signal("annotation", item.text, tags=()) for item in here if item.kind == "caption"]
        if tags := tuple(item.text for item in here if item.kind == "tag"):
            said.append(Signal("annotation", ", ".join(tags), tags=tags))
        said += people_signals(item.text for item in here if item.kind == "person")
        found += [replace(signal, start_s=start_s, end_s=end_s) for signal in said]
    return found
