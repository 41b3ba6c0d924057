"""Text that comes out of media: bounded, without hidden characters, and fenced off."""

from __future__ import annotations

import re
import unicodedata

MAX_CHARS = 2_000
ANSWER_CHARS = 8_000
TAG = "media_text"

_PICTURE_TAG = re.compile(r"\[(?=img)", re.IGNORECASE)
_KEPT_CONTROLS = "\n\t\u200c\u200d"  # line breaks, and the joiners that scripts and emoji need
_LOOKALIKES = str.maketrans("<>", "\u2039\u203a")


def clean(text: str, max_chars: int = MAX_CHARS) -> str:
    """Leave out what people don't see and models read, escape ``[img``, and cut to a length."""
    kept = "".join(
        char
        for char in text[: 4 * max_chars]
        if char in _KEPT_CONTROLS or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")
    ).strip()
    if len(kept) > max_chars:
        kept = kept[: max_chars - 1].rstrip() + "…"
    return _PICTURE_TAG.sub("(", kept)


def fenced(text: str, max_chars: int = MAX_CHARS) -> str:
    """Mark text as found in media; nothing inside can close the fence."""
    return f"<{TAG}>{clean(text, max_chars).translate(_LOOKALIKES)}</{TAG}>"
