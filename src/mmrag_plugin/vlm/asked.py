"""What captioning and checking have in common: one model, asked about pictures within a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from llama_index.core.llms import LLM

from mmrag_plugin.errors import ServiceError
from mmrag_plugin.ollama_host import is_this_machine
from mmrag_plugin.vlm.canary import check_sight
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.ollama_server import model_digest

TIME_CAP_S = 120.0  # for one picture or shot
_NAME_CHARS = 120
_DIGEST_CHARS = 12

_T = TypeVar("_T")


class AskedModel:
    """An LLM that is asked about pictures; ``workers`` of its calls may run at once."""

    def __init__(self, llm: LLM, *, workers: int = 1, time_cap_s: float = TIME_CAP_S) -> None:
        self.llm = llm
        self.workers = workers
        self.time_cap_s = time_cap_s
        self._digest = ""

    @property
    def model(self) -> str:
        """The model's name."""
        return self.llm.metadata.model_name

    @property
    def made_by(self) -> str:
        """The model, and after ``identify`` its weights, as stamps begin."""
        name = self.model[:_NAME_CHARS]
        return f"{name}@{self._digest[:_DIGEST_CHARS]}" if self._digest else name

    def identify(self) -> None:
        """Ask the server which version of the model it has; what it does not tell stays open."""
        self._digest = _digest_of(self.llm)

    def check(self) -> None:
        """Find out, before the first picture, that the model is there and really sees.

        Raises OllamaUnavailable, ModelMissing, ModelCannotSee, RemoteNotAllowed or ServiceError.
        """
        check_sight(self.llm)

    async def within_time(self, answer: Coroutine[Any, Any, _T]) -> _T:
        """Wait for an answer; ServiceError, and the request is given up, if it takes too long."""
        try:
            return await asyncio.wait_for(answer, self.time_cap_s)
        except (asyncio.TimeoutError, TimeoutError):
            raise ServiceError(
                f"{self.model} took longer than {self.time_cap_s:.0f} s over one picture.",
                "Name a smaller model with --vlm (MMRAG_VLM), then mmrag index --retry.",
            ) from None


def _digest_of(llm: LLM) -> str:
    """A digest of a model's weights; empty where nobody tells, or may be asked."""
    if not isinstance(llm, OllamaVLM):
        return ""
    may_ask = llm.allow_remote or is_this_machine(llm.base_url)
    return model_digest(llm.base_url, llm.model) if may_ask else ""
