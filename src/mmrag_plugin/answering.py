"""Answer questions about a library with any LLM that takes pictures.

A question's hits become numbered sources in one message: number, facts, fenced text and picture of
each stand together, so that the model can tell which is which and cite [1], [2].
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.base.response.schema import (
    RESPONSE_TYPE,
    AsyncStreamingResponse,
    Response,
    StreamingResponse,
)
from llama_index.core.callbacks import CallbackManager
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.llms import LLM, ChatMessage, MessageRole
from llama_index.core.prompts.mixin import PromptMixinType
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from PIL.Image import Image

from mmrag_plugin.answer_told import AnswerTold
from mmrag_plugin.citations import Citations
from mmrag_plugin.following import in_time
from mmrag_plugin.media import Hit
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.planning.explaining import explained
from mmrag_plugin.results import SearchResult
from mmrag_plugin.showing import (
    ALL_TEXT_CHARS,
    PictureOf,
    PicturesOf,
    TimedPicture,
    one_picture,
    show,
)
from mmrag_plugin.untrusted import untrusted
from mmrag_plugin.vlm.base import (
    aspoken,
    picture_block,
    said,
    spoken,
    user_message,
)
from mmrag_plugin.vlm.prompts import (
    ANSWER_SYSTEM,
    ASK_WITHOUT_WORDS,
    ASKED_WITH,
    NOTHING_FOUND,
)

MAX_PICTURES = 6
MAX_SOURCES = 20

_dispatcher = get_dispatcher(__name__)


class HitSource(Protocol):
    """Where hits come from: the library's retriever."""

    def find(self, query: QueryBundle) -> SearchResult:
        """Find moments for a question, a picture (``image_path``), or both; best first."""

    async def afind(self, query: QueryBundle) -> SearchResult:
        """Do the same without holding up the event loop."""


class AnsweringLibrary(Protocol):
    """What a query engine needs of a library."""

    def as_retriever(self, **kwargs: Any) -> HitSource:
        """Make a retriever; the keywords are the library's."""

    def picture_of(self, hit: Hit) -> Image | None:
        """Open what a hit shows, upright RGB; None when its file is gone."""

    def pictures_of(self, hit: Hit, count: int) -> list[TimedPicture]:
        """Open up to so many pictures of a hit with their times, in order; none if it is gone."""

    def vlm(self, llm: LLM | None = None) -> LLM:
        """Make the VLM that the settings name, or make somebody's own one careful."""


@dataclass(frozen=True)
class Answer:
    """An answer in words; ``sources[n - 1]`` is what it cites as [n]."""

    text: str
    sources: tuple[Hit, ...] = ()
    model: str = ""
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """The JSON contract of ``mmrag ask``."""
        return {
            "answer": self.text,
            "sources": [hit.as_dict() for hit in self.sources],
            "model": self.model,
            "warnings": list(self.warnings),
        }


class AnswerStream:
    """An answer that is still being given: iterate over its pieces, once.

    ``sources`` and ``model`` are there from the start; ``answer`` is what has come of it so far,
    whole after the last piece.
    """

    def __init__(self, case: _Case, pieces: Iterator[str]) -> None:
        self._case = case
        self._pieces = pieces
        self._said = ""

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            self._said += piece
            yield piece

    @property
    def sources(self) -> tuple[Hit, ...]:
        """What the answer may cite."""
        return tuple(self._case.hits)

    @property
    def answer(self) -> Answer:
        """The answer so far."""
        return self._case.as_answer(self._said.strip())


