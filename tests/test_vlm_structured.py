"""Answers of a fixed shape: JSON that fits a schema, or an error that says why not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import PIL.Image
import pytest
from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.llms import LLM, ChatMessage, ChatResponse
from pydantic import BaseModel, Field

from mmrag_plugin.errors import ServiceError
from mmrag_plugin.vlm.base import picture_block, user_message
from mmrag_plugin.vlm.fake import FakeVLM
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.structured import aask_for, ask_for
from ollama_double import Model, OllamaDouble, Reply


class Seen(BaseModel):
    """What a caption may be."""

    caption: str
    colour: Literal["blue", "red"]
    objects: list[str] = Field(max_length=3)
    people: int = Field(ge=0)


RED = {"caption": "a wall", "colour": "red", "objects": ["wall"], "people": 0}


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def vlm(double: OllamaDouble, **options: Any) -> OllamaVLM:
    return OllamaVLM("eye", double.url, backoff_s=0.01, **options)


def asked(llm: LLM, text: str = "What is this?") -> list[ChatMessage]:
    picture = picture_block(PIL.Image.new("RGB", (64, 48), "red"))
    blocks: list[ContentBlock] = [TextBlock(text=text), picture]
    return [user_message(llm, blocks)]


def asynchronously(llm: LLM, messages: Sequence[ChatMessage], shape: type[BaseModel]) -> BaseModel:
    return asyncio.run(aask_for(llm, messages, shape))


WAYS = pytest.mark.parametrize("way", [ask_for, asynchronously])
Way = Callable[[LLM, Sequence[ChatMessage], type[BaseModel]], Any]


class Says(FakeVLM):
    """Says one thing after the other, whatever it is asked; remembers what that was."""

    words: list[str] = Field(default_factory=list)
    heard: list[str] = Field(default_factory=list)

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        self.heard.append("\n".join(message.content or "" for message in messages))
        return ChatResponse(message=ChatMessage(role="assistant", content=self.words.pop(0)))


@WAYS
def test_ollama_is_held_to_the_schema_and_sees_the_pixels(double: OllamaDouble, way: Way) -> None:
    seen = way(vlm(double), asked(vlm(double)), Seen)
    assert (seen.colour, seen.objects, seen.people) == ("red", ["red"], 1)
    assert double.chats[0]["format"] == Seen.model_json_schema()


@WAYS
def test_any_other_llm_is_told_the_schema(way: Way) -> None:
    llm = Says(words=[f"Here it is:\n```json\n{json.dumps(RED)}\n```"])
    assert way(llm, asked(llm), Seen) == Seen.model_validate(RED)
    assert '"colour"' in llm.heard[0]


def test_braces_in_a_question_are_only_braces(double: OllamaDouble) -> None:
    text = "{caption} {0} {{ %s $colour"
    assert ask_for(vlm(double), asked(vlm(double), text), Seen).colour == "red"
    assert text in double.texts()


@WAYS
@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("No.", "it holds no JSON object"),
        ('{"caption": "a wall"', "it holds no JSON object"),
        ("{}", "caption: Field required"),
        (json.dumps(RED | {"colour": "mauve"}), "colour: Input should be 'blue' or 'red'"),
        (json.dumps(RED | {"people": -1}), "people: .* greater than or equal to 0"),
        (json.dumps(RED | {"objects": ["x"] * 9}), "objects: .* at most 3"),
        ("[1, 2]", "it holds no JSON object"),
    ],
)
def test_what_does_not_fit_is_asked_for_once_more_and_is_then_an_error(
    double: OllamaDouble, way: Way, first: str, said: str
) -> None:
    llm = vlm(double)
    double.script(first, json.dumps(RED))
    assert way(llm, asked(llm), Seen) == Seen.model_validate(RED)
    double.script(first, first)
    with pytest.raises(ServiceError, match=said) as caught:
        way(llm, asked(llm), Seen)
    assert "eye" in caught.value.message
    assert "MMRAG_VLM" in caught.value.remedy
    assert len(double.chats) == 4


def test_an_answer_that_was_cut_short_says_so_and_is_not_asked_for_again(
    double: OllamaDouble,
) -> None:
    double.script(json.dumps(RED, indent=1))
    llm = vlm(double, max_tokens=4)
    with pytest.raises(ServiceError, match="cut short") as caught:
        ask_for(llm, asked(llm), Seen)
    assert "max_tokens" in caught.value.remedy
    assert len(double.chats) == 1


def test_an_object_that_a_model_only_thinks_is_taken(double: OllamaDouble) -> None:
    """Qwen's thinking models put it there (ollama#14716), however firmly told not to think."""
    double.script(Reply("", thinking=f"Well. {json.dumps(RED)}"))
    assert ask_for(vlm(double), asked(vlm(double)), Seen) == Seen.model_validate(RED)
    double.script(Reply("", thinking="Well."))
    with pytest.raises(ServiceError, match="after thinking"):
        ask_for(vlm(double), asked(vlm(double)), Seen)


def test_a_thinking_model_answers_at_once() -> None:
    with OllamaDouble({"eye": Model(capabilities=("vision", "thinking"))}) as double:
        assert ask_for(vlm(double), asked(vlm(double)), Seen).colour == "red"
        assert double.chats[0]["think"] is False


@WAYS
def test_nothing_said_is_an_error(way: Way) -> None:
    llm = Says(words=[" "])
    with pytest.raises(ServiceError, match="empty"):
        way(llm, asked(llm), Seen)
