"""The retrieval flow: a question to ranked moments, over every channel that the library has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle

from mmrag_plugin.bm25 import query_vector
from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.fusion import DEPTH, Fusion
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.media import CHANNELS, Channel, Confidence, Hit, Signal
from mmrag_plugin.metadata import COMBINED, RowFilter
from mmrag_plugin.moments import Candidate, join
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.reasons import (
    best_matches,
    coverage,
    dense_confidence,
    quote,
    strongest,
    words_confidence,
)
from mmrag_plugin.results import SearchResult
from mmrag_plugin.terms import terms_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.embeddings.base import TextModel, VisualEmbedding
    from mmrag_plugin.milvus_store import FoundRow, MediaVectorStore

PER_MEDIA = 3  # moments of one film among the first PAGE hits
PAGE = 10
WELL_RANKED = 10  # a moment further down the channel's list was not found by its looks
BACKGROUND_ROWS = 256  # enough to know a query's mean and deviation over the library
BACKGROUND_S = 60.0  # how long they are taken for the whole, while another process may index
_LEVELS: tuple[Confidence, ...] = ("none", "weak", "strong")


class Searcher:
    """Searches one open library; made once, used by any number of retrievers and threads."""

    def __init__(
        self,
        ledger: Ledger,
        frames: MediaVectorStore,
        words: MediaVectorStore,
        visual: VisualEmbedding,
        text: TextModel | None,
        fusion: Fusion,
    ) -> None:
        self.ledger, self.frames, self.words = ledger, frames, words
        self.visual, self.text, self.fusion = visual, text, fusion
        self._backgrounds: dict[Channel, tuple[NDArray[np.float32], int, float]] = {}

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that this library has."""
        there = {"text": self.text is not None, "bm25": self.words.searches_words}
        return tuple(channel for channel in CHANNELS if there.get(channel, True))

    def search(
        self,
        query: str,
        *,
        picture: Image | None = None,
        limit: int = 10,
        filters: Filters | None = None,
        channels: Sequence[Channel] | None = None,
        min_confidence: Confidence = "none",
        per_media: int | None = None,
    ) -> SearchResult:
        """Find moments by words, by a picture, or by both.

        Raises UsageError for an empty question, an impossible filter or an unknown channel.
        """
        query = query.strip()
        if not query and picture is None:
            raise UsageError("The question is empty.", "Say what to look for.")
        if limit < 1:
            raise UsageError(f"A limit of {limit} hits makes no sense.", "Ask for 1 or more.")
        where = (filters or Filters()).resolve(self.ledger)
        wanted, warnings = self._usable(query, picture, channels)
        found, vectors = self.look(query, picture, wanted, limit=limit, where=where)
        chosen = _spread(self.rank(found), limit, PER_MEDIA if per_media is None else per_media)
        hits = self._hits(query, chosen, vectors)
        kept = [h for h in hits if _LEVELS.index(h.confidence) >= _LEVELS.index(min_confidence)]
        return SearchResult(query, kept, warnings)

    # ---- channels ----------------------------------------------------------------------------

    def look(
        self,
        query: str,
        picture: Image | None,
        channels: Sequence[Channel],
        *,
        limit: int = PAGE,
        where: RowFilter | None = None,
    ) -> tuple[dict[Channel, Sequence[FoundRow]], dict[Channel, NDArray[np.float32]]]:
        """Ask each channel: its rows, best first, and what the dense ones asked with."""
        depth = max(DEPTH, 4 * limit)
        vectors: dict[Channel, NDArray[np.float32]] = {}
        found: dict[Channel, Sequence[FoundRow]] = {}
        for channel in channels:
            if channel == "bm25":
                found[channel] = self._holding(query, depth, where)
            else:
                vectors[channel] = self._vector(channel, query, picture)
                found[channel] = self._nearest(channel, vectors[channel], depth, limit, where)
        return found, vectors

    def _usable(
        self, query: str, picture: Image | None, channels: Sequence[Channel] | None
    ) -> tuple[list[Channel], list[str]]:
        for channel in channels or ():
            if channel not in CHANNELS:
                known = ", ".join(CHANNELS)
                raise UsageError(f"There is no channel {channel!r}.", f"Choose among {known}.")
        wanted = [c for c in self.channels if channels is None or c in channels]
        warnings = [
            f"The {channel} channel is off in this library."
            for channel in channels or ()
            if channel not in wanted
        ]
        if query and not self.words.searches_words:
            warnings.append(
                "Words are not searched: this Milvus has no sparse vectors (2.4 and newer have)."
            )
        if not query:
            wanted = [channel for channel in wanted if channel == "visual"]
        elif picture is None and "visual" in wanted and not self.visual.understands(query):
            wanted.remove("visual")
            warnings.append(
                f"The visual model {self.visual.model_name!r} has nothing to say about these "
                "words, so only words were compared. Models that do: `mmrag models list`."
            )
        return wanted, warnings

    def _vector(self, channel: Channel, query: str, picture: Image | None) -> NDArray[np.float32]:
        import numpy as np

        if channel == "text" and self.text is not None:
            return np.asarray(self.text.embedding.get_query_embedding(query), dtype=np.float32)
        if picture is None:
            return np.asarray(self.visual.embed_texts([query])[0])
        seen = np.asarray(self.visual.embed_pictures([picture])[0])
        if not query or not self.visual.understands(query):
            return seen
        both = seen + self.visual.embed_texts([query])[0]  # "this, but at night"
        return np.asarray(both / max(float(np.linalg.norm(both)), 1e-12), dtype=np.float32)

    def _holding(self, query: str, depth: int, where: RowFilter | None) -> list[FoundRow]:
        terms = list(dict.fromkeys(terms_of(query)))
        counts, documents = self.ledger.document_counts(terms)
        return self.words.search_words(query_vector(terms, counts, documents), depth, where)

    def _nearest(
        self,
        channel: Channel,
        vector: NDArray[np.float32],
        depth: int,
        limit: int,
        where: RowFilter | None,
    ) -> list[FoundRow]:
        store = self.frames if channel == "visual" else self.words
        rows = store.search_dense(vector, depth, where)
        if len(rows) == depth and len({row.media_id for row in rows}) < limit:
            # one long film fills the list: let every media in with its best row
            known = {row.row_id for row in rows}
            more = store.search_dense(vector, depth, where, group_by_media=True)
            rows += [row for row in more if row.row_id not in known]
        return rows

    # ---- ranking -----------------------------------------------------------------------------

    def rank(
        self, found: Mapping[Channel, Sequence[FoundRow]]
    ) -> list[tuple[Candidate, float, dict[Channel, int]]]:
        """Join rows into moments and fuse: each with its score and its rank in each channel."""
        candidates = join(found)
        lists: dict[Channel, list[tuple[int, float]]] = {}
        for channel in found:
            scored = [
                (number, candidate.best[channel].score)
                for number, candidate in enumerate(candidates)
                if channel in candidate.best
            ]
            lists[channel] = sorted(scored, key=lambda item: -item[1])
        ranks = {
            channel: {number: rank for rank, (number, _) in enumerate(ranked, 1)}
            for channel, ranked in lists.items()
        }
        return [
            (
                candidates[number],
                score,
                {channel: ranks[channel][number] for channel in ranks if number in ranks[channel]},
            )
            for number, score in self.fusion.fuse(lists)
        ]

    def _hits(
        self,
        query: str,
        chosen: Sequence[tuple[Candidate, float, dict[Channel, int]]],
        vectors: Mapping[Channel, NDArray[np.float32]],
    ) -> list[Hit]:
        media_ids = list(dict.fromkeys(candidate.media_id for candidate, _, _ in chosen))
        media = self.ledger.media_rows(media_ids)
        signals = self.ledger.signals_of(media_ids)
        judges = {channel: self._judge(channel, vector) for channel, vector in vectors.items()}
        hits: list[Hit] = []
        for candidate, score, why in chosen:
            row = media.get(candidate.media_id)
            if row is None:
                continue  # forgotten since its rows were found
            words = [signal for _, signal in signals[candidate.media_id]]
            words = _within(candidate, words)
            reason, text = _reason(query, candidate, why, words)
            levels = [
                judge(candidate.best[channel].score)
                for channel, judge in judges.items()
                if channel in candidate.best
            ]
            if "bm25" in candidate.best:
                levels.append(words_confidence(coverage(query, words)))
            hits.append(
                Hit(
                    rank=len(hits) + 1,
                    moment=candidate.moment,
                    path=row.path,
                    score=score,
                    confidence=strongest(levels),
                    why=why,
                    reason=reason,
                    text=text,
                    taken_at=row.taken_at,
                    at_s=candidate.at_s if row.kind == "video" else None,
                )
            )
        return hits

    def _judge(self, channel: Channel, vector: NDArray[np.float32]) -> Any:
        sample, rows = self._background(channel)
        if len(sample) < 2:
            return lambda score: "weak"
        scores = sample @ vector
        mean, deviation = float(scores.mean()), float(scores.std())
        return lambda score: dense_confidence(score, mean, deviation, rows)

    def _background(self, channel: Channel) -> tuple[NDArray[np.float32], int]:
        """Some vectors of a channel, to know how its rows score on the whole, and how many."""
        known = self._backgrounds.get(channel)
        if known is None or time.monotonic() - known[2] > BACKGROUND_S:
            store = self.frames if channel == "visual" else self.words
            known = store.sample_vectors(BACKGROUND_ROWS), store.count(), time.monotonic()
            self._backgrounds[channel] = known
        return known[:2]


