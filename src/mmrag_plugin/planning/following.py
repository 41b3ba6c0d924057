"""Whether a question is for what follows or precedes a moment: "what happens after the kiss".

English well; the plainest questions in German, French and Spanish too. What stands behind "after"
and may as well be a date is one, and "a man running after a bus" shows just that.
"""

from __future__ import annotations

import re

from mmrag_plugin.planning.date_phrases import find_dates
from mmrag_plugin.planning.reading import CUT, Reading

_SOON = r"(?:(?:right|just|directly|immediately|shortly|soon|next|then|straight|some time)\s+)*"
_AFTER = (
    r"(?P<after>after(?:wards)?|following|once|as soon as|nachdem|nach|après(?: que)?"
    r"|después de(?: que)?)"
)
_BEFORE = r"(?P<before>before|preceding|until|bevor|ehe|vor|avant(?: que)?|antes de(?: que)?)"
_BESIDE = rf"{_SOON}(?:{_AFTER}|{_BEFORE})"
_LEAD = (
    r"(?:(?:please|and|so|can you|could you|show me|show|find|find me|tell me|play|look for"
    r"|i want to see|i'd like to see|describe)[, ]+)*"
)
_HAPPENS = (
    r"(?:what(?:'s| is| was)?\s+(?:all\s+)?(?:happen(?:s|ed|ing)?|com(?:es|ing)|came|goes on"
    r"|went on|going on|occurs?|occurred|takes place|took place|is shown|can be seen|do we see"
    r"|(?:does|do|did|is|was|are|were|will|has|had)\s+(?!i\b|we\b|you\b)(?:[\w'-]+\s+){1,4}?"
    r"(?:do|doing|done|say|saying|said|go|happen))"
    r"|was (?:passiert(?:e)?|geschieht|geschah|kommt|kam|ist|sieht man)"
    r"|(?:qu'est-ce qui|que|qu')\s?(?:se passe(?:-t-il)?|arrive(?:-t-il)?|il se passe)"
    r"|qu[eé] (?:pasa|sucede|ocurre|pasó|sucedió|ocurrió|viene))"
)
_SCENE = (
    r"(?:(?:the|a|that|die|der|das|la|le|el)\s+)?(?:(?:next|first|very|whole)\s+)?"
    r"(?P<scene>scene|part|moment|shot|bit|sequence|minute|second|seconds|minutes|few seconds"
    r"|frames?|clip|footage|szene|stelle|scène|moment|escena|momento)"
    r"(?:\s+(?:that|which)\s+(?:comes?|came|happens?|happened|is|was|are|were))?"
)
_WHAT = rf"[^\S{CUT}]+(?P<what>[\S{CUT}].*)"  # perhaps what was quoted, of which a mark is left
_ASKED = re.compile(rf"^\s*{_LEAD}(?:{_HAPPENS}|{_SCENE})\s*,?\s+{_BESIDE}{_WHAT}$", re.IGNORECASE)
_FOLLOWS = re.compile(
    rf"^\s*{_LEAD}what\s+{_SOON}(?:(?P<after>follow(?:s|ed))|(?P<before>preced(?:es|ed)"
    rf"|le(?:ads|d) up to)){_WHAT}$",
    re.IGNORECASE,
)
_THEN = re.compile(
    rf"^[^\S{CUT}]*(?P<what>[\S{CUT}].*?)\s*[,;]?\s*(?:and|und|et|y)\s+(?:then\s+)?"
    r"(?:what|was|ce qui|lo que)\s+"
    r"(?:(?P<after>(?:happen(?:s|ed)|com(?:es)|came|follow(?:s|ed)|passiert|kommt|se passe|pasa)"
    r"(?:\s+(?:right|just|directly|immediately|shortly))?"
    r"(?:\s+(?:next|then|after(?:wards?)?(?: that| it| this)?|danach|dann|après|después))?)"
    r"|(?P<before>(?:happen(?:s|ed)|com(?:es)|came)\s+(?:right|just\s+)?before(?:hand| that| it"
    r"| this)?))\s*[?!.]*$",
    re.IGNORECASE,
)
_BARE = re.compile(
    r"^\s*(?:right|just|immediately|shortly)?\s*(?:(?P<after>after)|(?P<before>before))\s+"
    r"(?P<what>(?:the|a|an|he|she|they|someone|somebody)\s+\S.*)$",
    re.IGNORECASE,
)
_WHERE = re.compile(
    r"^\s*(?:(?:show me|show|find|play)\s+)?(?:(?:the|a|that|la|die)\s+)?(?:scene|part|moment|shot"
    r"|bit|sequence|szene|stelle|scène|escena)\s+(?:where|when|in which|with|of|wo|in der|où|con"
    r"|donde)\s+",
    re.IGNORECASE,
)
_IN_A_FILM = re.compile(
    r"\s+(?:in|of|from) (?:the|that|this|my|our) (?:video|film|movie|clip)\b", re.IGNORECASE
)
_SAYS = re.compile(
    rf"^\s*(?:he|she|they|it|someone|somebody|er|sie|il|elle)\s+"
    rf"(?:says?|said|shouts?|asks?|sagt|ruft|dit)[\s:,{CUT}?.!]*$",
    re.IGNORECASE,
)


def take_following(read: Reading) -> None:
    """``what happens after the bottle falls``, ``the scene before the kiss``."""
    text = read.sentence.text
    for pattern in (_ASKED, _FOLLOWS, _THEN, _BARE):
        found = pattern.match(text)
        if found is None:
            continue
        if pattern is _BARE and read.known.is_name(_bare_name(found["what"])):
            continue  # "after the wedding", which is an album
        if any(_is_of(found, phrase.start) for phrase in find_dates(text, read.today)):
            continue
        read.fields["moment"] = "before" if found["before"] else "after"
        read.is_request = True
        what, in_a_film = _IN_A_FILM.subn(f" {CUT} ", _WHERE.sub("", found["what"]))
        if in_a_film:
            read.filters["kind"] = "video"
        if (read.phrases or "text" in read.fields) and _SAYS.match(what):
            what = ""
        read.sentence.text = what
        read.sentence.is_whole = False
        return


def _is_of(found: re.Match[str], place: int) -> bool:
    """Whether a date begins with the word that would lead to a moment, or right behind it."""
    word = "before" if found["before"] else "after"
    return found.start(word) <= place <= found.start("what")


def _bare_name(what: str) -> str:
    return re.sub(r"^(?:the|a|an)\s+", "", what.strip(" ?!."), flags=re.IGNORECASE)
