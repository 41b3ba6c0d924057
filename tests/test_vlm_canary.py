"""Finding out whether a model sees, before anything that it says is written down."""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse
from pydantic import Field

from mmrag_plugin.errors import ModelCannotSee, OllamaUnavailable, ServiceError
from mmrag_plugin.vlm import canary
from mmrag_plugin.vlm.canary import ATTEMPTS, COLOURS, acheck_sight, check_sight
from mmrag_plugin.vlm.fake import FakeVLM
from mmrag_plugin.vlm.ollama import OllamaVLM
from ollama_double import Model, OllamaDouble


@pytest.fixture(autouse=True)
def _nobody_has_passed() -> Iterator[None]:
    canary._seeing.clear()
    yield
    canary._seeing.clear()


@pytest.fixture
def double() -> Iterator[OllamaDouble]:
    with OllamaDouble() as double:
        yield double


def vlm(double: OllamaDouble, model: str = "eye") -> OllamaVLM:
    return OllamaVLM(model, double.url, backoff_s=0.01)


class Says(FakeVLM):
    """Sees nothing, and says always one of these."""

    words: list[str] = Field(default_factory=list)
    asked: int = 0

    def chat(self, messages: Sequence[ChatMessage], **_: Any) -> ChatResponse:
        self.asked += 1
        word = random.choice(self.words)
        return ChatResponse(message=ChatMessage(role="assistant", content=word))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_model_that_sees_passes_in_two_short_requests_and_is_not_asked_again(
    double: OllamaDouble, asynchronous: bool
) -> None:
    for _ in range(2):
        if asynchronous:
            asyncio.run(acheck_sight(vlm(double)))
        else:
            check_sight(vlm(double))
    assert len(double.chats) == 2
    assert {chat["options"]["temperature"] for chat in double.chats} == {0.0}
    assert all(chat["options"]["num_predict"] <= 200 for chat in double.chats)


def test_each_model_is_asked_on_its_own(double: OllamaDouble) -> None:
    double.models["other"] = Model()
    check_sight(vlm(double))
    check_sight(vlm(double, "other"))
    assert len(double.chats) == 4


def test_any_llm_can_be_asked(double: OllamaDouble) -> None:
    from llama_index.multi_modal_llms.ollama import OllamaMultiModal

    check_sight(FakeVLM())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it exists, and leaves a socket open
        theirs = OllamaMultiModal(
            model="eye", base_url=double.url, context_window=4096, thinking=False
        )
        check_sight(theirs)
        theirs.client._client.close()
    assert len(double.pictures) == 2


@pytest.mark.parametrize("words", [["red"], ["I see no picture."], [", ".join(COLOURS)], ["42"]])
def test_a_model_that_does_not_look_never_passes(words: list[str]) -> None:
    for _ in range(50):
        llm = Says(words=words)
        with pytest.raises(ModelCannotSee) as caught:
            check_sight(llm)
        assert words[0][:20] in caught.value.message
        assert "MMRAG_VLM" in caught.value.remedy
        assert llm.asked <= ATTEMPTS


def test_a_model_that_guesses_rarely_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(canary.random, "sample", random.Random(7).sample)
    lucky = 0
    for _ in range(300):
        canary._seeing.clear()
        try:
            check_sight(Says(words=list(COLOURS)))
            lucky += 1
        except ModelCannotSee:
            pass
    assert lucky < 25  # 9 are expected


def test_one_slip_is_forgiven(double: OllamaDouble) -> None:
    double.script("no idea")
    check_sight(vlm(double))
    assert len(double.chats) == 3


def test_a_model_without_vision_is_refused_before_a_picture_is_sent() -> None:
    with OllamaDouble({"eye": Model(capabilities=("completion",))}) as double:
        with pytest.raises(ModelCannotSee, match="takes no pictures"):
            check_sight(vlm(double))
        assert double.chats == []


def test_what_goes_wrong_at_the_server_is_no_verdict(double: OllamaDouble) -> None:
    llm = vlm(double)
    double.script("")
    with pytest.raises(ServiceError, match="empty"):
        check_sight(llm)
    check_sight(llm)
    double.stop()
    with pytest.raises(OllamaUnavailable):
        check_sight(OllamaVLM("unknown", double.url, attempts=1))
