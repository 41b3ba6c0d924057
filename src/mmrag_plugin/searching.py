"""The search flow: a question to ranked moments, over every channel that the library has."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.bm25 import rarity
from mmrag_plugin.channels import Channels, QueryTerms
from mmrag_plugin.confidence import CALIBRATION, Calibration, Judge, Usual
from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.fusion import Fusion
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.media import CHANNELS, Channel, Confidence, Hit, Signal
from mmrag_plugin.metadata import RowFilter, frame_row_id, words_row_id
from mmrag_plugin.moments import Candidate, best_of_groups, join
from mmrag_plugin.reasons import best_matches, quote
from mmrag_plugin.results import Page, SearchResult
from mmrag_plugin.telling import Ranked, Telling
from mmrag_plugin.tracing import span
from mmrag_plugin.walking import is_there
from mmrag_plugin.words import piece_of, within

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.embeddings.seam import TextModel, VisualModel
    from mmrag_plugin.learned_query import LearnedQuery
    from mmrag_plugin.milvus_media import MediaRows
    from mmrag_plugin.milvus_rows import FoundRow

PER_MEDIA = 3  # moments of one film among the first PAGE hits
PAGE = 10
REACH = 50  # hits for which a ranking is made whose pages are asked for one by one
WELL_RANKED = 10  # a moment further down the channel's list was not found by its looks
BACKGROUND_MEDIA = 256  # enough to know a query's mean and deviation over the library
BACKGROUND_S = 60.0  # how long they are taken for the whole, while another process may index
_LEVELS: tuple[Confidence, ...] = ("none", "weak", "strong")


class Searcher:
    """Searches one open library; made once, used by any number of retrievers and threads."""

    def __init__(
        self,
        ledger: Ledger,
        frames: MediaRows,
        words: MediaRows,
        visual: VisualModel,
        text: TextModel | None,
        fusion: Fusion,
        calibration: Calibration = CALIBRATION,
        learned: LearnedQuery | None = None,
    ) -> None:
        self.ledger, self.frames, self.words = ledger, frames, words
        self.visual, self.text = visual, text
        self.fusion, self.calibration, self.learned = fusion, calibration, learned
        self._backgrounds: dict[Channel, tuple[NDArray[np.float32], int, float]] = {}

    @property
    def collections(self) -> tuple[str, str]:
        """The names of the collections that it searches, frames and words."""
        return self.frames.name, self.words.name

    @property
    def _channels(self) -> Channels:
        return Channels(self.ledger, self.frames, self.words, self.visual, self.text, self.learned)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that this library has."""
        return self._channels.there

    def search(
        self,
        query: str,
        *,
        picture: Image | None = None,
        limit: int = 10,
        offset: int | None = None,
        filters: Filters | None = None,
        channels: Sequence[Channel] | None = None,
        min_confidence: Confidence = "none",
        per_media: int | None = None,
        visual_query: str | None = None,
        grouped: bool = True,
    ) -> SearchResult:
        """Find moments by words, by a picture, or by both.

        ``visual_query`` is what the visual channel is asked instead of the query; where it is empty
        and there is no picture, that channel is left out. The query is then not what is to be seen.
        ``limit`` and ``offset`` are those of a ``Page``.
        ``grouped``: of photos that are much alike only the best hit is shown, and names the others.

        Raises UsageError for an empty question, an impossible filter or an unknown channel.
        """
        query = query.strip()
        if not query and picture is None:
            raise UsageError("The question is empty.", "Say what to look for.")
        if limit < 1:
            raise UsageError(f"A limit of {limit} hits makes no sense.", "Ask for 1 or more.")
        where = (filters or Filters()).resolve(self.ledger)
        seen = query if visual_query is None else visual_query
        wanted, warnings = self._usable(query, picture, channels, seen)
        page = Page(limit, offset)
        reach = limit if offset is None else REACH
        looked = self._channels.ask(query, picture, wanted, limit=reach, where=where, seen=seen)
        warnings += [
            f"The {channel} channel's model has nothing to say about these words."
            for channel in wanted
            if channel not in looked.found
        ]
        with span("judge"):
            judge = self.judge(query, looked.vectors, looked.words)
        with self.ledger.one_look():
            telling = Telling(query, self.signals)
            with span("fusion") as now:
                ranked = telling.in_order(self.rank(looked.found))
                now.set(moments=len(ranked))
            if min_confidence != "none":
                ranked = self._surely(ranked, judge, min_confidence)
            alike: dict[str, list[str]] = {}
            if grouped:
                media_ids = list({candidate.media_id for candidate, _, _ in ranked})
                ranked, alike = best_of_groups(ranked, self.ledger.groups_of(media_ids))
            ranked = spread(ranked, PER_MEDIA if per_media is None else per_media)
            with span("hits"):
                shown = telling.narrowed(ranked[page.first : page.after])
                hits = self._hits(query, shown, judge, alike, page.first)
        return SearchResult(query, hits, warnings, next_offset=page.next_of(len(ranked)))

    # ---- channels ----------------------------------------------------------------------------

    def look(
        self,
        query: str,
        picture: Image | None,
        channels: Sequence[Channel],
        *,
        limit: int = PAGE,
        where: RowFilter | None = None,
        seen: str | None = None,
    ) -> tuple[dict[Channel, Sequence[FoundRow]], dict[Channel, NDArray[np.float32]]]:
        """Ask each channel: its rows, best first, and what the dense ones asked with.

        The visual one is asked for ``seen``, if that is another. A channel whose model abstains (a
        vector of zeros) is left out.
        """
        looked = self._channels.ask(query, picture, channels, limit=limit, where=where, seen=seen)
        return looked.found, looked.vectors

    def _usable(
        self, query: str, picture: Image | None, channels: Sequence[Channel] | None, seen: str
    ) -> tuple[list[Channel], list[str]]:
        for channel in channels or ():
            if channel not in CHANNELS:
                known = ", ".join(CHANNELS)
                raise UsageError(f"There is no channel {channel!r}.", f"Choose among {known}.")
        wanted = [c for c in self.channels if channels is None or c in channels]
        warnings = [
            f"The {channel} channel is off in this library."
            for channel in channels or ()
            if channel not in wanted
        ]
        if query and not self.words.searches_words:
            warnings.append(
                "Words are not searched: this Milvus has no sparse vectors (2.4 and newer have)."
            )
        if not query:
            wanted = [channel for channel in wanted if channel == "visual"]
        elif not seen and picture is None and wanted != ["visual"]:
            wanted = [channel for channel in wanted if channel != "visual"]
        elif picture is None and "visual" in wanted and not self.visual.understands(seen or query):
            wanted.remove("visual")
            warnings.append(
                f"The visual model {self.visual.model_name!r} has nothing to say about these "
                f"words, so {'only words were' if wanted else 'nothing was'} compared. "
                "Models that do: `mmrag models list`."
            )
        return wanted, warnings

    # ---- ranking -----------------------------------------------------------------------------

    def rank(self, found: Mapping[Channel, Sequence[FoundRow]]) -> list[Ranked]:
        """Join rows into moments and fuse: each with its score and its rank in each channel."""
        candidates = join(found)
        lists: dict[Channel, list[tuple[int, float]]] = {}
        for channel in found:
            scored = [
                (number, candidate.best[channel].score)
                for number, candidate in enumerate(candidates)
                if channel in candidate.best
            ]
            lists[channel] = sorted(scored, key=lambda item: -item[1])
        ranks = {
            channel: {number: rank for rank, (number, _) in enumerate(ranked, 1)}
            for channel, ranked in lists.items()
        }
        return [
            (
                candidates[number],
                score,
                {channel: ranks[channel][number] for channel in ranks if number in ranks[channel]},
            )
            for number, score in self.fusion.fuse(lists)
        ]

    def _hits(
        self,
        query: str,
        chosen: Sequence[Ranked],
        judge: Judge,
        alike: Mapping[str, Sequence[str]],
        after: int,
    ) -> list[Hit]:
        media_ids = list(dict.fromkeys(candidate.media_id for candidate, _, _ in chosen))
        media = self.ledger.media_rows(media_ids)
        copies = self.ledger.paths_of(media_ids)
        signals = self.signals(media_ids)
        hidden = self.ledger.hidden_among(media_ids)
        hits: list[Hit] = []
        for candidate, score, why in chosen:
            row = media.get(candidate.media_id)
            if row is None:
                continue  # forgotten, or hidden from assistants, since its rows were found
            known = signals[candidate.media_id]
            reason, text = _reason(query, candidate, why, judge, known)
            there = (path for path in copies[row.media_id] if is_there(path))
            hits.append(
                Hit(
                    rank=after + len(hits) + 1,
                    moment=candidate.moment,
                    path=next(there, row.path),
                    score=score,
                    confidence=judge.level(candidate, known),
                    why=why,
                    reason=reason,
                    text=text,
                    taken_at=row.taken_at,
                    at_s=candidate.at_s,  # None of a photo, or a time in its film
                    alike=tuple(alike.get(row.media_id, ())),
                    hidden=row.media_id in hidden,
                )
            )
        return hits

    def signals(self, media_ids: Sequence[str]) -> dict[str, list[Signal]]:
        """All that is said about media, as signals."""
        found = self.ledger.signals_of(media_ids)
        return {media_id: [signal for _, signal in pairs] for media_id, pairs in found.items()}

    # ---- confidence --------------------------------------------------------------------------

    def judge(
        self,
        query: str,
        vectors: Mapping[Channel, NDArray[np.float32]],
        words: QueryTerms | None = None,
    ) -> Judge:
        """What judges the hits of a query that was asked with these vectors, and these words."""
        words = words or QueryTerms.of(query, self.ledger)
        usual = {channel: self._usual(channel, vector) for channel, vector in vectors.items()}
        return Judge(usual, rarity(words.terms, words.counts, words.documents), self.calibration)

    def _surely(self, ranked: Sequence[Ranked], judge: Judge, least: Confidence) -> list[Ranked]:
        """Leave out what is less sure than that."""
        signals = self.signals(list({candidate.media_id for candidate, _, _ in ranked}))
        sure: list[Ranked] = []
        for item in ranked:
            level = judge.level(item[0], signals[item[0].media_id])
            if _LEVELS.index(level) >= _LEVELS.index(least):
                sure.append(item)
        return sure

    def _usual(self, channel: Channel, vector: NDArray[np.float32]) -> Usual | None:
        sample, rows = self._background(channel)
        if len(sample) < 2:
            return None
        scores = sample @ vector
        count, together = len(sample), sample.sum(axis=0)
        among_rows = (together @ together - count) / (count * (count - 1))  # of unit vectors
        return Usual(float(scores.mean()), float(scores.std()), rows, float(among_rows))

    def _background(self, channel: Channel) -> tuple[NDArray[np.float32], int]:
        """A vector of each of some media, to know how rows score on the whole, and how many."""
        import numpy as np

        known = self._backgrounds.get(channel)
        if known is None or time.monotonic() - known[2] > BACKGROUND_S:
            if channel == "visual":
                store, made = self.frames, self.ledger.stage_made("embed", BACKGROUND_MEDIA)
                row_ids = [frame_row_id(media_id, frames // 2) for media_id, frames in made.items()]
            else:
                store, made = self.words, self.ledger.stage_made("read", BACKGROUND_MEDIA)
                row_ids = [words_row_id(media_id) for media_id in made]
            sample = np.array(list(store.vectors(row_ids).values()), dtype=np.float32)
            known = sample, store.count(), time.monotonic()
            self._backgrounds[channel] = known
        return known[:2]


def spread(ranked: Sequence[Ranked], per_media: int) -> list[Ranked]:
    """Let no film fill the page: what is too much of one media moves behind the others."""
    page: list[Ranked] = []
    behind: list[Ranked] = []
    shown: dict[str, int] = {}
    for item in ranked:
        media_id = item[0].media_id
        enough = len(page) < PAGE and shown.get(media_id, 0) >= per_media
        (behind if enough else page).append(item)
        shown[media_id] = shown.get(media_id, 0) + (not enough)
    if len(page) < PAGE:  # nothing else to show
        return page + behind
    rest = sorted(page[PAGE:] + behind, key=lambda item: -item[1])
    return page[:PAGE] + rest


def _reason(
    query: str,
    candidate: Candidate,
    why: Mapping[Channel, int],
    judge: Judge,
    signals: Sequence[Signal],
) -> tuple[str, str | None]:
    """Why a moment was found, in words, and the text that matched."""
    parts: list[str] = []
    text: str | None = None
    matched: list[tuple[Signal, list[str]]] = []
    if query and "bm25" in why:
        matched = best_matches(query, within(signals, candidate.moment))
    if matched:
        text = matched[0][0].marked_text
        parts += [quote(signal, words) for signal, words in matched]
    elif "text" in why:
        piece = piece_of((candidate.piece or candidate.best["text"]).row_id, signals)
        if piece is not None:
            text = piece.marked_text
            unlike = judge.level_in("text", candidate) == "none"
            unsure = f"number {why['text']} by meaning"
            parts.append(f"{unsure if unlike else 'means much the same'}: {quote(piece)}")
    if "visual" in why and (not parts or why["visual"] <= WELL_RANKED):
        rank = f"number {why['visual']} by sight"
        parts.append(
            rank if judge.level_in("visual", candidate) == "none" else f"looks like it ({rank})"
        )
    return "; ".join(parts), text
