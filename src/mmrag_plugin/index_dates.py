"""Frames in Milvus whose media got another date: rewritten with their vectors, nothing embedded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Kind
from mmrag_plugin.metadata import RowFilter, camera_column, wall_clock_s
from mmrag_plugin.tracing import Unheard, span

_ROWS = 512  # in memory at once, between two flushes


class DateStage:
    """Brings what stands beside the vectors of frames up to what the ledger knows."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def rewrite(self) -> None:
        """Rewrite rows with outdated columns; media of which rows are missing are left pending.

        A run that is killed in between finds the media outdated still, and writes the same again.
        """
        with span("index.dates") as now:
            for kind in self.run.parts.readers:
                self._rewrite(kind, now)

    def _rewrite(self, kind: Kind, now: Unheard) -> None:
        ledger, rewritten = self.run.ledger, 0
        stamp = self.run.parts.stamps.of("embed", kind)
        for made in _grouped(ledger.outdated("embed", stamp, kind)):
            found = self._rewrite_rows(ledger.media_rows(list(made)))
            self.run.parts.frames.flush()
            whole = {media_id: rows for media_id, rows in made.items() if found[media_id] == rows}
            ledger.done("embed", stamp, whole)
            rewritten += len(whole)
            now.set(**{f"{kind}s": rewritten})

    def _rewrite_rows(self, media: Mapping[str, MediaRow]) -> Counter[str]:
        """Rewrite all rows of some media; says how many each has."""
        store, found = self.run.parts.frames, Counter[str]()
        row_ids = [row_id for row_id, _ in store.row_ids(RowFilter(media_ids=frozenset(media)))]
        for batch in batches(row_ids, _ROWS):
            nodes = store.get_nodes(batch)
            for node in nodes:
                row = media[node.metadata["media_id"]]
                node.metadata["taken_at"] = wall_clock_s(row.taken_at)
                node.metadata["camera"] = camera_column(row.camera)
                found[row.media_id] += 1
            store.add(nodes)
        return found


def _grouped(made: Mapping[str, int]) -> Iterator[dict[str, int]]:
    """Media with how many rows they have, in groups of not many more rows than ``_ROWS``."""
    group: dict[str, int] = {}
    for media_id, rows in made.items():
        group[media_id] = rows
        if sum(group.values()) >= _ROWS:
            yield group
            group = {}
    if group:
        yield group
