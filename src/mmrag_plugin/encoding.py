"""Models at work, as flows have it: told to those who listen to spans or to LlamaIndex."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    with span("encode.pictures", pictures=len(pictures), model=visual.stamp):
        with embedding_told(visual, [PICTURE] * len(pictures)) as told:
            rows = visual.embed_pictures(pictures)
            told(rows)
        return rows


def encoded_texts(visual: VisualModel, texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as ``VisualModel.embed_texts`` does."""
    with span("encode.texts", texts=len(texts), model=visual.stamp):
        with embedding_told(visual, texts) as told:
            rows = visual.embed_texts(texts)
            told(rows)
        return rows


def encoded_documents(text: TextModel, documents: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as ``TextModel.embed`` does."""
    with span("encode.texts", texts=len(documents), model=text.stamp):
        with embedding_told(text, documents) as told:
            rows = text.embed(documents)
            told(rows)
        return rows


def encoded_query(model: VisualModel | TextModel, query: str) -> NDArray[np.float32]:
    """Embed one query, unless it was asked before: [1, dim], not to be changed."""
    with span("encode.texts", texts=1, model=model.stamp):
        with embedding_told(model, [query]) as told:
            rows = model.query_vector(query)[None]
            told(rows)
        return rows
