"""Carry a plan out: filters by the ledger, words by channel, order, counts, one for each year.

Filters that a planner made of a sentence are let go one by one, with a warning, when nothing passes
them; what a person wrote as a filter holds. What a question does not want is left out where words
say that it is there, and moved behind the rest where it only looks like it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.following import MOMENTS, Following, ShotsOf, in_time, nothing_beside
from mmrag_plugin.listing import LENGTH, MAX_PERIODS, Passing, date_of, listed, one_each_page
from mmrag_plugin.media import Hit
from mmrag_plugin.plan import Beside, Plan, literal
from mmrag_plugin.planning.relaxing import (
    LET_GO,
    droppings,
    is_planned,
    resolvable,
    with_filters,
    without_filter,
)
from mmrag_plugin.results import Page, SearchResult
from mmrag_plugin.telling import said_in_a_film

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.ledger import Ledger

DEEP = 500  # hits among which the newest, the oldest and the unwanted are looked for
LONGEST_PAGE = 50  # hits, where a question asks for more
COUNTED = 1000  # media beyond which counting by looks stops


class PlainSearch(Protocol):
    """What a plan is carried out with: the library's own search."""

    def __call__(self, query: str, *, picture: Image | None = None, **options: Any) -> SearchResult:
        """Find moments by words, by a picture or by both."""


