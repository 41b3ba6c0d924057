"""What a question does not want to see: ``not indoors``, ``without people``, ``except Rome``.

"A woman without shoes" describes a picture, so a lack is an exclusion only where somebody asks for
pictures, or where it is one that people exclude.
"""

from __future__ import annotations

import re

from mmrag_plugin.planning.reading import CUT, Reading

_SCENE = re.compile(
    r"(?:any )?(?:people|persons?|humans?|anyone|anybody|faces?|tourists|crowds?|indoors?|outdoors?"
    r"|inside|outside|screenshots?|at night|night|blurry|snow|rain|flash|menschen|leute)\b",
    re.IGNORECASE,
)
_END = rf"[,.;:!?{CUT}]|\b(?:but|from|in|at|on|with|taken|near|during|that|which|who)\b|$"
_WHAT = rf"(?P<what>[^,.;:!?{CUT}]+?)\s*(?={_END})"
_ONES = r"(?:(?:the |those |any )?(?:ones|those|photos|pictures|images|videos|that)\s+)?"
_FROM = r"(?:(?:taken )?(?:from|in|of|with|at|on|near)\s+)?"

_EXCEPT = re.compile(
    rf"[,;]?\s*\b(?:except(?:ing)?(?: for)?|excluding|other than|apart from|außer|sauf|excepto)\s+"
    rf"{_ONES}{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_NOT = re.compile(
    rf"(?P<before>[,;]\s*(?:but |and )?|\bbut |\band )?\b(?:not|nicht|pas)\s+{_ONES}{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_THAT_ARE_NOT = re.compile(
    rf"\b(?:that|which|who)\s+(?:(?:are|is|were|was)(?:n't| not)|(?:do|does)(?:n't| not) "
    rf"(?:show|have|contain))\s+{_FROM}{_WHAT}",
    re.IGNORECASE,
)
_LACK = re.compile(
    r"(?P<before>[,;]\s*(?:but |and |with )?|\bbut |\band |\bwith )?\b(?P<how>without|ohne|sans|sin"
    rf"|no)\s+(?:any |the )?{_WHAT}",
    re.IGNORECASE,
)
_DESCRIBES = re.compile(
    rf"^[\s{CUT}]*(?:an?|one|two|three|four|five|the)\s+[^{CUT}]*"
    r"\b(?:man|men|woman|women|boy|girl|child|children|kid|person|guy|lady|dog|cat|baby|player|people)\b",
    re.IGNORECASE,
)
_STARTS_LIKE_A_CAPTION = re.compile(r"^\s*(?:an?|the|two|three|four|five|some|several)\s", re.I)


def take_unwanted(read: Reading) -> None:
    """Take what is not wanted, each thing by itself."""
    sentence = read.sentence
    describes = _STARTS_LIKE_A_CAPTION.match(sentence.text) is not None
    about_someone = _DESCRIBES.match(sentence.text) is not None
    while (found := _EXCEPT.search(sentence.text)) and read.is_request:
        _take(read, found)
    while (found := _THAT_ARE_NOT.search(sentence.text)) and read.is_request:
        _take(read, found)
    for found in reversed(list(_NOT.finditer(sentence.text))):
        scene = _SCENE.match(found["what"]) is not None
        if (read.is_request and (found["before"] or scene)) or (scene and not describes):
            _take(read, found)
    for found in reversed(list(_LACK.finditer(sentence.text))):
        scene = _SCENE.match(found["what"]) is not None
        if found["how"].lower() == "no" and not (found["before"] or found.start() == 0):
            continue
        if _TEXT.match(found["what"]) or _VERB.search(found["what"]):
            continue  # a filter if anything, or "no faces are shown"
        if (read.is_request and not about_someone) or (scene and not describes):
            _take(read, found)


_VERB = re.compile(r"\b(?:is|are|was|were|can|to)\b", re.IGNORECASE)
_TEXT = re.compile(r"(?:text|writing|words|letters)\b", re.IGNORECASE)
_SPLIT = re.compile(r"\s*(?:,|\bor\b|\band\b|\bnor\b|\boder\b|\bund\b|\bou\b|\bet\b)\s*")


def _take(read: Reading, found: re.Match[str]) -> None:
    parts = (" ".join(part.split()) for part in _SPLIT.split(found["what"]))
    bare = (re.sub(r"^(?:any|the|no|not)\s+", "", part, flags=re.IGNORECASE) for part in parts)
    read.without = [*(part for part in bare if part), *read.without]
    read.sentence.take(*found.span())
