"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmrag_plugin.media import Hit


@dataclass(frozen=True)
class SearchResult:
    """Ranked hits, and what the person should know about how they were found."""

    query: str
    hits: list[Hit]
    warnings: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """The JSON contract of ``mmrag search``."""
        hits = [hit.as_dict() for hit in self.hits]
        return {"query": self.query, "hits": hits, "warnings": self.warnings}
