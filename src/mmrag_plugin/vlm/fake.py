"""A VLM without a model, for examples and tests: it says which colour each picture mostly is.

It looks at the pictures it is really given, so an answer proves that the right pixels arrived in
the right order. It understands nothing that it is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import PIL.Image
from llama_index.core.base.llms.types import ImageBlock
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseGen,
    CustomLLM,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback

from mmrag_plugin.pictures import open_picture

_COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "grey": (128, 128, 128),
    "red": (220, 20, 20),
    "green": (30, 150, 40),
    "blue": (30, 60, 220),
    "yellow": (250, 230, 30),
    "orange": (250, 140, 20),
    "purple": (130, 30, 150),
    "pink": (250, 160, 190),
    "brown": (120, 70, 30),
}


def main_colour(picture: PIL.Image.Image) -> str:
    """Name the basic colour that most of the picture's area is nearest to (RGB distance)."""
    palette = PIL.Image.new("P", (1, 1))
    palette.putpalette([level for colour in _COLOURS.values() for level in colour])
    small = picture.resize((16, 16), PIL.Image.Resampling.BOX)
    named = small.quantize(palette=palette, dither=PIL.Image.Dither.NONE)
    areas = named.histogram()[: len(_COLOURS)]
    return list(_COLOURS)[areas.index(max(areas))]


def say_what_is_seen(pictures: Sequence[PIL.Image.Image]) -> str:
    """Say "I see 2 pictures: [1] mostly red, 640x480; [2] mostly blue, 512x288."."""
    if not pictures:
        return "I see no picture."
    seen = "; ".join(
        f"[{number}] mostly {main_colour(picture)}, {picture.width}x{picture.height}"
        for number, picture in enumerate(pictures, start=1)
    )
    return f"I see {len(pictures)} picture{'s' if len(pictures) > 1 else ''}: {seen}."


class FakeVLM(CustomLLM):
    """Says what colour the pictures of the conversation are; asks nobody, needs nothing."""

    @property
    def metadata(self) -> LLMMetadata:
        """It is a chat model."""
        return LLMMetadata(model_name="fake", is_chat_model=True)

    @classmethod
    def class_name(cls) -> str:
        """Name the class for LlamaIndex's own bookkeeping."""
        return "FakeVLM"

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer in one piece."""
        answer = say_what_is_seen(list(_pictures(messages)))
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=answer))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer word by word."""
        answer = say_what_is_seen(list(_pictures(messages)))

        def words() -> ChatResponseGen:
            for said, delta in _words(answer):
                message = ChatMessage(role=MessageRole.ASSISTANT, content=said)
                yield ChatResponse(message=message, delta=delta)

        return words()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer a prompt, which holds no picture."""
        return CompletionResponse(text=say_what_is_seen([]))

    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Answer a prompt word by word."""

        def words() -> CompletionResponseGen:
            for said, delta in _words(say_what_is_seen([])):
                yield CompletionResponse(text=said, delta=delta)

        return words()


def _words(answer: str) -> Iterator[tuple[str, str]]:
    said = ""
    for word in answer.split(" "):
        delta = f" {word}" if said else word
        said += delta
        yield said, delta


def _pictures(messages: Iterable[ChatMessage]) -> Iterator[PIL.Image.Image]:
    for message in messages:
        for block in message.blocks:
            if isinstance(block, ImageBlock):
                yield open_picture(block.resolve_image().read())
