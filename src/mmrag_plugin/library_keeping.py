"""What a person keeps in order in a library: looked through, hidden and shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.ledger import Ledger, MediaRow

if TYPE_CHECKING:
    from mmrag_plugin.browsing import Facet, Facets, MediaPage
    from mmrag_plugin.filters import Filters
    from mmrag_plugin.ledger_hiding import HidingRule


class LibraryKeeping:
    """The part of a library that is looked through."""

    ledger: Ledger

    @property
    def is_for_assistants(self) -> bool:
        """Whether what is hidden from assistants is not there; the library knows."""
        raise NotImplementedError

    def find(self, target: str) -> MediaRow | None:
        """A media by its id or by a path of it; the library knows."""
        raise NotImplementedError

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

    def hide(self, target: str, *, leave_out: bool = False) -> int:
        """Hide a folder, a media (id or path), ``tag:NAME`` or ``person:NAME`` from assistants.

        It is a rule: what comes into the folder or gets the tag later is hidden too, and what
        leaves it is shown. Says how many media the rule is about now. Raises NotFound.

        With ``leave_out`` the next index run takes the media out of the index, too, and takes them
        in no more; ``upkeep.leave_out`` does it at once. Annotations are kept for their return.
        """
        from mmrag_plugin.hiding import rule_of

        self._must_be_the_persons()
        rule = rule_of(self.ledger, self.find, target, "left_out" if leave_out else "hidden")
        self.ledger.hide(rule)
        return len(self.ledger.media_ids_by_rule(rule))

    def show(self, target: str) -> int:
        """Take back that a target is hidden; says how many media the rule was about.

        Another rule may still hide some of them. Raises NotFound where there was no such rule.
        """
        from mmrag_plugin.hiding import rule_of

        self._must_be_the_persons()
        rule = rule_of(self.ledger, self.find, target)
        count = len(self.ledger.media_ids_by_rule(rule))
        if not self.ledger.show(rule.kind, rule.target):
            raise NotFound(f"{target!r} is not hidden.", "mmrag hide --list says what is.")
        return count

    def hidden(self) -> list[tuple[HidingRule, int]]:
        """The rules of what is hidden, each with how many media it is about now."""
        rules = self.ledger.hiding_rules()
        return [(rule, len(self.ledger.media_ids_by_rule(rule))) for rule in rules]

    def _must_be_the_persons(self) -> None:
        if self.is_for_assistants:
            raise UsageError(
                "Assistants can't change what is hidden from them.", "It is done with mmrag hide."
            )
