"""The channels of a search, asked side by side: each for its own list of rows, best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag_plugin.bm25 import query_vector
from mmrag_plugin.encoding import encoded_pictures, encoded_query
from mmrag_plugin.fusion import DEPTH
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.media import CHANNELS, Channel
from mmrag_plugin.metadata import DOUBTFUL, RowFilter
from mmrag_plugin.side_by_side import side_by_side
from mmrag_plugin.terms import terms_of
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.embeddings.seam import TextModel, VisualModel
    from mmrag_plugin.learned_query import LearnedQuery
    from mmrag_plugin.milvus_media import MediaRows
    from mmrag_plugin.milvus_rows import FoundRow

    Vector = NDArray[np.float32]

DOUBT_FACTOR = 0.75  # of its score, which a doubtful caption keeps; set on COCO training photos
VISUAL_TOWER = "visual"  # the setting of a text model that is the visual model's own


@dataclass(frozen=True)
class QueryTerms:
    """The words of a query as BM25 knows them: in how many of all ``documents`` each occurs."""

    terms: Sequence[str]
    counts: dict[str, int]
    documents: int

    @classmethod
    def of(cls, query: str, ledger: Ledger) -> QueryTerms:
        """Look them up."""
        terms = list(dict.fromkeys(terms_of(query)))
        return cls(terms, *ledger.document_counts(terms))


@dataclass(frozen=True)
class Looked:
    """What channels found, best rows first, and what the dense ones asked with."""

    found: dict[Channel, Sequence[FoundRow]] = field(default_factory=dict)
    vectors: dict[Channel, Vector] = field(default_factory=dict)
    words: QueryTerms | None = None


@dataclass(frozen=True)
class Channels:
    """The channels of one library."""

    ledger: Ledger
    frames: MediaRows
    words: MediaRows
    visual: VisualModel
    text: TextModel | None
    learned: LearnedQuery | None = None

    @property
    def there(self) -> tuple[Channel, ...]:
        """The channels that this library has."""
        there = {"text": self.text is not None, "bm25": self.words.searches_words}
        return tuple(channel for channel in CHANNELS if there.get(channel, True))

    def ask(
        self,
        query: str,
        picture: Image | None,
        channels: Sequence[Channel],
        *,
        limit: int,
        where: RowFilter | None = None,
        seen: str | None = None,
    ) -> Looked:
        """Ask each channel; the visual one for ``seen``, if that is another.

        A channel whose model abstains (a vector of zeros) is left out.
        """
        asked = self._vectors(query, query if seen is None else seen, picture, channels)
        vectors = {channel: vector for channel, vector in asked.items() if vector.any()}
        depth = max(DEPTH, 4 * limit)
        works: dict[str, Callable[[], Any]] = {}
        for channel, vector in vectors.items():
            store = self.frames if channel == "visual" else self.words
            search = partial(store.search_dense, vector, where=where)
            works[channel] = partial(_channel, channel, search, depth, limit)
        # last, so that this thread computes while the others wait for Milvus
        works["words"] = partial(self._by_words, query, "bm25" in channels, depth, limit, where)
        done = dict(zip(works, side_by_side(list(works.values())), strict=True))
        words, done["bm25"] = done.pop("words")
        found = {channel: _weighed(done[channel]) for channel in channels if channel in done}
        return Looked(found, vectors, words)

    def _by_words(
        self, query: str, wanted: bool, depth: int, limit: int, where: RowFilter | None
    ) -> tuple[QueryTerms, list[FoundRow]]:
        """How rare the query's words are, and the rows that hold them, if they are wanted."""
        words = QueryTerms.of(query, self.ledger)
        if not wanted:
            return words, []
        weights = query_vector(words.terms, words.counts, words.documents)
        search = partial(self.words.search_words, weights, where=where)
        return words, _channel("bm25", search, depth, limit)

    def _vectors(
        self, query: str, seen: str, picture: Image | None, channels: Sequence[Channel]
    ) -> dict[Channel, Vector]:
        """What the dense channels ask with; a model reads the same words once."""
        import numpy as np

        vectors: dict[Channel, Vector] = {}
        rows = None
        if "visual" in channels:
            if picture is None:
                rows = encoded_query(self.visual, seen)
                vectors["visual"] = self._as_learned(rows, seen)
            else:
                vectors["visual"] = self._seen(seen, picture)
        if "text" in channels and self.text is not None:
            if rows is not None and self.text.setting == VISUAL_TOWER and query == seen:
                vectors["text"] = np.asarray(rows[0], dtype=np.float32)
            else:
                vectors["text"] = np.asarray(encoded_query(self.text, query)[0], dtype=np.float32)
        return vectors

    def _seen(self, words: str, picture: Image) -> Vector:
        """What a picture is asked with, and words that change it: this, but at night."""
        import numpy as np

        seen = np.asarray(encoded_pictures(self.visual, [picture])[0])
        if not words or not self.visual.understands(words):
            return seen
        both = seen + self._as_learned(encoded_query(self.visual, words), words)
        return np.asarray(both / max(float(np.linalg.norm(both)), 1e-12), dtype=np.float32)

    def _as_learned(self, rows: NDArray[np.float32], words: str) -> Vector:
        import numpy as np

        return np.asarray((rows if self.learned is None else self.learned(rows, [words]))[0])


def _weighed(rows: Sequence[FoundRow]) -> Sequence[FoundRow]:
    """Rows, best first, those of doubtful captions with less of their score."""
    if all(row.source != DOUBTFUL for row in rows):
        return rows
    weighed = [
        replace(row, score=DOUBT_FACTOR * row.score) if row.source == DOUBTFUL else row
        for row in rows
    ]
    return sorted(weighed, key=lambda row: -row.score)


def _channel(
    channel: Channel, search: Callable[..., list[FoundRow]], depth: int, limit: int
) -> list[FoundRow]:
    with span(f"channel.{channel}") as now:
        rows = _deep(search, depth, limit)
        now.set(rows=len(rows))
        return rows


def _deep(search: Callable[..., list[FoundRow]], depth: int, limit: int) -> list[FoundRow]:
    """Search, and where one long film fills the list let every media in with its best row."""
    rows = search(depth)
    if len(rows) == depth and len({row.media_id for row in rows}) < limit:
        known = {row.row_id for row in rows}
        rows += [row for row in search(depth, group_by_media=True) if row.row_id not in known]
    return rows
