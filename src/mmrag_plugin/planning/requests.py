"""What a question asks to be done: find or count, how many, in which order, photos or films."""

from __future__ import annotations

import re

from mmrag_plugin.planning.date_words import HOLIDAY, MONTH, NUMBER, NUMBERS, SEASON
from mmrag_plugin.planning.dates import yearly_days
from mmrag_plugin.planning.reading import CUT, Reading

_IMAGES = "photos|pictures|pics|images|photographs|snapshots|fotos|bilder|imágenes|imagenes"
_IMAGE = "photo|picture|pic|image|photograph|snapshot|foto|bild|imagen"
_VIDEOS = "videos|films|movies|clips|footage|recordings|vídeos|vidéos|filme"
_VIDEO = "video|film|movie|clip|recording|vídeo|vidéo"
KINDS = f"{_IMAGES}|{_VIDEOS}"
_SHOWN = "screenshots|screenshot|selfies|selfie|panoramas|panorama"  # looks like one, too
_SINGULAR = f"{_IMAGE}|{_VIDEO}|screenshot|selfie|panorama"
_PLURAL = f"{_IMAGES}|{_VIDEOS}|screenshots|selfies|panoramas"
_KIND = rf"(?:{_PLURAL}|{_SINGULAR})\b"
_HALF_KIND = re.compile(rf"(?:{_IMAGE}|{_IMAGES}|{_SHOWN})", re.IGNORECASE)
_SINGLE = re.compile(_SINGULAR, re.IGNORECASE)

_LEAD = (
    r"(?:(?:please|hey|ok|okay|so)[, ]+)*(?:(?:can|could|would|will) you (?:please )?)?"
    r"(?:(?:show|find|give|get|fetch|list|display|search|look|bring|pull|bring up|pull up)"
    r"(?:(?: me| us)(?: up)?| for| up)+(?: please)?"
    r"|(?:show|find|list|display|get|search)(?= (?:all|any|my|our|the|every|some|only|just|an?|"
    rf"one|{_PLURAL})\b)"
    r"|i(?:'m| am) looking for|i (?:want|need|would like|'d like)(?: to (?:see|find))?"
    r"|i'd like to see|where (?:are|is)(?= (?:my|the|all|our)\b)|do (?:i|we|you) have"
    r"|have (?:i|we) got|are there|is there"
    r"|zeige?(?: mir)?|finde|suche?|montre(?:[- ]moi)?|trouve|muéstrame|busca)"
)
_DETERMINER = (
    "all|any|some|the|my|our|your|their|those|these|only|just|of|every|a few|several|alle|meine"
    "|die|das|der|den|mein|unsere|mes|nos|les|des|la|le|ma|mon|toutes|el|mi|mis|las|los|todas"
)
_FIRST = rf"^[\s{CUT}]*(?P<lead>{_LEAD}\b)?[\s{CUT}]*(?P<det>(?:(?:{_DETERMINER})\s+)*)"

_COUNT = re.compile(
    rf"^\s*(?:how many|count|(?:what is )?the number of|number of|wie viele|combien de|cuántas|"
    rf"cuantas)\s+(?:(?:{_DETERMINER})\s+)*(?={_KIND})",
    re.IGNORECASE,
)
_COUNT_TAKEN = re.compile(
    r"^\s*how many (?=(?:[\w'-]+ ){1,4}(?:did|have) (?:i|we) (?:photograph|film|record|sho[ot]))",
    re.IGNORECASE,
)
_HAVING = re.compile(
    r"(?:\b(?:that )?(?:did|have|do|had) (?:i|we|you)"
    r"(?: (?:have|taken?|made|make|shoot|shot|film|filmed|record|recorded|got|photograph(?:ed)?))?"
    r"|\bare (?:there|in (?:my|the|this) library)|\bin my library|\bare|\bhabe ich)\b(?: gemacht)?",
    re.IGNORECASE,
)
_WHAT_TAKEN = re.compile(
    r"^\s*what (?:did|have) (?:i|we) (?P<how>photograph|film|record|take pictures of|shoot)"
    r"(?:ed)?\b",
    re.IGNORECASE,
)

