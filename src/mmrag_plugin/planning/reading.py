"""A question on its way through the rules: what is understood of it, and what is left."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from mmrag_plugin.planning.base import KnownNames

CUT = "\x1f"  # stands where something was taken out; no clause reaches over it

# Words that join a piece to the rest, and mean nothing once the piece is gone.
_JOINS = (
    "and|or|but|with|in|on|at|from|of|by|for|to|near|around|during|taken|made|shot|filmed|recorded"
    "|captured|that|which|where|when|who|is|are|was|were|i|we|you|have|has|had|did|do|me|the|a|an"
    "|my|our|und|aus|von|vom|mit|im|in|am|de|du|des|del|et|y|con|avec|en|been|ones|those|all"
)
_BEGINS = re.compile(rf"^(?:[\s,.;:!?-]+|(?:{_JOINS})(?=\s|$))+", re.IGNORECASE)
_LEFT_BEHIND = (
    "and|or|but|with|in|on|at|from|of|by|for|to|near|around|during|taken|made|shot|filmed|recorded"
    "|captured|that|which|where|when|who|is|are|was|were|i|we|did|do|have|the|a|an|my|our|und|aus"
    "|von|vom|mit|im|am|de|du|des|del|et|y|con|avec|en|dated"
)
# One way to read each character: a text of nothing but such words must not take for ever.
_ENDS = re.compile(
    rf"(?:[\s,.;:!?-]|(?:(?<=\s)|^)(?:{_LEFT_BEHIND})(?=[\s,.;:!?-]|$))+$", re.IGNORECASE
)
_SAID_OF_TAKING = re.compile(
    r"\b(?:that |which )?(?:(?:i|we|you)(?: have|'ve)? )?(?:took|taken|shot|made|filmed|recorded"
    r"|photographed|captured)\s*$",
    re.IGNORECASE,
)


# What turns a date or a name behind it into one that is not wanted.
NEGATION = (
    r"(?:[,;]\s*)?(?:\b(?:but|and)\s+)?\b(?:not|except(?:ing)?(?: for)?|excluding|without"
    r"|other than|apart from|nicht|außer|ohne|pas|sauf|sans|excepto|sin)\s+"
    r"(?:(?:any|the|those|ones|photos|pictures|images|videos|taken|shot|made|filmed|was|were)\s+)*"
)
_NEGATED = re.compile(rf"\s*{NEGATION}$", re.IGNORECASE)


class Sentence:
    """What is left of a question."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_whole = True

    def take(self, start: int, end: int, put: str = CUT) -> None:
        """Take a piece out."""
        self.text = f"{self.text[:start]} {put} {self.text[end:]}"
        self.is_whole = False

    def find(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Find a pattern and take it out."""
        match = pattern.search(self.text)
        if match is not None:
            self.take(*match.span())
        return match

    def negation_before(self, start: int) -> int | None:
        """Where the negation begins that stands right before a place; None without one."""
        match = _NEGATED.search(self.text[:start])
        return None if match is None else match.start()

    def rest(self) -> str:
        """What is left, without the words that hung on what was taken."""
        if self.is_whole:
            return self.text.strip()
        parts = self.text.split(CUT)
        kept: list[str] = []
        for number, part in enumerate(parts):
            text = " ".join(part.split())
            if number < len(parts) - 1:  # something was taken behind it
                text = _SAID_OF_TAKING.sub("", text)
                text = _ENDS.sub("", text)
            if number and not kept:
                text = _BEGINS.sub("", text)
            elif number:
                text = text.lstrip(" ,.;:!?-")
            kept += [text] if text.strip(" ,.;:!?-") else []
        return " ".join(kept).strip(" ,;:").rstrip(" ?!")


@dataclass
class Reading:
    """What the rules have understood so far.

    ``is_request`` tells that somebody asks for pictures ("show me", "photos of"), so that what
    follows is no description. ``phrases`` are the words in double quotes; each has left a PHRASE in
    the sentence.
    """

    today: date
    known: KnownNames
    sentence: Sentence
    is_request: bool = False
    phrases: list[str] = field(default_factory=list)
    filters: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)
    people: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
