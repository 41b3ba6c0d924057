"""The rows of media in one collection, found and counted without LlamaIndex.

It returns scalars only, and keeps no pixels and no paths: those live on disk and in the ledger.
What only searches needs no more than this, and saves itself the second that LlamaIndex takes to
load; ``milvus_store`` adds LlamaIndex's face.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mmrag_plugin.metadata import RowFilter
from mmrag_plugin.milvus_collection import MAX_LIMIT, Collection
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_filters import one_of, row_expressions
from mmrag_plugin.milvus_rows import DENSE, FOUND_FIELDS, FoundRow, found_row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS_PER_PAGE = 10_000
IDS_PER_READ = 1_000
GROUPING_ROUNDS = 6


class MediaRows:
    """What one collection of frames or signals offers besides LlamaIndex's interface."""

    _collection: Collection

    @property
    def name(self) -> str:
        """The collection's name in Milvus."""
        return self._collection.name

    @property
    def searches_words(self) -> bool:
        """Whether this collection can be searched by words (BM25)."""
        return self._collection.words

    def leave_out(self, media_ids: Callable[[], frozenset[str]]) -> None:
        """Give nothing of these media to anybody; they are asked for at each reading."""
        self._collection.left_out = media_ids

    def delete_media(
        self, media_ids: Iterable[str], *, stages: Iterable[str] | None = None
    ) -> None:
        """Delete the rows of these media, or only those that these stages wrote."""
        where = RowFilter(
            media_ids=frozenset(media_ids), stages=None if stages is None else tuple(stages)
        )
        self._collection.delete(row_expressions(where))

    def flush(self) -> None:
        """Put every acknowledged row on disk: until then a power loss could take it."""
        self._collection.flush()

    def suit_index(self) -> None:
        """Have vectors indexed as suits their number; searches wait while an index is changed."""
        self._collection.suit_index()

    def drop(self) -> None:
        """Delete the collection; this object can't be used afterwards."""
        self._collection.drop()

    def clear(self) -> None:
        """Delete every row."""
        self._collection.drop()
        self._collection.open()

    def search_dense(
        self,
        vector: Sequence[float] | NDArray[np.float32],
        limit: int,
        where: RowFilter | None = None,
        *,
        group_by_media: bool = False,
    ) -> list[FoundRow]:
        """Find the rows nearest to a vector by cosine, best first.

        With ``group_by_media`` each media is there once, with its best row.
        """
        numbers = [float(number) for number in vector]
        find = self._best_of_each_media if group_by_media else self._found
        return find(self._collection.dense_hits, numbers, limit, where)

    def search_words(
        self,
        query: Mapping[int, float],
        limit: int,
        where: RowFilter | None = None,
        *,
        group_by_media: bool = False,
    ) -> list[FoundRow]:
        """Find the rows that hold any term of a query vector (``bm25``), best first.

        A score is the inner product of both vectors and always positive. With ``group_by_media``
        each media is there once, with its best row.
        """
        find = self._best_of_each_media if group_by_media else self._found
        return find(self._collection.word_hits, query, limit, where)

    def count(self, where: RowFilter | None = None) -> int:
        """Count rows."""
        return sum(
            int(self._read(expression, ["count(*)"])[0]["count(*)"])
            for expression in row_expressions(where)
        )

    def row_ids(self, where: RowFilter | None = None) -> Iterator[tuple[str, str]]:
        """Walk over (row id, media id) of all rows."""
        for expression in row_expressions(where):
            for page in self._collection.pages(expression, ["id", "media_id"], ROWS_PER_PAGE):
                yield from ((row["id"], row["media_id"]) for row in page)

    def rows_of(self, media_id: str) -> list[FoundRow]:
        """All rows of a media, in order of time; their scores say nothing."""
        rows = self._read(one_of("media_id", [media_id]), ["id", *FOUND_FIELDS])
        rows.sort(key=lambda row: row["start_ms"])
        return [found_row({"id": row["id"], "entity": row, "distance": 0.0}) for row in rows]

    def vectors(self, row_ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Read the vectors of rows by id; unknown ids are left out."""
        import numpy as np

        ids = sorted(set(row_ids))
        parts = [ids[start : start + IDS_PER_READ] for start in range(0, len(ids), IDS_PER_READ)]
        return {
            row["id"]: np.asarray(row[DENSE], dtype=np.float32)
            for part in parts
            for row in self._read(one_of("id", part), ["id", DENSE])
        }

    def vectors_by_text(self, row_ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Read the vectors of rows by what their text is; unknown ids are left out."""
        import numpy as np

        ids = sorted(set(row_ids))
        parts = [ids[start : start + IDS_PER_READ] for start in range(0, len(ids), IDS_PER_READ)]
        return {
            row["text"]: np.asarray(row[DENSE], dtype=np.float32)
            for part in parts
            for row in self._read(one_of("id", part), ["text", DENSE])
        }

    def _read(self, expression: str, fields: Sequence[str], **options: Any) -> list[dict[str, Any]]:
        return self._collection.rows(expression, fields, **options)

    def _found(
        self, search: Callable[..., list[Any]], query: Any, limit: int, where: RowFilter | None
    ) -> list[FoundRow]:
        if limit <= 0:
            return []
        parts = [
            [found_row(hit) for hit in search(query, min(limit, MAX_LIMIT), part, FOUND_FIELDS)]
            for part in row_expressions(where)
        ]
        return list(heapq.merge(*parts, key=lambda row: -row.score))[:limit]

    def _best_of_each_media(
        self, search: Callable[..., list[Any]], query: Any, limit: int, where: RowFilter | None
    ) -> list[FoundRow]:
        """Search, leave out the media that were found, and search again.

        Exact on every backend: Milvus Lite groups only within ten times ``limit`` rows (and reads
        all of them), servers before 2.4 ignore the wish. Fewer than ``limit`` media may come back
        when a few long films fill round after round.
        """
        where = where or RowFilter()
        best: dict[str, FoundRow] = {}
        rows_wanted = limit
        for _ in range(GROUPING_ROUNDS):
            excluded = frozenset(best) | (where.not_media_ids or frozenset())
            rows = self._found(search, query, rows_wanted, replace(where, not_media_ids=excluded))
            for row in rows:
                best.setdefault(row.media_id, row)
            if len(best) >= limit or len(rows) < min(rows_wanted, MAX_LIMIT):
                break
            rows_wanted *= 2
        return list(best.values())[: max(limit, 0)]


class FoundRows(MediaRows):
    """A collection that is only searched."""

    def __init__(
        self, connection: MilvusConnection, collection: str, *, dim: int | None, words: bool
    ) -> None:
        self._collection = Collection(connection, collection, dim=dim, words=words)


def search_frames(connection: MilvusConnection, collection: str, dim: int) -> FoundRows:
    """Open or create the collection of frames, as ``milvus_store.open_frames``."""
    return FoundRows(connection, collection, dim=dim, words=False)


def search_signals(connection: MilvusConnection, collection: str, dim: int | None) -> FoundRows:
    """Open or create the collection of signals, as ``milvus_store.open_signals``."""
    words = connection.capabilities().words
    return FoundRows(connection, collection, dim=dim, words=words)