_WHAT_HAPPENED = re.compile(
    r"^\s*what (?:(?:did|have|had|were|was|are|am) (?:i|we|you|they) (?:do|doing|done|been doing|"
    r"(?:been |get |got )?up to)|happened|(?:has|had) happened|was (?:going on|happening))\b"
    r"|^\s*was (?:habe ich|haben wir)\b(?=.*\bgemacht\b)",
    re.IGNORECASE,
)
_DONE = re.compile(r"\bgemacht\b", re.IGNORECASE)


def take_counting(read: Reading) -> None:
    """``how many photos of dogs did I take``: but "how many dogs are in it" is for who looks."""
    sentence = read.sentence
    if sentence.find(_COUNT) or sentence.find(_COUNT_TAKEN):
        read.fields["aim"] = "count"
        read.is_request = True
        sentence.find(_HAVING)
    elif (taken := sentence.find(_WHAT_TAKEN)) is not None:
        read.is_request = True
        how = taken["how"].lower()
        if how != "shoot":
            read.filters["kind"] = "video" if how in ("film", "record") else "image"
    elif sentence.find(_WHAT_HAPPENED) is not None:
        read.is_request = True
        sentence.find(_DONE)


_NEWEST = "latest|newest|most recent|neuesten?"
_OLDEST = "oldest|earliest|ältesten?"
_SAID_NEWEST = rf"{_NEWEST}|last|letzte[nrs]?|neueste[nrs]?|derni[eè]re?s?|últim[oa]s?"
_SAID_OLDEST = rf"{_OLDEST}|first|erste[nrs]?|älteste[nrs]?|premi[eè]re?s?|primer[oa]?s?"
_SAID_ORDER = rf"{_SAID_NEWEST}|{_SAID_OLDEST}"
_KIND_OR_ONE = rf"(?:{_PLURAL}|{_SINGULAR}|ones?|results?)\b"
_ORDERED_KIND = re.compile(
    _FIRST + rf"(?:(?P<order>{_SAID_ORDER})(?:\s+(?P<n>{NUMBER}))?"
    rf"|(?P<n2>{NUMBER})\s+(?P<order2>{_SAID_ORDER}))\s+(?P<kind>{_KIND_OR_ONE})",
    re.IGNORECASE,
)
_ORDERED_THING = re.compile(
    _FIRST + rf"(?P<order>{_NEWEST}|{_OLDEST})(?:\s+(?P<n>\d+))?\s+"
    rf"(?=(?:[\w'-]+ ){{1,3}}(?P<kind>{_PLURAL}|{_SINGULAR})\b)",
    re.IGNORECASE,
)
_FIRST_THING = re.compile(
    rf"^\s*(?:what (?:was|is|were|are) )?the (?P<order>{_NEWEST}|{_OLDEST}|last|first)"
    rf"(?: (?P<n>{NUMBER}))? (?P<thing>things?)(?: that)? (?:i|we)(?:'ve| have| had)?(?: ever)? "
    r"(?:(?P<image>photographed|snapped|took (?:a )?(?:photos?|pictures?) of)"
    r"|(?P<video>filmed|recorded|took (?:a )?(?:videos?|films?) of)|shot|captured)\b",
    re.IGNORECASE,
)
_WHEN_LAST = re.compile(
    r"^\s*(?:when (?:was|were|did|have) (?:i|we) (?P<order>last|first)"
    r"|when was the (?P<time>last|first) time (?:that )?(?:i|we)"
    r"|wann (?:war|waren|bin|sind|habe|haben) (?:ich|wir) (?:(?P<zu>zuletzt|zuerst)"
    r"|zum (?P<mal>letzten|ersten) mal|das (?P<das>letzte|erste) mal))"
    r"(?: (?:(?P<go>been|be|go|went|was|were|visit(?:ed)?|travel(?:led)?)(?: to)?"
    r"|(?P<see>see|saw|meet|met|photograph(?:ed)?|film(?:ed)?)))?\b",
    re.IGNORECASE,
)
_ORDER_LAST = re.compile(
    rf"[,;]?\s*(?:(?P<order>{_NEWEST}|{_OLDEST}) (?:ones )?first"
    r"|(?:sorted |ordered )?(?:by date|chronologically|in chronological order))\s*$",
    re.IGNORECASE,
)
_SO_MANY = re.compile(
    _FIRST
    + rf"(?:(?:top|best)\s+(?P<n>{NUMBER})|(?P<n2>{NUMBER})(?:\s+best)?)\s+(?=(?:{_PLURAL})\b)",
    re.IGNORECASE,
)