class MediaRetriever(BaseRetriever):
    """A LlamaIndex retriever over a library: nodes are ImageNodes with text, time and reason."""

    def __init__(
        self,
        search: Callable[..., SearchResult],
        *,
        limit: int = 10,
        filters: Filters | None = None,
        channels: Sequence[Channel] | None = None,
        min_confidence: Confidence = "none",
        **kwargs: Any,
    ) -> None:
        """``search`` is the library's, or any that takes its arguments."""
        super().__init__(**kwargs)
        self._search = search
        self._options: dict[str, Any] = {
            "limit": limit,
            "filters": filters,
            "channels": channels,
            "min_confidence": min_confidence,
        }

    def search(self, query: str, *, picture: Image | None = None, **options: Any) -> SearchResult:
        """Find moments; options as in the constructor, for this search alone."""
        return self._search(query, picture=picture, **{**self._options, **options})

    async def asearch(
        self, query: str, *, picture: Image | None = None, **options: Any
    ) -> SearchResult:
        """Find moments without holding up the event loop."""
        return await asyncio.to_thread(self.search, query, picture=picture, **options)

    def find(self, query: QueryBundle) -> SearchResult:
        """Find moments for a LlamaIndex query, its picture included."""
        picture = open_picture(query.image_path) if query.image_path else None
        return self.search(query.query_str, picture=picture)

    async def afind(self, query: QueryBundle) -> SearchResult:
        """Find moments for a LlamaIndex query without holding up the event loop."""
        return await asyncio.to_thread(self.find, query)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [hit_node(hit) for hit in self.find(query_bundle).hits]

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(self._retrieve, query_bundle)


