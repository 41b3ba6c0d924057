"""Retrieval in LlamaIndex: a retriever over a library's search, and the nodes that hits become."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.schema import ImageNode, NodeWithScore, QueryBundle, TextNode

from mmrag_plugin.filters import Filters
from mmrag_plugin.llama_events import retrieval_told
from mmrag_plugin.media import Channel, Confidence, Hit, Moment
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.results import SearchResult
from mmrag_plugin.untrusted import escape_media_text
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.reranking import Reranker

_dispatcher = get_dispatcher(__name__)


class MediaRetriever(BaseRetriever):
    """A LlamaIndex retriever over a library: nodes with picture, text, time and reason."""

    def __init__(
        self,
        search: Callable[..., SearchResult],
        *,
        limit: int = 10,
        filters: Filters | None = None,
        channels: Sequence[Channel] | None = None,
        min_confidence: Confidence = "none",
        reranker: Reranker | None = None,
        **kwargs: Any,
    ) -> None:
        """``search`` is the library's, or any that takes its arguments."""
        super().__init__(**kwargs)
        self._search, self._reranker = search, reranker
        self._options: dict[str, Any] = {
            "limit": limit,
            "filters": filters,
            "channels": channels,
            "min_confidence": min_confidence,
        }

    def search(self, query: str, *, picture: Image | None = None, **options: Any) -> SearchResult:
        """Find moments; options as in the constructor, for this search alone."""
        options = {**self._options, **options, "picture": picture}
        if self._reranker is None:
            return self._search(query, **options)
        return self._reranker.search(self._search, query, **options)

    async def asearch(
        self, query: str, *, picture: Image | None = None, **options: Any
    ) -> SearchResult:
        """Find moments without holding up the event loop."""
        options = {**self._options, **options, "picture": picture}
        if self._reranker is None:
            return await asyncio.to_thread(self._search, query, **options)
        return await self._reranker.asearch(self._search, query, **options)

    @_dispatcher.span
    def find(self, query: QueryBundle) -> SearchResult:
        """Find moments for a LlamaIndex query, its picture included."""
        with retrieval_told(query) as told:
            found = self._find(query)
            told(lambda: hit_nodes(found.hits))
        return found

    @_dispatcher.span
    async def afind(self, query: QueryBundle) -> SearchResult:
        """Find moments for a LlamaIndex query without holding up the event loop."""
        with retrieval_told(query) as told:
            found = await self._afind(query)
            told(lambda: hit_nodes(found.hits))
        return found

    def _find(self, query: QueryBundle) -> SearchResult:
        return self.search(query.query_str, picture=_picture_of(query))

    async def _afind(self, query: QueryBundle) -> SearchResult:
        picture = await asyncio.to_thread(_picture_of, query)
        return await self.asearch(query.query_str, picture=picture)

    # of these LlamaIndex tells itself
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return hit_nodes(self._find(query_bundle).hits)

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return await asyncio.to_thread(hit_nodes, (await self._afind(query_bundle)).hits)


def _picture_of(query: QueryBundle) -> Image | None:
    return open_picture(query.image_path) if query.image_path else None


def hit_nodes(hits: Sequence[Hit]) -> list[NodeWithScore]:
    """Turn hits into nodes, each with its picture where that is a photo that is there."""
    return [hit_node(hit, has_photo=is_there(hit.path)) for hit in hits]


def hit_node(
    hit: Hit, *, has_photo: bool = True, jpeg: str | None = None, **more: object
) -> NodeWithScore:
    """Turn a hit into a LlamaIndex node that keeps picture, words and time together.

    A photo is an ImageNode with its path, a moment of a film one with ``jpeg`` (base64); without a
    picture it is a TextNode, since LlamaIndex's multi-modal engines open every ImageNode. Text out
    of media is made safe for a model to read; ``more`` joins the facts in the metadata.
    """
    begins = "" if hit.moment.start_s is None else f"@{hit.moment.start_s}"
    facts = {
        key: value for key, value in hit.as_dict().items() if key not in ("text", "why", "alike")
    }
    facts["reason"] = escape_media_text(hit.reason)
    common: dict[str, Any] = {
        "id_": f"{hit.moment.media_id}{begins}",
        "text": escape_media_text(hit.text or hit.reason),
        "metadata": {**facts, **more},
    }
    if escape_media_text(hit.path, len(hit.path)) != hit.path:
        common["excluded_llm_metadata_keys"] = ["path"]
    node: TextNode
    if hit.moment.kind == "image" and has_photo:
        node = ImageNode(image_path=hit.path, **common)
    elif jpeg is not None:
        node = ImageNode(image=jpeg, image_mimetype="image/jpeg", **common)
    else:
        node = TextNode(**common)
    return NodeWithScore(node=node, score=hit.score)


def node_hit(item: NodeWithScore) -> Hit | None:
    """Turn a node that ``hit_node`` made back into its hit; None for any other node."""
    facts = item.node.metadata
    if not {"media_id", "kind", "path", "reason"} <= facts.keys():
        return None
    start_s, end_s = facts.get("start_s"), facts.get("end_s")
    return Hit(
        rank=facts.get("rank", 1),
        moment=Moment(facts["media_id"], facts["kind"], start_s, end_s),
        path=facts["path"],
        score=item.score or 0.0,
        confidence=facts.get("confidence", "none"),
        reason=facts["reason"],
        text=item.node.get_content(),
        taken_at=facts.get("taken_at"),
        at_s=None if start_s is None or end_s is None else (start_s + end_s) / 2,
    )
