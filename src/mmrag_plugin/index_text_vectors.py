"""Vectors for rows of words, without embedding a text twice.

What was embedded lately is remembered, as many media say the same ("Lisbon, Portugal"); and rows
that stand in Milvus already give the vectors of the texts that didn't change, as when a film with a
thousand cues gets a caption.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.encoding import encoded_documents

if TYPE_CHECKING:
    from llama_index.core.schema import TextNode

    from mmrag_plugin.embeddings.base import TextEncoder
    from mmrag_plugin.milvus_store import MediaVectorStore

MAX_REMEMBERED = 4096  # texts; with 384 numbers each about 50 MB


class TextVectors:
    """Embeds the texts of rows by one model, whose vectors are those of one collection."""

    def __init__(self, text: TextEncoder, store: MediaVectorStore) -> None:
        self._text, self._store = text, store
        self._remembered: OrderedDict[str, list[float]] = OrderedDict()

    def put_into(self, nodes: Sequence[TextNode], in_milvus: Collection[str]) -> None:
        """Give each node the vector of its text; ``in_milvus`` are ids that may stand there."""
        owed = self._unknown(nodes)
        if owed and in_milvus:
            for text, vector in self._store.vectors_by_text(in_milvus).items():
                self._remembered[text] = vector.tolist()
            owed = self._unknown(nodes)
        if owed:
            vectors = encoded_documents(self._text, owed)
            self._remembered.update(zip(owed, vectors.tolist(), strict=True))
        for node in nodes:
            node.embedding = self._remembered[node.text]
            self._remembered.move_to_end(node.text)
        while len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _unknown(self, nodes: Sequence[TextNode]) -> list[str]:
        texts = dict.fromkeys(node.text for node in nodes)
        return [text for text in texts if text not in self._remembered]