def hit_node(hit: Hit) -> NodeWithScore:
    """Turn a hit into a LlamaIndex node that keeps picture, words and time together."""
    node = ImageNode(
        id_=node_id(hit),
        text=hit.text or "",
        image_path=hit.path if hit.moment.kind == "image" else None,
        metadata=node_metadata(hit),
    )
    return NodeWithScore(node=node, score=hit.score)


def node_id(hit: Hit) -> str:
    """The id of a hit's node: its media, and where in a film it begins."""
    at = "" if hit.moment.start_s is None else f"@{hit.moment.start_s}"
    return f"{hit.moment.media_id}{at}"


def node_metadata(hit: Hit) -> dict[str, object]:
    """What a hit's node says about it beside its text."""
    return {key: value for key, value in hit.as_dict().items() if key not in ("text", "why")}


def _spread(
    ranked: Sequence[tuple[Candidate, float, dict[Channel, int]]], limit: int, per_media: int
) -> list[tuple[Candidate, float, dict[Channel, int]]]:
    """Let no film fill the page: what is too much of one media moves behind the others."""
    page: list[tuple[Candidate, float, dict[Channel, int]]] = []
    behind: list[tuple[Candidate, float, dict[Channel, int]]] = []
    shown: dict[str, int] = {}
    for item in ranked:
        media_id = item[0].media_id
        enough = len(page) < PAGE and shown.get(media_id, 0) >= per_media
        (behind if enough else page).append(item)
        shown[media_id] = shown.get(media_id, 0) + (not enough)
    if len(page) < PAGE:  # nothing else to show
        return (page + behind)[:limit]
    rest = sorted(page[PAGE:] + behind, key=lambda item: -item[1])
    return (page[:PAGE] + rest)[:limit]


def _within(candidate: Candidate, signals: Sequence[Signal]) -> list[Signal]:
    """The signals of a media that speak about a moment of it."""
    start_s, end_s = candidate.start_s, candidate.end_s
    if start_s is None or end_s is None:
        return list(signals)
    return [
        signal
        for signal in signals
        if signal.start_s is None
        or (signal.start_s <= end_s and (signal.end_s or signal.start_s) >= start_s)
    ]


def _reason(
    query: str, candidate: Candidate, why: Mapping[Channel, int], signals: Sequence[Signal]
) -> tuple[str, str | None]:
    """Why a moment was found, in words, and the text that matched."""
    parts: list[str] = []
    text: str | None = None
    matched = best_matches(query, signals) if query and "bm25" in why else []
    if matched:
        text = matched[0][0].text
        parts += [quote(signal, words) for signal, words in matched]
    elif "text" in why:
        row = candidate.best["text"]
        alike = [s for s in signals if row.source in (COMBINED, s.source) and s.source != "exif"]
        if alike:
            text = alike[0].text
            parts.append(f"means much the same: {quote(alike[0])}")
    if "visual" in why and (not parts or why["visual"] <= WELL_RANKED):
        parts.append(f"looks like it (number {why['visual']} by sight)")
    return "; ".join(parts), text
