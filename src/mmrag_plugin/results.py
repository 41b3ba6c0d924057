"""What a search gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mmrag_plugin.media import Hit

if TYPE_CHECKING:
    from mmrag_plugin.plan import Plan


@dataclass(frozen=True)
class SearchResult:
    """Ranked hits, and what the person should know about how they were found.

    ``plan`` is how the question was understood, where it was planned, and ``count`` how many media
    there are, where that was asked. ``next_offset`` is where the next page begins, if there is one.
    ``beside`` are the moments that the hits follow or precede, where that was asked.
    """

    query: str
    hits: list[Hit]
    warnings: list[str] = field(default_factory=list)
    plan: Plan | None = None
    count: int | None = None
    next_offset: int | None = None
    beside: tuple[Hit, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The JSON contract of ``mmrag search``."""
        hits = [hit.as_dict() for hit in self.hits]
        counted = {} if self.count is None else {"count": self.count}
        moments = {"beside": [hit.as_dict() for hit in self.beside]} if self.beside else {}
        return {"query": self.query, "hits": hits, "warnings": self.warnings, **counted, **moments}


@dataclass(frozen=True)
class Page:
    """Which hits of a search are wanted: ``limit`` of them, after the first ``offset``.

    Without an offset a search is for so many hits and no more; with one, 0 too, all its pages are
    of one ranking, whatever the size of each.
    """

    limit: int
    offset: int | None = None

    @property
    def first(self) -> int:
        """How many hits come before this page."""
        return self.offset or 0

    @property
    def after(self) -> int:
        """How many hits come before the next page."""
        return self.first + self.limit

    def next_of(self, count: int) -> int | None:
        """Where the next page of so many hits begins; None where there is none."""
        return self.after if count > self.after else None

    def of(self, found: SearchResult, hits: Sequence[Hit]) -> SearchResult:
        """Cut this page out of all hits and number them on."""
        shown = [
            replace(hit, rank=rank)
            for rank, hit in enumerate(hits[self.first : self.after], self.first + 1)
        ]
        return replace(found, hits=shown, next_offset=self.next_of(len(hits)))
