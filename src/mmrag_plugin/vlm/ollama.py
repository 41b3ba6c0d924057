"""Ollama's vision models, through LlamaIndex's own client, with its traps closed.

``OllamaVLM`` is LlamaIndex's ``Ollama``, so it works wherever an ``LLM`` does. What it adds: it
asks the server once what the model can do, says ``think`` and ``num_ctx`` on every request (left
out, the server thinks, or reserves the model's whole context), sends only small upright JPEGs,
keeps texts and pictures in their order, retries what passes, and raises errors that say what to do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, aclosing, closing
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import ollama
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
)
from llama_index.llms.ollama import Ollama
from llama_index.llms.ollama.base import DEFAULT_REQUEST_TIMEOUT

from mmrag_plugin.errors import ServiceError
from mmrag_plugin.ollama_host import DEFAULT_HOST, checked_host, is_this_machine
from mmrag_plugin.vlm.base import sendable, tag_pictures
from mmrag_plugin.vlm.ollama_context import SHORT_ANSWER, needed, step
from mmrag_plugin.vlm.ollama_faults import (
    FAILURES,
    context_needed,
    is_passing,
    meaning_of,
    too_long,
    too_much,
)
from mmrag_plugin.vlm.ollama_server import Shown, ask_about, client_options, remote
from mmrag_plugin.vlm.request_span import RequestSpan
from mmrag_plugin.vlm.time_limits import TOTAL_S, Clock, TimeLimits, Watchdog

NUM_CTX = 16_384  # tokens that whoever fills a context may count on, if the model has as many
NUM_PREDICT = 2_048  # tokens; without a bound a model that repeats itself never ends
TEMPERATURE = 0.2

# A generator that has not begun has nothing to close, and would leave its connection open.
_BEGUN = ChatResponse(message=ChatMessage())

_T = TypeVar("_T")


@dataclass
class _Known:
    """What was found out about the model; copies of a VLM share it, so the server is asked once."""

    shown: Shown | None = None
    num_ctx: int = 0  # tokens; the largest that was needed yet: another would load the model anew


@dataclass
class _Request:
    """Messages as the server has to get them, and the context that they need."""

    messages: list[ChatMessage]
    options: dict[str, Any]
    num_ctx: int
    has_grown: bool = False


class OllamaVLM(Ollama):
    """A vision model on an Ollama server.

    ``host`` is a URL; one that is not this machine, or a model that Ollama runs elsewhere, needs
    ``allow_remote``. ``num_ctx`` is the context in tokens; by default each request gets what its
    pictures and texts need, in steps. ``max_tokens`` is the most that an answer may have. An answer
    takes at most ``total_s`` seconds; the server may be silent for ``first_token_s`` before it
    begins, by default a third of that, and for ``between_s`` when it has begun. Nothing is asked of
    the server before the first request or ``preflight()``.

    Every request raises OllamaUnavailable, ModelMissing, ModelCannotSee, RemoteNotAllowed, or
    ServiceError for anything else that goes wrong, an empty or broken answer included; MediaError
    for a picture that can't be read, UsageError for one that would have to be fetched from a URL.
    Ending a stream early, or cancelling its task, closes the connection, and the server stops.
    """

    allow_remote: bool = Field(default=False, description="Pictures may leave this machine.")
    attempts: int = Field(default=3, ge=1, description="How often a busy server is asked.")
    backoff_s: float = Field(default=0.5, ge=0, description="The first wait; it doubles.")

    _limits: TimeLimits = PrivateAttr()
    _known: _Known = PrivateAttr(default_factory=_Known)

    def __init__(
        self,
        model: str,
        host: str = DEFAULT_HOST,
        *,
        allow_remote: bool = False,
        total_s: float = TOTAL_S,
        first_token_s: float | None = None,
        between_s: float | None = None,
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
            request_timeout=total_s,
            additional_kwargs={"num_predict": max_tokens, **(additional_kwargs or {})},
            keep_alive=keep_alive,
            thinking=thinking,
            allow_remote=allow_remote,
            **kwargs,
        )
        self._limits = TimeLimits.within(total_s, first_token_s, between_s)

    @classmethod
    def from_llm(cls, llm: Ollama, *, allow_remote: bool = False) -> OllamaVLM:
        """Take over the settings of an ``Ollama`` or ``OllamaMultiModal`` that somebody made."""
        total_s = llm.request_timeout
        if total_s is None or total_s == DEFAULT_REQUEST_TIMEOUT:
            total_s = TOTAL_S  # nobody chose the default, which is too short for loading
        return cls(
            llm.model,
            llm.base_url,
            allow_remote=allow_remote,
            total_s=total_s,
            first_token_s=min(total_s, TOTAL_S / 3),
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
        return self._client or ollama.Client(**client_options(self.base_url))

    @property
    def async_client(self) -> ollama.AsyncClient:
        """A new client each time: one that is kept is tied to one event loop."""
        return self._async_client or ollama.AsyncClient(**client_options(self.base_url))

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
        """How much a context may be filled with; unlike the base class's, it asks no server."""
        if self.context_window > 0:
            return self.context_window
        shown = self._known.shown
        return min(NUM_CTX, (shown and shown.length) or NUM_CTX)

    def preflight(self) -> None:
        """Ask the server once whether it is there, has the model, and the model can see."""
        if self._known.shown is None:
            if not (self.allow_remote or is_this_machine(self.base_url)):
                raise remote(f"Ollama at {self.base_url} is another machine")
            self._known.shown = self._patiently(
                lambda: ask_about(self.base_url, self.model, allow_remote=self.allow_remote)
            )
        self.is_function_calling_model = self._known.shown.calls_functions

    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer in one piece."""
        *_, whole = self.stream_chat(messages, **kwargs)  # a stream can be ended, a wait can't
        return whole

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer in one piece, without blocking the event loop."""
        async with aclosing(await self.astream_chat(messages, **kwargs)) as pieces:
            async for piece in pieces:
                whole = piece
        return whole

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """Answer piece by piece; the first piece has arrived when this returns."""
        asked = RequestSpan(self.model)
        with asked.sending():
            request = self._ready(messages, kwargs)
            first, pieces, clock, opened = self._patiently(lambda: self._begin(request), request)

        def all_pieces() -> ChatResponseGen:
            piece, last = first, first
            with asked.answering() as tell, opened:
                yield _BEGUN
                while piece is not None:
                    yield (last := piece)
                    try:
                        piece = self._next(pieces, clock)
                    except FAILURES as error:
                        raise self._meaning(error) from error
                tell(last and last.raw)
            self._checked(last, has_format=bool(request.options.get("format")))

        answer = all_pieces()
        next(answer)
        return answer

    async def astream_chat(
        self, messages: Sequence[ChatMessage], **kwargs: Any
    ) -> ChatResponseAsyncGen:
        """Answer piece by piece, without blocking the event loop."""
        asked = RequestSpan(self.model)
        with asked.sending():
            request = await asyncio.to_thread(self._ready, messages, kwargs)
            first, pieces, clock, opened = await self._apatiently(
                lambda: self._abegin(request), request
            )

        async def all_pieces() -> ChatResponseAsyncGen:
            piece, last = first, first
            with asked.answering() as tell:
                async with opened:
                    yield _BEGUN
                    while piece is not None:
                        yield (last := piece)
                        try:
                            piece = await self._anext(pieces, clock)
                        except FAILURES as error:
                            raise self._meaning(error) from error
                    tell(last and last.raw)
            self._checked(last, has_format=bool(request.options.get("format")))

        answer = all_pieces()
        await anext(answer)
        return answer

    # -- one request ------------------------------------------------------------------------------

    def _ready(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> _Request:
        """Preflight, write the messages as the server has to get them, and size their context.

        ``image_documents`` go with the last message: OllamaMultiModal's ``complete`` takes pictures
        so. Raises ServiceError for more than the model can hold.
        """
        self.preflight()
        contents: list[list[Any]] = [list(message.blocks) for message in messages]
        if contents:
            contents[-1] += options.pop("image_documents", ())
        ready = [
            message.model_copy(update={"blocks": tag_pictures(sendable(content))})
            for message, content in zip(messages, contents, strict=True)
        ]
        return _Request(ready, options, self._fitting_context(ready))

    def _fitting_context(self, messages: Sequence[ChatMessage]) -> int:
        if self.context_window > 0:
            return self.context_window
        shown = self._known.shown or Shown()
        need = needed(messages, shown.architecture)
        if shown.length and need.least + SHORT_ANSWER > shown.length:
            raise too_much(need.least, shown.length, model=self.model)
        wanted = step(need.likely + max(self.additional_kwargs["num_predict"], 0), shown.length)
        self._known.num_ctx = max(self._known.num_ctx, wanted)
        return self._known.num_ctx

    def _grow(self, request: _Request, tokens: int) -> bool:
        """Give a request the context that the server says it needs, once; False if that is none."""
        length = (self._known.shown or Shown()).length
        if length and tokens + SHORT_ANSWER > length:
            raise too_much(tokens, length, model=self.model)
        grown = step(tokens + max(self.additional_kwargs["num_predict"], SHORT_ANSWER), length)
        if self.context_window > 0 or request.has_grown or grown <= request.num_ctx:
            return False
        request.num_ctx, request.has_grown = grown, True
        self._known.num_ctx = max(self._known.num_ctx, grown)
        return True

    def _one(self, request: _Request, **clients: Any) -> OllamaVLM:
        """A copy of this object for one request: with its context, and a client to close after."""
        think = request.options.get("think")  # the base class takes False for "not said"
        thinking = self.thinking if think is None else think
        one = self.model_copy(update={"context_window": request.num_ctx, "thinking": thinking})
        for name, client in clients.items():
            setattr(one, name, client)
        return one

    def _begin(
        self, request: _Request
    ) -> tuple[ChatResponse | None, ChatResponseGen, Clock, ExitStack]:
        """Send a request and wait for the first piece; the stack closes its connection."""
        with ExitStack() as opened:
            clock = Clock(self._limits)
            watchdog = opened.enter_context(Watchdog(clock))
            client = ollama.Client(**client_options(self.base_url, watchdog.trace))
            opened.enter_context(client)
            one = self._one(request, _client=client)
            pieces = Ollama.stream_chat(one, request.messages, **request.options)
            opened.enter_context(closing(pieces))
            first = self._next(pieces, clock)
            return first, pieces, clock, opened.pop_all()

    async def _abegin(
        self, request: _Request
    ) -> tuple[ChatResponse | None, ChatResponseAsyncGen, Clock, AsyncExitStack]:
        async with AsyncExitStack() as opened:
            clock = Clock(self._limits)
            client = ollama.AsyncClient(**client_options(self.base_url))
            opened.push_async_callback(_close, client)
            one = self._one(request, _async_client=client)
            pieces = await Ollama.astream_chat(one, request.messages, **request.options)
            await opened.enter_async_context(aclosing(pieces))
            first = await self._anext(pieces, clock)
            return first, pieces, clock, opened.pop_all()

    def _next(self, pieces: ChatResponseGen, clock: Clock) -> ChatResponse | None:
        try:
            with clock.waiting():
                return next(pieces, None)
        except FAILURES as error:
            if clock.broken:
                raise too_long(clock.broken, model=self.model, host=self.base_url) from error
            raise

    async def _anext(self, pieces: ChatResponseAsyncGen, clock: Clock) -> ChatResponse | None:
        with clock.waiting():
            try:
                with anyio.fail_after(max(clock.left_s, 0.0)):
                    return await anext(pieces, None)
            except TimeoutError as error:
                clock.expire()
                raise too_long(clock.broken, model=self.model, host=self.base_url) from error

    def _checked(self, response: ChatResponse | None, *, has_format: bool) -> ChatResponse:
        """Refuse what is no answer: a stream that ended early, or nothing said."""
        raw = response.raw if response and isinstance(response.raw, dict) else {}
        if response is None or not raw.get("done"):
            raise ServiceError(
                f"Ollama at {self.base_url} broke off in the middle of an answer.",
                "Try again; the server's log says why (`ollama serve`).",
            )
        message = response.message
        thought = str(message.additional_kwargs.get("thinking") or "")
        if has_format and not (message.content or "").strip() and "{" in thought:
            message.content = thought  # some models put the object that is asked for there
        if not (message.content or "").strip() and not self.get_tool_calls_from_response(
            response, error_on_no_tool_call=False
        ):
            raise ServiceError(
                f"{self.model} gave an empty answer {'after thinking ' if thought else ''}"
                f"(done_reason: {raw.get('done_reason') or 'none'}).",
                "Try again, ask otherwise, or name another model with MMRAG_VLM.",
            )
        return response

    def _patiently(self, call: Callable[[], _T], request: _Request | None = None) -> _T:
        attempt = 0
        while True:
            try:
                return call()
            except FAILURES as error:
                attempt += 1
                time.sleep(self._wait_s(error, attempt, request))

    async def _apatiently(self, call: Callable[[], Awaitable[_T]], request: _Request) -> _T:
        attempt = 0
        while True:
            try:
                return await call()
            except FAILURES as error:
                attempt += 1
                await asyncio.sleep(self._wait_s(error, attempt, request))

    def _wait_s(self, error: Exception, attempt: int, request: _Request | None) -> float:
        """Seconds until the next attempt; raises what the error means when there is none."""
        tokens = context_needed(error)
        if tokens is not None and request is not None and self._grow(request, tokens):
            return 0.0
        if attempt >= self.attempts or not is_passing(error):
            raise self._meaning(error) from error
        return self.backoff_s * 2.0 ** (attempt - 1)

    def _meaning(self, error: Exception) -> Exception:
        return meaning_of(error, model=self.model, host=self.base_url)


async def _close(client: ollama.AsyncClient) -> None:
    with anyio.CancelScope(shield=True):  # a cancelled task closes its connection, too
        await client.close()  # type: ignore[no-untyped-call]
