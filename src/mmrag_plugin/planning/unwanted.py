"""What a question does not want to see: ``not indoors``, ``without people``, ``except Rome``.

"A woman without shoes" describes a picture, so a lack is an exclusion only where somebody asks for
pictures, or where it is one that people exclude.
"""

from __future__ import annotations

import re

from mmrag_plugin.planning.reading import CUT, NEGATION, Reading
from mmrag_plugin.planning.requests import KINDS, is_image

_SCENE = re.compile(
    r"(?:any )?(?:people|persons?|humans?|anyone|anybody|faces?|tourists|crowds?|indoors?|outdoors?"
    r"|inside|outside|screenshots?|at night|night|blurry|snow|rain|flash"
    r"|menschen|leute|gente|personas|personnes|gens|nachts)\b",
    re.IGNORECASE,
)
_END = rf"[,.;:!?{CUT}]|\b(?:but|from|in|at|on|with|taken|near|during|that|which|who)\b|$"
_WHAT = rf"(?P<what>[^,.;:!?{CUT}]+?)\s*(?={_END})"
_ONES = r"(?:(?:the |those |any )?(?:ones|those|photos|pictures|images|videos|that)\s+)?"
_FROM = r"(?:(?:taken )?(?:from|in|of|with|at|on|near)\s+)?"
_BUT = "(?:but|aber|mais|pero)"

_EXCEPT = re.compile(
    rf"[,;]?\s*\b(?:except(?:ing)?(?: for)?|excluding|other than|apart from|außer|sauf|excepto)\s+"
    rf"{_ONES}{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_NOT = re.compile(
    rf"(?P<before>[,;]\s*(?:{_BUT} |and )?|\b{_BUT} |\band )?"
    rf"\b(?:not|nicht|pas)\s+{_ONES}{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_NO_KIND = re.compile(
    rf"(?:{NEGATION}|[,;]\s*(?:but |and )?no\s+)(?P<kind>{KINDS})(?=\s*(?:[,.;!?{CUT}]|$))",
    re.IGNORECASE,
)
_THAT_ARE_NOT = re.compile(
    rf"\b(?:that|which|who)\s+(?:(?:are|is|were|was)(?:n't| not)|(?:do|does)(?:n't| not) "
    rf"(?:show|have|contain))\s+{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_LACK = re.compile(
    rf"(?P<before>[,;]\s*(?:{_BUT} |and |with )?|\b{_BUT} |\band |\bwith )?"
    rf"\b(?P<how>without|ohne|sans|sin|no|keine?n?)\s+(?:any |the )?{_WHAT}",
    re.IGNORECASE,
)
_DESCRIBES = re.compile(
    rf"^[\s{CUT}]*(?:an?|one|two|three|four|five|the)\s+[^{CUT}]*"
    r"\b(?:man|men|woman|women|boy|girl|child|children|kid|person|guy|lady|dog|cat|baby|player|people)\b",
    re.IGNORECASE,
)
_ADDED = re.compile(rf"[,;]|{_BUT}\b", re.IGNORECASE)  # as one adds what is not wanted
_MOST_WORDS_BEFORE = 5  # of a few words that are looked for; a caption says more
_STARTS_LIKE_A_CAPTION = re.compile(r"^\s*(?:an?|the|two|three|four|five|some|several)\s", re.I)


def take_unwanted(read: Reading) -> None:
    """Take what is not wanted, each thing by itself."""
    sentence = read.sentence
    describes = _STARTS_LIKE_A_CAPTION.match(sentence.text) is not None
    if (no_kind := sentence.find(_NO_KIND)) is not None:
        read.filters.setdefault("kind", "video" if is_image(no_kind["kind"]) else "image")
        read.is_request = True
    about_someone = _DESCRIBES.match(sentence.text) is not None
    while (found := _EXCEPT.search(sentence.text)) and read.is_request:
        _take(read, found)
    while (found := _THAT_ARE_NOT.search(sentence.text)) and read.is_request:
        _take(read, found)
    for found in reversed(list(_NOT.finditer(sentence.text))):
        scene = _SCENE.match(found["what"]) is not None
        wanted = read.is_request and (found["before"] or scene)
        if wanted or ((scene or _is_added(sentence.text, found)) and not describes):
            _take(read, found)
    for found in reversed(list(_LACK.finditer(sentence.text))):
        scene = _SCENE.match(found["what"]) is not None
        if found["how"].lower() in _NO and not (found["before"] or found.start() == 0):
            continue
        if _TEXT.match(found["what"]) or _VERB.search(found["what"]):
            continue  # a filter if anything, or "no faces are shown"
        if (read.is_request and not about_someone) or (
            (scene or _is_added(sentence.text, found)) and not describes
        ):
            _take(read, found)


def _is_added(text: str, found: re.Match[str]) -> bool:
    """``beach, but not at sunset``: a few words, and what is not wanted of them behind a comma."""
    added = _ADDED.match(found["before"] or "") is not None
    return added and 0 < len(text[: found.start()].split()) <= _MOST_WORDS_BEFORE


_NO = ("no", "kein", "keine", "keinen")
_VERB = re.compile(r"\b(?:is|are|was|were|can|to)\b", re.IGNORECASE)
_TEXT = re.compile(r"(?:text|writing|words|letters)\b", re.IGNORECASE)
_SPLIT = re.compile(r"\s*(?:,|\bor\b|\band\b|\bnor\b|\boder\b|\bund\b|\bou\b|\bet\b)\s*")


def _take(read: Reading, found: re.Match[str]) -> None:
    parts = (" ".join(part.split()) for part in _SPLIT.split(found["what"]))
    bare = (re.sub(r"^(?:any|the|no|not)\s+", "", part, flags=re.IGNORECASE) for part in parts)
    read.without = [*(part for part in bare if part), *read.without]
    read.sentence.take(*found.span())
