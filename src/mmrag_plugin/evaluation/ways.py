"""The ways of searching that are measured: each channel, their fusion, and what is done with less.

All of them are the library's own search: what a channel finds is asked for once a query, and each
way ranks its part of it as a search with these channels does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from mmrag_plugin.evaluation.measuring import Found
from mmrag_plugin.evaluation.own import says
from mmrag_plugin.evaluation.sets import Asked
from mmrag_plugin.evaluation.words_left import Keep, WordsLeft
from mmrag_plugin.media import Channel, Signal
from mmrag_plugin.metadata import RowFilter
from mmrag_plugin.results import SearchResult
from mmrag_plugin.searching import PER_MEDIA, Searcher, spread
from mmrag_plugin.telling import Telling

if TYPE_CHECKING:
    from mmrag_plugin.confidence import Judge
    from mmrag_plugin.learned_query import LearnedQuery
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.milvus_media import MediaRows
    from mmrag_plugin.milvus_rows import FoundRow
DEPTH = 50  # media that every channel hands over at least: 200 rows
FUSED = "fused"
WITHOUT_CAPTIONS = "fused, without captions"
RERANKED = "fused, reranked"

FoundRows = Mapping[Channel, "Sequence[FoundRow]"]


class ChannelWays:
    """Each channel alone and all together, or combinations that are named; by one searcher.

    ``where`` restricts all searches; with ``within`` a query is asked about its own media alone, to
    find the moment in a film that is known.
    """

    def __init__(
        self,
        searcher: Searcher,
        combinations: Mapping[str, Sequence[Channel]] | None = None,
        *,
        where: RowFilter | None = None,
        within: bool = False,
    ) -> None:
        self.searcher = searcher
        self.combinations = combinations or by_channel(searcher.channels)
        self.where, self.within = where, within

    def searcher_for(self, query: Asked) -> Searcher:
        """The searcher that a query may be asked of."""
        return self.searcher

    def __call__(self, query: Asked) -> dict[str, Found]:
        """Ask a query in each way."""
        searcher = self.searcher_for(query)
        where = self.where
        if self.within and query.relevant:
            where = replace(where or RowFilter(), media_ids=frozenset(query.relevant))
        asked = list(dict.fromkeys(c for names in self.combinations.values() for c in names))
        found, vectors = searcher.look(query.text, None, asked, limit=DEPTH, where=where)
        telling = Telling(query.text, searcher.signals)
        judges = {
            name: searcher.judge(query.text, {c: vectors[c] for c in channels if c in vectors})
            for name, channels in self.combinations.items()
        }
        return {
            name: found_by(searcher, telling, channels, found, judges[name])
            for name, channels in self.combinations.items()
        }


class OwnWays(ChannelWays):
    """As ``ChannelWays``, for queries that are the library's own annotations.

    Words of the media that answer a query are covered up where they say what is asked, and queries
    are not moved by what ``mmrag learn`` learned from these very words.
    """

    def __init__(self, searcher: Searcher, **options: object) -> None:
        super().__init__(searcher, **options)  # type: ignore[arg-type]
        self._words = WordsLeft(searcher.ledger, searcher.words, searcher.text, lambda *_: True)

    def searcher_for(self, query: Asked) -> Searcher:
        """A searcher over the words that are left for a query."""

        def keep(media_id: str, signal: Signal) -> bool:
            return not says(signal, query.text)

        return over(self.searcher, self._words.without(keep, query.relevant), None)


def found_by(
    searcher: Searcher,
    telling: Telling,
    channels: Sequence[Channel],
    found: FoundRows,
    judge: Judge,
) -> Found:
    """What a search with some channels finds, of what all of them handed over."""
    part = {channel: found[channel] for channel in channels if channel in found}
    ranked = spread(telling.in_order(searcher.rank(part)), PER_MEDIA)
    shown = [candidate for candidate, _, _ in telling.narrowed(ranked[:DEPTH])]
    if not shown:
        return Found(())
    first = shown[0]
    level = judge.level(first, searcher.signals([first.media_id])[first.media_id])
    beyond = [candidate.moment for candidate, _, _ in ranked[DEPTH:]]
    return Found([*(candidate.moment for candidate in shown), *beyond], level)


def by_channel(channels: Sequence[Channel]) -> dict[str, tuple[Channel, ...]]:
    """Each channel by its name, and all of them fused."""
    alone: dict[str, tuple[Channel, ...]] = {channel: (channel,) for channel in channels}
    return {**alone, FUSED: tuple(channels)} if len(channels) > 1 else alone


def over(searcher: Searcher, words: WordsLeft, learned: LearnedQuery | None) -> Searcher:
    """A searcher like another, over other words and with what was learned or without it."""
    return Searcher(
        cast("Ledger", words),
        searcher.frames,
        cast("MediaRows", words),
        searcher.visual,
        searcher.text,
        searcher.fusion,
        searcher.calibration,
        learned,
    )


def without_captions(searcher: Searcher) -> Searcher:
    """A searcher like another, that knows no captions by a model."""
    keep: Keep = lambda media_id, signal: signal.source != "caption"  # noqa: E731
    words = WordsLeft(searcher.ledger, searcher.words, searcher.text, keep)
    return over(searcher, words, searcher.learned)


def as_searched(search: Callable[..., SearchResult], query: Asked, **options: object) -> Found:
    """What some search of the library finds, reranked or not."""
    hits = search(query.text, limit=DEPTH, grouped=False, **options).hits
    return Found([hit.moment for hit in hits], hits[0].confidence if hits else None)
