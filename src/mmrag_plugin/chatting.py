"""Converse with a library: a LlamaIndex chat engine that remembers what was asked and shown.

Each turn makes one message for the model: the sources of this turn and, within a budget, those of
earlier ones, each under the number that it has had from the start. What was said before goes along
as text, within a limit of tokens.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from llama_index.core.callbacks import CallbackManager, trace_method
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine
from llama_index.core.llms import LLM, ChatMessage, MessageRole
from llama_index.core.memory import BaseMemory, ChatMemoryBuffer

from mmrag_plugin.answer_told import AnswerTold
from mmrag_plugin.chat_streams import ChatStream, to_its_end
from mmrag_plugin.chat_turns import (
    LIMIT,
    MAX_EARLIER_PICTURES,
    MAX_PICTURES,
    Condensed,
    ConversingLibrary,
    TurnAtWork,
    Turns,
)
from mmrag_plugin.conversation import Conversation
from mmrag_plugin.conversation_files import read_conversation, write_conversation
from mmrag_plugin.errors import ServiceError, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.media import Confidence, Hit
from mmrag_plugin.planning.follow_ups import FollowUp
from mmrag_plugin.vlm.base import aspoken, said, spoken
from mmrag_plugin.vlm.prompts import CHAT_SYSTEM
from mmrag_plugin.vlm.structured import aask_for, ask_for

MEMORY_TOKENS = 3_000
_LOOK_AGAIN_S = 0.01  # at the lock, on an event loop


class ChatLibrary(ConversingLibrary, Protocol):
    """What is needed of a library to build a chat engine for it."""

    def vlm(self, llm: LLM | None = None) -> LLM:
        """Make the VLM that the settings name, or make somebody's own one careful."""

    def paths_now(self, media_ids: Sequence[str]) -> dict[str, str]:
        """A path of each media that the library knows, one that is there where there is one."""