class MediaQueryEngine(BaseQueryEngine):
    """A LlamaIndex query engine over photos and films, with cited sources.

    ``picture_of`` opens what a hit shows (None when its file is gone: the source then has words
    only, and a warning says so). Hits of confidence "none" are no sources; without any source the
    model is not asked. ``max_pictures`` of the sources are shown, the first ones' first.
    ``pictures_of`` opens several of a moment of a film, which are then shown with their times.

    The response's ``source_nodes`` are ImageNodes (TextNodes where there is no picture) with the
    facts of the hit and its ``number`` in their metadata: photos by ``image_path``, moments of a
    film as base64 JPEG. Its ``metadata`` has ``model``, ``warnings`` and the numbers ``cited``;
    when streaming, the last two are complete at the end of the stream.

    Raises what the model raises, and ServiceError for an empty answer.
    """

    def __init__(
        self,
        retriever: HitSource,
        llm: LLM,
        picture_of: PictureOf,
        *,
        pictures_of: PicturesOf | None = None,
        max_pictures: int = MAX_PICTURES,
        max_sources: int = MAX_SOURCES,
        streaming: bool = False,
        system_prompt: str = ANSWER_SYSTEM,
        callback_manager: CallbackManager | None = None,
    ) -> None:
        super().__init__(callback_manager)
        self._retriever = retriever
        self._llm = llm
        self._pictures_of = pictures_of or one_picture(picture_of)
        self._max_pictures = max_pictures
        self._max_sources = max_sources
        self._streaming = streaming
        self._system_prompt = system_prompt

    @_dispatcher.span
    def ask(self, question: QueryType) -> Answer:
        """Answer a question in our own terms."""
        query = _bundle(question)
        told = AnswerTold("answer", query.query_str, asked=query)
        with told.within():
            case = self._case(query, self._retriever.find(query))
            answer = case.as_answer(self._answer(case))
        case.tell(told, answer.text)
        return answer

    @_dispatcher.span
    async def aask(self, question: QueryType) -> Answer:
        """Answer a question in our own terms, without holding up the event loop."""
        query = _bundle(question)
        told = AnswerTold("answer", query.query_str, asked=query)
        with told.within():
            case = await self._acase(query)
            answer = case.as_answer(await self._aanswer(case))
        case.tell(told, answer.text)
        return answer

    @_dispatcher.span
    def stream_ask(self, question: QueryType) -> AnswerStream:
        """Answer a question piece by piece, in our own terms."""
        query = _bundle(question)
        told = AnswerTold("answer", query.query_str, asked=query)
        with told.within():
            case = self._case(query, self._retriever.find(query))
            pieces = self._streamed(case)
        return AnswerStream(case, told.stream(pieces, case.tell))

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Find the sources that an answer would have."""
        return self._case(query_bundle, self._retriever.find(query_bundle)).nodes

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Find the sources that an answer would have, without holding up the event loop."""
        return (await self._acase(query_bundle)).nodes

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        told = AnswerTold("answer", query_bundle.query_str)
        with told.within():
            case = self._case(query_bundle, self._retriever.find(query_bundle))
            if self._streaming:
                pieces = told.stream(self._streamed(case), case.tell)
                return StreamingResponse(pieces, case.nodes, case.metadata)
            answer = self._answer(case)
        case.tell(told, answer)
        return Response(answer, case.nodes, case.metadata)

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        told = AnswerTold("answer", query_bundle.query_str)
        with told.within():
            case = await self._acase(query_bundle)
            if self._streaming:
                pieces = told.astream(await self._astreamed(case), case.tell)
                return AsyncStreamingResponse(pieces, case.nodes, case.metadata)
            answer = await self._aanswer(case)
        case.tell(told, answer)
        return Response(answer, case.nodes, case.metadata)

    def _get_prompt_modules(self) -> PromptMixinType:
        return {}

    def _streamed(self, case: _Case) -> Generator[str, None, None]:
        if not case.hits:
            return _iter(NOTHING_FOUND)
        return case.citations.stream(spoken(self._llm.stream_chat(case.messages)))

    async def _astreamed(self, case: _Case) -> AsyncGenerator[str, None]:
        if not case.hits:
            return _aiter(NOTHING_FOUND)
        pieces = await self._llm.astream_chat(case.messages)
        return case.citations.astream(aspoken(pieces))

    def _answer(self, case: _Case) -> str:
        if not case.hits:
            return NOTHING_FOUND
        return case.citations.settle(said(self._llm.chat(case.messages)))

    async def _aanswer(self, case: _Case) -> str:
        if not case.hits:
            return NOTHING_FOUND
        return case.citations.settle(said(await self._llm.achat(case.messages)))

    async def _acase(self, query: QueryBundle) -> _Case:
        found = await self._retriever.afind(query)
        return await asyncio.to_thread(self._case, query, found)

    def _case(self, query: QueryBundle, found: SearchResult) -> _Case:
        """Open the pictures and write the message."""
        hits = [hit for hit in _told(found) if hit.confidence != "none"]
        case = _Case(hits[: self._max_sources], list(found.warnings))
        if not case.hits:
            return case
        if len(hits) > len(case.hits):
            case.warnings.append(
                f"The answer is out of the first {len(case.hits)} of {len(hits)} moments."
            )
        case.model = self._llm.metadata.model_name
        blocks: list[ContentBlock] = []
        if query.image_path:
            asked_with = picture_block(open_picture(query.image_path))
            blocks += [TextBlock(text=f"{ASKED_WITH}\n"), asked_with]
        blocks.append(TextBlock(text="The sources:\n"))
        shown = show(
            list(enumerate(case.hits, start=1)),
            self._pictures_of,
            case.warnings,
            max_pictures=self._max_pictures,
            max_chars=ALL_TEXT_CHARS // len(case.hits),
        )
        blocks += shown.blocks
        case.nodes = shown.nodes
        question = query.query_str.strip() or ASK_WITHOUT_WORDS
        if about := _how_found(found):
            blocks.append(TextBlock(text=about))
        blocks.append(TextBlock(text=f"\nThe question: {question}"))
        case.messages = [
            ChatMessage(role=MessageRole.SYSTEM, content=self._system_prompt),
            user_message(self._llm, blocks),
        ]
        return case


