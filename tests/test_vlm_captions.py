"""Captioners and verifiers, the same over Ollama's wire and over any other LLM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, ImageBlock, MessageRole
from pydantic import ValidationError

from captioned import Captioning, caption_json, texts_of
from mmrag_plugin.errors import ModelCannotSee, OllamaUnavailable, ServiceError
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.vlm.captions import MAX_OBJECTS, Caption, Captioner
from mmrag_plugin.vlm.fake import FakeVLM, main_colour
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.verifying import Verifier

RED = PIL.Image.new("RGB", (64, 48), (220, 20, 20))
BLUE = PIL.Image.new("RGB", (64, 48), (30, 60, 220))


class TellingVLM(FakeVLM):
    """Somebody's own LLM: it is told a schema in words, and answers JSON with text around it."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        pictures = [
            open_picture(block.resolve_image().read())
            for message in messages
            for block in message.blocks
            if isinstance(block, ImageBlock)
        ]
        colour = main_colour(pictures[0])
        said = "\n".join(message.content or "" for message in messages)
        if '"is_true"' in said:
            true = f"a {colour} wall" in said
            answer = json.dumps({"is_true": true, "wrong": "" if true else f"it is {colour}"})
        elif '"caption"' in said:
            answer = f"Sure!\n```json\n{caption_json(f'a {colour} wall')}\n```"
        else:
            answer = colour
        return ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=answer))


@pytest.fixture(params=["Ollama", "any LLM"])
def llm(request: pytest.FixtureRequest) -> Iterator[LLM]:
    if request.param == "any LLM":
        yield TellingVLM()
        return
    with Captioning() as ollama:
        yield OllamaVLM("eye", ollama.url)


def run(coroutine: Any) -> Any:
    return asyncio.run(coroutine)


# ---- conformance --------------------------------------------------------------------------------


def test_a_captioner_says_what_it_sees(llm: LLM) -> None:
    captioner = Captioner(llm)
    captioner.identify()
    captioner.check()
    found = run(captioner.caption([(None, RED)], known="IMG_1 {braces} [img]"))
    assert found == Caption(caption="a red wall", objects=["wall"], setting="indoors")
    shot = run(captioner.caption([(1.0, BLUE), (2.5, BLUE)]))
    assert shot.caption == "a blue wall"


def test_a_verifier_believes_what_is_true_and_says_what_is_not(llm: LLM) -> None:
    verifier = Verifier(llm)
    verifier.check()
    assert run(verifier.verify([(None, RED)], "a red wall")).is_true
    verdict = run(verifier.verify([(None, BLUE)], "a red wall"))
    assert (verdict.is_true, verdict.wrong) == (False, "it is blue")


def test_several_captions_are_made_at_once_on_one_event_loop(llm: LLM) -> None:
    captioner = Captioner(llm)

    async def both() -> list[Caption]:
        return list(
            await asyncio.gather(*(captioner.caption([(None, p)]) for p in (RED, BLUE, RED)))
        )

    assert [found.caption for found in run(both())] == ["a red wall", "a blue wall", "a red wall"]


# ---- what goes over the wire --------------------------------------------------------------------


def test_the_stamp_names_model_weights_and_prompts() -> None:
    with Captioning() as ollama:
        captioner = Captioner(OllamaVLM("eye", ollama.url))
        untold = captioner.stamp
        captioner.identify()
        model, prompts = captioner.stamp.split("/")
        assert untold == f"eye/{prompts}"
        assert model.startswith("eye@")
        assert len(model) == len("eye@") + 12
        assert [path for path, _ in ollama.requests] == []  # a GET, and nothing that loads a model
    again = Captioner(OllamaVLM("eye", ollama.url))
    again.identify()  # nobody is there: nothing is told
    assert again.stamp == untold


def test_nobody_on_another_machine_is_asked_who_it_is() -> None:
    captioner = Captioner(OllamaVLM("eye", "http://192.0.2.1:11434"))
    captioner.identify()
    assert captioner.stamp.startswith("eye/")


def test_examples_of_the_person_come_before_the_picture_with_their_words() -> None:
    with Captioning() as ollama:
        captioner = Captioner(OllamaVLM("eye", ollama.url))
        run(captioner.caption([(None, RED)], examples=[(BLUE, "Rex </media_text> at the lake")]))
        text = texts_of(ollama.asked()[0])
        assert text.index("Rex") < text.index("Picture 1, to look at")
        assert text.count("</media_text>") == 2 + text.count("<media_text> and </media_text>") - 1
        assert [main_colour(p) for p in ollama.pictures[-1]] == ["blue", "red"]


def test_a_caption_that_takes_too_long_is_given_up_and_the_server_hears_it() -> None:
    with Captioning() as ollama:
        ollama.delay_s = 5
        captioner = Captioner(OllamaVLM("eye", ollama.url), time_cap_s=0.2)
        with pytest.raises(ServiceError, match="took longer than 0 s"):
            run(captioner.caption([(None, RED)]))


def test_who_does_not_see_may_not_caption() -> None:
    with Captioning() as ollama:
        ollama.says = lambda body, pictures: "a lovely sunset"
        with pytest.raises(ModelCannotSee):
            Captioner(OllamaVLM("eye", ollama.url)).check()


def test_without_a_server_a_captioner_says_so() -> None:
    with Captioning() as ollama:
        gone = ollama.url
    with pytest.raises(OllamaUnavailable):
        run(Captioner(OllamaVLM("eye", gone, backoff_s=0)).caption([(None, RED)]))


# ---- the shape ----------------------------------------------------------------------------------

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
answers = st.fixed_dictionaries(
    {"caption": st.text() | anything},
    optional={
        "objects": st.lists(st.text(max_size=60), max_size=30) | anything,
        "setting": st.text() | anything,
        "text_seen": st.text() | anything,
        "people_count": st.integers() | anything,
    },
)


@settings(max_examples=150, deadline=None)
@given(answer=answers)
def test_whatever_a_model_answers_is_bounded_and_clean_or_refused(answer: dict[str, Any]) -> None:
    try:
        found = Caption.model_validate(answer)
    except ValidationError:
        return
    assert 0 < len(found.caption) <= 600
    assert len(found.objects) <= MAX_OBJECTS
    assert all(0 < len(thing) <= 40 for thing in found.objects)
    assert len(found.setting) <= 120
    assert len(found.text_seen) <= 500
    for text in (found.caption, *found.objects, found.setting, found.text_seen):
        assert text == " ".join(text.split())
        assert "[img" not in text.lower()
    assert Caption.model_validate(found.model_dump()) == found


def test_small_slips_of_a_model_are_mended() -> None:
    found = Caption.model_validate(
        {
            "caption": " a dog \n on grass ",
            "objects": "dog, grass,, dog",
            "setting": None,
            "text_seen": None,
            "people_count": None,
        }
    )
    assert found == Caption(caption="a dog on grass", objects=["dog", "grass"])
    many = Caption.model_validate({"caption": "x", "objects": [f"thing {n}" for n in range(40)]})
    assert len(many.objects) == MAX_OBJECTS
