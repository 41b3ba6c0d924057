"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mmrag_plugin.media import Hit

if TYPE_CHECKING:
    from mmrag_plugin.plan import Plan


@dataclass(frozen=True)
class SearchResult:
    """Ranked hits, and what the person should know about how they were found.

    ``plan`` is how the question was understood, where it was planned, and ``count`` how many media
    there are, where that was asked.
    """

    query: str
    hits: list[Hit]
    warnings: list[str] = field(default_factory=list)
    plan: Plan | None = None
    count: int | None = None

    def as_dict(self) -> dict[str, object]:
        """The JSON contract of ``mmrag search``."""
        hits = [hit.as_dict() for hit in self.hits]
        counted = {} if self.count is None else {"count": self.count}
        return {"query": self.query, "hits": hits, "warnings": self.warnings, **counted}
