"""What the bytes of files say, read in a few threads ahead of the scan that enters it."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.content_kind import kind_by_content
from mmrag_plugin.index_ahead import each_ahead
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Kind
from mmrag_plugin.walking import FoundFile

_THREADS = min(os.cpu_count() or 1, 4)  # hashing leaves Python's lock to others
_TOGETHER = 8  # files that a thread takes at once
_AHEAD = 64  # files that are read while others are entered


class Content(NamedTuple):
    """What a file's bytes say: their hash and, where they tell it, the kind; or why they don't."""

    content_hash: str = ""
    kind: Kind | None = None
    error: OSError | None = None

    def whole(self) -> Content:
        """Itself. Raises the OSError with which the file could not be read."""
        if self.error is not None:
            raise self.error
        return self


def content_of(path: str) -> Content:
    """Read one file."""
    try:
        return Content(content_hash_of(Path(path)), kind_by_content(path))
    except OSError as error:
        return Content(error=error)


def contents_ahead(
    files: Iterable[FoundFile], is_wanted: Callable[[FoundFile], bool]
) -> Generator[tuple[FoundFile, Content | None], None, None]:
    """Read files, in their order; of those that are not wanted by their turn, none.

    Closing this iterator ends the threads.
    """

    def read(some: Sequence[FoundFile]) -> Iterator[tuple[FoundFile, Content | None]]:
        for file in some:
            yield file, content_of(file.path) if is_wanted(file) else None

    return each_ahead(
        read,
        batches(files, _TOGETHER),
        threads=_THREADS,
        waiting=_AHEAD // _TOGETHER,
        pieces=_TOGETHER,
    )
