"""What a library offers to LlamaIndex and to whoever asks in words: retriever, engines, VLM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrag_plugin.library_media import LibraryMedia
from mmrag_plugin.library_models import careful, limited, vlm_of

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from mmrag_plugin.answering import MediaQueryEngine
    from mmrag_plugin.chatting import MediaChatEngine
    from mmrag_plugin.results import SearchResult
    from mmrag_plugin.retrieval import MediaRetriever
    from mmrag_plugin.settings import Settings


class LibraryAsking(LibraryMedia):
    """The part of a library that is asked."""

    settings: Settings

    def search(self, query: str, **options: Any) -> SearchResult:
        """Find moments; the library knows how."""
        raise NotImplementedError

    def as_retriever(self, **options: Any) -> MediaRetriever:
        """A LlamaIndex retriever; options as of ``MediaRetriever``."""
        from mmrag_plugin.retrieval import MediaRetriever

        return MediaRetriever(self.search, **options)

    def as_query_engine(self, llm: LLM | None = None, **options: Any) -> MediaQueryEngine:
        """A LlamaIndex query engine that answers with numbered sources."""
        from mmrag_plugin.answering import build_query_engine

        return build_query_engine(self, llm, **options)

    def as_chat_engine(self, llm: LLM | None = None, **options: Any) -> MediaChatEngine:
        """A LlamaIndex chat engine that remembers; options as of ``MediaChatEngine``."""
        from mmrag_plugin.chatting import build_chat_engine

        return build_chat_engine(self, llm, **options)

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
