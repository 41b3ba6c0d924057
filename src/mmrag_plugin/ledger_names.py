"""The ledger asked in a person's terms: by name, by quotation, by season, and what passes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import PurePath

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from mmrag_plugin.ledger_database import LedgerDatabase, batches
from mmrag_plugin.ledger_tables import marks, media, paths, signals
from mmrag_plugin.marks import folded
from mmrag_plugin.media import Kind, SignalSource
from mmrag_plugin.metadata import NO_DATE_S, RowFilter, camera_column, wall_clock_s
from mmrag_plugin.terms import names_in, quoted_in, telling_terms

NAMED_BY: tuple[SignalSource, ...] = ("path", "exif", "annotation")  # people and files, no models


class NameLines:
    """What media are called and when they were taken; every method is one short transaction."""

    _database: LedgerDatabase

    def media_ids_named(self, name: str) -> frozenset[str]:
        """Media whose folder, file or annotation has a name in it, in any case and ending."""
        return self._saying(name, partial(names_in, name), NAMED_BY) | self._marked(name)

    def media_ids_telling(self, words: str) -> frozenset[str]:
        """Media of which any text has these words one after the other, in any ending."""
        return self._saying(words, partial(names_in, words))

    def media_ids_quoting(self, phrase: str) -> frozenset[str]:
        """Media of which any text has a phrase in it word for word."""
        return self._saying(phrase, partial(quoted_in, phrase))

    def photos_annotated(self) -> frozenset[str]:
        """Photos that somebody put words to, in the file or in one beside it."""
        query = (
            sa.select(signals.c.media_id)
            .join_from(signals, media, signals.c.media_id == media.c.media_id)
            .where(signals.c.source == "annotation", media.c.kind == "image")
            .distinct()
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def media_ids_in_season(self, first: str, last: str) -> frozenset[str]:
        """Media taken from one day to another (``MM-DD``) of any year, over its end too."""
        with self._database.reading() as connection:
            rows = connection.execute(
                sa.select(media.c.media_id, media.c.taken_at).where(media.c.taken_at.is_not(None))
            )
            days = ((media_id, taken_at[5:10]) for media_id, taken_at in rows)
            if first <= last:
                return frozenset(media_id for media_id, day in days if first <= day <= last)
            return frozenset(media_id for media_id, day in days if day >= first or day <= last)

    def media_passing(self, where: RowFilter | None) -> list[tuple[str, str | None]]:
        """Media that pass a restriction, as Milvus passes rows, with their dates; newest first."""
        columns = media.c.media_id, media.c.kind, media.c.taken_at, media.c.camera
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(*columns))
            passing = [
                (media_id, taken_at)
                for media_id, kind, taken_at, camera in rows
                if where is None or _passes(where, media_id, kind, taken_at, camera)
            ]
        return sorted(passing, key=lambda row: (wall_clock_s(row[1]), row[0]), reverse=True)

    def names(self, limit: int = 400) -> list[str]:
        """What media are marked with: keywords, places, names; the most used first."""
        query = (
            sa.select(signals.c.text, sa.func.count())
            .where(
                signals.c.source.in_(("annotation", "exif")), sa.func.length(signals.c.text) < 80
            )
            .group_by(signals.c.text)
            .order_by(sa.func.count().desc(), signals.c.text)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [text for text, _ in connection.execute(query)]

    def folder_names(self) -> list[str]:
        """The names of the folders that media lie in, from the library's own downwards."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(paths.c.path, paths.c.root))
            folders = {(os.path.dirname(path), root) for path, root in rows}  # noqa: PTH120
        names: set[str] = set()
        for folder, root in folders:
            inside = os.path.relpath(folder, root) if folder.startswith(root) else "."
            names.update((PurePath(root).name, *PurePath(inside).parts))
        return sorted(names - {"", ".", ".."})

    def texts_naming(self, name: str, limit: int = 200) -> list[tuple[SignalSource, str]]:
        """Some of the texts (path, exif, annotation) that have a name in them."""
        with self._database.reading() as connection:
            found = self._signals_with(connection, name, NAMED_BY)
            texts = {(source, text): None for _, source, text in found if names_in(name, text)}
        return list(texts)[:limit]

    def _marked(self, name: str) -> frozenset[str]:
        """Media that are marked with just this name; known before their words are counted."""
        query = sa.select(marks.c.media_id).where(marks.c.folded == folded(name))
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def _saying(
        self,
        words: str,
        says: Callable[[str], bool],
        sources: Sequence[SignalSource] | None = None,
    ) -> frozenset[str]:
        with self._database.reading() as connection:
            found = self._signals_with(connection, words, sources)
            return frozenset(media_id for media_id, _, text in found if says(text))

    def _signals_with(
        self, connection: Connection, words: str, sources: Sequence[SignalSource] | None
    ) -> Iterator[tuple[str, SignalSource, str]]:
        """The signals of all media that have the terms of some words, wherever they stand."""
        query = sa.select(signals.c.media_id, signals.c.source, signals.c.text)
        if sources is not None:
            query = query.where(signals.c.source.in_(sources))
        terms = sorted(set(telling_terms(words)))
        if not terms:  # stop words stand nowhere in the counts: look at every text
            yield from ((row[0], row[1], row[2]) for row in connection.execute(query))
            return
        padded = " " + media.c.terms + " "  # terms are letters and digits: no wildcard among them
        here = [padded.like(f"% {term} %") for term in terms]
        media_ids = list(connection.scalars(sa.select(media.c.media_id).where(*here)))
        for batch in batches(media_ids):
            found = connection.execute(query.where(signals.c.media_id.in_(batch)))
            yield from ((row[0], row[1], row[2]) for row in found)


def _passes(where: RowFilter, media_id: str, kind: Kind, taken_at: str | None, camera: str) -> bool:
    taken_s = wall_clock_s(taken_at)
    first_s, last_s = where.taken_from_s, where.taken_to_s
    dated = (first_s is None and last_s is None) or taken_s != NO_DATE_S
    return (
        where.kind in (None, kind)
        and dated
        and (first_s is None or taken_s >= first_s)
        and (last_s is None or taken_s <= last_s)
        and (where.cameras is None or camera_column(camera) in where.cameras)
        and (where.media_ids is None or media_id in where.media_ids)
        and (where.not_media_ids is None or media_id not in where.not_media_ids)
    )
