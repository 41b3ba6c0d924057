"""A library: the one place that turns Settings into objects and joins them."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from mmrag_plugin.errors import MilvusUnavailable, MmragError, NotALibrary, NotFound, ServiceError
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.library_annotating import LibraryAnnotating
from mmrag_plugin.library_asking import LibraryAsking
from mmrag_plugin.library_evaluating import LibraryEvaluating
from mmrag_plugin.library_indexing import LibraryIndexing
from mmrag_plugin.library_learning import LibraryLearning
from mmrag_plugin.library_milvus import connection_of, require_current
from mmrag_plugin.library_models import LibraryModels
from mmrag_plugin.library_place import claim, ledger_url
from mmrag_plugin.query_models import QueryModels
from mmrag_plugin.settings import Settings, load_settings
from mmrag_plugin.tracing import span
from mmrag_plugin.walking import expand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from llama_index.core.llms import LLM
    from PIL.Image import Image

    from mmrag_plugin.milvus_connection import MilvusConnection
    from mmrag_plugin.milvus_media import MediaRows
    from mmrag_plugin.milvus_store import MediaVectorStore
    from mmrag_plugin.results import SearchResult
    from mmrag_plugin.searching import Searcher
    from mmrag_plugin.signals.speech import SpeechRecogniser

    Rows = TypeVar("Rows", bound=MediaRows)


class MediaLibrary(
    LibraryIndexing, LibraryAnnotating, LibraryLearning, LibraryAsking, LibraryEvaluating
):
    """One library: index folders into it, search it, ask it. Use it as a context manager.

    Heavy parts (models, Milvus) are loaded when they are first needed. ``caption_llm`` is the LLM
    that captions, where it is to be another than the settings' VLM, ``speech_recogniser`` who
    listens to films.

    ``for_assistants`` is the same library as assistants see it. What is hidden from them is shut
    off where both kinds of storage are read: their ledger looks at its tables through views without
    it (``ledger_views``), and their searches in Milvus exclude it (``milvus_collection``). So no
    tool can forget to ask, and what is written through such a ledger fails.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, whole: MediaLibrary | None = None
    ) -> None:
        self.settings = settings
        self.directory = settings.directory
        self.ledger = ledger
        self.warnings: list[str] = []
        self.caption_llm: LLM | None = None
        self.speech_recogniser: SpeechRecogniser | None = None
        self.whole: MediaLibrary = whole or self  # as the person sees it
        self.models = whole.models if whole else LibraryModels(settings, ledger)
        self._seen_by_assistants: MediaLibrary | None = None
        self._searchers: dict[tuple[object, ...], Searcher] = {}
        self._loading = threading.RLock()  # a server's first searches come together
        self._annotating = threading.Lock()
        self.query_models = QueryModels(self.models, None)

    # ---- opening and closing -----------------------------------------------------------------

    @classmethod
    def open(
        cls,
        settings: Settings | None = None,
        *,
        create: bool = False,
        dry_run: bool = False,
        kept_models: bool = False,
    ) -> MediaLibrary:
        """Open the library that the settings name.

        With ``kept_models`` searches use models that another process keeps loaded, as the settings
        say, which pays in a process that ends soon.
        With ``dry_run`` one that is not there yet is empty and in memory, to plan with.
        Raises NotFound when there is none and ``create`` is not set, NotALibrary when the directory
        holds something else, StorageError when it can't be written or has lost its ledger.
        """
        settings = settings or load_settings()
        with span("ledger.open"):
            ledger = Ledger(ledger_url(settings, create=create, dry_run=dry_run))
        try:
            ledger.require_here()
            if settings.ledger_url:
                claim(ledger, settings.library)
        except MmragError:
            ledger.close()
            raise
        library = cls(settings, ledger)
        if kept_models and settings.keep_models:
            from mmrag_plugin.model_keeper import ModelKeeper

            library.query_models = QueryModels(library.models, ModelKeeper(settings))
        return library

    def for_assistants(self) -> MediaLibrary:
        """Give the library without what the person hides from assistants; models are shared.

        What is hidden or shown later takes effect at once. Closing either closes both.
        """
        whole = self.whole
        with whole._loading:
            if whole._seen_by_assistants is None:
                seen = Ledger(whole.ledger.url, for_assistants=True)
                whole._seen_by_assistants = MediaLibrary(whole.settings, seen, whole)
            return whole._seen_by_assistants

    @property
    def is_for_assistants(self) -> bool:
        """Whether what is hidden from assistants is not there."""
        return self.whole is not self

    def close(self) -> None:
        """Give files and connections back."""
        whole = self.whole
        if "connection" in whole.__dict__:
            whole.connection.close()
        if whole._seen_by_assistants is not None:
            whole._seen_by_assistants.ledger.close()
        whole.ledger.close()

    def __enter__(self) -> MediaLibrary:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def connection(self) -> MilvusConnection:
        """The connection to Milvus: this library's own, or a server."""
        if self.whole is not self:
            return self.whole.connection
        return connection_of(self.settings)

    # ---- searching ---------------------------------------------------------------------------

    def searcher(self) -> Searcher:
        """The searcher over the collections in use; a new one after another process switched.

        One without its text model is not kept: the model may be back for the next search.
        """
        with self._loading, span("searcher"):
            return self._searcher()

    def _searcher(self) -> Searcher:
        with span("import"):
            from mmrag_plugin.confidence import CALIBRATION, CALIBRATION_WITH_SENTENCE_MODEL
            from mmrag_plugin.fusion import (
                WEIGHTS,
                WEIGHTS_WITH_SENTENCE_MODEL,
                WEIGHTS_WITHOUT_TEXT,
                StandardScores,
            )
            from mmrag_plugin.searching import Searcher

        require_current(self.ledger, self.settings)
        if self.recorded("visual") is not None:
            self.connection.begin()  # while the models are loaded
        visual, model = self.query_models.visual()
        words = self.recorded("words")
        if words is None:
            raise NotALibrary("The ledger knows no words collection.", "Run mmrag index again.")
        tuned = self.tuned()
        key = (
            model.collection,
            words.collection,
            self.learned_in_use,
            None if tuned is None else str(tuned.about),
        )
        if key in self._searchers:
            return self._searchers[key]
        text = self.query_models.text(words)
        sentences = text is not None and words.setting != "visual"
        rows = self.rows()
        searcher = Searcher(
            self.ledger,
            rows["visual"],
            rows["words"],
            visual,
            text,
            StandardScores(
                (tuned and tuned.weights)
                or (WEIGHTS_WITH_SENTENCE_MODEL if sentences else WEIGHTS),
                without_text=(tuned and tuned.without_text) or WEIGHTS_WITHOUT_TEXT,
            ),
            calibration=(tuned and tuned.calibration)
            or (CALIBRATION_WITH_SENTENCE_MODEL if sentences else CALIBRATION),
            learned=self.learned_query(visual),
        )
        if text is not None or not words.dim:
            self._searchers[key] = searcher
        return searcher

    def found(self, query: str, *, picture: Image | None = None, **options: Any) -> SearchResult:
        """Find moments in the order of the channels; options as of ``Searcher.search``."""
        with span("search") as now:
            now.private(query=query)
            searcher = self.searcher()
            try:
                result = searcher.search(query, picture=picture, **options)
            except MilvusUnavailable:
                raise
            except ServiceError:  # another process may have switched models and dropped old rows
                again = self.searcher()
                if again.collections == searcher.collections:
                    raise
                result = again.search(query, picture=picture, **options)
            now.set(hits=len(result.hits))
        result.warnings[:0] = self._taken_warnings()
        return result

    def shots(self, media_id: str) -> list[tuple[float, float]]:
        """From when to when the shots of a film last, in order; nothing of what has none."""
        from mmrag_plugin.following import shots_in

        frames = self.searcher().frames
        rows = frames.rows_of(media_id)
        return shots_in(rows, lambda: frames.vectors(row.row_id for row in rows))

    def similar(self, target: str, *, at_s: float | None = None, **options: Any) -> SearchResult:
        """Find what looks like a picture: a file that the person names, a media id or a path.

        ``at_s`` is the time of the picture in a film. Twins are shown one by one: they are sought.
        """
        from mmrag_plugin.filters import Filters
        from mmrag_plugin.pictures import open_picture

        own = self.find(target)
        if own is None and self.is_for_assistants:  # whatever the file is, nobody named it to them
            raise NotFound(f"There is no media {target!r}.", "Take a media_id from a search.")
        picture = open_picture(expand(target)) if own is None else self._picture(own, at_s)
        if own is not None:
            filters = options.get("filters") or Filters()
            options["filters"] = replace(filters, leave_out=frozenset({own.media_id}))
        options.setdefault("grouped", False)
        return replace(self.search("", picture=picture, **options), query=target)

    # ---- where it is kept -----------------------------------------------------------------------

    def stores(self) -> dict[str, MediaVectorStore]:
        """The collections in use: ``visual`` and ``words``; empty before the first index."""
        with span("import"):
            from mmrag_plugin.milvus_store import open_frames, open_signals

        return self._opened(open_frames, open_signals)

    def rows(self) -> Mapping[str, MediaRows]:
        """The same collections to search in, without LlamaIndex."""
        with span("import"):
            from mmrag_plugin.milvus_media import search_frames, search_signals

        return self._opened(search_frames, search_signals)

    def _opened(
        self,
        frames: Callable[[MilvusConnection, str, int], Rows],
        signals: Callable[[MilvusConnection, str, int | None], Rows],
    ) -> dict[str, Rows]:
        require_current(self.ledger, self.settings)
        visual, words = self.recorded("visual"), self.recorded("words")
        if visual is None or words is None:
            return {}
        opened = {
            "visual": frames(self.connection, visual.collection, visual.dim),
            "words": signals(self.connection, words.collection, words.dim or None),
        }
        if self.is_for_assistants:
            for rows in opened.values():
                rows.leave_out(self.ledger.hidden_media_ids)
        return opened
