"""What LlamaIndex's own handlers hear of mmrag: each event once, in the span it belongs to."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.response.schema import Response
from llama_index.core.instrumentation import get_dispatcher  # type: ignore[attr-defined]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.schema import QueryBundle
from pydantic import PrivateAttr

from commands import mmrag_here, told
from judging import judge_colours
from media_made import end_owners
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.llama_events import dispatcher_heard
from mmrag_plugin.settings import Settings
from mmrag_plugin.vlm.ollama import OllamaVLM
from ollama_double import OllamaDouble
from served_library import DEMO_MEDIA


class Events(BaseEventHandler):
    """Keeps all events."""

    _heard: list[Any] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: Any, **_: Any) -> None:
        self._heard.append(event)

    def counts(self) -> Counter[str]:
        return Counter(type(event).__name__.removesuffix("Event") for event in self._heard)

    def of(self, kind: str) -> list[Any]:
        return [event for event in self._heard if type(event).__name__ == f"{kind}Event"]


class Spans(BaseSpanHandler[BaseSpan]):
    """Keeps which span is within which."""

    _within: dict[str, str | None] = PrivateAttr(default_factory=dict)
    _left: list[str] = PrivateAttr(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Spans"

    def new_span(
        self, id_: str, bound_args: Any, instance: Any = None, parent_span_id: str | None = None,
        tags: Any = None, **_: Any,
    ) -> BaseSpan:  # fmt: skip
        self._within[id_] = parent_span_id
        return BaseSpan(id_=id_, parent_id=parent_span_id)

    def prepare_to_exit_span(self, id_: str, *_: Any, **__: Any) -> BaseSpan | None:
        self._left.append(id_)
        return self.open_spans.get(id_)

    def prepare_to_drop_span(self, id_: str, *_: Any, **__: Any) -> BaseSpan | None:
        return self.prepare_to_exit_span(id_)

    def path(self, span_id: str | None) -> list[str]:
        """The names of a span and of those that it is within, innermost first."""
        names = []
        while span_id is not None:
            names.append(span_id.rsplit("-", 5)[0])
            span_id = self._within[span_id]
        return names

    def all_left(self) -> bool:
        return sorted(self._left) == sorted(self._within)


@pytest.fixture
def heard() -> Iterator[tuple[Events, Spans]]:
    root, events, spans = get_dispatcher(), Events(), Spans()
    root.add_event_handler(events)
    root.add_span_handler(spans)
    yield events, spans
    root.event_handlers.remove(events)
    root.span_handlers.remove(spans)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    place = tmp_path_factory.mktemp("heard")
    for folder in ("Farm weekend", "City"):
        shutil.copytree(DEMO_MEDIA / folder, place / "Pictures" / folder)
    home = place / "libraries"
    told(mmrag_here(home, "index", place / "Pictures", "--no-ocr", "--json"), 0)
    with MediaLibrary.open(
        Settings(home=home, visual_model="palette", text_model="off")
    ) as library:
        yield library
    end_owners(home)


@pytest.fixture
def eye() -> Iterator[tuple[OllamaVLM, OllamaDouble]]:
    with OllamaDouble() as double:
        yield OllamaVLM("eye", double.url), double


QUESTION = "a red barn"
RETRIEVED = {"RetrievalStart": 1, "RetrievalEnd": 1, "EmbeddingStart": 1, "EmbeddingEnd": 1}
ASKED = {"QueryStart": 1, "QueryEnd": 1, "LLMChatStart": 1, "LLMChatEnd": 1, **RETRIEVED}


def _without_pieces(events: Events) -> dict[str, int]:
    return {name: n for name, n in events.counts().items() if "InProgress" not in name}


# -- retrieving -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_a_retriever_is_heard_once_with_its_nodes_and_its_embedding(
    library: MediaLibrary, heard: tuple[Events, Spans], way: str
) -> None:
    events, spans = heard
    retriever = library.as_retriever(limit=3)
    nodes = retriever.retrieve(QUESTION) if way == "sync" else await retriever.aretrieve(QUESTION)
    assert events.counts() == RETRIEVED
    (end,) = events.of("RetrievalEnd")
    assert [node.node_id for node in end.nodes] == [node.node_id for node in nodes]
    (embedded,) = events.of("EmbeddingEnd")
    assert embedded.chunks == [QUESTION]
    assert len(embedded.embeddings[0]) == library.searcher().visual.dim
    name = "retrieve" if way == "sync" else "aretrieve"
    assert f"MediaRetriever.{name}" in spans.path(embedded.span_id)
    assert spans.path(end.span_id)[-1] == f"MediaRetriever.{name}"
    assert spans.all_left()


def test_a_picture_that_is_asked_with_is_heard_as_one(
    library: MediaLibrary, heard: tuple[Events, Spans]
) -> None:
    picture = next(DEMO_MEDIA.rglob("Biscuit.jpg"))
    library.as_retriever().retrieve(QueryBundle("", image_path=str(picture)))
    (end,) = heard[0].of("EmbeddingEnd")
    assert end.chunks == ["[picture]"]
    assert heard[0].counts() == RETRIEVED


# -- answering ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["query", "aquery", "ask", "aask"])
async def test_a_query_engine_is_heard_once_with_all_that_it_does(
    library: MediaLibrary,
    heard: tuple[Events, Spans],
    eye: tuple[OllamaVLM, OllamaDouble],
    way: str,
) -> None:
    events, spans = heard
    engine = library.as_query_engine(eye[0])
    answered = getattr(engine, way)(QUESTION)
    answer = await answered if way.startswith("a") and way != "ask" else answered
    assert _without_pieces(events) == ASKED
    (end,) = events.of("QueryEnd")
    assert str(end.response) == (answer.text if "ask" in way else str(answer))
    assert isinstance(end.response, Response)
    assert end.response.metadata is not None
    assert end.response.metadata["cited"]
    for kind in ("RetrievalEnd", "EmbeddingEnd", "LLMChatStart"):
        (event,) = events.of(kind)
        assert spans.path(event.span_id)[-1] == f"MediaQueryEngine.{way}", kind
    (retrieved,) = events.of("RetrievalEnd")
    assert spans.path(retrieved.span_id)[0].startswith("MediaRetriever.")
    assert spans.all_left()


def test_a_streamed_answer_is_heard_whole_at_its_end(
    library: MediaLibrary, heard: tuple[Events, Spans], eye: tuple[OllamaVLM, OllamaDouble]
) -> None:
    events, _ = heard
    stream = library.as_query_engine(eye[0]).stream_ask(QUESTION)
    assert not events.of("QueryEnd")
    said = "".join(stream)
    (end,) = events.of("QueryEnd")
    assert str(end.response) == said.strip()
    assert _without_pieces(events) == ASKED


def test_a_streaming_engine_is_heard_once_too(
    library: MediaLibrary, heard: tuple[Events, Spans], eye: tuple[OllamaVLM, OllamaDouble]
) -> None:
    response: Any = library.as_query_engine(eye[0], streaming=True).query(QUESTION)
    assert "".join(response.response_gen)
    assert _without_pieces(heard[0]) == ASKED


# -- conversing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["chat", "achat", "stream_chat", "astream_chat"])
async def test_a_turn_of_a_conversation_is_heard_with_its_search_and_its_model(
    library: MediaLibrary,
    heard: tuple[Events, Spans],
    eye: tuple[OllamaVLM, OllamaDouble],
    way: str,
) -> None:
    events, spans = heard
    engine = library.as_chat_engine(eye[0])
    begun = getattr(engine, way)(QUESTION)
    response = await begun if way.startswith("a") else begun
    if way == "stream_chat":
        assert "".join(response.response_gen)
    elif way == "astream_chat":
        assert "".join([piece async for piece in response.async_response_gen()])
    counts = _without_pieces(events)
    deltas = counts.pop("StreamChatDeltaReceived", 0)
    streamed = {"StreamChatStart": 1, "StreamChatEnd": 1} if "stream" in way else {}
    assert bool(deltas) == bool(streamed)
    assert counts == {**RETRIEVED, "LLMChatStart": 1, "LLMChatEnd": 1, **streamed}
    for kind in ("RetrievalEnd", "LLMChatStart", *(f"{name}" for name in streamed)):
        (event,) = events.of(kind)
        assert spans.path(event.span_id)[-1] == f"MediaChatEngine.{way}", kind


# -- reranking ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["retriever", "aretriever", "search", "postprocessor"])
async def test_reranking_is_heard_once_with_the_nodes_before_and_after(
    library: MediaLibrary,
    heard: tuple[Events, Spans],
    eye: tuple[OllamaVLM, OllamaDouble],
    way: str,
) -> None:
    events, _ = heard
    llm, double = eye
    double.says = judge_colours
    if way == "retriever":
        library.as_retriever(rerank=2, llm=llm, limit=3).retrieve("red")
    elif way == "aretriever":
        await library.as_retriever(rerank=2, llm=llm, limit=3).aretrieve("red")
    elif way == "search":
        library.search("red", rerank=2, llm=llm, limit=3)
    else:
        nodes = library.as_retriever(limit=3).retrieve("red")
        processor = library.reranker(2, llm=llm).as_postprocessor()
        await processor.apostprocess_nodes(nodes, query_str="red")
    (start,), (end,) = events.of("ReRankStart"), events.of("ReRankEnd")
    assert start.query == "red"
    assert start.model_name == "eye"
    assert start.top_n == 3
    assert {n.node_id for n in start.nodes} == {n.node_id for n in end.nodes}
    assert events.counts()["LLMChatEnd"] == 2


# -- indexing, and nobody -------------------------------------------------------------------------


def test_indexing_is_heard_as_it_embeds(heard: tuple[Events, Spans], tmp_path: Path) -> None:
    shutil.copytree(DEMO_MEDIA / "Farm weekend", tmp_path / "Pictures")
    home = tmp_path / "libraries"
    try:
        told(mmrag_here(home, "index", tmp_path / "Pictures", "--no-ocr", "--json"), 0)
    finally:
        end_owners(home)
    chunks = [chunk for event in heard[0].of("EmbeddingEnd") for chunk in event.chunks]
    assert chunks == ["[picture]"] * 3
    counts = heard[0].counts()
    assert counts["EmbeddingStart"] == counts["EmbeddingEnd"]


def test_no_event_is_made_where_nobody_listens(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dispatcher_heard("mmrag_plugin.retrieval") is None
    from llama_index.core.instrumentation.events.embedding import EmbeddingEndEvent

    monkeypatch.setattr(
        EmbeddingEndEvent, "__init__", lambda *_, **__: pytest.fail("an event was made")
    )
    assert library.search(QUESTION).hits


def test_a_handler_of_one_module_alone_is_found() -> None:
    events, own = Events(), get_dispatcher("mmrag_plugin.retrieval")
    own.add_event_handler(events)
    try:
        assert dispatcher_heard("mmrag_plugin.retrieval") is own
        assert dispatcher_heard("mmrag_plugin.answering") is None
    finally:
        own.event_handlers.remove(events)
