"""LlamaIndex's own events, where its base classes leave them out, for whoever listens to them.

Base classes of retrievers, query engines and LLMs tell of themselves what goes through their public
methods. Here is the rest: what our own methods and models do, and reranking.
Events are only made when a handler is there, and nothing of LlamaIndex is imported for them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llama_index.core.schema import NodeWithScore, QueryBundle

_INSTRUMENTATION = "llama_index_instrumentation"


def dispatcher_heard(name: str) -> Any:
    """The dispatcher of a module, if a handler hears its events; else None."""
    instrumentation: Any = sys.modules.get(_INSTRUMENTATION)
    if instrumentation is None:  # then nobody can have put a handler there
        return None
    dispatcher = place = instrumentation.get_dispatcher(name)
    while place is not None:
        if any(
            not isinstance(handler, instrumentation.NullEventHandler)
            for handler in place.event_handlers
        ):
            return dispatcher
        place = place.parent if place.propagate else None
    return None


@contextmanager
def embedding_told(model: Any, chunks: Sequence[str]) -> Iterator[Callable[[Any], None]]:
    """Tell that a model embeds; the vectors [n, dim] are to be told within."""
    dispatcher = dispatcher_heard("mmrag_plugin.embeddings")
    if dispatcher is None:
        yield lambda _: None
        return
    from llama_index.core.instrumentation.events.embedding import (
        EmbeddingEndEvent,
        EmbeddingStartEvent,
    )

    dispatcher.event(EmbeddingStartEvent(model_dict={"model_name": model.setting}))
    yield lambda rows: dispatcher.event(
        EmbeddingEndEvent(chunks=list(chunks), embeddings=rows.tolist())
    )


@contextmanager
def retrieval_told(
    query: QueryBundle,
) -> Iterator[Callable[[Callable[[], list[NodeWithScore]]], None]]:
    """Tell of a retrieval; what makes its nodes is to be told within."""
    dispatcher = dispatcher_heard("mmrag_plugin.retrieval")
    if dispatcher is None:
        yield lambda _: None
        return
    from llama_index.core.instrumentation.events.retrieval import (
        RetrievalEndEvent,
        RetrievalStartEvent,
    )

    dispatcher.event(RetrievalStartEvent(str_or_query_bundle=query))
    yield lambda nodes: dispatcher.event(
        RetrievalEndEvent(str_or_query_bundle=query, nodes=nodes())
    )


@contextmanager
def rerank_told(
    query: str, model: str, top_n: int, before: Callable[[], list[NodeWithScore]]
) -> Iterator[Callable[[Callable[[], list[NodeWithScore]]], None]]:
    """Tell of a reranking; what makes the nodes in their new order is to be told within."""
    dispatcher = dispatcher_heard("mmrag_plugin.reranking")
    if dispatcher is None:
        yield lambda _: None
        return
    from llama_index.core.instrumentation.events.rerank import ReRankEndEvent, ReRankStartEvent

    dispatcher.event(ReRankStartEvent(query=query, nodes=before(), top_n=top_n, model_name=model))
    yield lambda nodes: dispatcher.event(ReRankEndEvent(nodes=nodes()))


def query_began(query: QueryBundle) -> None:
    """Tell of a question to a query engine."""
    if dispatcher := dispatcher_heard("mmrag_plugin.answering"):
        from llama_index.core.instrumentation.events.query import QueryStartEvent

        dispatcher.event(QueryStartEvent(query=query))


def query_ended(query: QueryBundle, response: Callable[[], Any]) -> None:
    """Tell of its answer, which is only made where somebody listens."""
    if dispatcher := dispatcher_heard("mmrag_plugin.answering"):
        from llama_index.core.instrumentation.events.query import QueryEndEvent

        dispatcher.event(QueryEndEvent(query=query, response=response()))
