"""List what passes the filters of a plan where nothing is searched for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.results import Page, SearchResult
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.plan import Period, Plan

MAX_PERIODS = 60
LENGTH: dict[Period, int] = {"year": 4, "month": 7, "day": 10}  # of a date that names it
Passing: TypeAlias = "list[tuple[str, str | None]]"  # media and their dates, newest first


def listed(ledger: Ledger, plan: Plan, passing: Passing, page: Page) -> SearchResult:
    """List what passes the filters: newest first, or as the plan orders."""
    rows = list(passing)
    if plan.one_each:
        length = LENGTH[plan.one_each]
        dated = [row for row in reversed(rows) if row[1]]  # the newest of each period stays
        rows = list({date_of(row)[:length]: row for row in dated}.values())
        page = one_each_page(plan, page)
    elif plan.order == "oldest":
        rows = sorted((row for row in rows if row[1]), key=date_of)
    shown = rows[page.first : page.after]
    media = ledger.media_rows([media_id for media_id, _ in shown])
    copies = ledger.paths_of(list(media))
    hidden = ledger.hidden_among(list(media))
    hits: list[Hit] = []
    for media_id, taken_at in shown:
        row = media.get(media_id)
        if row is None:
            continue  # forgotten a moment ago
        path = next((path for path in copies[media_id] if is_there(path)), row.path)
        hits.append(
            Hit(
                rank=page.first + len(hits) + 1,
                moment=Moment(media_id, row.kind),
                path=path,
                score=0.0,
                confidence="strong",
                reason="passes the filters",
                taken_at=taken_at,
                hidden=media_id in hidden,
            )
        )
    count = len(passing) if plan.aim == "count" else None
    return SearchResult(plan.question, hits, count=count, next_offset=page.next_of(len(rows)))


def one_each_page(plan: Plan, page: Page) -> Page:
    """Every period is shown unless a number was asked for."""
    return page if plan.limit else replace(page, limit=max(page.limit, MAX_PERIODS))


def date_of(row: tuple[str, str | None]) -> str:
    """The date of what passes; empty where nobody knows it."""
    return row[1] or ""
