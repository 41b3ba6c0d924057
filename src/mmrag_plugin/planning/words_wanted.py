"""What is to be read in a picture or was said in a film: ``a sign that says "no parking"``."""

from __future__ import annotations

import re

from mmrag_plugin.planning.reading import CUT, Reading

_SAYING = (
    r"(?:(?:that|which|who|where it)\s+(?:says?|said|reads?|is written)"
    r"|(?:sign|banner|shirt|note|card|label|poster|board|message|letter|page|screen|ticket)s?\s+"
    r"(?:saying|reading)|saying"
    r"|(?:with|containing|has|having|mentioning)\s+(?:the\s+)?(?:words?|text|writing|inscription"
    r"|phrase|sentence|title)|(?:on|in) (?:which|it) (?:is|stands)(?: written)?|labell?ed|titled)"
)
_SINGLE_QUOTED = re.compile(
    rf"(?:\b{_SAYING}\s*:?\s*)?(?<!\w)'(?P<words>[^'\s][^']{{0,200}}[^'\s])'(?!\w)", re.IGNORECASE
)
_BEFORE_PHRASE = re.compile(rf"\b{_SAYING}\s*(?=[{CUT}?.!]|$)", re.IGNORECASE)
_READ_ALOUD = re.compile(
    r"\b(?:says?|said|saying|reads?|reading|labell?ed|titled|marked|spells?)\s*:?\s*$",
    re.IGNORECASE,
)
_UNQUOTED = re.compile(
    r"\b(?:(?:that|which)\s+(?:says?|said)"
    r"|(?P<sign>(?:sign|banner|shirt|note|card|label|poster|board|message|letter|page|ticket)s?)\s+"
    r"saying|with the (?:words?|text))\s+"
    rf"(?P<words>[^,;?!{CUT}]+)",
    re.IGNORECASE,
)
_OF_A_SCREEN = re.compile(
    r"\b(?P<screen>screenshots?)\s+(?:of|with|showing)\s+(?:the |an? |my )?"
    rf"(?P<words>[^,;?!{CUT}]*\b(?:error|message|code|booking|ticket|password|number)\b[^,;?!{CUT}]*"
    rf"|[^,;?!{CUT}]*\w*\d\w*[^,;?!{CUT}]*)",
    re.IGNORECASE,
)
_SOME_TEXT = re.compile(
    r"\b(?:with|having|containing|that (?:have|contain))\s+(?:any |some )?"
    r"(?:text|writing|words|letters)(?:\s+(?:in|on)\s+(?:it|them|the picture))?"
    rf"(?=\s*(?:[{CUT},.?!]|$))",
    re.IGNORECASE,
)
_NO_TEXT = re.compile(
    r"\b(?:without|with no|no)\s+(?:any )?(?:text|writing|words|letters)"
    rf"(?:\s+(?:in|on)\s+(?:it|them|the picture))?(?=\s*(?:[{CUT},.?!]|$))",
    re.IGNORECASE,
)


def take_quoted(read: Reading) -> None:
    """Take words in single quotes; those in double quotes were phrases before."""
    if read.phrases:
        _take_read_aloud(read)  # first: its marks are counted
        read.sentence.find(_BEFORE_PHRASE)
    while (found := _SINGLE_QUOTED.search(read.sentence.text)) is not None:
        _add(read, found["words"])
        read.sentence.take(*found.span())


def _take_read_aloud(read: Reading) -> None:
    """Take what a sign says in double quotes as text: nobody asks for it to the letter there."""
    kept: list[str] = []
    for phrase, mark in zip(read.phrases, list(re.finditer(CUT, read.sentence.text)), strict=True):
        if _READ_ALOUD.search(read.sentence.text[: mark.start()]):
            _add(read, phrase)
            read.sentence.is_whole = False
        else:
            kept.append(phrase)
    read.phrases = kept


def take_text(read: Reading) -> None:
    """Take what is to be read without quotes, and whether there is text at all."""
    sentence = read.sentence
    if (found := _UNQUOTED.search(sentence.text)) is not None:
        _add(read, found["words"])
        sentence.take(found.end("sign") if found["sign"] else found.start(), found.end())
    if (found := _OF_A_SCREEN.search(sentence.text)) is not None:
        _add(read, found["words"])
        sentence.take(found.end("screen"), found.end())
        read.is_request = True
    if not read.is_request or not read.known.reads_text:
        return
    if sentence.find(_SOME_TEXT):
        read.filters["has_text"] = True
    elif sentence.find(_NO_TEXT):
        read.filters["has_text"] = False


def _add(read: Reading, words: str) -> None:
    words = " ".join(words.split()).strip(" .,:;")
    if words:
        read.fields["text"] = f"{read.fields.get('text', '')} {words}".strip()
