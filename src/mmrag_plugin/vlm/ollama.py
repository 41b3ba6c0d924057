"""Ollama's vision models, through LlamaIndex's own client, with its traps closed.

``OllamaVLM`` is LlamaIndex's ``Ollama``, so it works wherever an ``LLM`` does. What it adds: it
asks the server once what the model can do, says ``think`` and ``num_ctx`` on every request (left
out, the server thinks, or reserves the model's whole context), sends only small upright JPEGs,
keeps texts and pictures in their order, retries what passes, and raises errors that say what to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import ollama
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    ImageBlock,
)
from llama_index.core.schema import ImageDocument, ImageNode
from llama_index.llms.ollama import Ollama
from llama_index.llms.ollama.base import DEFAULT_REQUEST_TIMEOUT

from mmrag_plugin.errors import ModelCannotSee, RemoteNotAllowed, ServiceError
from mmrag_plugin.ollama_host import DEFAULT_HOST, checked_host, is_this_machine
from mmrag_plugin.vlm.base import normal_picture, tag_pictures
from mmrag_plugin.vlm.ollama_faults import FAILURES, is_passing, meaning_of
from mmrag_plugin.vlm.ollama_server import client_options, show_model

REQUEST_TIMEOUT_S = 300.0  # the first request loads the model, minutes on a slow disk
NUM_CTX = 16_384  # tokens; some models spend 1,024 on each picture, however small it is
NUM_PREDICT = 2_048  # tokens; without a bound a model that repeats itself never ends
TEMPERATURE = 0.2

_T = TypeVar("_T")
_Picture: TypeAlias = ImageBlock | ImageNode | ImageDocument


@dataclass
class _Server:
    """What the server said about the model; copies of a VLM share it, so it is asked once."""

    num_ctx: int = 0  # tokens; 0 before it was asked
    calls_functions: bool = True


class OllamaVLM(Ollama):
    """A vision model on an Ollama server.

    ``host`` is a URL; one that is not this machine, or a model that Ollama runs elsewhere, needs
    ``allow_remote``. ``num_ctx`` is the context in tokens, by default NUM_CTX or the model's own
    if that is less. ``max_tokens`` is the most that an answer may have. Nothing is asked of the
    server before the first request or ``preflight()``.

    Every request raises OllamaUnavailable, ModelMissing, ModelCannotSee, RemoteNotAllowed, or
    ServiceError for anything else that goes wrong, an empty or broken answer included; MediaError
    for a picture that can't be read, UsageError for one that would have to be fetched from a URL.
    """

    allow_remote: bool = Field(default=False, description="Pictures may leave this machine.")
    attempts: int = Field(default=3, ge=1, description="How often a busy server is asked.")
    backoff_s: float = Field(default=0.5, ge=0, description="The first wait; it doubles.")

    _server: _Server = PrivateAttr(default_factory=_Server)

    def __init__(
        self,
        model: str,
        host: str = DEFAULT_HOST,
        *,
        allow_remote: bool = False,
        request_timeout_s: float = REQUEST_TIMEOUT_S,
        num_ctx: int | None = None,
        thinking: bool = False,
        temperature: float = TEMPERATURE,
        max_tokens: int = NUM_PREDICT,
        keep_alive: float | str = "5m",
        additional_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            base_url=checked_host(host),
            temperature=temperature,
            context_window=num_ctx or -1,
            request_timeout=request_timeout_s,
            additional_kwargs={"num_predict": max_tokens, **(additional_kwargs or {})},
            keep_alive=keep_alive,
            thinking=thinking,
            allow_remote=allow_remote,
            **kwargs,
        )

    @classmethod
    def from_llm(cls, llm: Ollama, *, allow_remote: bool = False) -> OllamaVLM:
        """Take over the settings of an ``Ollama`` or ``OllamaMultiModal`` that somebody made."""
        timeout_s = llm.request_timeout
        return cls(
            llm.model,
            llm.base_url,
            allow_remote=allow_remote,
            # the client's default, which nobody chose, is too short to load a model
            request_timeout_s=(
                REQUEST_TIMEOUT_S if timeout_s == DEFAULT_REQUEST_TIMEOUT else timeout_s
            ),
            num_ctx=llm.context_window if llm.context_window > 0 else None,
            thinking=bool(llm.thinking),
            temperature=TEMPERATURE if llm.temperature is None else llm.temperature,
            keep_alive="5m" if llm.keep_alive is None else llm.keep_alive,
            additional_kwargs=llm.additional_kwargs,
            json_mode=llm.json_mode,
            system_prompt=llm.system_prompt,
            callback_manager=llm.callback_manager,
        )

    @classmethod
    def class_name(cls) -> str:
        """Name the class for LlamaIndex's own bookkeeping."""
        return "OllamaVLM"

    @property
    def client(self) -> ollama.Client:
        """A new client each time; it keeps no connection, so nothing is left open."""
        return ollama.Client(**client_options(self.base_url, self.request_timeout))

    @property
    def async_client(self) -> ollama.AsyncClient:
        """A new client each time: one that is kept is tied to one event loop."""
        return ollama.AsyncClient(**client_options(self.base_url, self.request_timeout))

    def with_limits(
        self, *, max_tokens: int | None = None, temperature: float | None = None
    ) -> OllamaVLM:
        """The same model with shorter answers, or another temperature; no server is asked.

        ``max_tokens`` is the most that an answer may have: beyond it the answer ends, and an object
        that a schema asks for is cut short, which ``ask_for`` reports as an error.
        """
        changed: dict[str, Any] = {}
        if max_tokens is not None:
            changed["additional_kwargs"] = {**self.additional_kwargs, "num_predict": max_tokens}
        if temperature is not None:
            changed["temperature"] = temperature
        return self.model_copy(update=changed)

    def get_context_window(self) -> int:
        """The ``num_ctx`` of every request; unlike the base class's, it asks no server."""
        return self.context_window if self.context_window > 0 else self._server.num_ctx or NUM_CTX

    def preflight(self) -> None:
        """Ask the server once whether it is there, has the model, and the model can see."""
        if self._server.num_ctx:
            self.is_function_calling_model = self._server.calls_functions
            return
        if not (self.allow_remote or is_this_machine(self.base_url)):
            raise _remote(f"Ollama at {self.base_url} is another machine")
        shown = self._patiently(lambda: show_model(self.base_url, self.model))
        if shown.get("remote_host") and not self.allow_remote:
            raise _remote(f"Ollama runs {self.model} on {shown['remote_host']}")
        capabilities = shown.get("capabilities")
        if not isinstance(capabilities, list):
            raise ServiceError(
                f"Ollama at {self.base_url} does not say what {self.model} can do.",
                "Update Ollama: https://ollama.com/download",
            )
        if "vision" not in capabilities:
            raise ModelCannotSee(
                f"{self.model} takes no pictures (it can: {', '.join(map(str, capabilities))}).",
                "Name a vision model with MMRAG_VLM, for example `ollama pull gemma3:4b`.",
            )
        info = shown.get("model_info") or {}
        known = [size for key, size in info.items() if key.endswith(".context_length")]
        self.is_function_calling_model = self._server.calls_functions = "tools" in capabilities
        self._server.num_ctx = min([NUM_CTX, *known])

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer in one piece."""
        ready, ask = self._ready(messages, kwargs.pop("image_documents", ())), super().chat
        return self._checked(self._patiently(lambda: ask(ready, **kwargs)))

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer in one piece, without blocking the event loop."""
        documents, ask = kwargs.pop("image_documents", ()), super().achat
        ready = await asyncio.to_thread(self._ready, messages, documents)
        return self._checked(await self._apatiently(lambda: ask(ready, **kwargs)))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer piece by piece; the first piece has arrived when this returns."""
        ready, ask = self._ready(messages, kwargs.pop("image_documents", ())), super().stream_chat

        def begin() -> tuple[ChatResponse | None, ChatResponseGen]:
            pieces = ask(ready, **kwargs)
            return next(pieces, None), pieces

        first, pieces = self._patiently(begin)

        def all_pieces() -> ChatResponseGen:
            piece, last = first, first
            with closing(pieces):
                while piece is not None:
                    yield (last := piece)
                    try:
                        piece = next(pieces, None)
                    except FAILURES as error:
                        raise self._meaning(error) from error
            self._checked(last)

        return all_pieces()

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answer piece by piece, without blocking the event loop."""
        documents, ask = kwargs.pop("image_documents", ()), super().astream_chat
        ready = await asyncio.to_thread(self._ready, messages, documents)

        async def begin() -> tuple[ChatResponse | None, ChatResponseAsyncGen]:
            pieces = await ask(ready, **kwargs)
            return await anext(pieces, None), pieces

        first, pieces = await self._apatiently(begin)

        async def all_pieces() -> ChatResponseAsyncGen:
            piece, last = first, first
            async with aclosing(pieces):
                while piece is not None:
                    yield (last := piece)
                    try:
                        piece = await anext(pieces, None)
                    except FAILURES as error:
                        raise self._meaning(error) from error
            self._checked(last)

        return all_pieces()

    def _ready(
        self, messages: Sequence[ChatMessage], documents: Iterable[_Picture]
    ) -> list[ChatMessage]:
        """Preflight, and write the messages as the server has to get them.

        ``documents`` go with the last message: OllamaMultiModal's ``complete`` takes pictures so.
        """
        self.preflight()
        contents: list[list[Any]] = [list(message.blocks) for message in messages]
        if contents:
            contents[-1] += documents
        return [
            message.model_copy(
                update={
                    "blocks": tag_pictures(
                        normal_picture(item) if isinstance(item, _Picture) else item
                        for item in content
                    )
                }
            )
            for message, content in zip(messages, contents, strict=True)
        ]

    def _checked(self, response: ChatResponse | None) -> ChatResponse:
        """Refuse what is no answer: a stream that ended early, or nothing said."""
        raw = response.raw if response and isinstance(response.raw, dict) else {}
        if response is None or not raw.get("done"):
            raise ServiceError(
                f"Ollama at {self.base_url} broke off in the middle of an answer.",
                "Try again; the server's log says why (`ollama serve`).",
            )
        message = response.message
        if not (message.content or "").strip() and not self.get_tool_calls_from_response(
            response, error_on_no_tool_call=False
        ):
            thought = "after thinking " if message.additional_kwargs.get("thinking") else ""
            raise ServiceError(
                f"{self.model} gave an empty answer {thought}"
                f"(done_reason: {raw.get('done_reason') or 'none'}).",
                "Try again, ask otherwise, or name another model with MMRAG_VLM.",
            )
        return response

    def _patiently(self, call: Callable[[], _T]) -> _T:
        for attempt in range(1, self.attempts + 1):
            try:
                return call()
            except FAILURES as error:
                time.sleep(self._wait_s(error, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _apatiently(self, call: Callable[[], Awaitable[_T]]) -> _T:
        for attempt in range(1, self.attempts + 1):
            try:
                return await call()
            except FAILURES as error:
                await asyncio.sleep(self._wait_s(error, attempt))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _wait_s(self, error: Exception, attempt: int) -> float:
        """Seconds until the next attempt; raises what the error means when there is none."""
        if attempt == self.attempts or not is_passing(error):
            raise self._meaning(error) from error
        return self.backoff_s * 2.0 ** (attempt - 1)

    def _meaning(self, error: Exception) -> Exception:
        return meaning_of(error, model=self.model, host=self.base_url)


def _remote(fact: str) -> RemoteNotAllowed:
    return RemoteNotAllowed(
        f"{fact}, and your pictures would go there.",
        "Pass --allow-remote (MMRAG_ALLOW_REMOTE=1) if that is what you want.",
    )
