"""Completions of what a person begins to type: ids of media, folders, places and dates."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import anyio
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from mmrag_mcp.calls import in_bounded_thread
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import MmragError
from mmrag_plugin.untrusted import escape_media_text

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

MAX_VALUES = 100  # the protocol allows no more
_VALUE_CHARS = 200
_NAMED_FROM = 3  # letters of a name for which ids are looked up


class Completions:
    """Completes from one library; one that can't be opened completes nothing."""

    def __init__(self, warm: WarmLibrary, limiter: anyio.CapacityLimiter) -> None:
        self._warm, self._limiter = warm, limiter

    async def complete(
        self,
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        context: CompletionContext | None,
    ) -> Completion | None:
        """Values for an argument of a prompt or of a resource template."""
        finding = {
            "id": _ids,
            "first": _ids,
            "second": _ids,
            "folder": _folders,
            "place": _places,
            "when": _months,
            "day": _days,
        }.get(argument.name)
        if finding is None:
            return None
        typed = argument.value.strip()[:_VALUE_CHARS]
        try:
            found = await in_bounded_thread(
                lambda: list(finding(self._warm.open(), typed)), self._limiter
            )
        except MmragError:
            return None
        return Completion(
            values=found[:MAX_VALUES], total=len(found), has_more=len(found) > MAX_VALUES
        )


def _ids(library: MediaLibrary, typed: str) -> Iterable[str]:
    """Ids that begin like that, else those of media with such a name; the newest without any."""
    if not typed:
        return (row.media_id for row in library.browse_media(limit=MAX_VALUES).media)
    ledger = library.ledger
    found = ledger.media_ids_beginning(typed, MAX_VALUES + 1)
    if not found and len(typed) >= _NAMED_FROM:
        found = sorted(ledger.media_ids_named(typed))[: MAX_VALUES + 1]
    known = ledger.media_rows(found)  # what is hidden is not among them
    return (media_id for media_id in found if media_id in known)


def _folders(library: MediaLibrary, typed: str) -> Iterable[str]:
    return _matching(library.ledger.folder_names(), typed)


def _places(library: MediaLibrary, typed: str) -> Iterable[str]:
    names: dict[str, None] = {}
    for by in ("city", "region", "country"):
        names |= dict.fromkeys(value.label for value in library.browse(by, limit=1000).values)
    return _matching(names, typed)


def _months(library: MediaLibrary, typed: str) -> Iterable[str]:
    return _matching((value.value for value in library.browse("month", limit=1000).values), typed)


def _days(library: MediaLibrary, typed: str) -> Iterable[str]:
    return _matching((value.value for value in library.browse("day", limit=10_000).values), typed)


def _matching(names: Iterable[str], typed: str) -> list[str]:
    """The names that begin like that, then those that have it in them; clean and bounded."""
    wanted = typed.casefold()
    clean = [escape_media_text(" ".join(name.split()), _VALUE_CHARS) for name in names]
    begins = [name for name in clean if name.casefold().startswith(wanted)]
    return begins + [name for name in clean if wanted in name.casefold() and name not in begins]
