"""What a person keeps in order in a library: looked through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmrag_plugin.ledger import Ledger

if TYPE_CHECKING:
    from mmrag_plugin.browsing import Facet, Facets, MediaPage
    from mmrag_plugin.filters import Filters


class LibraryKeeping:
    """The part of a library that is looked through."""

    ledger: Ledger

    def browse(
        self,
        by: Facet,
        filters: Filters | None = None,
        *,
        folder: str | None = None,
        limit: int = 100,
        offset: int = 0,
        examples: int = 0,
    ) -> Facets:
        """Count media by year, month, place, folder and more; as of ``browsing.count_by``.

        The ledger answers alone: no model and no Milvus is loaded.
        """
        from mmrag_plugin.browsing import count_by

        return count_by(
            self.ledger,
            by,
            filters,
            folder=folder,
            limit=limit,
            offset=offset,
            examples=examples,
        )

    def browse_media(
        self,
        filters: Filters | None = None,
        *,
        by: Facet | None = None,
        value: str | None = None,
        limit: int = 50,
        after: str | None = None,
        oldest_first: bool = False,
    ) -> MediaPage:
        """The media of a facet's value, page by page by date; as of ``browsing.page_of``."""
        from mmrag_plugin.browsing import page_of

        return page_of(
            self.ledger,
            filters,
            by=by,
            value=value,
            limit=limit,
            after=after,
            oldest_first=oldest_first,
        )
