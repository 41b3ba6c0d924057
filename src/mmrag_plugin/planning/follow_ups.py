"""What a message means that comes after others: a follow-up, or something new.

Rules in English that look at the message, the plan before it and the sources shown so far. Where
they are not sure, they say so, and a model may be asked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from mmrag_plugin.conversation import Conversation
from mmrag_plugin.plan import Order, Plan
from mmrag_plugin.planning.dates_shown import shifted_dates
from mmrag_plugin.planning.merging import narrowed, replaced
from mmrag_plugin.planning.next_steps import beside_which, last_number, next_step
from mmrag_plugin.planning.numbers_named import numbers_named
from mmrag_plugin.terms import terms_of

Meaning = Literal["fresh", "refine", "more", "like", "beside", "look", "talk", "restart"]
MakePlan: TypeAlias = Callable[[str], Plan]


@dataclass(frozen=True)
class FollowUp:
    """What a message means: a search for ``plan``, or a look at sources, or neither.

    ``fresh`` is a question of its own, ``refine`` changes the last plan, ``more`` wants its next
    page, ``like`` what looks like a source, ``beside`` what comes after or before one, ``look``
    asks about the sources ``refers_to``, ``talk`` wants nothing of the library, ``restart`` a new
    conversation. ``missing`` are numbers that were named and that no source has. ``looks_again``
    where what was shown may answer it, too.
    """

    meaning: Meaning
    plan: Plan | None = None
    refers_to: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    sure: bool = True
    looks_again: bool = False


_RESTART = re.compile(
    r"(?:let'?s )?(?:start|begin) (?:over|again|afresh|anew|from scratch)|reset(?: everything)?|"
    r"(?:a )?new (?:conversation|chat|topic)|forget (?:all|everything|it all|all of (?:it|that))"
)
_TALK_WORD = (
    r"(?:thanks?(?: you)?(?: (?:so much|very much|a lot))?|thx|ok(?:ay)?|great|nice|cool|perfect|"
    r"lovely|wow|good(?: job| one)?|well done|hello|hi|hey|bye|goodbye|yes|no|sure|right|i see|"
    r"got it|that'?s (?:all|it|great|nice|perfect|lovely|right)|good (?:morning|evening|night)|"
    r"never ?mind|sorry|you'?re welcome|haha|lol)"
)
_TALK = re.compile(rf"{_TALK_WORD}(?:[\s,.!]+(?:{_TALK_WORD}|for (?:that|this|your help)))*")
_MORE = re.compile(
    r"(?:(?:and|any|some|show(?: me)?|give me|i want|are there(?: any)?|is there) )*(?:more|others|"
    r"the others|the rest|next(?: page| ones| please)?|further)(?: of (?:them|those|these|the same|"
    r"that))?(?: (?:results|hits|pictures|photos|images|videos|films))?(?: please)?|go on|continue|"
    r"what else|anything else|and then|keep going|is that all"
)
_LIKE = re.compile(
    r"\b(?:(?:more|others?|photos|pictures|images|videos|something|anything|looks?|looking)"
    r"(?: \w+)? (?:like|similar to|resembling|as|such as)|similar to|resembl\w+|of the same kind "
    r"as)\b|\bsimilar(?: ones?| pictures| photos)?$|\bmore of (?:this|that|it)\b"
)
_LIKE_THIS = re.compile(r"\b(?:this|that|it|these|them)$|similar\b[^,]*$")
_LOOK = re.compile(
    r"(?:please )?(?:(?:describe|explain|compare|read|translate|summari[sz]e|identify) "
    r"(?:it|that|this|them|those|these|both|all|everything)(?: .*)?|"
    r"tell me (?:more|about (?:it|that|this|them))(?: about (?:it|that|this|them))?|"
    r"what (?:do|can) you see(?: there| on it| in it)?|"
    r"why(?: (?:is|do you think) (?:that|so))?|are you sure(?: .*)?|how do you know(?: .*)?|"
    r"say (?:that|it) again|what do you mean(?: .*)?|in (?:more detail|other words|one sentence|"
    r"german|english|french|spanish)|(?:shorter|longer)(?: please)?)"
)
_QUESTION = re.compile(
    r"(?:and |but |so )?(?:what|who|whose|whom|where|when|why|how|which|is|are|was|were|do|does|"
    r"did|has|have|had|can|could|will|would)\b"
)
_PRONOUN = re.compile(
    r"\b(?:it|its|this|that|these|those|they|them|their|he|she|him|her|his|hers|"
    r"(?<!is )(?<!are )there|both)\b"
)
_THOSE_OF_THEM = re.compile(r"\b(?:of|among|between) (?:them|those|these)\b|\bthose (?:are|show)\b")
_COMMAND = re.compile(
    r"(?:please |can you |could you |now )*(?:show|find|list|search|look for|give|get|count|"
    r"display|i(?:'m| am) looking for|i want|i need|do (?:i|we) have|are there|is there|how many)\b"
)
# words in front that mark a follow-up (the first group), and those that don't count either way
_MARK = re.compile(
    r"(?:(and|but|or|also|only|just|instead|what about|how about|i mean(?:t)?|rather|the ones?|"
    r"the(?=.* ones?$)|those|ones|which of them(?: are| is| have| has)?|"
    r"that (?:are|is|have|has|show)|which (?:are|is|have|has|show)|now only)|"
    r"please|now|ok(?:ay)?|so|then|well|hm+|maybe|show(?: me)?|give me|find(?: me)?|no(?=,)|"
    r"are there(?: any)?|is there(?: an?| any| one)?|do you have|any|some|one)\b[\s,]*",
    re.IGNORECASE,
)
_TAIL = re.compile(r"[\s,]*\b(?:(instead|only|too|as well|rather|ones?)|please)\s*$", re.IGNORECASE)
_NEGATION = re.compile(
    r"(?:(?:not|without|no|except(?: for)?|excluding|leave out|but not|hide|minus|none)"
    r"(?: (?:the|any|a|an|with|of|those|ones|at))*) (?P<what>.+)",
    re.IGNORECASE,
)
_REPLACING = frozenset("instead rather meant mean what how".split())
_BEGINS_PART = re.compile(
    r"(?:with|in|at|on|near|by|from|under|showing|wearing|during|before|after|since|until|"
    r"between|around|taken|made|of)\b",
    re.IGNORECASE,
)
_ORDERS: dict[str, Order] = {
    "oldest": "oldest",
    "earliest": "oldest",
    "newest": "newest",
    "latest": "newest",
    "most recent": "newest",
}
_LONGEST = 300  # characters; what is longer says what it wants by itself
_NOTHING = ("", "pictures", "photos", "images")
_SHORT_WORDS = 2
_PART_WORDS = 6


def follow_up(message: str, before: Conversation, plan: MakePlan) -> FollowUp:
    """Say what a message means after a conversation; ``plan`` makes a plan of words alone."""
    text = " ".join(message.lower().split()).strip(" .!?")
    if _RESTART.fullmatch(text):
        return FollowUp("restart")
    if _TALK.fullmatch(text):
        return FollowUp("talk")
    last = before.last_plan
    if (last is None and not before.sources) or len(message) > _LONGEST:
        return FollowUp("fresh", plan(message))
    if (step := _about_a_step(text, message, before)) is not None:
        return step
    if last is not None and _MORE.fullmatch(text):
        return FollowUp("more", last)
    return (
        _about_numbers(text, message, before, last)
        or _about_dates(text, message, before, last)
        or _about_what_is_shown(text, message, before, last)
        or _refined(text, message, last, plan)
        or FollowUp("fresh", plan(message))
    )


def _about_a_step(text: str, message: str, before: Conversation) -> FollowUp | None:
    """What comes after or before a source."""
    which = beside_which(text)
    if which is None:
        return None
    named, missing = numbers_named(text, before)
    if not named and not missing and (number := last_number(text)) is not None:
        known = before.source(number) is not None
        named, missing = ((number,), ()) if known else ((), (number,))
    if missing:
        return FollowUp("look", refers_to=named, missing=missing)
    step = next_step(message, which, named, before)
    return None if step is None else FollowUp("beside", step[0], (step[1],))


def _about_numbers(
    text: str, message: str, before: Conversation, last: Plan | None
) -> FollowUp | None:
    """A message that names sources by number or place."""
    named, missing = numbers_named(text, before)
    if missing:
        return FollowUp("look", refers_to=named, missing=missing)
    like = _LIKE.search(text)
    if like and not named and _LIKE_THIS.search(text):
        named = before.page[:1]
    if not named:
        return None
    if like:
        return FollowUp("like", _looks_like(message, named[0], before, last), named)
    hits = [before.sources[number - 1] for number in named]
    dates = shifted_dates(text, hits, last) if last else None
    if last is None or dates is None:
        return FollowUp("look", refers_to=named)
    return FollowUp("refine", narrowed(last, dates, message), named)


def _looks_like(message: str, number: int, before: Conversation, last: Plan | None) -> Plan:
    hit = before.sources[number - 1]
    filters = last.filters if last else Plan("").filters
    return Plan(message, filters=filters, like=hit.moment.media_id, like_at_s=hit.at_s)


def _about_dates(
    text: str, message: str, before: Conversation, last: Plan | None
) -> FollowUp | None:
    """Older, newer, from the year before."""
    if last is None:
        return None
    hits = [before.sources[number - 1] for number in before.page]
    dates = shifted_dates(text, hits, last)
    return None if dates is None else FollowUp("refine", narrowed(last, dates, message))


def _about_what_is_shown(
    text: str, message: str, before: Conversation, last: Plan | None
) -> FollowUp | None:
    """A question about what is on the table: its words point there, or are those of the search."""
    if not before.page:
        return None
    if _LOOK.fullmatch(text) or _THOSE_OF_THEM.search(text):
        return FollowUp("look", refers_to=before.page)
    command, pronoun = _COMMAND.match(text), _PRONOUN.search(text)
    if _QUESTION.match(text) and not command:
        if pronoun:
            return FollowUp("look", refers_to=before.page)
        asked_before = set(terms_of(last.words)) if last else set()
        if asked_before & set(terms_of(text)):
            return FollowUp("look", refers_to=before.page, sure=False)
    asks = command or not _QUESTION.match(text)
    if asks and pronoun and last is not None and not _unmarked(message)[1]:
        joined = narrowed(last, Plan(message, visual=message), message)
        return FollowUp("refine", joined, sure=False)
    return None


def _refined(text: str, message: str, last: Plan | None, plan: MakePlan) -> FollowUp | None:
    """A message that changes the last plan."""
    rest, marks = _unmarked(message)
    if last is None or not rest:
        return None
    if negation := _NEGATION.fullmatch(rest):
        return FollowUp("refine", _without(last, negation["what"], message, plan))
    asked = _asked(rest, last, plan)
    count = len(rest.split())
    command, short = bool(_COMMAND.match(text)), count <= _SHORT_WORDS
    replacing = bool(_REPLACING & {word for mark in marks for word in mark.lower().split()})
    joined: Plan | None = None
    if asked.words.lower() in _NOTHING:  # only dates, a kind, an order: nothing new to look for
        if marks or short or not command:
            joined = narrowed(last, replace(asked, visual="", text=""), message, part=rest)
    elif _BEGINS_PART.match(rest) and (marks or count <= _PART_WORDS):
        joined = narrowed(last, asked, message, part=rest, swap=replacing)
    elif replacing or marks == ["and"]:
        joined = replaced(last, asked, message)
    elif marks or (short and not command):
        joined = narrowed(last, asked, message)
    if joined is None:
        return None
    sure = bool(marks) or not short or asked.words.lower() in _NOTHING or not asked.words
    return FollowUp("refine", joined, sure=sure, looks_again=joined.words != last.words)


def _asked(rest: str, last: Plan, plan: MakePlan) -> Plan:
    """The plan of what is left; a bare name is a place, or a person, where one was asked for."""
    if order := _ORDERS.get(rest.lower().removeprefix("the ")):
        return Plan(rest, order=order)
    before = {"in": last.filters.near or last.filters.folder, "of": last.filters.people}
    for word, asked_before in before.items():
        named = plan(f"{word} {rest}") if asked_before else None
        if named is None or named.words:
            continue
        if named.filters.near or named.filters.folder or named.filters.people:
            return named
    return plan(rest)


def _without(last: Plan, what: str, message: str, plan: MakePlan) -> Plan:
    asked = plan(what)
    if asked.filters.kind and not asked.words:
        other: Literal["image", "video"] = "video" if asked.filters.kind == "image" else "image"
        return replace(last, question=message, filters=replace(last.filters, kind=other))
    if asked.filters.since or asked.filters.until:  # "not before 2019" turns a date around
        turned = plan(f"not {what}")
        return narrowed(last, replace(turned, visual="", text=""), message)
    return replace(last, question=message, without=(*last.without, what.strip(" .!?")))


def _unmarked(message: str) -> tuple[str, list[str]]:
    """What is left of a message without the words that mark it as a follow-up, and those words."""
    rest, marks = message.strip(" .!?\n"), []
    while found := _MARK.match(rest):
        if found[1]:
            marks.append(found[1])
        rest = rest[found.end() :]
    while found := _TAIL.search(rest):
        if found[1]:
            marks.append(found[1])
        rest = rest[: found.start()]
    return rest.strip(" ,.!?"), marks
