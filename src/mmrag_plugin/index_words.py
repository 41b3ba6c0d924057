"""The projection of words: what the ledger knows of media in words, brought into Milvus as rows."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.schema import TextNode

from mmrag_plugin.index_run import Run, batched, metadata_of
from mmrag_plugin.words import word_rows

_WORDS_BATCH = 256


class WordsStage:
    """Writes rows of words in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def project(self) -> None:
        """Bring the rows of words in Milvus up to what the ledger knows."""
        parts = self.run.parts
        pending = self.run.ledger.unprojected(parts.words_stamp)
        with self.run.timed("read"):  # each media was counted when it was read
            for batch in batched(pending, _WORDS_BATCH):
                outdated = self.run.ledger.projected_before(batch)
                self.run.ledger.begin_words(batch)
                if outdated:
                    parts.words.delete_media(outdated)
                written = self._write_words(batch)
                parts.words.flush()
                self.run.ledger.put_words(parts.words_stamp, written)

    def _write_words(self, media_ids: Sequence[str]) -> dict[str, tuple[int, frozenset[str]]]:
        parts = self.run.parts
        media = self.run.ledger.media_rows(media_ids)
        signals = self.run.ledger.signals_of(media_ids)
        nodes: list[TextNode] = []
        terms: list[Sequence[str]] = []
        written: dict[str, tuple[int, frozenset[str]]] = {}
        for media_id in media_ids:
            words = [signal for _, signal in signals[media_id]]
            rows = word_rows(media_id, words, dense=parts.text is not None)
            written[media_id] = len(rows), frozenset(term for row in rows for term in row.terms)
            for row in rows:
                metadata = metadata_of(media[media_id], "read", row.source, row.start_s, row.end_s)
                nodes.append(TextNode(id_=row.row_id, text=row.text, metadata=metadata))
                terms.append(row.terms)
        if parts.text is not None and nodes:
            texts = [node.text for node in nodes]
            vectors = parts.text.embedding.get_text_embedding_batch(texts)
            for node, vector in zip(nodes, vectors, strict=True):
                node.embedding = vector
        if nodes:
            parts.words.add(nodes, terms=terms)
        return written
