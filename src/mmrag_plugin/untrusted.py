"""Text that comes out of media (OCR, subtitles, names, captions) is data, and never an instruction.

Whatever a model will read goes through here first: bounded, without hidden characters, unable to
place pictures in a prompt, and fenced off from what people and programs say.
"""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 2_000
MAX_ANSWER_CHARS = 20_000
TAG = "media_text"

_PICTURE_TAG_START = re.compile(r"\[(?=img)", re.IGNORECASE)
_KEPT_CONTROLS = "\n\t\u200c\u200d"  # line breaks, and the joiners that scripts and emoji need
# Fillers, joiners and selectors that show nothing, though Unicode counts them as letters and marks.
# The selector that makes a sign an emoji (U+FE0F) stays.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u3164\uffa0\ufe00-\ufe0e\U000e0000-\U000e0fff]")
_SEPARATORS = re.compile("[\u2028\u2029]")
# Angle and square brackets make chat-template tokens (<|im_start|>, [INST]), fences and citations.
_LOOKALIKES = str.maketrans("<>[]", "\u2039\u203a()")
_NO_CITATION = re.compile(r"\[(?!\d[\d,;\s\u2013-]*\])")
_ANGLES = str.maketrans("<>", "\u2039\u203a")


def escape_picture_tags(text: str) -> str:
    """Keep a text from placing pictures in an Ollama prompt: ``[img`` becomes ``(img``."""
    return _PICTURE_TAG_START.sub("(", text)


def escape_media_text(text: str, max_chars: int = MAX_CHARS) -> str:
    """Make text out of media safe to embed: no control or hidden characters, bounded, no ``[img``.

    Hidden characters are those that people don't see and models read: bidirectional overrides, tag
    characters, zero-width marks, fillers, variation selectors.
    """
    text = text[: 4 * max_chars]  # the bound comes first: a text may be megabytes
    cleaned = "".join(
        char
        for char in _UNSEEN.sub("", _SEPARATORS.sub("\n", text))
        if char in _KEPT_CONTROLS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
    ).strip()
    if len(cleaned) > max_chars:
        cleaned = cleaned[: max_chars - 1].rstrip() + "…"
    return escape_picture_tags(cleaned)


def untrusted(label: str, text: str, max_chars: int = MAX_CHARS) -> str:
    """Fence text out of media, so that a model can tell it from its instructions.

    Inside the fence no angle or square bracket is left: the text can't close the fence, open a turn
    of the chat template or pose as a citation. ``label`` is ours, never from media.
    """
    inner = escape_media_text(text, max_chars).translate(_LOOKALIKES)
    return f'<{TAG} of="{label}">\n{inner}\n</{TAG}>'


def fenced(text: str, max_chars: int = MAX_CHARS) -> str:
    """Fence text for an assistant's eyes: nothing inside closes the fence, citations stay."""
    return f"<{TAG}>{escape_media_text(text, max_chars).translate(_ANGLES)}</{TAG}>"


def quoted(text: str, max_chars: int = MAX_ANSWER_CHARS) -> str:
    """Make an earlier answer safe to show a model again: it may quote text out of media.

    Nothing in it is a fence or opens a turn of the chat template; citations stay.
    """
    safe = escape_media_text(text, max_chars).translate(_ANGLES)
    return _NO_CITATION.sub("(", safe)
