"""Which filters of a plan hold, and which are let go when nothing passes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmrag_plugin.filters import Filters
from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.explaining import words_of_filter

# What is let go first when nothing passes: what is guessed from the loosest words.
LET_GO = ("has_text", "kind", "camera", "people", "folder", "near", "phrases", "yearly", "dates")
_PUT_BACK = ("camera", "folder", "near")  # words that were taken out of the question for these


def with_filters(plan: Plan, filters: Filters | None) -> Plan:
    """Let filters that were given by hand win over those of a plan."""
    if filters is None or filters == Filters():
        return plan
    by_hand = {
        name: value for name, value in vars(filters).items() if value not in (None, (), frozenset())
    }
    planned = plan.filters
    if by_hand.keys() & {"since", "until"}:  # they say it all: a planned end may lie before
        planned = replace(planned, since=None, until=None, yearly=None)
    return replace(plan, filters=replace(planned, **by_hand), given=plan.given | frozenset(by_hand))


def droppings(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """What may be let go: nothing, each by itself, then more and more together."""
    yield ()
    yield from ((name,) for name in names)
    yield from (names[:count] for count in range(2, len(names) + 1))


def without_filter(plan: Plan, name: str) -> Plan:
    """Let a filter go, with a warning; its name goes back to what is searched for, if anything."""
    warning = f"Nothing passes all filters, so this one was let go: {words_of_filter(plan, name)}."
    warnings = (*plan.warnings, warning)
    if name == "phrases":
        words = " ".join((plan.text, *plan.phrases)).strip()
        return replace(plan, phrases=(), text=words, warnings=warnings)
    filters = plan.filters
    visual = plan.visual
    if name == "dates":
        filters = replace(filters, since=None, until=None)
    elif name == "people":
        visual = " ".join((*filters.people, visual)) if visual else ""
        filters = replace(filters, people=())
    else:
        if name in _PUT_BACK and visual:
            visual = f"{visual} {getattr(filters, name)}"
        filters = replace(filters, **{name: None})  # type: ignore[arg-type]
    return replace(plan, filters=filters, visual=visual, warnings=warnings)


def resolvable(plan: Plan) -> Filters:
    """The filters of a plan, its phrases among them."""
    return replace(plan.filters, phrases=plan.phrases) if plan.phrases else plan.filters


def is_planned(plan: Plan, name: str) -> bool:
    """Whether a plan has this filter, and from a planner."""
    if name == "dates":
        asked = plan.filters.since or plan.filters.until
        return bool(asked) and plan.given.isdisjoint({"since", "until"})
    value = plan.phrases if name == "phrases" else getattr(plan.filters, name)
    return value not in (None, ()) and name not in plan.given
