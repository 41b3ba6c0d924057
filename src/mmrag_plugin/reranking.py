"""Rerank: a model looks at the first hits of a search and says how well each fits.

One request a hit: its picture, what is known of it in fenced text, and the question. Hits that were
judged change places among themselves, better judged ones first and in their old order where the
model sees no difference; every other hit keeps its place. So a slow or broken model can only leave
the order as the channels made it.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from llama_index.core.base.llms.types import ContentBlock, TextBlock
from llama_index.core.llms import LLM, ChatMessage, MessageRole
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, QueryBundle
from PIL.Image import Image
from pydantic import BaseModel, Field

from mmrag_plugin.errors import (
    MediaError,
    ModelError,
    OllamaUnavailable,
    RemoteNotAllowed,
    UsageError,
)
from mmrag_plugin.llama_events import rerank_told
from mmrag_plugin.media import Hit, Moment
from mmrag_plugin.results import SearchResult
from mmrag_plugin.retrieval import hit_nodes, node_hit
from mmrag_plugin.sources import hit_facts, hit_words
from mmrag_plugin.tracing import span
from mmrag_plugin.untrusted import escape_media_text
from mmrag_plugin.vlm.base import picture_block, user_message
from mmrag_plugin.vlm.prompts import ASKED_WITH, JUDGE_SYSTEM, JUDGE_WITHOUT_WORDS
from mmrag_plugin.vlm.structured import aask_for

FIRST = 12
SECONDS = 30.0
WORKERS = 2  # one is looked at while the other's picture is on its way; more only wait in Ollama
GIVE_UP = 3  # failures before the first verdict
VERDICT_TOKENS = 256
REASON_CHARS = 120
_HOPELESS = (OllamaUnavailable, ModelError, RemoteNotAllowed)  # the next request will fail, too

_log = logging.getLogger("mmrag.rerank")

T = TypeVar("T")


class Verdict(BaseModel):
    """How well one hit fits the question, as the model says."""

    reason: str = Field(description="In a few words: what of it is there, or what is missing.")
    relevance: int = Field(
        ge=0, le=3, description="3: just that; 2: mostly; 1: something of it; 0: nothing of it."
    )


@dataclass
class _Case:
    """One search on its way: the hits that are judged, and what became of each."""

    question: str
    hits: Sequence[Hit]
    asked_with: Image | None
    verdicts: dict[int, Verdict] = field(default_factory=dict)  # by place among the hits
    troubles: list[str] = field(default_factory=list)


class Reranker:
    """Has a model judge the first hits of a search, within a bound on number and time.

    ``first`` hits are judged at most, ``workers`` at a time, in ``seconds`` altogether.
    ``picture_of`` opens what a hit shows (None when its file is gone: then it is not judged);
    ``words_of`` says what is known of a moment, which comes out of media and goes fenced.

    Whatever fails becomes a warning of the result: an optional step takes no hits away.
    """

    def __init__(
        self,
        llm: LLM,
        picture_of: Callable[[Hit], Image | None],
        words_of: Callable[[Moment], str] | None = None,
        *,
        first: int = FIRST,
        seconds: float = SECONDS,
        workers: int = WORKERS,
    ) -> None:
        if first < 1 or workers < 1 or not seconds > 0:
            raise UsageError(
                f"Reranking {first} hits in {seconds} s, {workers} at a time, makes no sense.",
                "Ask for 1 or more of each.",
            )
        self.first, self.seconds, self.workers = first, seconds, workers
        self._llm, self._picture_of, self._words_of = llm, picture_of, words_of

    def search(
        self,
        find: Callable[..., SearchResult],
        query: str,
        *,
        picture: Image | None = None,
        limit: int = 10,
        **options: Any,
    ) -> SearchResult:
        """Search with ``find``, a library's search, and put what it finds into the model's order.

        As many are searched for as are judged, so what is right can move up from below ``limit``.
        """
        found = find(query, picture=picture, limit=max(limit, self.first), **options)
        return _finished(self._ranked(found, limit, picture))

    async def asearch(
        self,
        find: Callable[..., SearchResult],
        query: str,
        *,
        picture: Image | None = None,
        limit: int = 10,
        **options: Any,
    ) -> SearchResult:
        """Search and rerank without holding up the event loop."""
        depth = max(limit, self.first)
        found = await asyncio.to_thread(find, query, picture=picture, limit=depth, **options)
        return await self._ranked(found, limit, picture)

    async def _ranked(
        self, found: SearchResult, limit: int, asked_with: Image | None
    ) -> SearchResult:
        with self.told(found.query, limit, lambda: hit_nodes(found.hits)) as told:
            verdicts, warnings = await self.judge(found.query, found.hits, asked_with)
            hits = [
                replace(_told(found.hits[place], verdicts.get(place)), rank=rank)
                for rank, place in enumerate(reordered(len(found.hits), verdicts)[:limit], start=1)
            ]
            told(lambda: hit_nodes(hits))
        return replace(found, hits=hits, warnings=[*found.warnings, *warnings])

    async def judge(
        self, question: str, hits: Sequence[Hit], asked_with: Image | None = None
    ) -> tuple[dict[int, Verdict], list[str]]:
        """Judge the first hits: verdicts by place among the hits (from 0), and what went wrong."""
        with span("rerank") as now:
            judged, warnings = await self._judge(question, hits, asked_with)
            now.set(judged=len(judged))
        return judged, warnings

    async def _judge(
        self, question: str, hits: Sequence[Hit], asked_with: Image | None
    ) -> tuple[dict[int, Verdict], list[str]]:
        case = _Case(question, hits[: self.first], asked_with)
        waiting = iter(enumerate(case.hits))
        tasks = [
            asyncio.create_task(self._work(case, waiting))
            for _ in range(min(self.workers, len(case.hits)))
        ]
        if not tasks:
            return {}, []
        try:
            _, late = await asyncio.wait(
                tasks, timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION
            )
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        failed = [str(end) for end in ends if isinstance(end, Exception)]
        if late and not failed:
            failed = [f"the time for it ({self.seconds:g} s) is over"]
        return case.verdicts, _about(case, [*failed, *case.troubles])

    def told(
        self, question: str, top_n: int, before: Callable[[], list[NodeWithScore]]
    ) -> AbstractContextManager[Callable[[Callable[[], list[NodeWithScore]]], None]]:
        """Tell LlamaIndex of a reranking; what makes the nodes afterwards is told within."""
        return rerank_told(question, self._llm.metadata.model_name, top_n, before)

    def as_postprocessor(self) -> NodeReranker:
        """The same for nodes, where LlamaIndex takes a node postprocessor."""
        return NodeReranker(reranker=self)

    async def _work(self, case: _Case, waiting: Iterator[tuple[int, Hit]]) -> None:
        """Judge hits as long as there are any; raises when it makes no sense to go on."""
        for place, hit in waiting:
            try:
                messages = await asyncio.to_thread(self._messages, case, hit)
            except MediaError as error:
                case.troubles.append(str(error))
                continue
            if messages is None:
                case.troubles.append(f"{hit.path} is gone.")
                continue
            try:
                case.verdicts[place] = await aask_for(self._llm, messages, Verdict)
            except _HOPELESS:
                raise
            except Exception as error:  # any LLM may be behind it, with errors of its own
                case.troubles.append(str(error))
                if not case.verdicts and len(case.troubles) >= GIVE_UP:
                    raise

    def _messages(self, case: _Case, hit: Hit) -> list[ChatMessage] | None:
        picture = self._picture_of(hit)
        if picture is None:
            return None
        known = self._words_of(hit.moment) if self._words_of else hit.text
        words = hit_words(replace(hit, text=known), "the file", reason=False)
        blocks: list[ContentBlock] = []
        if case.asked_with is not None:
            blocks += [TextBlock(text=f"{ASKED_WITH}\n"), picture_block(case.asked_with)]
        blocks += [
            TextBlock(text=f"{hit_facts(hit)}\n{words}\nIts picture:\n"),
            picture_block(picture),
            TextBlock(text=f"\nThe search: {case.question.strip() or JUDGE_WITHOUT_WORDS}"),
        ]
        return [
            ChatMessage(role=MessageRole.SYSTEM, content=JUDGE_SYSTEM),
            user_message(self._llm, blocks),
        ]


class NodeReranker(BaseNodePostprocessor):
    """Reranks where LlamaIndex takes a node postprocessor: nodes that a MediaRetriever found.

    Other nodes keep their places. Nodes carry no warnings, so what goes wrong is logged.
    """

    reranker: Reranker

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return _finished(self._apostprocess_nodes(nodes, query_bundle))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            return nodes
        question = query_bundle.query_str
        with self.reranker.told(question, len(nodes), lambda: list(nodes)) as told:
            ordered = await self._ordered(question, nodes)
            told(lambda: ordered)
        return ordered

    async def _ordered(self, question: str, nodes: list[NodeWithScore]) -> list[NodeWithScore]:
        hits = {place: hit for place, node in enumerate(nodes) if (hit := node_hit(node))}
        judged, warnings = await self.reranker.judge(question, list(hits.values()))
        for warning in warnings:
            _log.warning("%s", warning)
        places = list(hits)
        verdicts = {places[number]: verdict for number, verdict in judged.items()}
        for place, verdict in verdicts.items():
            nodes[place].node.metadata["reason"] = _told(hits[place], verdict).reason
        return [nodes[place] for place in reordered(len(nodes), verdicts)]


def reordered(count: int, verdicts: dict[int, Verdict]) -> list[int]:
    """The new order of ``count`` places: judged ones change among themselves, others stay.

    >>> reordered(4, {0: Verdict(reason="", relevance=1), 3: Verdict(reason="", relevance=2)})
    [3, 1, 2, 0]
    """
    places = sorted(verdicts)
    best_first = sorted(places, key=lambda place: -verdicts[place].relevance)
    moved = dict(zip(places, best_first, strict=True))
    return [moved.get(place, place) for place in range(count)]


def _told(hit: Hit, verdict: Verdict | None) -> Hit:
    """A hit that says what the model said of it; the words may come out of its picture."""
    if verdict is None:
        return hit
    words = " ".join(escape_media_text(verdict.reason, REASON_CHARS).split())
    said = f"judged {verdict.relevance} of 3: {words}".removesuffix(": ")
    return replace(hit, reason=f"{said}; {hit.reason}" if hit.reason else said)


def _about(case: _Case, reasons: Sequence[str]) -> list[str]:
    """Say how many hits were not judged, and the first reason why."""
    left = len(case.hits) - len(case.verdicts)
    if not left:
        return []
    why = f": {reasons[0]}" if reasons else "."
    if not case.verdicts:
        return [f"The hits stand in the order of the search, since none could be judged{why}"]
    return [f"{left} of the first {len(case.hits)} hits kept their places unjudged{why}"]


def _finished(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end from code that is not async, also where an event loop runs (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as other:
        return other.submit(contextvars.copy_context().run, asyncio.run, work).result()
