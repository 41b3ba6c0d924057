"""A library of any size, written straight into ledger and Milvus: no file is decoded or embedded.

Four of five frames are photos of their own, the fifth is of films of 25 frames each. Vectors are
random, those of one trip lie close together. Each media has a caption of words as frequent as words
are (Zipf), a path, and a line about when and where; its words are projected into rows as an index
run does it. The files themselves are not there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sqlalchemy as sa
from llama_index.core.schema import TextNode

from mmrag_plugin.index_run import words_stamp
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.ledger_tables import media, paths, roots, signals, stages
from mmrag_plugin.media import Kind, Signal
from mmrag_plugin.metadata import frame_row_id, row_metadata
from mmrag_plugin.milvus_rows import row_of
from mmrag_plugin.words import word_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.milvus_store import MediaVectorStore

FRAMES_PER_FILM = 25
FRAME_S = 4.0
TRIP = 25  # photos, or frames of a film, that lie close together
ROWS_PER_WRITE = 2000
SYLLABLES = ("ka", "lo", "mi", "ren", "ta", "su", "vel", "no", "dra", "pi", "gor", "es")
WORDS = tuple(
    f"{a}{b}{c}" for a in SYLLABLES for b in SYLLABLES for c in (*SYLLABLES, "ing", "er", "y")
)
PLACES = ("Lisbon", "Porto", "Kyoto", "Oslo", "Graz", "Lima", "Accra", "Pune")
_FREQUENCIES = tuple(accumulate(1 / rank for rank in range(1, len(WORDS) + 1)))


@dataclass(frozen=True)
class MadeMedia:
    """One media of a made library, told by its number."""

    number: int
    kind: Kind
    frames: int

    @cached_property
    def media_id(self) -> str:
        """Scattered, as ids that are hashes are."""
        return f"{self.number * 0x9E3779B97F4A7C15 % 2**64:016x}"

    @property
    def taken_at(self) -> str:
        """Over twelve years."""
        n = self.number // TRIP
        return f"{2010 + n % 12}-{n % 11 + 1:02}-{n % 27 + 1:02}T10:{self.number % TRIP:02}:00"

    @property
    def path(self) -> str:
        """In a folder for each trip."""
        suffix = "mp4" if self.kind == "video" else "jpg"
        return f"/photos/{self.taken_at[:4]}/trip {self.number // TRIP}/{self.number}.{suffix}"

    @property
    def signals(self) -> list[Signal]:
        """A caption, the words of the path, and when and where."""
        chance = random.Random(self.number)  # noqa: S311
        place = PLACES[self.number // TRIP % len(PLACES)]
        return [
            Signal("annotation", f"{sentence(chance)} in {place}"),
            Signal("path", f"trip {self.number // TRIP}"),
            Signal("exif", f"{self.taken_at[:10]} {place}"),
        ]


def sentence(chance: random.Random) -> str:
    """Five to ten words, frequent ones more often."""
    return " ".join(chance.choices(WORDS, cum_weights=_FREQUENCIES, k=chance.randint(5, 10)))


def made_media(frames: int) -> Iterator[MadeMedia]:
    """Media with so many frames together."""
    number = 0
    while frames:
        film = number % 101 == 100 and frames >= FRAMES_PER_FILM
        count = FRAMES_PER_FILM if film else 1
        yield MadeMedia(number, "video" if film else "image", count)
        number, frames = number + 1, frames - count


def near_vectors(number: int, count: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Vectors [count, dim] of one trip, L2-normalised."""
    trip = np.random.default_rng([seed, number // TRIP]).standard_normal(dim)
    rows = trip + 0.5 * np.random.default_rng([seed, number, 1]).standard_normal((count, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def fill(library: MediaLibrary, frames: int) -> dict[str, float]:
    """Fill an empty library with media that have so many frames; says what took how many seconds.

    Returns when the rows are indexed and loaded.
    """
    wanted = library.models.wanted()
    library._record(wanted)
    stores = library.stores()
    stamp = words_stamp(wanted.text.stamp if wanted.text else "")
    took = {"ledger_s": 0.0, "milvus_s": 0.0, "index_s": 0.0}
    with library.ledger._database.writing() as connection:
        connection.execute(sa.insert(roots).values(path="/photos"))
    for some in batches(made_media(frames), ROWS_PER_WRITE):
        began = time.perf_counter()
        about = {one.media_id: one.signals for one in some}
        _enter(library, some, about)
        middle = time.perf_counter()
        stores["visual"]._collection.upsert(list(_frames(some, stores["visual"].dim)))
        rows, written = _words(some, about, stores["words"])
        stores["words"]._collection.upsert(rows)
        after = time.perf_counter()
        library.ledger.put_words(stamp, written)
        took["milvus_s"] += after - middle
        took["ledger_s"] += time.perf_counter() - after + middle - began
    began = time.perf_counter()
    settle(library)
    took["index_s"] = time.perf_counter() - began
    return took


def settle(library: MediaLibrary) -> None:
    """Wait until what was written is indexed, as it is some time after an index run."""
    from mmrag_plugin.milvus_owner import paused

    stores = library.stores().values()
    if library.connection.embedded:
        for store in stores:
            store.flush()
        with paused(library.directory, timeout_s=900):  # graphs are built behind the writer's back
            pass
        return
    client = library.connection.client
    for store in stores:
        name = store.collection_name
        client.flush(name, timeout=300)
        store.suit_index()
        deadline = time.monotonic() + 900
        while time.monotonic() < deadline:
            pending = [
                client.describe_index(name, index).get("pending_index_rows") or 0
                for index in client.list_indexes(name)
            ]
            if not any(pending):
                break
            time.sleep(0.5)
        client.refresh_load(name, timeout=600)
        while client.get_load_state(name)["state"].name != "Loaded":
            time.sleep(0.5)


def _enter(
    library: MediaLibrary, some: Sequence[MadeMedia], about: Mapping[str, Sequence[Signal]]
) -> None:
    rows: dict[sa.Table, list[dict[str, Any]]] = {media: [], paths: [], stages: [], signals: []}
    for one in some:
        rows[media].append(
            {
                "media_id": one.media_id,
                "kind": one.kind,
                "content_hash": f"{one.number:064x}",
                "taken_at": one.taken_at,
                "camera": f"Camera {one.number // TRIP % 7}",
                "duration_s": FRAME_S * one.frames if one.kind == "video" else None,
            }
        )
        rows[paths].append(
            {
                "path": one.path,
                "media_id": one.media_id,
                "root": "/photos",
                "size_bytes": 1,
                "mtime_ns": 1,
            }
        )
        for stage, made in (("read", len(about[one.media_id])), ("embed", one.frames)):
            done = {"state": "done", "stamp": "made", "made": made}
            rows[stages].append({"media_id": one.media_id, "stage": stage, **done})
        for number, signal in enumerate(about[one.media_id]):
            told = {"source": signal.source, "text": signal.text}
            rows[signals].append(
                {"media_id": one.media_id, "stage": "read", "number": number, **told}
            )
    with library.ledger._database.writing() as connection:
        for table, lines in rows.items():
            connection.execute(sa.insert(table), lines)


def _frames(some: Sequence[MadeMedia], dim: int) -> Iterator[dict[str, Any]]:
    for one in some:
        vectors = near_vectors(one.number, one.frames, dim, 1)
        for frame, vector in enumerate(vectors):
            start_s = FRAME_S * frame if one.kind == "video" else None
            about = row_metadata(
                media_id=one.media_id,
                kind=one.kind,
                stage="embed",
                source="frame",
                start_s=start_s,
                end_s=None if start_s is None else start_s + FRAME_S,
                taken_at=one.taken_at,
                camera=f"Camera {one.number // TRIP % 7}",
            )
            node = TextNode(id_=frame_row_id(one.media_id, frame), text="", metadata=about)
            node.embedding = vector.tolist()
            yield row_of(node, dim, None, None)


def _words(
    some: Sequence[MadeMedia], about: Mapping[str, Sequence[Signal]], store: MediaVectorStore
) -> tuple[list[dict[str, Any]], dict[str, tuple[int, frozenset[str]]]]:
    rows: list[dict[str, Any]] = []
    written: dict[str, tuple[int, frozenset[str]]] = {}
    dim = store.dim
    for one in some:
        found = word_rows(one.media_id, about[one.media_id], dense=dim is not None)
        vectors = None if dim is None else near_vectors(one.number, len(found), dim, 2)
        for number, row in enumerate(found):
            metadata = row_metadata(
                media_id=one.media_id,
                kind=one.kind,
                stage="read",
                source=row.source,
                start_s=row.start_s,
                end_s=row.end_s,
                taken_at=one.taken_at,
                camera=f"Camera {one.number // TRIP % 7}",
            )
            node = TextNode(id_=row.row_id, text=row.text, metadata=metadata)
            if vectors is not None:
                node.embedding = vectors[number].tolist()
            tokenize = store._tokenize if store.searches_words else None
            rows.append(row_of(node, dim, row.terms, tokenize))
        terms = frozenset(term for row in found for term in row.terms)
        written[one.media_id] = len(found), terms
    return rows, written


def clip_folder(folder: Path, *, tiny: bool = False) -> Path:
    """A model with the text half of CLIP ViT-B/32, random weights and a word for a token.

    Its picture half is a stub: nothing is looked at here. A ``tiny`` one has a stub of both.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        PreTrainedTokenizerFast,
    )

    transformers.utils.logging.disable_progress_bar()
    pad, end, start, unknown = special = ("<pad>", "<end>", "<start>", "<unknown>")
    names = {name: number for number, name in enumerate([*special, *WORDS])}
    words = Tokenizer(models.WordLevel(names, unk_token=unknown))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 2), (end, 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token=pad, eos_token=end, model_max_length=77
    ).save_pretrained(folder)
    torch.manual_seed(0)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    config = CLIPConfig(
        text_config={
            "vocab_size": len(names) if tiny else 49_408,
            **{"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1},
            **({**small, "num_attention_heads": 2} if tiny else {}),
        },
        vision_config={**small, "num_attention_heads": 2, "image_size": 32, "patch_size": 8},
        projection_dim=32 if tiny else 512,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return folder
