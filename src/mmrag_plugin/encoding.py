"""Models at work, as flows have it: told to those who listen to spans or to LlamaIndex."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from mmrag_plugin.llama_events import embedding_told
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.embeddings.seam import TextModel, VisualModel

PICTURE = "[picture]"  # what LlamaIndex's listeners read where a text would stand


def encoded_pictures(visual: VisualModel, pictures: Sequence[Image]) -> NDArray[np.float32]:
    """Embed pictures as ``VisualModel.embed_pictures`` does."""
    chunks = [PICTURE] * len(pictures)
    return _encoded(visual, "pictures", chunks, lambda: visual.embed_pictures(pictures))


def encoded_texts(visual: VisualModel, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as ``VisualModel.embed_texts`` does."""
    return _encoded(visual, "texts", texts, lambda: visual.embed_texts(texts))


def encoded_documents(text: TextModel, documents: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as ``TextModel.embed`` does."""
    return _encoded(text, "texts", documents, lambda: text.embed(documents))


def encoded_query(model: VisualModel | TextModel, query: str) -> NDArray[np.float32]:
    """Embed one query, unless it was asked before: [1, dim], not to be changed."""
    return _encoded(model, "texts", [query], lambda: model.query_vector(query)[None])


def _encoded(
    model: VisualModel | TextModel,
    what: Literal["pictures", "texts"],
    chunks: Sequence[str],
    embed: Callable[[], NDArray[np.float32]],
) -> NDArray[np.float32]:
    counted = {what: len(chunks)}
    with span(f"encode.{what}", **counted, model=model.stamp):
        with embedding_told(model, chunks) as told:
            rows = embed()
            told(rows)
        return rows