@dataclass
class PlannedSearch:
    """Carries plans out over one library."""

    ledger: Ledger
    search: PlainSearch
    picture_of: Callable[[str, float | None], Image]  # of a media, at a time of a film
    shots_of: ShotsOf

    def run(
        self,
        plan: Plan,
        *,
        limit: int = 10,
        offset: int | None = None,
        filters: Filters | None = None,
        picture: Image | None = None,
        **options: Any,
    ) -> SearchResult:
        """Find what a plan asks for; ``filters`` are given by hand and win over the plan's.

        ``limit`` and ``offset`` are those of a ``Page``; a number in the question wins over both.
        Other options are those of a search. Raises UsageError for an impossible filter that was
        given by hand, and for a plan that asks for nothing.
        """
        if plan.words != plan.question.strip() and said_in_a_film(plan.question, self.ledger):
            plan = literal(plan.question)
        plan = with_filters(plan, filters)
        page = _page(plan, limit, offset)
        result = self._found(plan, page, picture, options)
        if plan.limit is not None and page.after >= plan.limit:
            return replace(result, next_offset=None)
        return result

    def _found(
        self, plan: Plan, page: Page, picture: Image | None, options: dict[str, Any]
    ) -> SearchResult:
        if plan.moment is not None and picture is None:
            return self._beside(plan, page, options)
        if plan.like is not None and picture is None:
            picture = self.picture_of(plan.like, plan.like_at_s)
            plan = _leaving_out(plan, {plan.like})
        if _is_plain(plan):
            return self._plain(plan, page, picture, options)
        if not (plan.words or plan.phrases or plan.without or picture or _restricts(plan)):
            raise UsageError("The question is empty.", "Say what to look for.")
        plan, passing = self._relaxed(plan)
        plan = _leaving_out(plan, self._telling(plan))
        if plan.without:
            left_out = plan.filters.leave_out
            passing = [row for row in passing if row[0] not in left_out]
        if not (plan.words or plan.phrases or picture):
            result = listed(self.ledger, plan, passing, page)
            if plan.order == "time" and plan.filters.inside:
                shots = Following(self.ledger, self.shots_of).all_of(plan.filters.inside)
                result = page.of(result, shots) if shots else result
        elif plan.aim == "count":
            result = self._counted(plan, page, picture, options)
        elif plan.one_each:
            result = self._one_each(plan, passing, page, picture, options)
        else:
            result = self._ranked(plan, page, picture, options)
        warnings = [*plan.warnings, *result.warnings]
        return replace(result, query=plan.question, plan=plan, warnings=warnings)

    # ---- what comes after or before ------------------------------------------------------------

    def _beside(self, plan: Plan, page: Page, options: dict[str, Any]) -> SearchResult:
        """Find the moment that a plan describes or names, and what comes after or before it."""
        which, following = plan.moment or "after", Following(self.ledger, self.shots_of)
        described = replace(plan, moment=None, limit=None)
        if plan.like is not None:
            named = following.named(plan.like, plan.like_at_s)
            if named.moment.kind == "image":
                return self._photos_beside(described, named, which, page)
            found = SearchResult(plan.question, [named], list(plan.warnings), plan)
        else:
            found = self._described(described, options)
        if not found.hits:
            result = self._found(described, page, None, options)
            note = "No moment of a film fits, so what was described was searched for itself."
            said = dict.fromkeys([*found.warnings, *result.warnings, note])
            return replace(result, warnings=list(said))
        moments = [hit for hit in found.hits if hit.confidence == found.hits[0].confidence]
        moments = moments[:MOMENTS]
        hits = following.beside(moments, which)
        warnings = [*found.warnings, *([] if hits else [nothing_beside(moments[0], which)])]
        result = SearchResult(plan.question, [], warnings, plan, beside=tuple(moments))
        return page.of(result, hits)

    def _described(self, plan: Plan, options: dict[str, Any]) -> SearchResult:
        """The moments of films that a plan describes, as far as they are sure."""
        options = {**options, "min_confidence": "weak", "per_media": MOMENTS}
        films = replace(plan, filters=replace(plan.filters, kind="video"))
        films = replace(films, given=films.given | {"kind"})
        found = self._found(films, Page(MOMENTS), None, options)
        hits = [hit for hit in found.hits if hit.moment.start_s is not None]
        return replace(found, hits=hits)

    def _photos_beside(self, plan: Plan, photo: Hit, which: Beside, page: Page) -> SearchResult:
        """The photos and films that were taken next after, or before, a photo."""
        plan = replace(plan, visual="", text="", like=None, order="best")
        passing = self.ledger.media_passing(plan.filters.resolve(self.ledger))
        this = date_of((photo.moment.media_id, photo.taken_at)), photo.moment.media_id
        rows = sorted(
            (row for row in passing if row[1] and row[0] != photo.moment.media_id),
            key=lambda row: (date_of(row), row[0]),
        )
        if which == "after":
            rows = [row for row in rows if (date_of(row), row[0]) > this]
        else:
            rows = [row for row in rows if (date_of(row), row[0]) < this][::-1]
        found = listed(self.ledger, plan, rows if this[0] else [], page)
        hits = [replace(hit, reason=f"taken next {which} it") for hit in found.hits]
        warnings = list(plan.warnings)
        if not this[0]:
            warnings.append("Nobody knows when that photo was taken.")
        return replace(found, hits=hits, warnings=warnings, plan=plan, beside=(photo,))

    # ---- searching -----------------------------------------------------------------------------

    def _plain(
        self, plan: Plan, page: Page, picture: Image | None, options: dict[str, Any]
    ) -> SearchResult:
        found = self._look_at(page, plan, picture, options)
        warnings = [*plan.warnings, *found.warnings]
        return replace(found, query=plan.question, plan=plan, warnings=warnings)

    def _look(
        self,
        plan: Plan,
        limit: int,
        picture: Image | None,
        options: dict[str, Any],
        filters: Filters | None = None,
    ) -> SearchResult:
        """Search for what a plan says in words, each channel for what concerns it."""
        asked = dict(options)
        words = " ".join(part for part in (plan.visual, plan.text, *plan.phrases) if part)
        if plan.text or plan.phrases:
            asked["visual_query"] = plan.visual
        restriction = replace(filters or plan.filters, phrases=plan.phrases)
        if restriction != Filters():
            asked["filters"] = restriction
        return self.search(words, picture=picture, limit=limit, **asked)

    def _look_at(
        self, page: Page, plan: Plan, picture: Image | None, options: dict[str, Any]
    ) -> SearchResult:
        """Search for what a plan says in words, for one page of it."""
        if page.offset is not None:
            options = {**options, "offset": page.offset}
        return self._look(plan, page.limit, picture, options)

    def _ranked(
        self, plan: Plan, page: Page, picture: Image | None, options: dict[str, Any]
    ) -> SearchResult:
        if plan.order == "best":
            if not plan.without:
                return self._look_at(page, plan, picture, options)
            many = max(3 * page.limit, 30) if page.offset is None else DEEP
            found = self._look(plan, many, picture, options)
            return page.of(found, self._unwanted_last(plan, found.hits))
        if plan.order == "time":
            all_of_each = {**options, "per_media": DEEP}
            found = self._surely(plan, DEEP, picture, all_of_each)
            if not found.hits:
                found = self._look(plan, page.after, picture, options)
            return page.of(found, in_time(found.hits))
        found = self._surely(plan, DEEP, picture, options)
        unsure = not found.hits and options.get("min_confidence", "none") == "none"
        if unsure:
            found = self._look_at(page, plan, picture, options)
        hits = self._unwanted_last(plan, found.hits) if plan.without else found.hits
        ordered = sorted(hits, key=lambda hit: hit.taken_at or "", reverse=plan.order == "newest")
        dated = [hit for hit in ordered if hit.taken_at]
        if unsure:
            return replace(found, hits=_numbered(dated, page.first))
        return page.of(found, dated)

    def _surely(
        self,
        plan: Plan,
        limit: int,
        picture: Image | None,
        options: dict[str, Any],
    ) -> SearchResult:
        """Search for what matches at least weakly, strong matches alone where there are any."""
        if options.get("min_confidence", "none") == "none":
            options = {**options, "min_confidence": "weak"}
        found = self._look(plan, limit, picture, options)
        strong = [hit for hit in found.hits if hit.confidence == "strong"]
        return replace(found, hits=strong or found.hits)

    def _one_in(
        self,
        plan: Plan,
        period: str,
        picture: Image | None,
        options: dict[str, Any],
    ) -> SearchResult:
        """The best of a period, which need not be sure where nothing is anywhere."""
        inside = replace(plan.filters, since=period, until=period)
        return self._look(plan, 1, picture, options, inside)

    def _unwanted_last(self, plan: Plan, hits: Sequence[Hit]) -> list[Hit]:
        """Move behind the others what looks like what is not wanted."""
        unwanted: set[str] = set()
        for words in plan.without:
            found = self.search(
                words,
                channels=["visual"],
                limit=DEEP,
                min_confidence="weak",
                filters=plan.filters,
                grouped=False,
            )
            unwanted |= {hit.moment.media_id for hit in found.hits}
        return sorted(hits, key=lambda hit: hit.moment.media_id in unwanted)

    def _one_each(
        self,
        plan: Plan,
        passing: Passing,
        page: Page,
        picture: Image | None,
        options: dict[str, Any],
    ) -> SearchResult:
        periods = _periods(plan, passing)
        hits: list[Hit] = []
        warnings: list[str] = []
        if len(periods) > MAX_PERIODS:
            warnings.append(
                f"The newest {MAX_PERIODS} of {len(periods)} {plan.one_each}s were looked at."
            )
        for period in periods[:MAX_PERIODS]:
            hits += self._one_in(plan, period, picture, options).hits
        sure = [hit for hit in hits if hit.confidence != "none"]
        hits = sure or hits  # nothing is sure in a library of few media
        hits.sort(key=lambda hit: hit.taken_at or "", reverse=plan.order == "newest")
        return one_each_page(plan, page).of(SearchResult(plan.question, [], warnings), hits)

    def _counted(
        self, plan: Plan, page: Page, picture: Image | None, options: dict[str, Any]
    ) -> SearchResult:
        if not plan.words and plan.phrases and picture is None:
            passing = self.ledger.media_passing(resolvable(plan).resolve(self.ledger))
            return replace(listed(self.ledger, plan, passing, page), count=len(passing))
        surely = {**options, "min_confidence": options.get("min_confidence", "weak")}
        if surely["min_confidence"] == "none":
            surely["min_confidence"] = "weak"
        found = self._look(plan, COUNTED, picture, {**surely, "per_media": 1, "grouped": False})
        hits = self._unwanted_last(plan, found.hits) if plan.without else found.hits
        levels: dict[str, bool] = {}
        for hit in hits:
            levels[hit.moment.media_id] = levels.get(hit.moment.media_id, False) or (
                hit.confidence == "strong"
            )
        surely_count = sum(levels.values())
        note = (
            f"{surely_count} surely match and {len(levels) - surely_count} more may: looks and "
            "meaning are compared, nobody has counted."
        )
        counted = replace(found, count=surely_count, warnings=[*found.warnings, note])
        return page.of(counted, hits)

    # ---- what restricts ------------------------------------------------------------------------

    def _relaxed(self, plan: Plan) -> tuple[Plan, Passing]:
        """Let planned filters go until something passes, no more than needed; each is a warning.

        What passes is only looked up where somebody will ask for it.
        """
        names = [name for name in LET_GO if is_planned(plan, name)]
        if not names and (plan.words or plan.phrases) and plan.one_each is None:
            return plan, []
        for dropped in droppings(names):
            tried = plan
            for name in dropped:
                tried = without_filter(tried, name)
            try:
                passing = self.ledger.media_passing(resolvable(tried).resolve(self.ledger))
            except UsageError:
                if len(dropped) == len(names):
                    raise
                continue
            if passing:
                break
        return tried, passing

    def _telling(self, plan: Plan) -> set[str]:
        """Media of which words tell that they show what is not wanted."""
        return {
            media_id for words in plan.without for media_id in self.ledger.media_ids_telling(words)
        }


