"""The vector store: what is searched by vector and by word, a projection that can be rebuilt.

``MediaVectorStore`` is LlamaIndex's ``MilvusVectorStore`` with its traps mended (quoting, empty
lists, loading, event loops, timeouts), plus the face of our own (``milvus_media``). It keeps no
pixels and no paths: those live on disk and in the ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.indices.query.embedding_utils import get_top_k_mmr_embeddings
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from llama_index.vector_stores.milvus import MilvusVectorStore

from mmrag_plugin.errors import UsageError
from mmrag_plugin.metadata import COLUMNS
from mmrag_plugin.milvus_capabilities import Capabilities
from mmrag_plugin.milvus_collection import MAX_LIMIT, Collection, shape_of
from mmrag_plugin.milvus_connection import MilvusConnection
from mmrag_plugin.milvus_filters import (
    all_of,
    chunks_of,
    metadata_expression,
    one_of,
)
from mmrag_plugin.milvus_indexes import HNSW
from mmrag_plugin.milvus_media import MediaRows
from mmrag_plugin.milvus_rows import (
    DENSE,
    NODE_FIELDS,
    FoundRow,
    ascii_words,
    node_of,
    row_of,
    same_weights,
)

__all__ = [
    "Capabilities",
    "FoundRow",
    "MediaVectorStore",
    "MilvusConnection",
    "open_frames",
    "open_known",
    "open_signals",
]

MMR_PREFETCH = 4


def open_frames(connection: MilvusConnection, collection: str, dim: int) -> MediaVectorStore:
    """Open or create the collection of frames: dense vectors of ``dim`` numbers, COSINE."""
    return MediaVectorStore(connection, collection, dim=dim, words=False)


def open_known(connection: MilvusConnection, collection: str) -> MediaVectorStore:
    """Open a collection that is there, of whatever model."""
    dim, words = shape_of(connection, collection)
    return MediaVectorStore(connection, collection, dim=dim, words=words)


def open_signals(
    connection: MilvusConnection,
    collection: str,
    dim: int | None,
    *,
    tokenize: Callable[[str], Sequence[str]] = ascii_words,
    weigh: Callable[[Sequence[str]], Mapping[int, float]] = same_weights,
) -> MediaVectorStore:
    """Open or create the collection of signals: BM25 over terms, and dense vectors with a ``dim``.

    ``tokenize`` makes terms of a text where a caller gives none; ``weigh`` makes a query vector of
    the terms of a LlamaIndex query. On a server without sparse vectors ``searches_words`` is False
    and the dense vectors are all that can be searched; without a ``dim`` the rows are then kept,
    counted and read, and nothing finds them.
    """
    words = connection.capabilities().words
    return MediaVectorStore(
        connection, collection, dim=dim, words=words, tokenize=tokenize, weigh=weigh
    )


class MediaVectorStore(MediaRows, MilvusVectorStore):
    """One collection of frames or signals.

    As a LlamaIndex vector store it always upserts, and answers DEFAULT, SPARSE, TEXT_SEARCH and
    HYBRID queries with MetadataFilters over the columns of ``metadata.COLUMNS``. Nodes come back
    without pixels and paths; metadata beyond the columns is kept but can't be filtered.
    """

    _collection: Collection = PrivateAttr()
    _tokenize: Callable[[str], Sequence[str]] = PrivateAttr()
    _weigh: Callable[[Sequence[str]], Mapping[int, float]] = PrivateAttr()

    def __init__(
        self,
        connection: MilvusConnection,
        collection: str,
        *,
        dim: int | None,
        words: bool,
        tokenize: Callable[[str], Sequence[str]] = ascii_words,
        weigh: Callable[[Sequence[str]], Mapping[int, float]] = same_weights,
    ) -> None:
        opened = Collection(connection, collection, dim=dim, words=words)
        # MilvusVectorStore's own constructor would open a second client, without timeouts
        super(MilvusVectorStore, self).__init__(  # type: ignore[call-arg]
            collection_name=collection,
            dim=dim,
            enable_dense=dim is not None,
            enable_sparse=opened.words,
            sparse_embedding_function=None,
            similarity_metric="COSINE",
            upsert_mode=True,
            use_async_client=False,
            index_config={"index_type": "HNSW", "metric_type": "COSINE", **HNSW},
            sparse_index_config={},
            search_config={},
            collection_properties=None,
            hybrid_ranker="RRFRanker",
            scalar_field_names=[column.name for column in COLUMNS],
            scalar_field_types=None,
        )
        self._collection = opened
        self._tokenize, self._weigh = tokenize, weigh
        self._async_milvusclient = None
        self._collection_initialized = True

    @classmethod
    def class_name(cls) -> str:
        """Class name."""
        return "MediaVectorStore"

    @property
    def client(self) -> Any:
        """The pymilvus client of the connection (without its retries)."""
        return self._collection.connection.client

    # ------------------------------------------------------------------ writing

    def add(
        self,
        nodes: Sequence[BaseNode],
        *,
        terms: Sequence[Sequence[str]] | None = None,
        **add_kwargs: Any,
    ) -> list[str]:
        """Upsert nodes; returns their ids.

        ``terms`` holds the terms of each node for BM25; without it they are made of its text.
        Text is cut at 65,535 bytes. With ``force_flush=True`` the rows are on disk on return.
        Raises UsageError, before anything is written, for a node that doesn't fit.
        """
        if terms is not None and len(terms) != len(nodes):
            raise UsageError(f"There are {len(terms)} lists of terms for {len(nodes)} nodes.")
        tokenize = self._tokenize if self.searches_words else None
        rows = {  # by id: a server would keep both of two rows with one id in one write
            node.node_id: row_of(node, self.dim, None if terms is None else terms[number], tokenize)
            for number, node in enumerate(nodes)
        }
        self._collection.upsert(rows.values())
        if add_kwargs.get("force_flush"):
            self.flush()
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of one document (or of a list of them)."""
        wanted = [ref_doc_id] if isinstance(ref_doc_id, str) else list(ref_doc_id)
        self._collection.delete(one_of("doc_id", part) for part in chunks_of(filter(None, wanted)))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by id, by filters, or by both at once; an empty list deletes nothing."""
        self._collection.delete(_selections(node_ids, filters))

    # ------------------------------------------------------------------ LlamaIndex's face

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Read nodes, with their vectors, by id, by filters, or by both at once.

        An empty list of ids gives nothing.
        """
        fields = [*NODE_FIELDS, *([DENSE] if self.enable_dense else [])]
        nodes = []
        for expression in _selections(node_ids, filters):
            for row in self._read(expression, fields):
                node = node_of(row)
                if self.enable_dense:
                    node.embedding = [float(x) for x in row[DENSE]]
                nodes.append(node)
        return nodes

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Answer a DEFAULT, SPARSE, TEXT_SEARCH, HYBRID or MMR query."""
        expression = all_of(
            [
                metadata_expression(query.filters),
                one_of("doc_id", query.doc_ids) if query.doc_ids else "",
                one_of("id", query.node_ids) if query.node_ids else "",
            ]
        )
        search, limit = self._collection, min(query.similarity_top_k, MAX_LIMIT)
        if limit <= 0:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        if query.mode == VectorStoreQueryMode.DEFAULT:
            hits = search.dense_hits(_vector_of(query), limit, expression, NODE_FIELDS)
        elif query.mode in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH):
            hits = search.word_hits(self._words_of(query), limit, expression, NODE_FIELDS)
        elif query.mode == VectorStoreQueryMode.HYBRID:
            hits = search.hybrid_hits(
                _vector_of(query), self._words_of(query), limit, expression, NODE_FIELDS
            )
        elif query.mode == VectorStoreQueryMode.MMR:
            return self._most_diverse(query, limit, expression, kwargs.get("mmr_threshold"))
        else:
            raise UsageError(f"Queries in the mode {query.mode.value!r} are not supported.")
        return VectorStoreQueryResult(
            nodes=[node_of(hit["entity"]) for hit in hits],
            similarities=[float(hit["distance"]) for hit in hits],
            ids=[hit["id"] for hit in hits],
        )

    # pymilvus's own async client dies with its event loop; a thread survives any number of them

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do as ``add``."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do as ``delete``."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Do as ``delete_nodes``."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **kwargs: Any,
    ) -> list[BaseNode]:
        """Do as ``get_nodes``."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters, **kwargs)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do as ``query``."""
        return await asyncio.to_thread(self.query, query, **kwargs)

    async def aclear(self) -> None:
        """Do as ``clear``."""
        await asyncio.to_thread(self.clear)

    def _words_of(self, query: VectorStoreQuery) -> Mapping[int, float]:
        if query.query_str is None:
            raise UsageError(f"A query in the mode {query.mode.value!r} needs a text.")
        return self._weigh(self._tokenize(query.query_str))

    def _most_diverse(
        self, query: VectorStoreQuery, limit: int, expression: str, threshold: float | None
    ) -> VectorStoreQueryResult:
        """Choose hits that are near the query and far from each other (MMR)."""
        vector = _vector_of(query)
        prefetched = min(MMR_PREFETCH * limit, MAX_LIMIT)
        hits = self._collection.dense_hits(vector, prefetched, expression, (*NODE_FIELDS, DENSE))
        similarities, chosen = get_top_k_mmr_embeddings(
            query_embedding=vector,
            embeddings=[[float(x) for x in hit["entity"][DENSE]] for hit in hits],
            similarity_top_k=limit,
            embedding_ids=list(range(len(hits))),
            mmr_threshold=threshold,
        )
        return VectorStoreQueryResult(
            nodes=[node_of(hits[index]["entity"]) for index in chosen],
            similarities=similarities,
            ids=[hits[index]["id"] for index in chosen],
        )


def _selections(node_ids: Sequence[str] | None, filters: MetadataFilters | None) -> list[str]:
    restriction = metadata_expression(filters)
    if node_ids is not None:
        return [all_of([one_of("id", part), restriction]) for part in chunks_of(node_ids)]
    if not restriction:
        raise UsageError("Neither node ids nor filters are given.", "Give one of them.")
    return [restriction]


def _vector_of(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise UsageError(f"A query in the mode {query.mode.value!r} needs a vector.")
    return query.query_embedding
