"""How large a context a request needs, in tokens: nothing here asks a server.

Ollama reserves memory for the whole context and loads the model anew when it changes, so it is
sized by what is sent, in steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from llama_index.core.base.llms.types import ImageBlock, TextBlock
from llama_index.core.llms import ChatMessage

FLOOR = 8_192  # tokens; a description, a caption and a short answer all fit, so nothing is reloaded
MESSAGE = 16  # tokens that a chat template puts around a message
SHORT_ANSWER = 256  # tokens; with less room than this there is no use in asking

# What a picture of 1,024 x 1,024 pixels costs, by the architecture that the server names. Others
# may spend 1,024 (Qwen's spend that on the smallest picture, too), or far less.
UNKNOWN_PICTURE = 1_024
PICTURE = {
    "gemma3": 256,
    "qwen2vl": 1_400,  # 28 x 28 pixels a token
    "qwen25vl": 1_400,
    "mistral3": 1_450,  # the same, and one for each row
}
_LEAST_PICTURE = 64

_WORDY = re.compile(r"[A-Za-z ]+")


@dataclass(frozen=True)
class Need:
    """How many tokens messages take: at least, and as a cautious guess."""

    least: int
    likely: int


def text_tokens(text: str) -> int:
    """Guess a text's tokens, rather too many: 3 letters each, other signs one each.

    Beyond ASCII two bytes of UTF-8 are one token: 1.5 for a Chinese character, as where a
    tokenizer hardly knows the script.
    """
    wordy = sum(map(len, _WORDY.findall(text)))
    plain = sum(map(str.isascii, text))
    beyond_bytes = len(text.encode(errors="replace")) - plain
    return wordy // 3 + (plain - wordy) + beyond_bytes // 2 + 1


def needed(messages: Sequence[ChatMessage], architecture: str = "") -> Need:
    """Guess what messages need, the pictures by the architecture of the model."""
    least = likely = 0
    for message in messages:
        likely += MESSAGE
        for block in message.blocks:
            if isinstance(block, ImageBlock):
                likely += PICTURE.get(architecture, UNKNOWN_PICTURE)
                least += PICTURE.get(architecture, _LEAST_PICTURE)
            elif isinstance(block, TextBlock):
                likely += text_tokens(block.text)
                least += len(block.text) // 8
    return Need(least, likely)


def step(tokens: int, own: int | None = None) -> int:
    """Round a context up to FLOOR or a doubling of it, within the model's own length."""
    rounded = FLOOR
    while rounded < tokens:
        rounded *= 2
    return rounded if own is None else min(rounded, own)
