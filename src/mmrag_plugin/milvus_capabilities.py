"""What a Milvus can do, by its version."""

from __future__ import annotations

import re
from dataclasses import dataclass

CORE_OF_OLD_LITE = "milvus_lite 2.4 or 2.5"  # which doesn't tell its version
_GRAPH, _SMALL_GRAPH = "HNSW", "HNSW_SQ"


@dataclass(frozen=True)
class Capabilities:
    """What a Milvus can do.

    ``words`` is sparse vectors and with them BM25 and hybrid search, ``column_index`` an inverted
    index of the columns that filters use (servers have both from 2.4); ``indexes`` are the kinds
    of index for dense vectors.
    """

    version: str
    embedded: bool
    words: bool
    column_index: bool
    indexes: tuple[str, ...] = (_GRAPH,)

    @property
    def turned_off(self) -> tuple[str, ...]:
        """What has to be done without on this server, in words."""
        missing = {
            "search by words (BM25) needs Milvus 2.4 or newer": self.words,
            "fast filters need Milvus 2.4 or newer": self.column_index,
            "graphs as an index (HNSW) need a Milvus server, or Milvus Lite 3": (
                _GRAPH in self.indexes
            ),
        }
        return tuple(text for text, present in missing.items() if not present)


def capabilities_of(version: str, *, embedded: bool) -> Capabilities:
    """Read a version as Milvus tells it; an unknown spelling is taken for a new server."""
    if version == CORE_OF_OLD_LITE:
        return Capabilities(version, embedded, words=True, column_index=True, indexes=("IVF_FLAT",))
    # Lite calls itself milvus_lite-3.2.2
    found = re.search(r"(\d+)\.(\d+)", version)
    release = (int(found[1]), int(found[2])) if found else (3, 0)
    indexes = [_GRAPH, "IVF_FLAT", "IVF_SQ8"]
    if embedded or "lite-" in version:
        indexes.append(_SMALL_GRAPH)
    else:
        indexes += ["SCANN", "DISKANN"]
        indexes += [_SMALL_GRAPH] if release >= (2, 5) else []
        indexes += ["IVF_RABITQ"] if release >= (2, 6) else []
    return Capabilities(
        version=version,
        embedded=embedded,
        words=release >= (2, 4),
        column_index=release >= (2, 4),
        indexes=tuple(indexes),
    )
