"""What a library offers to LlamaIndex and to whoever asks in words: retriever, engines, VLM."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.library_imagining import LibraryImagining
from mmrag_plugin.library_keeping import LibraryKeeping
from mmrag_plugin.library_models import careful, limited, vlm_of
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from datetime import date

    from llama_index.core.llms import LLM
    from llama_index.core.tools import FunctionTool
    from PIL.Image import Image

    from mmrag_plugin.answering import MediaQueryEngine
    from mmrag_plugin.chatting import MediaChatEngine
    from mmrag_plugin.plan import Plan
    from mmrag_plugin.planning.model import ModelPlanner
    from mmrag_plugin.reranking import Reranker
    from mmrag_plugin.results import SearchResult
    from mmrag_plugin.retrieval import MediaRetriever
    from mmrag_plugin.settings import Settings


class LibraryAsking(LibraryImagining, LibraryKeeping):
    """The part of a library that is asked."""

    settings: Settings

    def for_assistants(self) -> LibraryAsking:
        """The library without what is hidden from assistants; the library knows how."""
        raise NotImplementedError

    def found(self, query: str, *, picture: Image | None = None, **options: Any) -> SearchResult:
        """Find moments in the order of the channels; the library knows how."""
        raise NotImplementedError

    def shots(self, media_id: str) -> list[tuple[float, float]]:
        """The shots of a film in order of time; the library knows where they are kept."""
        raise NotImplementedError

    def search(
        self,
        query: str,
        *,
        rerank: int | bool = False,
        rerank_s: float | None = None,
        llm: LLM | None = None,
        **options: Any,
    ) -> SearchResult:
        """Find moments by words, by a picture or by both; options as of ``Searcher.search``.

        With ``rerank`` the VLM (``llm``, or the one of the settings) judges so many of the first
        hits, 12 if it is True, within ``rerank_s`` seconds, and what fits better moves up.
        """
        if not rerank:
            return self.found(query, **options)
        return self.reranker(rerank, rerank_s, llm).search(self.found, query, **options)

    async def asearch(
        self,
        query: str,
        *,
        rerank: int | bool = False,
        rerank_s: float | None = None,
        llm: LLM | None = None,
        **options: Any,
    ) -> SearchResult:
        """Find moments without holding up the event loop."""
        if not rerank:
            return await asyncio.to_thread(self.found, query, **options)
        reranker = self.reranker(rerank, rerank_s, llm)
        return await reranker.asearch(self.found, query, **options)

    def reranker(
        self, first: int | bool = True, seconds: float | None = None, llm: LLM | None = None
    ) -> Reranker:
        """What judges the first hits of a search (12 if ``first`` is True) by their pictures."""
        from mmrag_plugin.reranking import FIRST, SECONDS, VERDICT_TOKENS, Reranker

        return Reranker(
            self.vlm(llm, max_tokens=VERDICT_TOKENS, temperature=0.0),
            self.picture_of,
            self.words_of,
            first=FIRST if first is True else first,
            seconds=SECONDS if seconds is None else seconds,
        )

    def plan_question(
        self, question: str, *, llm: LLM | None = None, today: date | None = None
    ) -> Plan:
        """Say what a question asks for: by rules, or by an LLM where its answer holds.

        Raises UsageError for a filter in the question that is none.
        """
        from mmrag_plugin.planning.names import LedgerNames
        from mmrag_plugin.planning.rules import Rules

        with span("plan"):
            planner = Rules() if llm is None else self._model_planner(llm)
            return planner.plan(question, today=today or _today(), known=LedgerNames(self.ledger))

    async def aplan_question(
        self, question: str, *, llm: LLM | None = None, today: date | None = None
    ) -> Plan:
        """Say what a question asks for, without holding up the event loop."""
        from mmrag_plugin.planning.names import LedgerNames

        if llm is None:
            return await asyncio.to_thread(self.plan_question, question, today=today)
        with span("plan"):
            planner, known = self._model_planner(llm), LedgerNames(self.ledger)
            return await planner.aplan(question, today=today or _today(), known=known)

    def _model_planner(self, llm: LLM) -> ModelPlanner:
        from mmrag_plugin.planning.model import PLAN_TOKENS, ModelPlanner

        return ModelPlanner(self.vlm(llm, max_tokens=PLAN_TOKENS, temperature=0.0))

    def search_plan(
        self,
        plan: Plan,
        *,
        limit: int = 10,
        rerank: int | bool = False,
        rerank_s: float | None = None,
        llm: LLM | None = None,
        **options: Any,
    ) -> SearchResult:
        """Find what a plan asks for; options as of ``search``.

        ``filters`` are given by hand and win over the plan's. Only the best are reranked: counts,
        dates and periods stand in their own order.
        """
        from mmrag_plugin.planned_search import PlannedSearch

        carrying = PlannedSearch(self.ledger, self.found, self._looks, self.shots)
        if not rerank or plan.aim != "find" or plan.one_each or plan.moment or plan.order != "best":
            return carrying.run(plan, limit=limit, **options)
        if options.get("offset") is not None:
            raise UsageError("Pages of a search aren't reranked.", "Ask for more hits at once.")
        limit, plan = plan.limit or limit, replace(plan, limit=None)
        return self.reranker(rerank, rerank_s, llm).search(
            lambda _, **more: carrying.run(plan, **more), plan.question, limit=limit, **options
        )

    async def asearch_plan(self, plan: Plan, *, limit: int = 10, **options: Any) -> SearchResult:
        """Find what a plan asks for, without holding up the event loop."""
        return await asyncio.to_thread(self.search_plan, plan, limit=limit, **options)

    def _looks(self, media_id: str, at_s: float | None) -> Image:
        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Take an id that a search showed.")
        return self._picture(row, at_s)

    def search_question(
        self,
        question: str,
        *,
        picture: Image | None = None,
        planner: LLM | None = None,
        **options: Any,
    ) -> SearchResult:
        """Plan a question, with the model ``planner`` if there is one, and find what it asks for.

        Options are those of ``search_plan``.
        """
        if not question.strip():
            return self.search(question, picture=picture, **options)
        with span("question") as now:
            now.private(question=question)
            plan = self.plan_question(question, llm=planner)
            result = self.search_plan(plan, picture=picture, **options)
            now.set(hits=len(result.hits))
            return result

    def as_retriever(
        self,
        *,
        planned: bool = False,
        planner: LLM | None = None,
        rerank: int | bool = False,
        rerank_s: float | None = None,
        llm: LLM | None = None,
        **options: Any,
    ) -> MediaRetriever:
        """A LlamaIndex retriever; ``rerank`` as of ``search``, options of ``MediaRetriever``.

        ``planned`` has questions planned, with the model ``planner`` if there is one.
        """
        from mmrag_plugin.retrieval import MediaRetriever

        if planned or planner is not None:  # what is reranked then depends on the plan
            judging: dict[str, Any] = {"rerank": rerank, "rerank_s": rerank_s, "llm": llm}
            search = partial(self.search_question, planner=planner, **judging)
            return MediaRetriever(search, **options)
        reranker = self.reranker(rerank, rerank_s, llm) if rerank else None
        return MediaRetriever(self.found, reranker=reranker, **options)

    def as_query_engine(self, llm: LLM | None = None, **options: Any) -> MediaQueryEngine:
        """A LlamaIndex query engine that answers with numbered sources.

        Questions are planned unless ``planned`` is False; options as of ``as_retriever``.
        """
        from mmrag_plugin.answering import build_query_engine

        return build_query_engine(self, llm, **{"planned": True, **options})

    def as_chat_engine(self, llm: LLM | None = None, **options: Any) -> MediaChatEngine:
        """A LlamaIndex chat engine that remembers; options as of ``MediaChatEngine``."""
        from mmrag_plugin.chatting import build_chat_engine

        return build_chat_engine(self, llm, **options)

    def as_tools(
        self, llm: LLM | None = None, *, pictures: bool = True, hidden: bool = False
    ) -> list[FunctionTool]:
        """The library as tools for LlamaIndex agents, as of ``media_tools``.

        What the person hides from assistants is not there, unless ``hidden`` media are asked for.
        """
        from mmrag_plugin.agent_tools import media_tools

        library = self if hidden else self.for_assistants()
        return media_tools(library, llm=llm, pictures=pictures)

    def vlm(
        self,
        llm: LLM | None = None,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> LLM:
        """The VLM of the settings, on Ollama; or somebody's own LLM.

        An ``Ollama`` or ``OllamaMultiModal`` gets the checks of our adapter: pictures stay on this
        machine unless the settings allow more, and errors say what to do. ``max_tokens`` bounds
        each answer; an LLM that knows no such setting goes without.
        """
        chosen = vlm_of(self.settings) if llm is None else careful(llm, self.settings)
        return limited(chosen, max_tokens=max_tokens, temperature=temperature)


def _today() -> date:
    from datetime import datetime

    return datetime.now().astimezone().date()
