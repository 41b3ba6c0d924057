"""A collection copied from one Milvus to another, and both compared row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from mmrag_plugin.metadata import COLUMNS
from mmrag_plugin.milvus_collection import Collection, shape_of
from mmrag_plugin.milvus_connection import WRITE_S, MilvusConnection
from mmrag_plugin.milvus_filters import one_of, quote
from mmrag_plugin.milvus_rows import DENSE, NO_TERMS, PLACEHOLDER, SPARSE

ROWS_PER_PAGE = 500
_ALL = ("*",)

Row: TypeAlias = "dict[str, Any]"


@dataclass(frozen=True)
class Difference:
    """Rows that a target has to be given, and the ids of rows that it has to be rid of."""

    seen: int  # rows of the source that were compared to find these
    wanting: Sequence[Row] = ()
    surplus: Sequence[str] = ()


class CollectionCopy:
    """A collection of ``source`` and its copy, of the same name, at ``target``.

    It is one ``of_words`` or one of frames. Where the target has no sparse vectors, rows are taken
    without their words; where the source has none and the target does, rows stand there as rows
    without words do. What is at the target under this name is written over.
    """

    def __init__(
        self, source: MilvusConnection, target: MilvusConnection, name: str, *, of_words: bool
    ) -> None:
        dim, words = shape_of(source, name)
        wanted = of_words and target.capabilities().words
        if target.call("has_collection", name) and shape_of(target, name) != (dim, wanted):
            target.call("drop_collection", name, timeout_s=WRITE_S)
        self._source = Collection(source, name, dim=dim, words=words)
        self._target = Collection(target, name, dim=dim, words=wanted)

    @property
    def name(self) -> str:
        """The name of both collections."""
        return self._source.name

    @property
    def owes_words(self) -> bool:
        """Whether the copy could be searched by words, and the source has none to copy."""
        return self._target.words and not self._source.words

    def count(self, after: str = "") -> int:
        """How many rows there are to copy, from the one behind ``after`` on."""
        behind = f"id > {quote(after)}" if after else ""
        return int(self._source.rows(behind, ["count(*)"])[0]["count(*)"])

    def copy(self, after: str = "") -> Iterator[tuple[str, int]]:
        """Copy in the order of ids, from the one behind ``after`` on.

        Yields the last id and the number of rows of each page that was acknowledged.
        """
        for page in self._source.pages("", _ALL, ROWS_PER_PAGE, after=after):
            self._target.upsert(self._taken(row) for row in page)
            yield page[-1]["id"], len(page)

    def differences(self) -> Iterator[Difference]:
        """Compare all rows, with their vectors, page by page."""
        theirs = _one_by_one(self._target)
        other = next(theirs, None)
        for page in self._source.pages("", _ALL, ROWS_PER_PAGE):
            wanting: list[Row] = []
            surplus: list[str] = []
            for row in page:
                while other is not None and other["id"] < row["id"]:
                    surplus.append(other["id"])
                    other = next(theirs, None)
                wanted = self._taken(row)
                if other is None or other["id"] != row["id"] or not _same(wanted, other):
                    wanting.append(wanted)
                if other is not None and other["id"] == row["id"]:
                    other = next(theirs, None)
            yield Difference(len(page), wanting, surplus)
        while other is not None:
            left = [other["id"]]
            while len(left) < ROWS_PER_PAGE and (other := next(theirs, None)) is not None:
                left.append(other["id"])
            other = next(theirs, None) if other is not None else None
            yield Difference(0, surplus=left)

    def mend(self, found: Difference) -> None:
        """Make the copy's rows what the source's are."""
        self._target.upsert(found.wanting)
        if found.surplus:
            self._target.delete([one_of("id", found.surplus)])

    def flush(self) -> None:
        """Put the copy on disk."""
        self._target.flush()

    def _taken(self, row: Row) -> Row:
        """A row as the target takes it."""
        taken: Row = {column.name: column.sentinel for column in COLUMNS} | row
        if self._target.words:
            taken[SPARSE] = row.get(SPARSE) or NO_TERMS
        else:
            taken.pop(SPARSE, None)
        if self._target.dim is None and not self._target.words:
            taken[PLACEHOLDER] = [0.0, 0.0]
        else:
            taken.pop(PLACEHOLDER, None)
        return taken


def holds_rows(connection: MilvusConnection, name: str) -> bool:
    """Whether there is a collection of this name with anything in it."""
    if not connection.call("has_collection", name):
        return False
    dim, words = shape_of(connection, name)
    return bool(Collection(connection, name, dim=dim, words=words).rows("", ["id"], limit=1))


def _one_by_one(collection: Collection) -> Iterator[Row]:
    for page in collection.pages("", _ALL, ROWS_PER_PAGE):
        yield from page


def _same(wanted: Row, found: Row) -> bool:
    """Whether two rows say the same, to the last bit of their vectors."""
    import numpy as np

    found = {column.name: column.sentinel for column in COLUMNS} | found
    if wanted.keys() != found.keys() or _numbers(wanted) != _numbers(found):
        return False
    return all(
        np.array_equal(np.asarray(value, np.float32), np.asarray(found[name], np.float32))
        if name in (DENSE, PLACEHOLDER)
        else name == SPARSE or value == found[name]
        for name, value in wanted.items()
    )


def _numbers(row: Row) -> dict[int, Any]:
    import numpy as np

    sparse: dict[int, float] = row.get(SPARSE) or {}
    return {int(place): np.float32(weight) for place, weight in sparse.items()}