class MediaChatEngine(BaseChatEngine):
    """A LlamaIndex chat engine over photos and films, with cited sources.

    A source keeps its number: what was [2] once is [2] to the end of the conversation. A message is
    understood by rules (``planning.follow_ups``); where they are not sure, the model is asked,
    unless ``condense`` is off. ``limit`` is how many sources a search brings; a request to the
    model shows ``max_pictures`` at most, ``max_earlier_pictures`` of them from earlier turns:
    those referred to first, then the newest; of others the model gets the words.

    ``memory`` is any of LlamaIndex's; the default keeps all that was said and tells the model the
    last ``memory_tokens`` of it. ``filters`` hold for the whole conversation and win over what a
    message asks for; other options go to the library's ``search_plan``.

    Turns on one engine come one after the other, whoever asks. A turn that fails or is stopped
    leaves memory and conversation as they were. Responses have ``source_nodes`` as those of
    ``MediaQueryEngine`` and ``metadata``: ``model``, ``warnings``, the ``numbers`` of the turn,
    those ``cited``, and the ``plan`` that was searched for, or None.

    Raises what the library and the model raise, and ServiceError for an empty answer.
    """

    def __init__(
        self,
        library: ConversingLibrary,
        llm: LLM,
        *,
        memory: BaseMemory | None = None,
        memory_tokens: int = MEMORY_TOKENS,
        limit: int = LIMIT,
        filters: Filters | None = None,
        max_pictures: int = MAX_PICTURES,
        max_earlier_pictures: int = MAX_EARLIER_PICTURES,
        condense: bool = True,
        system_prompt: str = CHAT_SYSTEM,
        callback_manager: CallbackManager | None = None,
        **options: Any,
    ) -> None:
        if memory_tokens < 1:
            raise UsageError(f"A memory of {memory_tokens} tokens remembers nothing.", "Give more.")
        self.callback_manager = callback_manager or CallbackManager([])
        self._llm = llm
        # LlamaIndex's newer Memory keeps a database open that nothing closes
        self._memory = memory or ChatMemoryBuffer.from_defaults(token_limit=memory_tokens)
        self._condense = condense
        self._filters = filters or Filters()
        self._turns = Turns(
            library,
            llm,
            limit=limit,
            filters=filters,
            max_pictures=max_pictures,
            max_earlier_pictures=max_earlier_pictures,
            system_prompt=system_prompt,
            options=options,
        )
        self._conversation = Conversation()
        self._lock = threading.Lock()

    @property
    def conversation(self) -> Conversation:
        """The turns so far and the sources under their numbers."""
        return self._conversation

    @property
    def filters(self) -> Filters:
        """What holds for the whole conversation."""
        return self._filters

    @property
    def chat_history(self) -> list[ChatMessage]:
        """All that was said."""
        return self._memory.get_all()

    def reset(self) -> None:
        """Begin a new conversation."""
        with self._lock:
            self._memory.reset()
            self._conversation = Conversation()

    def point_at(self, hit: Hit) -> int:
        """Put a source on the table that no search brought; returns its number."""
        with self._lock:
            self._conversation, (number,) = self._conversation.with_hits([hit])
        return number

    # ---- keeping ------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Write the conversation to a file that only its owner can read: text and ids, no pixels.

        Raises StorageError where it can't be written.
        """
        write_conversation(self._conversation, path)

    def resume(self, conversation: Conversation) -> None:
        """Go on with a conversation in place of this one's."""
        messages = []
        for turn in conversation.turns:
            messages.append(ChatMessage(role=MessageRole.USER, content=turn.message))
            messages.append(ChatMessage(role=MessageRole.ASSISTANT, content=turn.answer))
        with self._lock:
            self._memory.set(messages)
            self._conversation = conversation

    # ---- the four ways to take a turn ---------------------------------------------------------

    @trace_method("chat")
    def chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        """Take a turn. ``chat_history`` replaces what was said so far."""
        with self._alone(), (told := AnswerTold("turn", message)).within():
            turn = self._begin(message, chat_history)
            answer = turn.answer
            if turn.messages:
                answer = turn.citations.settle(said(self._llm.chat(turn.messages)))
            self._end(turn, chat_history, answer)
        turn.tell(told)
        return AgentChatResponse(answer, source_nodes=turn.nodes, metadata=turn.metadata)

    @trace_method("chat")
    async def achat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> AgentChatResponse:
        """Take a turn without holding up the event loop."""
        async with self._aalone():
            with (told := AnswerTold("turn", message)).within():
                turn = await self._abegin(message, chat_history)
                answer = turn.answer
                if turn.messages:
                    answer = turn.citations.settle(said(await self._llm.achat(turn.messages)))
                await to_its_end(self._aend(turn, chat_history, answer))
        turn.tell(told)
        return AgentChatResponse(answer, source_nodes=turn.nodes, metadata=turn.metadata)

    @trace_method("chat")
    def stream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> ChatStream:
        """Take a turn, its answer piece by piece; closing ``response_gen`` takes it back."""
        self._lock.acquire()
        told = AnswerTold("turn", message)
        try:
            with told.within():
                turn = self._begin(message, chat_history)
                pieces = iter((turn.answer,))
                if turn.messages:
                    pieces = spoken(self._llm.stream_chat(turn.messages))
        except BaseException:
            self._lock.release()
            raise
        stream = ChatStream(turn.nodes, turn.metadata, self._lock.release)
        answer = told.stream(turn.citations.stream(pieces), turn.tell)
        stream.listen(answer, partial(self._end, turn, chat_history))
        return stream

    @trace_method("chat")
    async def astream_chat(
        self, message: str, chat_history: list[ChatMessage] | None = None
    ) -> ChatStream:
        """Take a turn piece by piece without holding up the event loop."""
        await self._acquire()
        told = AnswerTold("turn", message)
        try:
            with told.within():
                turn = await self._abegin(message, chat_history)
                pieces: AsyncIterator[str] = _aiter(turn.answer)
                if turn.messages:
                    pieces = aspoken(await self._llm.astream_chat(turn.messages))
        except BaseException:
            self._lock.release()
            raise
        stream = ChatStream(turn.nodes, turn.metadata, self._lock.release)
        answer = told.astream(turn.citations.astream(pieces), turn.tell)
        await stream.alisten(answer, partial(self._aend, turn, chat_history))
        return stream

    # ---- a turn -------------------------------------------------------------------------------

    def _begin(self, message: str, chat_history: list[ChatMessage] | None) -> TurnAtWork:
        before = self._before(message)
        follow = self._turns.understand(message, before)
        if self._is_asked(follow):
            try:
                asked = self._turns.condensing(message, before)
                condensed = ask_for(self._llm, asked, Condensed)
                follow = self._turns.understood(condensed, message, before)
            except ServiceError:
                pass  # what the rules made of it will do
        history = self._told(chat_history).get(input=message)
        return self._turns.prepare(message, follow, before, history)

    async def _abegin(self, message: str, chat_history: list[ChatMessage] | None) -> TurnAtWork:
        before = self._before(message)
        follow = await asyncio.to_thread(self._turns.understand, message, before)
        if self._is_asked(follow):
            try:
                asked = self._turns.condensing(message, before)
                condensed = await aask_for(self._llm, asked, Condensed)
                follow = await asyncio.to_thread(self._turns.understood, condensed, message, before)
            except ServiceError:
                pass
        history = await self._told(chat_history).aget(input=message)
        return await asyncio.to_thread(self._turns.prepare, message, follow, before, history)

    def _before(self, message: str) -> Conversation:
        if not message.strip():
            raise UsageError("The message is empty.", "Say something.")
        return self._conversation

    def _is_asked(self, follow: FollowUp) -> bool:
        return self._condense and not follow.sure

    def _told(self, chat_history: list[ChatMessage] | None) -> BaseMemory:
        """The memory that this turn goes by."""
        if chat_history is None:
            return self._memory
        return ChatMemoryBuffer.from_defaults(
            chat_history=chat_history,
            token_limit=getattr(self._memory, "token_limit", MEMORY_TOKENS),
        )

    def _end(self, turn: TurnAtWork, chat_history: list[ChatMessage] | None, answer: str) -> None:
        """Keep what was said: from here on the turn has been."""
        after = turn.end(answer)
        if turn.restarts:
            self._memory.reset()
        else:
            if chat_history is not None:
                self._memory.set(chat_history)
            self._memory.put_messages(_exchange(turn, answer))
        self._conversation = after

    async def _aend(
        self, turn: TurnAtWork, chat_history: list[ChatMessage] | None, answer: str
    ) -> None:
        after = turn.end(answer)
        if turn.restarts:
            await self._memory.areset()
        else:
            if chat_history is not None:
                await self._memory.aset(chat_history)
            await self._memory.aput_messages(_exchange(turn, answer))
        self._conversation = after

    # ---- one after the other ------------------------------------------------------------------

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            yield

    @asynccontextmanager
    async def _aalone(self) -> AsyncIterator[None]:
        await self._acquire()
        try:
            yield
        finally:
            self._lock.release()

    async def _acquire(self) -> None:
        # looked at again and again: a thread that waits for it could not be called back
        while not self._lock.acquire(blocking=False):
            await asyncio.sleep(_LOOK_AGAIN_S)


def build_chat_engine(
    library: ChatLibrary,
    llm: LLM | None = None,
    *,
    resume: Path | None = None,
    min_confidence: Confidence = "weak",
    **options: Any,
) -> MediaChatEngine:
    """Make the chat engine of a library; options as of ``MediaChatEngine``.

    ``resume`` is a file that ``MediaChatEngine.save`` wrote. Raises UsageError for one that is
    damaged, NotFound where there is none.
    """
    if min_confidence == "none":  # hits of no confidence are no sources
        min_confidence = "weak"
    options["min_confidence"] = min_confidence
    engine = MediaChatEngine(library, library.vlm(llm), **options)
    if resume is not None:
        engine.resume(read_conversation(resume, library.paths_now))
    return engine


def _exchange(turn: TurnAtWork, answer: str) -> list[ChatMessage]:
    return [
        ChatMessage(role=MessageRole.USER, content=turn.message),
        ChatMessage(role=MessageRole.ASSISTANT, content=answer),
    ]


async def _aiter(text: str) -> AsyncIterator[str]:
    yield text
