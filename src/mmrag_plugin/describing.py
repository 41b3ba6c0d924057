"""Describe a photo, a moment or a whole film in words, with any LLM that takes pictures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TypeAlias

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.llms import LLM, ChatMessage, MessageRole
from PIL.Image import Image

from mmrag_plugin.errors import UsageError
from mmrag_plugin.timecode import format_time
from mmrag_plugin.untrusted import untrusted
from mmrag_plugin.vlm.base import aspoken, picture_block, said, spoken, user_message
from mmrag_plugin.vlm.prompts import (
    ABOUT_ONE_SYSTEM,
    DESCRIBE_FILM,
    DESCRIBE_PHOTO,
    DESCRIBE_SYSTEM,
    Detail,
)

# How many pictures a film is shown in; some models spend 1,024 tokens on each
FILM_PICTURES: dict[Detail, int] = {"short": 4, "normal": 6, "long": 10}

TimedPicture: TypeAlias = "tuple[float | None, Image]"


def describe(
    llm: LLM,
    frames: Sequence[TimedPicture],
    *,
    detail: Detail = "normal",
    known: str = "",
    question: str = "",
) -> str:
    """Describe a photo (one frame) or a film (its frames and their times, in seconds).

    ``known`` is text about the media (subtitles, names); the model is told not to obey it. A
    ``question`` about what is shown is answered instead. Raises
    UsageError without frames, ServiceError for an empty answer, and what the model raises.
    """
    return said(llm.chat(_describing(llm, frames, detail, known, question)))


async def adescribe(
    llm: LLM,
    frames: Sequence[TimedPicture],
    *,
    detail: Detail = "normal",
    known: str = "",
    question: str = "",
) -> str:
    """Describe without holding up the event loop."""
    messages = await asyncio.to_thread(_describing, llm, frames, detail, known, question)
    return said(await llm.achat(messages))


def stream_describe(
    llm: LLM,
    frames: Sequence[TimedPicture],
    *,
    detail: Detail = "normal",
    known: str = "",
    question: str = "",
) -> Iterator[str]:
    """Describe piece by piece."""
    return spoken(llm.stream_chat(_describing(llm, frames, detail, known, question)))


async def astream_describe(
    llm: LLM,
    frames: Sequence[TimedPicture],
    *,
    detail: Detail = "normal",
    known: str = "",
    question: str = "",
) -> AsyncIterator[str]:
    """Describe piece by piece, without holding up the event loop."""
    messages = await asyncio.to_thread(_describing, llm, frames, detail, known, question)
    async for delta in aspoken(await llm.astream_chat(messages)):
        yield delta


def _describing(
    llm: LLM, frames: Sequence[TimedPicture], detail: Detail, known: str, question: str
) -> list[ChatMessage]:
    if not frames:
        raise UsageError("There is no picture to describe.", "Pass at least one frame.")
    if detail not in DESCRIBE_PHOTO:
        raise UsageError(f"{detail!r} is no detail.", f"Choose {', '.join(DESCRIBE_PHOTO)}.")
    blocks: list[ContentBlock] = []
    for number, (time_s, picture) in enumerate(frames, start=1):
        at = "" if time_s is None else f", at {format_time(time_s)}"
        blocks += [TextBlock(text=f"Picture {number}{at}:\n"), picture_block(picture)]
    if known.strip():
        blocks.append(TextBlock(text=f"\nWhat came with it:\n{untrusted('the file', known)}\n"))
    task = DESCRIBE_PHOTO if len(frames) == 1 else DESCRIBE_FILM
    asked = f"The question: {question.strip()}" if question.strip() else task[detail]
    blocks.append(TextBlock(text=f"\n{asked}"))
    system = ABOUT_ONE_SYSTEM if question.strip() else DESCRIBE_SYSTEM
    return [
        ChatMessage(role=MessageRole.SYSTEM, content=system),
        user_message(llm, blocks),
    ]
