"""How large a context is asked for: enough, in steps, and never more than the model has."""

from __future__ import annotations

import asyncio
from typing import Any

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock

from mmrag_plugin.errors import ServiceError
from mmrag_plugin.vlm.base import picture_block
from mmrag_plugin.vlm.ollama import NUM_CTX, NUM_PREDICT, OllamaVLM
from mmrag_plugin.vlm.ollama_context import FLOOR, needed, step, text_tokens
from ollama_double import Model, OllamaDouble


def vlm(double: OllamaDouble, **options: Any) -> OllamaVLM:
    return OllamaVLM("eye", double.url, backoff_s=0.01, **options)


def picture() -> ImageBlock:
    return picture_block(PIL.Image.new("RGB", (64, 48), "red"))


def asked(*content: str | ImageBlock) -> list[ChatMessage]:
    blocks = [TextBlock(text=item) if isinstance(item, str) else item for item in content]
    return [ChatMessage(role="user", blocks=blocks)]


def sent(double: OllamaDouble) -> list[int]:
    return [chat["options"]["num_ctx"] for chat in double.chats]


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("The quick brown fox jumps over the lazy dog", 9, 20),
        ("写一首关于春天的诗", 9, 20),
        ("سلام دنیا", 5, 16),
        ("2024-05-01 18:30:00", 12, 20),
        ("👩‍👩‍👧", 3, 12),
        ("", 0, 1),
    ],
)
def test_a_text_is_taken_for_rather_too_many_tokens(text: str, least: int, most: int) -> None:
    assert least <= text_tokens(text) <= most


@given(st.text(), st.text())
def test_more_text_never_needs_less(text: str, more: str) -> None:
    assert text_tokens(text) <= text_tokens(text + more)
    need = needed(asked(text))
    assert need.least <= need.likely


def test_the_family_of_a_model_tells_what_a_picture_costs() -> None:
    assert needed(asked(picture(), picture())).likely >= 2048
    assert 512 <= needed(asked(picture(), picture()), "gemma3").likely < 600
    assert needed(asked(picture()), "qwen25vl").likely >= 1300


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_step_is_enough_or_all_that_there_is(tokens: int, own: int) -> None:
    assert step(tokens) >= max(tokens, FLOOR)
    assert step(tokens, own) == min(step(tokens), own)


@pytest.mark.parametrize("own", [131_072, 2048])
def test_a_small_question_asks_for_the_floor_or_all_that_the_model_has(own: int) -> None:
    with OllamaDouble({"eye": Model(context_length=own)}) as double:
        llm = vlm(double)
        assert llm.metadata.context_window == NUM_CTX
        llm.chat(asked("hello"))
        assert sent(double) == [min(FLOOR, own)]
        assert llm.metadata.context_window == min(NUM_CTX, own)


def test_what_a_person_sets_is_sent_as_it_is() -> None:
    with OllamaDouble() as double:
        vlm(double, num_ctx=1234).chat(asked("hello"))
        assert sent(double) == [1234]


@pytest.mark.parametrize("family", ["qwen3vl", "gemma3"])
def test_many_pictures_get_room_and_the_model_is_loaded_no_more_often_than_needed(
    family: str,
) -> None:
    cost = 256 if family == "gemma3" else 1024
    model = Model(family=family, tokens_per_picture=cost)
    with OllamaDouble({"eye": model}) as double:
        llm = vlm(double)
        for count in (1, 8, 1, 2, 7):
            llm.chat(asked("What?", *[picture()] * count))
        assert all(num_ctx >= 8 * cost for num_ctx in sent(double)[1:])
        assert len(double.loads) == (1 if family == "gemma3" else 2)


def test_copies_with_limits_share_the_context_so_that_nothing_is_loaded_anew() -> None:
    with OllamaDouble({"eye": Model(family="qwen3vl", tokens_per_picture=1024)}) as double:
        llm = vlm(double)
        llm.chat(asked(*[picture()] * 8))
        llm.with_limits(max_tokens=10).chat(asked("hello"))
        assert len(double.loads) == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_a_context_that_was_too_small_grows_once_to_what_the_server_says(streamed: bool) -> None:
    """A picture costs far more than anybody knows."""
    with OllamaDouble({"eye": Model(family="new", tokens_per_picture=9000)}) as double:
        llm = vlm(double)
        if streamed:

            async def listen() -> None:
                async for _ in await llm.astream_chat(asked("x", picture())):
                    pass

            asyncio.run(listen())
        else:
            llm.chat(asked("x", picture()))
        small, large = sent(double)
        assert small == FLOOR
        assert large >= 9000 + NUM_PREDICT
        llm.chat(asked("x", picture()))
        assert sent(double)[2:] == [large], "it is remembered"


def test_a_context_that_the_model_has_not_is_an_error_after_one_question() -> None:
    model = Model(family="new", tokens_per_picture=9000, context_length=8192)
    with OllamaDouble({"eye": model}) as double:
        with pytest.raises(ServiceError, match="8,192 at most") as caught:
            vlm(double).chat(asked("x", picture()))
        assert "fewer pictures" in caught.value.remedy
        assert len(double.chats) == 1


def test_what_no_context_of_the_model_can_hold_is_an_error_before_anything_is_sent() -> None:
    with OllamaDouble({"eye": Model(context_length=2048)}) as double:
        for content in ([picture()] * 9, ["word " * 10_000]):
            with pytest.raises(ServiceError, match="2,048 at most") as caught:
                vlm(double).chat(asked("x", *content))
            assert "longer context" in caught.value.remedy
        assert double.chats == []


def test_what_may_fit_is_tried_with_all_that_the_model_has() -> None:
    with OllamaDouble({"eye": Model(family="moondream", context_length=2048)}) as double:
        vlm(double).chat(asked(*[picture()] * 3))  # thought to cost 1,024 each; they cost 256
        assert sent(double) == [2048]
