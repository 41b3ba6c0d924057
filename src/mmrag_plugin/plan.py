"""A plan: what a question asks for, in terms that a search can carry out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mmrag_plugin.filters import Filters

Aim = Literal["find", "count"]
Period = Literal["year", "month", "day"]
Order = Literal["best", "newest", "oldest", "time"]
Beside = Literal["after", "before"]
Planner = Literal["given", "rules", "model"]


@dataclass(frozen=True)
class Plan:
    """What a question asks for.

    ``visual`` is what the picture shows and ``text`` what is to be read or was said there; each is
    empty where there is nothing of the kind, and without both everything that passes the filters
    is meant. ``phrases`` must stand word for word in what is known of a media, ``without`` is what
    it must not show. ``one_each`` asks for the best of each period, ``limit`` for so many hits. The
    ``order`` "time" is that of moments within their film.
    ``like`` is the media whose looks are asked for, at ``like_at_s`` of a film. ``moment`` asks for
    what follows or precedes the moment of a film that is described; or the media ``like``, whose
    looks don't matter then.

    ``given`` names the fields (of ``filters``, too) that a person wrote as such: they hold whatever
    comes of it, while filters that were made of a sentence are let go when nothing passes them.
    ``warnings`` is what the person should know about how the question was understood.
    """

    question: str
    visual: str = ""
    text: str = ""
    filters: Filters = field(default_factory=Filters)
    phrases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    aim: Aim = "find"
    one_each: Period | None = None
    order: Order = "best"
    limit: int | None = None
    like: str | None = None
    like_at_s: float | None = None
    moment: Beside | None = None
    planned_by: Planner = "rules"
    given: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """What is searched for, in one line; empty where only filters are asked for."""
        return " ".join(part for part in (self.visual, self.text) if part)


def literal(question: str) -> Plan:
    """The plan that takes a question as it is: words to search for, and nothing else."""
    return Plan(question, visual=question.strip(), planned_by="given")
