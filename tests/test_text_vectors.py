"""No text is embedded twice while indexing, now or later, and no query twice in a row."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from media_made import describe, end_owners, opened, picture
from mmrag_plugin import index_text_vectors
from mmrag_plugin.embeddings import asked_before, choose
from mmrag_plugin.embeddings.asked_before import AskedBefore
from mmrag_plugin.embeddings.base import TextEncoder
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.embeddings.preparing import normalised
from mmrag_plugin.embeddings.text_models import VisualTextTower


class Counting(TextEncoder):
    """Makes a vector of a text's letters, and notes what it was asked for."""

    model_name = setting = "counting"
    stamp = "counting-1"
    dim = 32

    def __init__(self) -> None:
        self.asked: list[str] = []

    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Count letters: [n, 32], rows L2-normalised."""
        self.asked += [f"query {text}" if query else text for text in texts]
        rows = np.zeros((len(texts), 32), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for letter in text.lower():
                row[ord(letter) % 32] += 1
        return normalised(rows + 0.01, by="Counting")


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    model = Counting()
    monkeypatch.setattr(choose, "choose_text", lambda *_, **__: (model, []))
    return model


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


def test_a_text_is_embedded_once_and_again_only_when_it_changes(
    counting: Counting, home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    photos = [picture(folder / f"{n}.png", "red", number=n) for n in range(5)]
    for photo in photos:
        describe(photo, "A harbour in the evening")
    with opened(home, text_model="auto") as library:
        library.index([folder])
        first, counting.asked = counting.asked, []
        assert len(first) == len(set(first))
        assert any("harbour" in text for text in first)
        for photo in photos[:2]:
            media = library.find(str(photo))
            assert media is not None
            library.annotate(media.media_id, tags=["boat"])
        assert set(counting.asked).isdisjoint(first)
        counting.asked.clear()
    with opened(home, text_model="auto") as library:
        describe(photos[3], "A lighthouse")
        describe(photos[4], "A harbour in the evening")
        library.index([folder])
        again = counting.asked
        assert set(again).isdisjoint(first), "these stand in Milvus already"
        assert all("lighthouse" in text for text in again)
        assert library.search("lighthouse", channels=["text"], limit=1).hits[0].path == str(
            photos[3]
        )
        stored = library.stores()["words"]
        for row_id, _ in list(stored.row_ids()):
            ((text, vector),) = stored.vectors_by_text([row_id]).items()
            np.testing.assert_allclose(vector, counting.embed([text])[0], rtol=1e-5)


def test_what_is_remembered_while_indexing_is_bounded(
    counting: Counting, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_text_vectors, "MAX_REMEMBERED", 2)
    folder = tmp_path / "photos"
    for n in range(6):
        describe(picture(folder / f"{n}.png", "red", number=n), f"Sight number {n}")
    with opened(home, text_model="auto") as library:
        library.index([folder])
        for n in range(6):
            found = library.search(f"Sight number {n}", channels=["text"], limit=1).hits
            assert found[0].path == str(folder / f"{n}.png")


def test_a_query_is_embedded_once_and_apart_from_the_same_words_as_a_document(
    counting: Counting,
) -> None:
    vector = counting.query_vector("red boat")
    assert counting.query_vector("red boat") is vector
    counting.embed(["red boat"])
    assert counting.asked == ["query red boat", "red boat"]


def test_both_halves_of_a_search_ask_the_visual_model_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    visual, asked = Palette(), list[str]()
    plain = Palette.embed_texts

    def watched(self: Palette, texts: Sequence[str]) -> Any:
        asked.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(Palette, "embed_texts", watched)
    tower = VisualTextTower(visual)
    np.testing.assert_array_equal(visual.query_vector("red"), tower.query_vector("red"))
    assert asked == ["red"]


def test_the_last_queries_are_remembered_and_nobody_can_change_them() -> None:
    asked: list[str] = []

    def embed(query: str) -> NDArray[np.float32]:
        asked.append(query)
        return np.ones(3, np.float32)

    vectors = AskedBefore(embed)
    for number in range(asked_before.MAX_QUERIES):
        vectors(str(number))
    vectors("0")
    vectors("new")  # pushes "1" out, which was asked for longest ago
    assert len(asked) == asked_before.MAX_QUERIES + 1
    vectors("0")
    assert len(asked) == asked_before.MAX_QUERIES + 1
    vectors("1")
    assert asked[-1] == "1"
    with pytest.raises(ValueError, match="read-only"):
        vectors("1")[0] = 2


def test_many_threads_may_ask_at_once() -> None:
    vectors = AskedBefore(lambda query: np.full(2, int(query), np.float32))
    wrong: list[str] = []

    def ask() -> None:
        for number in range(2000):
            if vectors(str(number % 300))[0] != number % 300:
                wrong.append(str(number))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
