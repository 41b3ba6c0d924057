"""The words of a library without some of its signals, searched exactly and in memory.

A library's own annotations are good questions only where the answer isn't indexed word for word,
and what captions add shows only without them. Taking a signal out of Milvus would change the
library, so here the rows of words are made again without it, by the same rules as in indexing;
vectors of rows whose text stays are read from Milvus, the others are embedded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mmrag_plugin.bm25 import document_vector
from mmrag_plugin.encoding import encoded_documents
from mmrag_plugin.errors import UsageError
from mmrag_plugin.media import Kind, Signal
from mmrag_plugin.metadata import RowFilter
from mmrag_plugin.words import WordRow, word_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.embeddings.seam import TextModel
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.milvus_media import MediaRows
    from mmrag_plugin.milvus_rows import FoundRow

_EMBED_ROWS = 64

Keep = Callable[[str, Signal], bool]  # whether a signal of a media is left


@dataclass
class _Row:
    """A row of words as it would stand in Milvus."""

    media_id: str
    kind: Kind
    row: WordRow
    vector: NDArray[np.float32] | None = None
    weights: Mapping[int, float] = field(default_factory=dict)


class WordsLeft:
    """Searches words as ``MediaRows`` does; ``ledger`` counts and shows what is left."""

    def __init__(
        self, ledger: Ledger, store: MediaRows, text: TextModel | None, keep: Keep
    ) -> None:
        self._text = text
        self._all = ledger
        self.name = f"{store.name} without some words"
        self.searches_words = store.searches_words
        media = ledger.media_rows()
        self._kinds = {media_id: row.kind for media_id, row in media.items()}
        found = ledger.signals_of(list(media))
        self.signals = {
            media_id: [signal for _, signal in pairs if keep(media_id, signal)]
            for media_id, pairs in found.items()
        }
        self._rows = [
            row for media_id in media for row in self._made(media_id, self.signals[media_id])
        ]
        self._embed(self._rows, self._as_stored(store, found))
        self._index()
        self._gone = frozenset[str]()
        self._instead: list[_Row] = []

    def without(self, keep: Keep, media_ids: Iterable[str]) -> WordsLeft:
        """The same without some signals of a few media more; what is shared is not copied."""
        left = object.__new__(WordsLeft)
        left.__dict__.update(self.__dict__)
        left.signals = dict(self.signals)
        left._gone = frozenset(media_ids)
        left._instead = []
        for media_id in left._gone:
            left.signals[media_id] = [s for s in self.signals[media_id] if keep(media_id, s)]
            left._instead += self._made(media_id, left.signals[media_id])
        known = {row.row.text: row.vector for row in self._rows if row.media_id in left._gone}
        self._embed(left._instead, known)
        return left

    # ---- as a store ----------------------------------------------------------------------------

    def search_dense(
        self,
        vector: Sequence[float] | NDArray[np.float32],
        limit: int,
        where: RowFilter | None = None,
        *,
        group_by_media: bool = False,
    ) -> list[FoundRow]:
        """Find the rows nearest to a vector by cosine, best first."""
        import numpy as np

        asked = np.asarray(vector, dtype=np.float32)
        scores = (self._matrix @ asked).tolist() if len(self._matrix) else []
        instead = [(float(r.vector @ asked), r) for r in self._instead if r.vector is not None]
        return self._best(
            zip(scores, self._rows, strict=True), instead, limit, where, group_by_media
        )

    def search_words(
        self,
        query: Mapping[int, float],
        limit: int,
        where: RowFilter | None = None,
        *,
        group_by_media: bool = False,
    ) -> list[FoundRow]:
        """Find the rows that hold any term of a query vector, best first."""
        scores: dict[int, float] = {}
        for dimension, asked in query.items():
            for number, weight in self._postings.get(dimension, ()):
                scores[number] = scores.get(number, 0.0) + asked * weight
        scored = ((score, self._rows[number]) for number, score in scores.items())
        instead = [
            (sum(weight * query.get(dim, 0.0) for dim, weight in row.weights.items()), row)
            for row in self._instead
        ]
        matching = [item for item in instead if item[0] > 0]
        return self._best(scored, matching, limit, where, group_by_media)

    def vectors(self, row_ids: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Read the vectors of rows by id; unknown ids are left out."""
        wanted = set(row_ids)
        return {
            row.row.row_id: row.vector
            for row in self._rows
            if row.row.row_id in wanted and row.vector is not None
        }

    def count(self, where: RowFilter | None = None) -> int:
        """Count rows."""
        return len(self._rows)

    def _best(
        self,
        scored: Iterable[tuple[float, _Row]],
        instead: Iterable[tuple[float, _Row]],
        limit: int,
        where: RowFilter | None,
        group_by_media: bool,
    ) -> list[FoundRow]:
        from mmrag_plugin.milvus_rows import FoundRow

        left = [item for item in scored if item[1].media_id not in self._gone]
        found: list[FoundRow] = []
        seen: set[str] = set()
        for score, row in sorted((*left, *instead), key=lambda item: -item[0]):
            if not _passes(row, where) or (group_by_media and row.media_id in seen):
                continue
            seen.add(row.media_id)
            made = row.row
            span = made.start_s, made.end_s
            found.append(FoundRow(made.row_id, row.media_id, row.kind, made.source, *span, score))
            if len(found) == limit:
                break
        return found

    # ---- as a ledger ---------------------------------------------------------------------------

    def document_counts(self, wanted: Sequence[str]) -> tuple[dict[str, int], int]:
        """In how many media each of some terms occurs, and how many media have words at all."""
        counts = {term: self._counts[term] for term in wanted if self._counts[term]}
        documents = self._documents
        for media_id in self._gone:
            before = self._terms.get(media_id, frozenset())
            after = _terms_in(r for r in self._instead if r.media_id == media_id)
            documents += bool(after) - bool(before)
            for term in wanted:
                counts[term] = counts.get(term, 0) + (term in after) - (term in before)
        return counts, documents

    def signals_of(self, media_ids: Sequence[str]) -> dict[str, list[tuple[str, Signal]]]:
        """The signals of media that are left."""
        return {m: [("read", signal) for signal in self.signals[m]] for m in media_ids}

    def __getattr__(self, name: str) -> Any:
        """Everything else that a ledger says is as in the library."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._all, name)

    # ---- making --------------------------------------------------------------------------------

    def _made(self, media_id: str, signals: Sequence[Signal]) -> list[_Row]:
        rows = word_rows(media_id, signals, dense=self._text is not None)
        kind = self._kinds[media_id]
        return [_Row(media_id, kind, row, weights=document_vector(row.terms)) for row in rows]

    def _as_stored(
        self, store: MediaRows, found: Mapping[str, Sequence[tuple[str, Signal]]]
    ) -> dict[str, NDArray[np.float32] | None]:
        """The vectors that stand in Milvus, by their text."""
        if self._text is None:
            return {}
        texts = {
            row.row_id: row.text
            for media_id, pairs in found.items()
            for row in word_rows(media_id, [signal for _, signal in pairs], dense=True)
        }
        return {texts[row_id]: vector for row_id, vector in store.vectors(texts).items()}

    def _embed(self, rows: Sequence[_Row], known: Mapping[str, NDArray[np.float32] | None]) -> None:

        if self._text is None:
            return
        missing: dict[str, list[_Row]] = {}
        for row in rows:
            row.vector = known.get(row.row.text)
            if row.vector is None:
                missing.setdefault(row.row.text, []).append(row)
        texts = list(missing)
        for start in range(0, len(texts), _EMBED_ROWS):
            part = texts[start : start + _EMBED_ROWS]
            for text, vector in zip(part, encoded_documents(self._text, part), strict=True):
                for row in missing[text]:
                    row.vector = vector

    def _index(self) -> None:
        import numpy as np

        vectors = [row.vector for row in self._rows if row.vector is not None]
        self._matrix = np.array(vectors, dtype=np.float32)
        self._postings: dict[int, list[tuple[int, float]]] = {}
        terms: dict[str, set[str]] = {}  # by media
        for number, row in enumerate(self._rows):
            for dimension, weight in row.weights.items():
                self._postings.setdefault(dimension, []).append((number, weight))
            terms.setdefault(row.media_id, set()).update(row.row.terms)
        self._terms: Mapping[str, Set[str]] = terms
        self._counts = Counter(term for found in terms.values() for term in found)
        self._documents = sum(bool(found) for found in terms.values())


def _terms_in(rows: Iterable[_Row]) -> set[str]:
    return {term for row in rows for term in row.row.terms}


def _passes(row: _Row, where: RowFilter | None) -> bool:
    if where is None:
        return True
    if where != RowFilter(media_ids=where.media_ids, not_media_ids=where.not_media_ids):
        raise UsageError("Words in memory are filtered by media alone.")
    wanted = where.media_ids is None or row.media_id in where.media_ids
    return wanted and not (where.not_media_ids and row.media_id in where.not_media_ids)
