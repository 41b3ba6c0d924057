"""What a library has to learn from: which texts belong to which photos, with their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mmrag_plugin.errors import UsageError
from mmrag_plugin.general_phrases import GENERAL_PHRASES
from mmrag_plugin.learning import Lesson
from mmrag_plugin.ledger_tables import WRITTEN
from mmrag_plugin.metadata import frame_row_id

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.learned_query import Rows
    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.milvus_store import MediaVectorStore

MEDIA_AT_LEAST = 20
TEXTS_AT_LEAST = 4
OWN, IN_FILES, IN_PATHS = 1.0, 0.5, 0.25  # how much a text counts, by who said it
TOO_COMMON = 0.25  # of the media: a folder's name that so many have tells none from the others
ALIKE = 0.98  # cosine of texts that the model hardly tells apart
LIBRARY_MEDIA = 2048
FRAMES_OF_A_FILM = 64
_EMBED_AT_ONCE = 256

Span = tuple[float | None, float | None]
_WHOLE: Span = (None, None)


@dataclass(frozen=True)
class _Said:
    text: str
    strength: float
    span: Span = _WHOLE
    name: bool = False


def lesson_of(
    ledger: Ledger, frames: MediaVectorStore, visual: VisualEncoder
) -> tuple[Lesson, list[str]]:
    """Gather what a library has to learn from, with warnings.

    Photos with annotations by the person or in files count; what their paths say adds to it.
    Raises UsageError when that is too little, and says what is missing.
    """
    made = ledger.stage_made("embed")
    said = _said(ledger, made)
    annotated = {
        media_id
        for media_id, all_of_it in said.items()
        if any(s.strength > IN_PATHS for s in all_of_it)
    }
    if len(annotated) < MEDIA_AT_LEAST:
        raise UsageError(
            f"Photos and films with words of yours: {len(annotated)}. Learning takes "
            f"{MEDIA_AT_LEAST}.",
            f"Write to {MEDIA_AT_LEAST - len(annotated)} more: mmrag annotate MEDIA --caption TEXT",
        )
    said = {media_id: said[media_id] for media_id in sorted(annotated)}
    warnings: list[str] = []
    vectors = _vectors_of_texts(said, visual, warnings)
    pictures = _pictures(frames, made, said)
    items = [
        item
        for item in pictures
        if any(s.span == item[1] and _key(s.text) in vectors for s in said[item[0]])
    ]
    texts: dict[str, _Said] = {}
    pairs: set[tuple[str, int]] = set()
    for index, (media_id, span) in enumerate(items):
        for one in said[media_id]:
            key = _key(one.text)
            if one.span == span and key in vectors:
                pairs.add((key, index))
                known = texts.get(key)
                if known is None or known.strength < one.strength:
                    texts[key] = one
    order = sorted(texts)
    taught = {items[index][0] for _, index in pairs}
    if len(taught) < MEDIA_AT_LEAST:
        raise UsageError(
            f"The visual model {visual.model_name} has something to say about the words of "
            f"{len(taught)} photos and films only; learning takes {MEDIA_AT_LEAST}.",
            "Models that know more words: mmrag models list",
        )
    _check_variety([texts[key] for key in order])
    place = {key: number for number, key in enumerate(order)}
    marks = np.zeros((len(order), len(items)), dtype=bool)
    for key, index in pairs:
        marks[place[key], index] = True
    groups = ledger.groups_of([media_id for media_id, _ in items])
    strengths = np.array([texts[key].strength for key in order], dtype=np.float32)
    rows = np.array([vectors[key] for key in order], dtype=np.float32)
    if len(rows) > 1 and _alike(rows) > ALIKE:
        warnings.append(
            f"The visual model {visual.model_name} hardly tells your texts apart; they may be in "
            "a language that it doesn't know. Models for many languages: mmrag models list"
        )
    lesson = Lesson(
        stamp=visual.stamp,
        media_ids=[media_id for media_id, _ in items],
        groups=[groups.get(media_id, media_id) for media_id, _ in items],
        pictures=np.array([pictures[item] for item in items], dtype=np.float32),
        texts=[texts[key].text for key in order],
        text_vectors=rows,
        strengths=strengths,
        own=strengths >= OWN,
        names=[texts[key].name for key in order],
        said=marks,
        library=_library(ledger, frames),
        general_texts=GENERAL_PHRASES,
        general=_embedded(GENERAL_PHRASES, visual),
        times_s=[_middle(span) for _, span in items],
    )
    return lesson, warnings


def _middle(span: Span) -> float | None:
    start_s, end_s = span
    return start_s if start_s is None or end_s is None else (start_s + end_s) / 2


def _key(text: str) -> str:
    """What is equal in two texts that say the same."""
    return text.casefold()


def _said(ledger: Ledger, made: Mapping[str, int]) -> dict[str, list[_Said]]:
    """Every text by media, of those whose pictures are embedded."""
    found: dict[str, list[_Said]] = {}

    def add(media_id: str, text: str, strength: float, span: Span, name: bool = False) -> None:
        line = " ".join(text.split())
        if made.get(media_id) and any(char.isalnum() for char in line):
            found.setdefault(media_id, []).append(_Said(line, strength, span, name))

    for kept in ledger.kept_annotations():
        item = kept.annotation
        add(kept.media_id, item.text, OWN, (item.start_s, item.end_s), item.kind == "person")
    in_paths: dict[str, list[str]] = {}
    for media_id, signals in ledger.signals_of(list(made)).items():
        for stage, signal in signals:
            if signal.source == "annotation" and stage != WRITTEN:
                add(media_id, signal.text, IN_FILES, (signal.start_s, signal.end_s))
            elif signal.source == "path":
                in_paths.setdefault(signal.text, []).append(media_id)
    for text, media_ids in in_paths.items():
        if len(media_ids) <= TOO_COMMON * len(made):
            for media_id in media_ids:
                add(media_id, text, IN_PATHS, _WHOLE)
    return found


def _vectors_of_texts(
    said: Mapping[str, Iterable[_Said]], visual: VisualEncoder, warnings: list[str]
) -> dict[str, Rows]:
    """The vector of each text about which the model has something to say."""
    texts = {_key(one.text): one.text for all_of_it in said.values() for one in all_of_it}
    rows = dict(zip(texts, _embedded(list(texts.values()), visual), strict=True))
    known = {key: row for key, row in rows.items() if row.any()}
    if len(known) < len(rows):
        silent = len(rows) - len(known)
        warnings.append(
            f"The visual model {visual.model_name} has nothing to say about {silent} of "
            f"{len(rows)} texts; they are not learned."
        )
    return known


def _embedded(texts: Iterable[str], visual: VisualEncoder) -> Rows:
    wanted = list(texts)
    parts = [
        visual.embed_texts(wanted[start : start + _EMBED_AT_ONCE])
        for start in range(0, len(wanted), _EMBED_AT_ONCE)
    ]
    return np.concatenate(parts) if parts else np.zeros((0, visual.dim), dtype=np.float32)


def _pictures(
    frames: MediaVectorStore, made: Mapping[str, int], said: Mapping[str, Iterable[_Said]]
) -> dict[tuple[str, Span], Rows]:
    """The vector of each media, or part of a film, that something was said of.

    A film's is the mean of its frames; of a part those that lie in it, or the nearest to it.
    """
    rows = {media_id: _rows_of(media_id, made[media_id]) for media_id in said}
    vectors = frames.vectors(row_id for ids in rows.values() for row_id in ids)
    found: dict[tuple[str, Span], Rows] = {}
    for media_id, all_of_it in said.items():
        here = [row_id for row_id in rows[media_id] if row_id in vectors]
        if not here:
            continue
        for span in dict.fromkeys(one.span for one in all_of_it):
            chosen = here if span == _WHOLE or len(here) == 1 else _within(frames, here, span)
            mean = np.mean([vectors[row_id] for row_id in chosen], axis=0)
            found[media_id, span] = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return found


def _rows_of(media_id: str, count: int) -> list[str]:
    numbers = np.unique(np.linspace(0, count - 1, min(count, FRAMES_OF_A_FILM)).astype(int))
    return [frame_row_id(media_id, int(number)) for number in numbers]


def _within(frames: MediaVectorStore, row_ids: list[str], span: Span) -> list[str]:
    start_s, end_s = span[0] or 0.0, span[1] if span[1] is not None else float("inf")
    times = {
        node.node_id: max(node.metadata.get("start_ms", 0), 0) / 1000
        for node in frames.get_nodes(row_ids)
    }
    inside = [row_id for row_id, time_s in times.items() if start_s <= time_s <= end_s]
    return inside or [min(times, key=lambda row_id: abs(times[row_id] - start_s))]


def _library(ledger: Ledger, frames: MediaVectorStore) -> Rows:
    made = ledger.stage_made("embed", LIBRARY_MEDIA)
    row_ids = [frame_row_id(media_id, count // 2) for media_id, count in made.items() if count]
    found = frames.vectors(row_ids)
    return np.array([found[row_id] for row_id in row_ids if row_id in found], dtype=np.float32)


def _check_variety(texts: list[_Said]) -> None:
    """Raise UsageError when the texts tell nothing apart."""
    if len(texts) == 1:
        raise UsageError(
            f"All that is written says the same: {texts[0].text[:60]!r}.",
            "Say of some photos what is different about them.",
        )
    if len(texts) < TEXTS_AT_LEAST:
        raise UsageError(
            f"There are {len(texts)} different texts; learning takes {TEXTS_AT_LEAST}.",
            f"Write {TEXTS_AT_LEAST - len(texts)} other ones: mmrag annotate MEDIA --caption TEXT",
        )


def _alike(rows: Rows) -> float:
    """The median cosine of each text to the one that is nearest to it."""
    sample = rows[:: max(1, len(rows) // 512)]
    cosines = sample @ sample.T
    return float(np.median(cosines[~np.eye(len(sample), dtype=bool)]))