def take_order(read: Reading) -> None:
    """``the latest photo of``, ``the last 5 videos``, ``three pictures of``, ``newest first``."""
    sentence = read.sentence
    if (last := sentence.find(_ORDER_LAST)) is not None:
        read.fields["order"] = _order(last["order"] or "oldest")
    if (match := sentence.find(_FIRST_THING)) is not None:
        read.fields["order"] = _order(match["order"])
        is_one = match["thing"].lower() == "thing"
        _limit(read, _number(match["n"]) if match["n"] else int(is_one))
        if match["image"] or match["video"]:
            read.filters["kind"] = "image" if match["image"] else "video"
        read.is_request = True
    elif (match := _WHEN_LAST.match(sentence.text)) is not None:
        words = next(word for word in match.groups() if word)
        read.fields["order"] = "oldest" if words.lower() == "zuerst" else _order(words)
        read.is_request = True
        leads_to = " in" if match["go"] else " of" if match["see"] else ""  # a place, or whom
        sentence.take(*match.span(), CUT + leads_to)
    elif (match := _ORDERED_KIND.match(sentence.text)) is not None:
        words = match.groupdict()
        read.fields["order"] = _order(words["order"] or words["order2"])
        count = words["n"] or words["n2"]
        is_one = _SINGLE.fullmatch(words["kind"]) or words["kind"].lower() in ("one", "result")
        _limit(read, _number(count) if count else 1 if is_one else 0)
        sentence.take(match.start(), match.start("kind"))
        read.is_request = True
    elif (match := _ORDERED_THING.match(sentence.text)) is not None:
        read.fields["order"] = _order(match["order"])
        is_one = _SINGLE.fullmatch(match["kind"]) is not None
        _limit(read, int(match["n"]) if match["n"] else int(is_one))
        sentence.take(match.start(), match.end())
        read.is_request = True
    elif (match := _SO_MANY.match(sentence.text)) is not None:
        count = _number(match["n"] or match["n2"])
        if count > 1:
            _limit(read, count)
            sentence.take(match.start(), match.end())
            read.is_request = True


def _order(words: str) -> str:
    is_old = re.fullmatch(_SAID_OLDEST, words, re.IGNORECASE)
    return "oldest" if is_old else "newest"


def _number(said: str) -> int:
    return int(said) if said.isdecimal() else NUMBERS[said.lower()]


def _limit(read: Reading, count: int) -> None:
    if 0 < count <= 1000:
        read.fields["limit"] = count


_EACH = re.compile(
    rf"[,;]?\s*(?:\bone\s+)?(?:\b(?:for|from|per|of|in|at|on|during|to|für|pour|por)\s+"
    rf"(?:each|every|each and every|jede[ns]?|chaque|cada)\s+(?:single )?"
    rf"(?P<what>year|month|day|jahr|monat|tag|an|année|mois|jour|año|mes|día|{SEASON}|{HOLIDAY}|{MONTH})"
    rf"|\b(?:per|pro|par|por)\s+(?P<per>year|month|day|jahr|monat|tag|an|mois|jour|año|mes|día))\b"
    r"|[,;]\s*one (?:each|every|a|per) (?P<each>year|month|day)\b",
    re.IGNORECASE,
)
_PERIODS = {
    **dict.fromkeys("year jahr an année año".split(), "year"),
    **dict.fromkeys("month monat mois mes".split(), "month"),
    **dict.fromkeys("day tag jour día".split(), "day"),
}
_ONE = re.compile(
    rf"{_FIRST}(?:(?:the )?best\s+|(?:only |just )?(?:one|an?|1|ein|une?|una?)\s+(?:single\s+)?)?"
    rf"(?=(?:[\w'-]+ ){{0,3}}(?:{_KIND}|one\b))",
    re.IGNORECASE,
)


def take_one_each(read: Reading) -> None:
    """``one photo for each year``, ``a picture from every summer``, ``one per month``."""
    found = read.sentence.find(_EACH)
    if found is None:
        return
    what = (found["what"] or found["per"] or found["each"]).lower()
    read.is_request = True
    read.fields["one_each"] = _PERIODS.get(what, "year")
    if what not in _PERIODS and (days := yearly_days(what)):
        read.filters["yearly"] = days
    if (one := _ONE.match(read.sentence.text)) is not None:
        read.sentence.take(*one.span())


