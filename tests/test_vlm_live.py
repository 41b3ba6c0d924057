"""A real Ollama: MMRAG_TEST_OLLAMA names the server, MMRAG_VLM another model than the default.

The double passes, too.
"""

from __future__ import annotations

import os
import re
from typing import Literal

import PIL.Image
import PIL.ImageDraw
import pytest
from llama_index.core.base.llms.types import ContentBlock, TextBlock
from pydantic import BaseModel

from mmrag_plugin.describing import astream_describe, describe, stream_describe
from mmrag_plugin.settings import load_settings
from mmrag_plugin.vlm.base import picture_block, user_message
from mmrag_plugin.vlm.canary import check_sight
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.structured import ask_for

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]  # the first request loads the model


@pytest.fixture(scope="module")
def llm() -> OllamaVLM:
    host = os.environ.get("MMRAG_TEST_OLLAMA")
    if not host:
        pytest.skip("MMRAG_TEST_OLLAMA names no server")
    return OllamaVLM(load_settings().vlm, host, temperature=0.0, max_tokens=400)


def picture(colour: str) -> PIL.Image.Image:
    drawn = PIL.Image.new("RGB", (512, 384), "white")
    PIL.ImageDraw.Draw(drawn).rectangle((32, 32, 480, 352), fill=colour)
    return drawn


def test_it_sees(llm: OllamaVLM) -> None:
    check_sight(llm)


def test_it_tells_red_from_blue_in_order(llm: OllamaVLM) -> None:
    blocks: list[ContentBlock] = [
        TextBlock(text="First a picture:"),
        picture_block(picture("red")),
        TextBlock(text="Then:"),
        picture_block(picture("blue")),
        TextBlock(text="Name the colour of each shape, in order, in English."),
    ]
    said = str(llm.chat([user_message(llm, blocks)]).message.content).lower()
    assert said.index("red") < said.index("blue")


def test_it_describes(llm: OllamaVLM) -> None:
    assert "red" in describe(llm, [(None, picture("red"))], detail="short").lower()


async def test_it_streams(llm: OllamaVLM) -> None:
    frames = [(0.0, picture("red")), (5.0, picture("blue"))]
    pieces = list(stream_describe(llm, frames))
    assert len(pieces) > 3
    assert {"red", "blue"} <= set(re.findall(r"[a-z]+", "".join(pieces).lower()))
    assert "".join([piece async for piece in astream_describe(llm, frames)]).strip()


def test_a_stream_that_is_left_early_stops_the_model(llm: OllamaVLM) -> None:
    stream = llm.stream_chat([user_message(llm, [TextBlock(text="Count from 1 to 500.")])])
    next(stream)
    stream.close()
    assert llm.chat([user_message(llm, [TextBlock(text="Say yes.")])]).message.content


class Shape(BaseModel):
    """What is drawn."""

    colour: Literal["red", "green", "blue", "yellow"]
    corners: int


def test_it_answers_by_schema(llm: OllamaVLM) -> None:
    blocks: list[ContentBlock] = [
        picture_block(picture("green")),
        TextBlock(text="Which colour has the shape, and how many corners?"),
    ]
    assert ask_for(llm, [user_message(llm, blocks)], Shape).colour == "green"
