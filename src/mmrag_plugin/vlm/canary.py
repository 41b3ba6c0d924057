"""Whether a model really sees: a picture of one colour, and the question which.

Some servers take pictures for models that never get to see them; the model makes something up.
Colours are drawn at random and none comes twice, so that two right answers in a row are hardly
luck: 1 in 34 for a model that guesses, none for one that always says the same.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import PIL.Image
from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.llms import LLM, ChatMessage

from mmrag_plugin.errors import ModelCannotSee
from mmrag_plugin.vlm.base import picture_block, said, user_message

COLOURS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "red": (220, 20, 20),
    "green": (30, 150, 40),
    "blue": (30, 60, 220),
    "yellow": (250, 230, 30),
    "orange": (250, 140, 20),
    "purple": (130, 30, 150),
}
ATTEMPTS = 3
_IN_A_ROW = 2
_SIDE_PX = 256
_MAX_TOKENS = 200  # for one word; some models say a sentence, or think
_QUESTION = (
    "Which colour is this picture? Answer with one word: "
    f"{', '.join(list(COLOURS)[:-1])} or {list(COLOURS)[-1]}."
)

_seeing: set[tuple[str, ...]] = set()  # models that have passed, in this process


def check_sight(llm: LLM) -> None:
    """Make sure that a model sees pictures; one that has passed is not asked again.

    Takes two requests of a few words, or three. Raises ModelCannotSee, and what the model raises.
    """
    if _who(llm) in _seeing:
        return
    trial = _Trial(llm)
    for question in trial:
        trial.take(said(trial.llm.chat(question)))
    trial.conclude()


async def acheck_sight(llm: LLM) -> None:
    """Make sure that a model sees pictures, without holding up the event loop."""
    if _who(llm) in _seeing:
        return
    trial = _Trial(llm)
    for question in trial:
        trial.take(said(await trial.llm.achat(question)))
    trial.conclude()


class _Trial:
    """Questions to one model, and what it answered."""

    def __init__(self, llm: LLM) -> None:
        brief = getattr(llm, "with_limits", None)  # an OllamaVLM's
        self.llm: LLM = brief(max_tokens=_MAX_TOKENS, temperature=0.0) if brief else llm
        self._expected = random.sample(list(COLOURS), ATTEMPTS)
        self._answers: list[str] = []
        self._right = 0  # in a row

    def __iter__(self) -> Iterator[list[ChatMessage]]:
        for colour in self._expected:
            if not self.is_open:
                return
            picture = PIL.Image.new("RGB", (_SIDE_PX, _SIDE_PX), COLOURS[colour])
            blocks: list[ContentBlock] = [TextBlock(text=f"{_QUESTION}\n"), picture_block(picture)]
            yield [user_message(self.llm, blocks)]

    @property
    def is_open(self) -> bool:
        """Whether another answer could still decide it."""
        left = ATTEMPTS - len(self._answers)
        return self._right < _IN_A_ROW <= self._right + left

    def take(self, answer: str) -> None:
        """Note an answer: it is right if it names this colour and no other."""
        expected = self._expected[len(self._answers)]
        self._answers.append(answer)
        named = set(re.findall(r"[a-z]+", answer.lower())) & COLOURS.keys()
        self._right = self._right + 1 if named == {expected} else 0

    def conclude(self) -> None:
        """Remember a model that sees; raise ModelCannotSee for another."""
        if self._right >= _IN_A_ROW:
            _seeing.add(_who(self.llm))
            return
        shown = zip(self._expected, self._answers, strict=False)
        told = "; ".join(f"{colour} it called {answer[:40]!r}" for colour, answer in shown)
        raise ModelCannotSee(
            f"{self.llm.metadata.model_name} does not see what it is shown: {told}.",
            "Pull the model again, update Ollama, or name another vision model with MMRAG_VLM, "
            "for example `ollama pull gemma3:4b`.",
        )


def _who(llm: LLM) -> tuple[str, ...]:
    """Which model on which server this is."""
    place = getattr(llm, "base_url", None) or getattr(llm, "api_base", None) or ""
    return (llm.class_name(), str(place), llm.metadata.model_name)
