"""What a library knows of itself: how well it is searched, and what it learned of that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin import __version__
from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.sets import OWN
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.library_models import Model
from mmrag_plugin.settings import Settings

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from mmrag_plugin.evaluation.measuring import Found, Ways
    from mmrag_plugin.evaluation.runs import Run
    from mmrag_plugin.evaluation.sets import Asked, AskedSet
    from mmrag_plugin.evaluation.tuned import Tuned, Tuning
    from mmrag_plugin.evaluation.ways import ChannelWays
    from mmrag_plugin.results import SearchResult
    from mmrag_plugin.searching import Searcher


def _silent(done: int, total: int) -> None:
    """Report nothing."""


class LibraryEvaluating:
    """The part of a library that is measured."""

    settings: Settings
    ledger: Ledger

    def searcher(self) -> Searcher:
        """The searcher over the collections in use; the library knows how."""
        raise NotImplementedError

    def search(self, query: str, **options: Any) -> SearchResult:
        """Find moments; the library knows how."""
        raise NotImplementedError

    def recorded(self, name: str) -> Model | None:
        """The model in use; the library knows."""
        raise NotImplementedError

    def query_set(
        self, source: Path | None = None, *, format: str | None = None, split: str | None = None
    ) -> AskedSet:
        """Queries out of a file, or without one out of the library's own annotations.

        Raises UsageError for a file that is none, NotFound where nothing of it is in the library.
        """
        from mmrag_plugin.evaluation.own import own_set
        from mmrag_plugin.evaluation.sets import asked_of, read_set

        if source is None:
            return own_set(self.ledger)
        return asked_of(self.ledger, read_set(source, format, split))

    def evaluate(
        self,
        queries: AskedSet,
        *,
        within: bool = False,
        rerank: int | bool = False,
        rerank_s: float | None = None,
        llm: LLM | None = None,
        seed: int = 0,
        progress: Callable[[int, int], None] = _silent,
    ) -> Run:
        """Measure how well each channel and their fusion answer queries of ``query_set``.

        With captions by a model in the library it is measured without them, too, and with
        ``rerank`` as of ``search`` what the VLM makes of the fused order. ``within`` asks each
        query about its own media alone: to find the moment in a film that is known.
        Raises UsageError for a set without a query that can be answered, and where a VLM is to see
        the words that its own queries are made of.
        """
        from mmrag_plugin.evaluation.measuring import evaluate

        if rerank and queries.format == OWN:
            raise UsageError(
                "What is asked can't be covered up for a VLM, so its order would prove nothing.",
                "Measure reranking by a file of queries.",
            )

        judging = {"rerank": rerank, "rerank_s": rerank_s, "llm": llm} if rerank else {}
        ways = self._ways(queries, within, judging)
        about = self._about(queries, within=within, rerank=int(rerank))
        return evaluate(queries, ways, about, seed=seed, progress=progress)

    async def aevaluate(self, queries: AskedSet, **options: Any) -> Run:
        """Measure without holding up the event loop; options as of ``evaluate``."""
        return await asyncio.to_thread(partial(self.evaluate, queries, **options))

    def tune(
        self,
        queries: AskedSet,
        *,
        seed: int = 0,
        keep: bool = True,
        progress: Callable[[int, int], None] = _silent,
    ) -> Tuning:
        """Learn fusion weights and confidence from queries of ``query_set``.

        They are learned of one half of the media and kept in the library only where they are better
        on the other half, beyond chance; with ``keep`` False not even then.
        Raises UsageError for too few queries.
        """
        from datetime import datetime

        from mmrag_plugin.evaluation.tuned import Tuned, tune

        searcher = self.searcher()
        ways = self._channel_ways(queries, within=False)
        found = tune(
            searcher, ways.searcher_for, queries, where=ways.where, seed=seed, progress=progress
        )
        new = found.tuned
        if new.is_empty or not keep:
            return found
        at = datetime.now().astimezone().isoformat(timespec="seconds")
        before = self.tuned() or Tuned()
        kept = Tuned(
            new.weights or before.weights,
            new.without_text or before.without_text,
            new.calibration or before.calibration,
            new.collections,
            {"at": at, "set": queries.name, "queries": len(queries.queries), "seed": seed},
        )
        self.ledger.state(tuned=kept.as_dict())
        return replace(found, tuned=kept)

    async def atune(self, queries: AskedSet, **options: Any) -> Tuning:
        """Learn without holding up the event loop; options as of ``tune``."""
        return await asyncio.to_thread(partial(self.tune, queries, **options))

    def untune(self) -> bool:
        """Take back what was learned; says whether there was something."""
        had = self.ledger.fact("tuned") is not None
        if had:
            self.ledger.state(tuned=None)
        return had

    def tuned(self) -> Tuned | None:
        """What was learned of the models in use; None where nothing was."""
        kept = self.ledger.fact("tuned")
        if kept is None:
            return None
        from mmrag_plugin.evaluation.tuned import Tuned

        tuned = Tuned.from_dict(kept)
        models = (self.recorded("visual"), self.recorded("words"))
        in_use = tuple(model.collection if model else "" for model in models)
        return tuned if tuned.collections == in_use else None

    def _channel_ways(self, queries: AskedSet, *, within: bool) -> ChannelWays:
        from mmrag_plugin.evaluation.ways import ChannelWays, OwnWays
        from mmrag_plugin.filters import Filters

        where = Filters().resolve(self.ledger)  # as any search: without what a model made up
        kind = OwnWays if queries.format == OWN else ChannelWays
        return kind(self.searcher(), where=where, within=within)

    def _ways(self, queries: AskedSet, within: bool, judging: Mapping[str, Any]) -> Ways:
        from mmrag_plugin.evaluation import ways

        channels = self._channel_ways(queries, within=within)
        all_ways = [channels]
        searcher = channels.searcher
        has_captions = self.ledger.counts()["signals"].get("caption", 0) > 0
        if has_captions and queries.format != OWN and len(searcher.channels) > 1:
            named = {ways.WITHOUT_CAPTIONS: searcher.channels}
            bare = ways.without_captions(searcher)
            all_ways.append(ways.ChannelWays(bare, named, where=channels.where, within=within))

        def ask(query: Asked) -> dict[str, Found]:
            found = {name: one for way in all_ways for name, one in way(query).items()}
            if judging:
                found[ways.RERANKED] = ways.as_searched(self.search, query, **judging)
            return found

        return ask

    def _about(self, queries: AskedSet, **settings: Any) -> dict[str, Any]:
        from datetime import datetime

        kinds = self.ledger.counts()["kinds"]
        models = {
            name: model.setting for name in ("visual", "words") if (model := self.recorded(name))
        }
        return {
            "mmrag": __version__,
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "library": self.settings.library,
            "media": kinds,
            "set": {
                "name": queries.name,
                "format": queries.format,
                "queries": len(queries.queries),
                "answered": len(queries.answered),
                "digest": queries.digest,
            },
            "models": models,
            "settings": settings,
        }
