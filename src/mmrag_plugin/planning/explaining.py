"""Say how a question was understood: in words, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmrag_plugin.plan import Plan
from mmrag_plugin.planning.search_box import box_of


def words_of_filter(plan: Plan, name: str) -> str:
    """Say in words what a filter asks for."""
    filters = plan.filters
    since, until, days = filters.since, filters.until, filters.yearly or ("", "")
    if since == until:
        taken = f"taken in {since}"
    else:
        taken = " ".join(
            ["taken"] + [f"from {since}"] * bool(since) + [f"to {until}"] * bool(until)
        )
    quoted = " and ".join(f'"{phrase}"' for phrase in plan.phrases)
    return {
        "dates": taken,
        "yearly": f"taken from {days[0]} to {days[1]} of any year",
        "has_text": "with text in it" if filters.has_text else "without text in it",
        "people": f"marked with {' and '.join(filters.people)}",
        "phrases": f"with the words {quoted}",
        "kind": "a video" if filters.kind == "video" else "an image",
        "camera": f"taken with {filters.camera}",
        "folder": f"in the folder {filters.folder}",
        "near": f"near {filters.near}",
        "inside": f"in {filters.inside}",
    }[name]


def explained(plan: Plan) -> Iterator[str]:
    """Say in words how a question was understood, one thing at a time."""
    if plan.aim == "count":
        yield "counts what is found"
    names = (
        *("dates", "yearly", "kind", "near", "people", "camera", "folder", "inside", "has_text"),
        "phrases",
    )
    for name in names:
        if name == "dates":
            asked: object = plan.filters.since or plan.filters.until
        else:
            asked = plan.phrases if name == "phrases" else getattr(plan.filters, name)
        if asked not in (None, ()):
            yield words_of_filter(plan, name)
    yield from _compared(plan)
    if plan.visual:
        yield f"shows {plan.visual}"
    if plan.text:
        yield f"says {plan.text}"
    if plan.without:
        yield f"without {', '.join(plan.without)}"
    if plan.one_each:
        yield f"one for each {plan.one_each}"
    if plan.order != "best":
        yield "in order of time" if plan.order == "time" else f"{plan.order} first"
    if plan.limit:
        yield f"at most {plan.limit}"


def _compared(plan: Plan) -> Iterator[str]:
    if plan.moment:
        yield f"what comes {plan.moment} a moment of a film"
    if plan.like:
        yield f"{'the moment is in' if plan.moment else 'looks like'} {plan.like}"


def plan_as_dict(plan: Plan) -> dict[str, Any]:
    """A plan as JSON: what it says, and the same as it is written into the search box."""
    filters = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in vars(plan.filters).items()
        if value not in (None, ()) and name != "leave_out"
    }
    said = {
        "visual": plan.visual,
        "text": plan.text,
        "filters": filters,
        "phrases": list(plan.phrases),
        "without": list(plan.without),
        "aim": plan.aim,
        "one_each": plan.one_each,
        "order": plan.order,
        "limit": plan.limit,
        "like": plan.like,
        "moment": plan.moment,
        "planned_by": plan.planned_by,
    }
    return {**said, "box": box_of(plan), "words": list(explained(plan))}