def build_query_engine(
    library: AnsweringLibrary,
    llm: LLM | None = None,
    *,
    max_pictures: int = MAX_PICTURES,
    streaming: bool = False,
    **kwargs: Any,
) -> MediaQueryEngine:
    """Make the query engine of a library; other keywords go to its retriever.

    Hits of confidence "none" are no sources, so they are not asked for.
    """
    if kwargs.get("min_confidence", "none") == "none":
        kwargs["min_confidence"] = "weak"
    if kwargs.get("rerank"):
        kwargs["llm"] = llm  # who answers also judges
    return MediaQueryEngine(
        library.as_retriever(**kwargs),
        library.vlm(llm),
        library.picture_of,
        pictures_of=library.pictures_of,
        max_pictures=max_pictures,
        streaming=streaming,
    )


# -- sources --------------------------------------------------------------------------------------


class _Case:
    """One question on its way: its sources, the message, and what is to be said about them."""

    def __init__(self, hits: list[Hit], warnings: list[str]) -> None:
        self.hits = hits
        self.nodes: list[NodeWithScore] = []
        self.messages: list[ChatMessage] = []
        self.model = ""
        self.warnings = warnings
        self.citations = Citations(len(hits), self.warnings)

    @property
    def metadata(self) -> dict[str, Any]:
        return {"model": self.model, "warnings": self.warnings, "cited": self.citations.cited}

    def tell(self, told: AnswerTold, text: str) -> None:
        """Say that the answer is there."""
        cited = len(self.citations.cited)
        told.whole(len(self.hits), cited, lambda: Response(text, self.nodes, self.metadata))

    def as_answer(self, text: str) -> Answer:
        return Answer(text, tuple(self.hits), self.model, tuple(self.warnings))


def _told(found: SearchResult) -> list[Hit]:
    """What an answer is from: with what comes after or before a moment, the moment, in order."""
    return in_time([*found.beside, *found.hits]) if found.beside else found.hits


def _how_found(found: SearchResult) -> str:
    """What a model can't see in the sources: the filters that they passed, and how many there are.

    The words are the question's own, or the library's name for them.
    """
    plan = found.plan
    if plan is None or plan.words == plan.question.strip():
        return ""
    counted = "" if found.count is None else f" The library counts {found.count} of them."
    said = "; ".join(explained(plan))
    if plan.planned_by == "model":  # it has read the names of folders and people
        said = untrusted("search", said)
    return f"\nThe sources were searched for as: {said}.{counted}"


def _bundle(question: QueryType) -> QueryBundle:
    return QueryBundle(question) if isinstance(question, str) else question


def _iter(text: str) -> Generator[str, None, None]:
    yield text


async def _aiter(text: str) -> AsyncGenerator[str, None]:
    yield text
