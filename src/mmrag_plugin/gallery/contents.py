"""What the page is told of a library: plain JSON of hits and media, all text as it is.

The page shows text as text, whatever is in it; nothing is escaped here, and nothing may be needed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mmrag_plugin.browsing import Facet
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.planning.explaining import explained
from mmrag_plugin.results import SearchResult

if TYPE_CHECKING:
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.library import MediaLibrary

PAGE = 24  # hits that are shown at once
MAX_HITS = 480
MAX_SIGNALS = 400
MAX_VALUES = 240  # of a facet
FACETS: tuple[Facet, ...] = ("kind", "month", "city", "folder", "person")
SIMILAR = 8


def search(
    library: MediaLibrary, query: str, *, after: str = "", filters: Filters | None = None
) -> dict[str, Any]:
    """A page of what a search finds; without words the newest media that pass the filters.

    ``next`` is the ``after`` of the next page, None at the end.
    """
    if not query.strip():
        return _newest(library, after, filters)
    begin = int(after) if after.isascii() and after.isdecimal() and len(after) < 5 else 0
    if begin >= MAX_HITS:
        raise UsageError(f"Only the first {MAX_HITS} hits are shown.", "Search for less.")
    plan = library.plan_question(query)
    found = library.search_plan(plan, limit=begin + PAGE + 1, filters=filters)
    shown = found.hits[begin : begin + PAGE]
    more = len(found.hits) > begin + PAGE and begin + PAGE < MAX_HITS
    return _found(library, found, shown) | {"next": str(begin + PAGE) if more else None}


def _newest(library: MediaLibrary, after: str, filters: Filters | None) -> dict[str, Any]:
    page = library.browse_media(filters, limit=PAGE, after=after or None)
    paths = library.paths_now([row.media_id for row in page.media])
    listed = [
        Hit(
            rank=rank,
            moment=Moment(row.media_id, row.kind),
            path=paths.get(row.media_id, row.path),
            score=0.0,
            confidence="none",
            taken_at=row.taken_at,
        )
        for rank, row in enumerate(page.media, start=1)
    ]
    found = SearchResult("", listed, count=page.total)
    return _found(library, found, listed) | {"next": page.next}


def facets(library: MediaLibrary) -> dict[str, Any]:
    """What the results may be narrowed to: values of each facet, with how many media have them."""
    offered: dict[str, list[dict[str, Any]]] = {}
    inside = None
    roots = library.browse("folder").values
    if len(roots) == 1:
        inside = roots[0].value
    for name in FACETS:
        counted = library.browse(
            name, folder=inside if name == "folder" else None, limit=MAX_VALUES
        )
        offered[name] = [
            {
                # a search takes a city by its name
                "value": one.value.partition("|")[0] if name == "city" else one.value,
                "label": one.label,
                "count": one.count,
            }
            for one in counted.values
        ]
    return offered


def similar(library: MediaLibrary, media_id: str, at_s: float | None = None) -> dict[str, Any]:
    """What looks most like a media, or a film at a time."""
    found = library.similar(row_of(library, media_id).media_id, at_s=at_s, limit=SIMILAR)
    return _found(library, found, found.hits) | {"next": None}


def media(library: MediaLibrary, media_id: str) -> dict[str, Any]:
    """All that is known of one media."""
    row = row_of(library, media_id)
    paths = library.ledger.paths_of([media_id])[media_id]
    known = library.ledger.signals_of([media_id]).get(media_id, [])
    return {
        "media_id": row.media_id,
        "kind": row.kind,
        "paths": [_shown(path) for path in paths],
        "taken_at": row.taken_at,
        "camera": row.camera,
        "width_px": row.width_px,
        "height_px": row.height_px,
        "duration_s": row.duration_s,
        "place": library.ledger.place_names([media_id]).get(media_id, ""),
        "signals": [
            {
                "source": signal.source,
                "text": signal.text,
                "start_s": signal.start_s,
                "end_s": signal.end_s,
                "doubtful": signal.doubtful,
            }
            for _, signal in known[:MAX_SIGNALS]
        ],
        "left_out": max(len(known) - MAX_SIGNALS, 0),
    }


def overview(library: MediaLibrary) -> dict[str, Any]:
    """What the library holds, for the page's head."""
    first, last = library.ledger.dates()
    return {
        "library": library.settings.library,
        "kinds": library.ledger.counts()["kinds"],
        "first": first,
        "last": last,
        "folders": sorted({PurePath(root).name for root in library.ledger.roots()}),
        "model": library.settings.vlm,
    }


def hits(library: MediaLibrary, found: Iterable[Hit]) -> list[dict[str, Any]]:
    """Hits as the page takes them: the contract of a hit, and what it takes to show it."""
    listed = list(found)
    media_ids = [hit.moment.media_id for hit in listed]
    rows, places = library.ledger.media_rows(media_ids), library.ledger.place_names(media_ids)
    hidden = library.ledger.hidden_media_ids()  # from assistants: a person sees all, and which
    shown = []
    for hit in listed:
        row = rows.get(hit.moment.media_id)
        about = {
            "at_s": hit.at_s,
            "duration_s": row.duration_s if row else None,
            "place": places.get(hit.moment.media_id, ""),
            "hidden": hit.moment.media_id in hidden,
        }
        shown.append({**hit.as_dict(), **about})
    return shown


def chosen_hit(
    library: MediaLibrary, media_id: str, start_s: float | None, end_s: float | None
) -> Hit:
    """The hit that stands for what a person pointed at."""
    row = row_of(library, media_id)
    at_s = None
    if row.kind == "image" or start_s is None:
        start_s = end_s = None
    else:
        start_s = max(start_s, 0.0)
        end_s = max(start_s, start_s if end_s is None else end_s)
        at_s = (start_s + end_s) / 2
    return Hit(
        rank=1,
        moment=Moment(media_id, row.kind, start_s, end_s),
        path=library.paths_now([media_id]).get(media_id, row.path),
        score=0.0,
        confidence="strong",
        reason="the person pointed at it",
        taken_at=row.taken_at,
        at_s=at_s,
    )


def row_of(library: MediaLibrary, media_id: str) -> MediaRow:
    """The ledger's row of a media. Raises NotFound."""
    row = library.ledger.media_rows([media_id]).get(media_id)
    if row is None:
        raise NotFound(f"There is no media {media_id!r} in this library.", "Search again.")
    return row


def _shown(path: str) -> str:
    """A path as people write it, with ~ for their home."""
    home = str(Path.home())
    return f"~{path[len(home) :]}" if path.startswith(f"{home}/") else path


def _found(library: MediaLibrary, found: SearchResult, shown: Sequence[Hit]) -> dict[str, Any]:
    plan = found.plan
    understood = ""
    if plan is not None and plan.question and plan.words != plan.question.strip():
        understood = "; ".join(explained(plan))
    return {
        "hits": hits(library, shown),
        "understood": understood,
        "count": found.count,
        "warnings": found.warnings,
    }
