"""The ledger's lines about words: what of them stands in Milvus, and how rare each is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_annotations import drop_written
from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import WRITING, annotated, media, signals, stages, terms

_ANY = ""  # the term that every media with words has
_PUT_WORDS = (
    media.update()
    .where(media.c.media_id == sa.bindparam("of"))
    .values(
        words_stamp=sa.bindparam("stamp"),
        words_rows=sa.bindparam("rows"),
        terms=sa.bindparam("found"),
    )
)


class WordLines:
    """The projection of media's words into Milvus; every method is one short transaction."""

    _database: LedgerDatabase

    def unprojected(self, stamp: str) -> list[str]:
        """Media whose words in Milvus are missing, outdated or another text model's."""
        return self._with_words(media.c.words_stamp != stamp)

    def unwritten_annotations(self) -> list[str]:
        """Media of which the words that the person wrote don't stand in Milvus yet."""
        return self._with_words(sa.false())

    def _with_words(self, condition: sa.ColumnElement[bool]) -> list[str]:
        query = (
            sa.select(media.c.media_id)
            .where(
                sa.or_(condition, media.c.media_id.in_(sa.select(annotated.c.media_id))),
                sa.exists().where(
                    stages.c.media_id == media.c.media_id,
                    stages.c.stage == "read",
                    stages.c.state == "done",
                ),
            )
            .order_by(media.c.media_id)
        )
        with self._database.reading() as connection:
            return list(connection.scalars(query))

    def projected_before(self, media_ids: Sequence[str]) -> set[str]:
        """Those of the media whose words may already stand in Milvus."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for batch in batches(media_ids):
                query = sa.select(media.c.media_id).where(
                    media.c.media_id.in_(batch), media.c.words_stamp != ""
                )
                found.update(connection.scalars(query))
        return found

    def begin_words(self, media_ids: Iterable[str]) -> None:
        """Say that the words of these media are about to be written, or have to be."""
        with self._database.writing() as connection:
            for batch in batches(media_ids):
                connection.execute(
                    media.update()
                    .where(media.c.media_id.in_(batch))
                    .values(words_stamp=WRITING, words_rows=0)
                )

    def put_words(
        self,
        stamp: str,
        written: Mapping[str, tuple[int, frozenset[str]]],
        marks: Mapping[str, str] | None = None,
    ) -> None:
        """Say under which stamp media stand in Milvus, in how many rows and with what terms.

        ``marks`` are those that annotated media had before their words were looked up.
        """
        with self._database.writing() as connection:
            drop_written(connection, marks or {})
            now = {media_id: found for media_id, (_, found) in written.items()}
            count_terms(self._database, connection, now)
            if written:
                rows = [
                    {"of": m, "stamp": stamp, "rows": count, "found": " ".join(sorted(found))}
                    for m, (count, found) in written.items()
                ]
                connection.execute(_PUT_WORDS, rows)

    def document_counts(self, wanted: Sequence[str]) -> tuple[dict[str, int], int]:
        """In how many media each of some terms occurs, and how many media have words at all."""
        counts: dict[str, int] = {}
        with self._database.reading() as connection:
            for batch in batches([_ANY, *wanted]):
                query = sa.select(terms.c.term, terms.c.media).where(terms.c.term.in_(batch))
                counts |= {term: count for term, count in connection.execute(query)}
        documents = counts.pop(_ANY, 0)
        return counts, documents

    def words_rows(self) -> dict[str, int]:
        """How many rows of words each media should have in Milvus."""
        with self._database.reading() as connection:
            query = sa.select(media.c.media_id, media.c.words_rows)
            return {media_id: rows for media_id, rows in connection.execute(query)}

    def media_ids_with_text(self) -> frozenset[str]:
        """Media in whose pictures text was read."""
        query = sa.select(signals.c.media_id).where(signals.c.source == "ocr").distinct()
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))


def count_terms(
    database: LedgerDatabase, connection: Connection, now: Mapping[str, frozenset[str]]
) -> None:
    """Count that media have other terms now (none, if they go) than the ledger has for them."""
    changes: Counter[str] = Counter()
    for batch in batches(now):
        query = sa.select(media.c.media_id, media.c.terms).where(media.c.media_id.in_(batch))
        for media_id, known in connection.execute(query):
            changes.subtract(_with_any(frozenset(known.split())))
            changes.update(_with_any(now[media_id]))
    added = [{"term": term, "media": count} for term, count in sorted(changes.items()) if count]
    if added:
        statement = database.insert()(terms)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["term"], set_={"media": terms.c.media + statement.excluded.media}
            ),
            added,
        )
        connection.execute(terms.delete().where(terms.c.media <= 0))


def _with_any(found: frozenset[str]) -> frozenset[str]:
    return found | {_ANY} if found else found