def _leaving_out(plan: Plan, media_ids: set[str]) -> Plan:
    if not media_ids:
        return plan
    left_out = plan.filters.leave_out | media_ids
    return replace(plan, filters=replace(plan.filters, leave_out=left_out))


def _restricts(plan: Plan) -> bool:
    """Whether a plan without words still asks for something."""
    asks = plan.aim == "count" or plan.one_each or plan.order != "best" or plan.limit
    return plan.filters != Filters() or bool(asks)


def _is_plain(plan: Plan) -> bool:
    """Whether a plan is a search for words and nothing else, filters that were given aside."""
    planned = any(is_planned(plan, name) for name in LET_GO)
    special = plan.phrases or plan.without or plan.aim == "count" or plan.one_each
    return bool(plan.visual) and not (planned or special or plan.order != "best")


def _periods(plan: Plan, passing: Passing) -> list[str]:
    """The years, months or days in which something that passes was taken; newest first."""
    length = LENGTH[plan.one_each or "year"]
    return list(dict.fromkeys(taken_at[:length] for _, taken_at in passing if taken_at))


def _page(plan: Plan, limit: int, offset: int | None) -> Page:
    """The page that is wanted; what a question says of numbers wins. Raises UsageError."""
    size = plan.limit or limit
    if size < 1:
        raise UsageError(f"A limit of {size} hits makes no sense.", "Ask for 1 or more.")
    if offset is None or plan.limit is None:
        return Page(size, offset)
    return Page(min(max(plan.limit - offset, 0), LONGEST_PAGE), offset)


def _numbered(hits: Sequence[Hit], after: int = 0) -> list[Hit]:
    return [replace(hit, rank=rank) for rank, hit in enumerate(hits, start=after + 1)]
