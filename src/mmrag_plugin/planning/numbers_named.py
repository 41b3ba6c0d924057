"""Which sources a message names: "[2]", "number 2", "what does 3 say", "the second one"."""

from __future__ import annotations

import re

from mmrag_plugin.conversation import Conversation

_ORDINALS = {
    word: place
    for place, words in enumerate(
        (
            "first 1st",
            "second 2nd",
            "third 3rd",
            "fourth 4th",
            "fifth 5th",
            "sixth 6th",
            "seventh 7th",
            "eighth 8th",
            "ninth 9th",
            "tenth 10th",
        )
    )
    for word in words.split()
}
_THING = (
    r"(?:one|ones|picture|pictures|photo|photos|image|images|video|videos|film|films|clip|clips|"
)
_THING += r"hit|hits|result|results|source|sources)"
_ORDINAL = re.compile(
    rf"\bthe (?P<place>{'|'.join(_ORDINALS)}|last)(?: (?P<count>two|three))?"
    rf"(?: {_THING}|(?= (?:is|was|say|says|show|shows|look|looks|and)\b)|$)"
)
_COUNTS = {"two": 2, "three": 3}
# These forms name a source whatever stands around them
_NAMED = re.compile(
    r"\[(\d{1,3})\]|#\s?(\d{1,3})\b|\b(?:number|no\.?|nr\.?|picture|photo|image|video|film|clip|hit|"
    r"result|source)s? (\d{1,3})\b(?! (?:years?|months?|days?|weeks?|hours?))"
)
# and these do before a number that stands alone
_BEFORE = (
    r"(?:like|to|as|are|does|do|describe|about|is|was|in|on|than|compare|read|does|of|open|from|and|or|"
    r"between|with|zoom into|explain|translate|show me|only)"
)
_ALONE = re.compile(
    rf"(?:^|\b{_BEFORE} |,\s?)(\d{{1,3}})(?=\?|$|,|'s| (?:and|or|say|says|show|shows|look|looks|is|"
    r"was|please|but|with|without|taken|made|from|in|at|again|closer|mean|means|"
    r"older|newer|earlier|later|different|alike|the same)\b)"
)
_ASKS = re.compile(r"\b(?:like|describe|does|open|explain|compare|read) (\d{1,3})$")


def numbers_named(text: str, before: Conversation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of sources that a message in lower case names, and those that no source has.

    "The second one" counts among those shown last.
    """
    known = len(before.sources)
    named: list[int] = []
    missing: list[int] = []
    for found in _NAMED.finditer(text):
        number = int(next(group for group in found.groups() if group))
        (named if 1 <= number <= known else missing).append(number)
    for found in _ALONE.finditer(text):
        if 1 <= int(found[1]) <= known:
            named.append(int(found[1]))
    if not named and (found_one := _ASKS.search(text)) and not 1 <= int(found_one[1]) <= known:
        missing.append(int(found_one[1]))
    page = before.page
    for found in _ORDINAL.finditer(text):
        count = _COUNTS.get(found["count"] or "", 1)
        if found["place"] == "last":
            named += page[-count:]
        elif (place := _ORDINALS[found["place"]]) < len(page):
            named += page[place : place + count]
    return tuple(dict.fromkeys(named)), tuple(dict.fromkeys(missing))
