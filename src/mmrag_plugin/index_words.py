"""The projection of words: what the ledger knows of media in words, brought into Milvus as rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from llama_index.core.schema import TextNode

from mmrag_plugin.index_run import COMMIT_S, Run, metadata_of, replace_rows
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.words import word_rows

_WORDS_BATCH = 64  # media that are looked up at once
_EMBED_ROWS = 64  # rows, at least, in one call of the text model
_COMMIT_ROWS = 2000  # rows between two flushes; a film with subtitles has over a thousand


@dataclass
class _Rows:
    """Rows of some media on their way to Milvus."""

    nodes: list[TextNode] = field(default_factory=list)
    terms: list[Sequence[str]] = field(default_factory=list)
    # of each media how many rows, and with which terms
    written: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)


class WordsStage:
    """Writes rows of words in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def project(self) -> None:
        """Bring the rows of words in Milvus up to what the ledger knows."""
        pending = self.run.ledger.unprojected(self.run.parts.stamps.words)
        with self.run.timed("read"):  # each media was counted when it was read
            began, rows, embedded = time.monotonic(), _Rows(), 0
            for media_id, nodes, terms in self._rows_of(pending):
                rows.nodes += nodes
                rows.terms += terms
                rows.written[media_id] = len(nodes), frozenset(t for row in terms for t in row)
                if len(rows.nodes) - embedded >= _EMBED_ROWS:
                    self._embed(rows.nodes[embedded:])
                    embedded = len(rows.nodes)
                    if embedded >= _COMMIT_ROWS or time.monotonic() - began > COMMIT_S:
                        self._commit(rows)
                        began, rows, embedded = time.monotonic(), _Rows(), 0
            self._embed(rows.nodes[embedded:])
            self._commit(rows)

    def _rows_of(
        self, media_ids: Sequence[str]
    ) -> Iterator[tuple[str, list[TextNode], list[Sequence[str]]]]:
        dense = self.run.parts.text is not None
        for batch in batches(media_ids, _WORDS_BATCH):
            media = self.run.ledger.media_rows(batch)
            signals = self.run.ledger.signals_of(batch)
            for media_id in batch:
                words = [signal for _, signal in signals[media_id]]
                nodes: list[TextNode] = []
                terms: list[Sequence[str]] = []
                for row in word_rows(media_id, words, dense=dense):
                    about = metadata_of(media[media_id], "read", row.source, row.start_s, row.end_s)
                    nodes.append(TextNode(id_=row.row_id, text=row.text, metadata=about))
                    terms.append(row.terms)
                yield media_id, nodes, terms

    def _embed(self, nodes: Sequence[TextNode]) -> None:
        text = self.run.parts.text
        if text is not None and nodes:
            vectors = text.embedding.get_text_embedding_batch([node.text for node in nodes])
            for node, vector in zip(nodes, vectors, strict=True):
                node.embedding = vector

    def _commit(self, rows: _Rows) -> None:
        if not rows.written:
            return
        ledger, store = self.run.ledger, self.run.parts.words
        media_ids = list(rows.written)
        outdated = ledger.projected_before(media_ids)
        ledger.begin_words(media_ids)
        replace_rows(store, outdated, rows.nodes, rows.terms)
        store.flush()
        ledger.put_words(self.run.parts.stamps.words, rows.written)
