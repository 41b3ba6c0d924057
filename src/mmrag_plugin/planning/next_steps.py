"""Whether a message asks what comes after or before a source: "and then?", "what came before?"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmrag_plugin.conversation import Conversation
from mmrag_plugin.media import Hit
from mmrag_plugin.plan import Beside, Plan

_THAT = r"(?:that|this|it|these|those|which)(?: (?:one|scene|shot|moment|part|photo|picture|clip))?"
_NUMBER = (
    r"(?:\[\d{1,3}\]|(?:number |no\.? ?|nr\.? ?|source |hit |photo |picture |image |video |film "
    r"|clip |scene |shot )?#?\d{1,3}"
    r"|the (?:first|second|third|fourth|fifth|last)(?: one| picture| photo)?)"
)
_OF = rf"(?: (?:{_THAT}|{_NUMBER}))"
_SOON = r"(?:(?:right|just|directly|immediately|shortly) )?"
_HAPPENS = (
    r"(?:happens?|happened|comes?|came|follows?|followed|is|was|goes on|went on"
    r"|(?:does|do|did|is|are|was|were) (?:he|she|it|they|the \w+(?: \w+)?) (?:do|doing|say|go))"
)
_SHOT = r"(?:scene|shot|moment|part|bit|photo|picture|image|video|clip|one)"
_AFTER = re.compile(
    rf"(?:(?:and|so|but|ok(?:ay)?|now|please|show me|tell me)[, ]+)*(?:"
    rf"then(?: what)?|what then|what(?:'s)? next|and next"
    rf"|what {_HAPPENS}(?: {_SOON}(?:next|then|afterwards?|thereafter|after{_OF}?))"
    rf"|what follows{_OF}?|{_SOON}after{_OF}|afterwards"
    rf"|(?:the )?(?:next|following) (?:scene|shot|moment|part|bit)"
    rf"|the {_SHOT} {_SOON}after{_OF}|the next (?:photo|picture|image) after{_OF}"
    r"|und dann|und danach|was (?:passiert|kommt|geschieht) (?:dann|danach|als nächstes)"
    r"|et (?:après|ensuite|puis)|(?:que se passe-t-il|qu'est-ce qui se passe) (?:après|ensuite)"
    r"|y (?:luego|después)|qué pasa (?:luego|después))"
)
_BEFORE = re.compile(
    rf"(?:(?:and|so|but|ok(?:ay)?|now|please|show me|tell me)[, ]+)*(?:"
    rf"what {_HAPPENS} {_SOON}before(?:hand|{_OF})?|what (?:led up to|precedes|preceded){_OF}"
    rf"|{_SOON}before{_OF}|and {_SOON}before|beforehand"
    rf"|(?:the )?(?:previous|preceding) (?:scene|shot|moment|part|bit)"
    rf"|the {_SHOT} {_SOON}before{_OF}"
    r"|und davor|was (?:passierte?|kam|geschah) (?:davor|vorher)|et avant|y antes)"
)
# what names a photo: "and then?" after photos wants more of them
_NAMES = re.compile(r"\d|\b(?:photo|picture|image|one|this|that|it)\b", re.IGNORECASE)


def beside_which(text: str) -> Beside | None:
    """Whether a message, in lower case, asks what comes after or before what was shown."""
    if _AFTER.fullmatch(text):
        return "after"
    return "before" if _BEFORE.fullmatch(text) else None


def last_number(text: str) -> int | None:
    """The number that such a message ends with."""
    found = re.search(r"\b(\d{1,3})$", text)
    return int(found[1]) if found else None


def next_step(
    message: str, which: Beside, named: Sequence[int], before: Conversation
) -> tuple[Plan, int] | None:
    """The plan for what comes after or before a source, and its number.

    It is the one that is named, else where the last step led to, else what the last answer cites
    first, else what was shown first. None where there is none, or one that nobody named is a photo.
    """
    number = named[0] if named else _stands_at(before)
    hit = None if number is None else before.source(number)
    if number is None or hit is None or (_is_photo(hit) and not _NAMES.search(message)):
        return None
    start_s, end_s = hit.moment.start_s, hit.moment.end_s
    at_s = end_s if which == "after" and end_s is not None else start_s
    plan = Plan(message, like=hit.moment.media_id, like_at_s=at_s, moment=which)
    return plan, number


def _stands_at(before: Conversation) -> int | None:
    turn = next((turn for turn in reversed(before.turns) if turn.shown), None)
    if turn is None:
        return len(before.sources) or None  # what was pointed at
    if turn.plan is not None and turn.plan.moment is not None:
        return turn.shown[-1] if turn.plan.moment == "after" else turn.shown[0]
    return next((number for number in turn.cited if number in turn.shown), turn.shown[0])


def _is_photo(hit: Hit) -> bool:
    return hit.moment.kind == "image"
