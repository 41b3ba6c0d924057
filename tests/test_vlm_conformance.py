"""What every VLM must do, whoever made it: one suite over all kinds that mmrag works with."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import PIL.Image
import pytest
from llama_index.core.base.llms.types import ContentBlock
from llama_index.core.llms import (
    LLM,
    ChatMessage,
    ImageBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
)

from mmrag_plugin.answering import MediaQueryEngine
from mmrag_plugin.describing import adescribe, astream_describe, describe, stream_describe
from mmrag_plugin.library_models import careful, limited
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.results import SearchResult
from mmrag_plugin.settings import load_settings
from mmrag_plugin.vlm.base import picture_block, user_message
from mmrag_plugin.vlm.canary import acheck_sight, check_sight
from mmrag_plugin.vlm.fake import FakeVLM
from mmrag_plugin.vlm.ollama import OllamaVLM
from ollama_double import OllamaDouble


class Calls(FakeVLM):
    """A model that calls functions, as OpenAI's do: mmrag needs nothing of that."""

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="calls", is_chat_model=True, is_function_calling_model=True)


def multi_modal(double: OllamaDouble) -> LLM:
    """LlamaIndex's OllamaMultiModal, as a library takes it over."""
    from llama_index.multi_modal_llms.ollama import OllamaMultiModal

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it warns that it exists
        theirs = OllamaMultiModal(model="eye", base_url=double.url)
    return careful(theirs, load_settings(vlm="eye"))


MAKERS: dict[str, Callable[[OllamaDouble], LLM]] = {
    "OllamaVLM": lambda double: OllamaVLM("eye", double.url),
    "OllamaMultiModal": multi_modal,
    "FakeVLM": lambda _: FakeVLM(),
    "function-calling": lambda _: Calls(),
}
SAID = "I see 2 pictures: [1] mostly red, 64x48; [2] mostly blue, 20x10."


@pytest.fixture(params=MAKERS)
def llm(request: pytest.FixtureRequest) -> Iterator[LLM]:
    with OllamaDouble() as double:
        yield MAKERS[request.param](double)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            gc.collect()


def picture(colour: str, size: tuple[int, int] = (64, 48)) -> PIL.Image.Image:
    return PIL.Image.new("RGB", size, colour)


def asked(llm: LLM, *more: str) -> list[ChatMessage]:
    blocks: list[ContentBlock] = [
        TextBlock(text="first"),
        picture_block(picture("red")),
        *(TextBlock(text=text) for text in more),
        picture_block(picture("blue", (20, 10))),
    ]
    return [
        ChatMessage(role=MessageRole.SYSTEM, content="Look."),
        user_message(llm, blocks),
    ]


async def test_pictures_arrive_in_order_in_all_four_ways(llm: LLM) -> None:
    messages = asked(llm)
    assert llm.chat(messages).message.content == SAID
    assert (await llm.achat(messages)).message.content == SAID
    pieces = list(llm.stream_chat(messages))
    assert "".join(piece.delta or "" for piece in pieces) == SAID
    assert pieces[-1].message.content == SAID
    awaited = [piece async for piece in await llm.astream_chat(messages)]
    assert "".join(piece.delta or "" for piece in awaited) == SAID


@pytest.mark.parametrize("hostile", ["[img]", "[img-0]", "{braces} %s", "<|im_end|>", "\x00", ""])
def test_no_text_changes_which_pictures_are_seen(llm: LLM, hostile: str) -> None:
    assert llm.chat(asked(llm, hostile)).message.content == SAID


def test_a_conversation_goes_on_with_the_pictures_of_before(llm: LLM) -> None:
    first = asked(llm)
    answer = llm.chat(first).message
    later = user_message(llm, [TextBlock(text="and this?"), picture_block(picture("green"))])
    said = str(llm.chat([*first, answer, later]).message.content)
    assert said.startswith("I see 3 pictures: [1] mostly red")
    assert "[3] mostly green" in said


async def test_it_describes_in_all_four_ways(llm: LLM) -> None:
    frames = [(0.0, picture("red")), (5.0, picture("blue", (20, 10)))]
    assert describe(llm, frames) == SAID
    assert await adescribe(llm, frames) == SAID
    assert "".join(stream_describe(llm, frames)) == SAID
    assert "".join([delta async for delta in astream_describe(llm, frames)]) == SAID


def test_it_answers_with_sources(llm: LLM) -> None:
    class Shelf:
        def find(self, query: Any) -> SearchResult:
            return SearchResult("", [Hit(1, Moment("m", "image"), "/a.jpg", 1.0, "strong")])

        async def afind(self, query: Any) -> SearchResult:
            return self.find(query)

    engine = MediaQueryEngine(Shelf(), llm, lambda _: picture("red"))
    assert engine.ask("which?").text == "I see 1 picture: [1] mostly red, 64x48."
    assert "mostly red" in str(asyncio.run(engine.aquery("which?")))


def test_it_shows_that_it_sees(llm: LLM) -> None:
    check_sight(llm)
    asyncio.run(acheck_sight(llm))


def test_it_can_be_limited_and_still_answers(llm: LLM) -> None:
    assert limited(llm, max_tokens=500, temperature=0.0).chat(asked(llm)).message.content == SAID


def test_each_event_loop_may_use_the_same_object(llm: LLM) -> None:
    for _ in range(3):
        assert asyncio.run(llm.achat(asked(llm))).message.content == SAID


def test_a_stream_may_be_left_early(llm: LLM) -> None:
    stream = llm.stream_chat(asked(llm))
    next(stream)
    stream.close()


async def test_two_questions_at_once_do_not_mix(llm: LLM) -> None:
    other = [user_message(llm, [picture_block(picture("green"))])]
    first, second = await asyncio.gather(llm.achat(asked(llm)), llm.achat(other))
    assert first.message.content == SAID
    assert "mostly green" in str(second.message.content)


def test_messages_are_left_as_they_were(llm: LLM) -> None:
    messages = asked(llm)
    before = [message.model_dump() for message in messages]
    llm.chat(messages)
    assert [message.model_dump() for message in messages] == before
    assert isinstance(messages[1].blocks[-1], ImageBlock)
