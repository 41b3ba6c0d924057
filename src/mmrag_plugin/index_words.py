"""The projection of words: what the ledger knows of media in words, brought into Milvus as rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llama_index.core.schema import TextNode

from mmrag_plugin.index_run import COMMIT_S, Run, metadata_of, replace_rows
from mmrag_plugin.index_text_vectors import TextVectors
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.words import word_rows

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import TextEncoder
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.milvus_store import MediaVectorStore

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
    marks: dict[str, str] = field(default_factory=dict)  # of those that the person annotated


class WordsWriter:
    """Writes the rows of words of some media; the caller holds the writer's lease."""

    def __init__(
        self,
        ledger: Ledger,
        store: MediaVectorStore,
        text: TextEncoder | None,
        stamp: str,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger, self._store, self._stamp = ledger, store, stamp
        self._vectors = None if text is None else TextVectors(text, store)
        self._between = between  # is called between media, and may end it by raising

    def write(self, media_ids: Sequence[str]) -> None:
        """Bring the rows of words of media in Milvus up to what the ledger knows."""
        began, rows, embedded = time.monotonic(), _Rows(), 0
        for media_id, nodes, terms, mark in self._rows_of(media_ids):
            rows.nodes += nodes
            rows.terms += terms
            rows.written[media_id] = len(nodes), frozenset(t for row in terms for t in row)
            if mark is not None:
                rows.marks[media_id] = mark
            if len(rows.nodes) - embedded >= _EMBED_ROWS:
                self._embed(rows, embedded)
                embedded = len(rows.nodes)
                if embedded >= _COMMIT_ROWS or time.monotonic() - began > COMMIT_S:
                    self._commit(rows)
                    began, rows, embedded = time.monotonic(), _Rows(), 0
        self._embed(rows, embedded)
        self._commit(rows)

    def _rows_of(
        self, media_ids: Sequence[str]
    ) -> Iterator[tuple[str, list[TextNode], list[Sequence[str]], str | None]]:
        dense = self._vectors is not None
        for batch in batches(media_ids, _WORDS_BATCH):
            self._between()
            marks = self._ledger.annotated_marks(batch)  # before the words: later ones stay owed
            media = self._ledger.media_rows(batch)
            signals = self._ledger.signals_of(batch)
            for media_id in batch:
                words = [signal for _, signal in signals[media_id]]
                nodes: list[TextNode] = []
                terms: list[Sequence[str]] = []
                for row in word_rows(media_id, words, dense=dense):
                    about = metadata_of(media[media_id], "read", row.source, row.start_s, row.end_s)
                    nodes.append(TextNode(id_=row.row_id, text=row.text, metadata=about))
                    terms.append(row.terms)
                yield media_id, nodes, terms, marks.get(media_id)

    def _embed(self, rows: _Rows, first: int) -> None:
        nodes = rows.nodes[first:]
        if self._vectors is not None and nodes:
            media_ids = dict.fromkeys(str(node.metadata["media_id"]) for node in nodes)
            outdated = self._ledger.projected_before([*media_ids])
            known = [node.node_id for node in nodes if node.metadata["media_id"] in outdated]
            self._vectors.put_into(nodes, known)

    def _commit(self, rows: _Rows) -> None:
        if not rows.written:
            return
        media_ids = list(rows.written)
        outdated = self._ledger.projected_before(media_ids)
        self._ledger.begin_words(media_ids)
        replace_rows(self._store, outdated, rows.nodes, rows.terms)
        self._store.flush()
        self._ledger.put_words(self._stamp, rows.written, rows.marks)


class WordsStage:
    """Writes rows of words in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def project(self) -> None:
        """Bring the rows of words in Milvus up to what the ledger knows."""
        pending = self.run.ledger.unprojected(self.run.parts.stamps.words)
        with self.run.timed("read", part="words"):  # each media was counted when it was read
            self._writer().write(pending)

    def project_annotated(self) -> None:
        """Bring in what the person has written while the run went on."""
        if pending := self.run.ledger.unwritten_annotations():
            self._writer().write(pending)

    def _writer(self) -> WordsWriter:
        parts = self.run.parts
        check = self.run.check_stop
        return WordsWriter(parts.ledger, parts.words, parts.text, parts.stamps.words, check)