_REQUEST = re.compile(_FIRST, re.IGNORECASE)
_ASKS_FOR_KIND = re.compile(
    _FIRST + rf"(?:(?P<many>{_PLURAL})|(?P<one>{_SINGULAR}))\b", re.IGNORECASE
)


def take_request(read: Reading) -> None:
    """``show me``, ``can you find``, ``I'm looking for``."""
    text = read.sentence.text
    asked = _ASKS_FOR_KIND.match(text)
    if asked and (asked["lead"] or asked["many"] or asked["det"].strip()):
        read.is_request = True
    lead = _REQUEST.match(text)
    if lead and lead["lead"]:
        read.sentence.take(lead.start(), lead.end("lead"))
        read.is_request = True


_OF = r"(?:\s+(?:of|with|showing|that show|which show|where|von|mit|de|con|avec)(?=\s|$))?"
_KIND_FIRST = re.compile(
    rf"^[\s{CUT}]*(?P<det>(?:(?:{_DETERMINER}|one|an?|ein|une?|una?)\s+)*)"
    rf"(?P<kind>(?:{_PLURAL})|(?:{_SINGULAR}))\b"
    rf"(?:\s+(?:and|or|und|et|y)\s+(?P<other>{_KIND}))?{_OF}",
    re.IGNORECASE,
)
_KIND_LAST = re.compile(
    rf"^[\s{CUT}]*(?:(?:{_DETERMINER})\s+)*(?P<thing>(?:[\w'-]+\s+){{1,3}})(?P<kind>{_PLURAL})"
    rf"(?=\s*(?:[{CUT}?.!,]|$))",
    re.IGNORECASE,
)
_SHOTS = re.compile(
    rf"^[\s{CUT}]*(?:(?:{_DETERMINER})\s+)*shots\b(?=\s*(?:taken|made|of|with|{CUT}|$))",
    re.IGNORECASE,
)
_NO_THING = re.compile(
    r"\b(?:an?|the|of|with|in|on|at|and|to|is|are|for|from|(?!wedding|evening|morning)\w+ing|takes?|took|taken|snaps?|watch(?:es)?"
    r"|shoots?|shows?|has|have|holds?|looks?|two|three|four|several|many|some|no|his|her|their)\b",
    re.IGNORECASE,
)


def take_kind(read: Reading) -> None:
    """``videos of dogs``, ``dog videos``: but "a photo of a dog" may be how one describes it."""
    if read.filters.keys() & {"camera", "since", "until", "yearly"}:
        read.sentence.find(_SHOTS)  # of either kind
    text = read.sentence.text
    first = _KIND_FIRST.match(text)
    if first is not None:
        kind = first["kind"].lower()
        is_one = _SINGLE.fullmatch(kind) is not None
        is_film = _HALF_KIND.fullmatch(kind) is None
        is_clear = not is_one or (is_film and not _goes_on(text, first))
        if read.is_request or is_clear:
            _kind(read, kind, first["other"])
            shown = kind.rstrip("s") if re.fullmatch(_SHOWN, kind) else CUT
            read.sentence.take(*first.span(), shown)
        return
    last = _KIND_LAST.match(text)
    if last is not None and not _NO_THING.search(last["thing"]):
        _kind(read, last["kind"].lower(), None)
        if not re.fullmatch(_SHOWN, last["kind"], re.IGNORECASE):
            read.sentence.take(*last.span("kind"))
        read.is_request = True


def _kind(read: Reading, kind: str, other: str | None) -> None:
    kinds = {is_image(word) for word in (kind, other) if word}
    if len(kinds) == 1:
        read.filters.setdefault("kind", "image" if kinds.pop() else "video")


def is_image(word: str) -> bool:
    """Whether a word for a kind means pictures, and no films."""
    return _HALF_KIND.fullmatch(word) is not None


def _goes_on(text: str, first: re.Match[str]) -> bool:
    """Whether a film is no kind here but a thing: "a film crew", "movie theater"."""
    return not re.search(r"\s(?:of|with|showing|where|von|de)$", first[0]) and bool(
        text[first.end() :].strip()
    )
