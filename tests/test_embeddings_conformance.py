"""What every visual encoder promises, and LlamaIndex's embeddings on top, asked of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag_plugin.embeddings.base import VisualEncoder
from mmrag_plugin.embeddings.llama import TextEmbedding, VisualEmbedding
from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.embeddings.text_models import VisualTextTower
from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from mmrag_plugin.errors import MediaError
from test_embeddings_transformers import BUILDERS

QUERIES = ["a red car", "blue sky above a yellow field", "black"]


@pytest.fixture(scope="module", params=["palette", "onnx", *BUILDERS])
def visual(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VisualEncoder:
    if request.param == "palette":
        return Palette()
    if request.param == "onnx":
        return OnnxEncoder(request.getfixturevalue("minidual"))
    folder = tmp_path_factory.mktemp(request.param)
    build: Callable[..., None] = BUILDERS[request.param]
    build(folder)
    return TransformersEncoder(folder, device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def embedding(visual: VisualEncoder) -> VisualEmbedding:
    return VisualEmbedding(visual)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[str | BytesIO]:
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(5)
    paths: list[str | BytesIO] = []
    for number, (width, height) in enumerate([(90, 60), (60, 90), (300, 310)]):
        tiles = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(tiles).resize((width, height)).save(path)
        paths.append(str(path))
    return paths


def test_the_basics_are_declared(visual: VisualEncoder) -> None:
    assert visual.stamp
    assert visual.dim > 0
    assert visual.input_px > 0
    assert visual.max_tokens > 0


def test_rows_are_normalised_float32(visual: VisualEncoder, files: list[str | BytesIO]) -> None:
    pictures = [Image.open(path).convert("RGB") for path in files]
    for rows in (visual.embed_pictures(pictures), visual.embed_texts(QUERIES)):
        assert rows.shape == (3, visual.dim)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_different_pictures_get_different_rows(
    embedding: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    rows = embedding.get_image_embedding_batch(files)
    assert len({tuple(row) for row in rows}) == 3


def test_nothing_in_gives_nothing_out(visual: VisualEncoder) -> None:
    assert visual.embed_pictures([]).shape == (0, visual.dim)
    assert visual.embed_texts([]).shape == (0, visual.dim)


def test_the_same_picture_as_path_bytes_or_stream_is_the_same(
    embedding: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    from_path = embedding.get_image_embedding(files[0])
    from_stream = embedding.get_image_embedding(BytesIO(Path(str(files[0])).read_bytes()))
    from_bytes = embedding._get_image_embeddings([Path(str(files[0])).read_bytes()])[0]  # type: ignore[list-item]
    assert from_path == from_stream == from_bytes


def test_batches_agree_with_single_calls(
    embedding: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    batch = embedding.get_image_embedding_batch(files)
    np.testing.assert_allclose(
        batch, [embedding.get_image_embedding(path) for path in files], atol=1e-5
    )
    texts = embedding.get_text_embedding_batch(QUERIES)
    np.testing.assert_allclose(
        texts, [embedding.get_query_embedding(query) for query in QUERIES], atol=1e-5
    )


async def test_the_async_half_gives_the_same(
    embedding: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    assert await embedding.aget_image_embedding(files[0]) == embedding.get_image_embedding(files[0])
    assert await embedding.aget_image_embedding_batch(files) == embedding.get_image_embedding_batch(
        files
    )
    assert await embedding.aget_query_embedding(QUERIES[0]) == embedding.get_query_embedding(
        QUERIES[0]
    )
    assert await embedding.aget_text_embedding_batch(QUERIES) == embedding.get_text_embedding_batch(
        QUERIES
    )


async def test_texts_alone_are_an_embedding_too(visual: VisualEncoder) -> None:
    embedding = TextEmbedding(VisualTextTower(visual))
    rows = embedding.get_text_embedding_batch(QUERIES)
    np.testing.assert_allclose(rows, visual.embed_texts(QUERIES), atol=1e-5)
    assert await embedding.aget_text_embedding_batch(QUERIES) == rows
    assert await embedding.aget_query_embedding("dog") == embedding.get_query_embedding("dog")


async def test_many_threads_may_ask_at_once(
    visual: VisualEncoder, files: list[str | BytesIO]
) -> None:
    expected = visual.embed_texts(QUERIES)
    texts = await asyncio.gather(
        *(asyncio.to_thread(visual.embed_texts, QUERIES[: 1 + n % 3]) for n in range(24))
    )
    for number, rows in enumerate(texts):
        np.testing.assert_allclose(rows, expected[: 1 + number % 3], atol=1e-5)


def test_a_broken_picture_is_a_media_error_that_names_it(
    embedding: VisualEmbedding, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(MediaError, match=r"broken\.jpg"):
        embedding.get_image_embedding(str(path))


def test_pictures_of_any_shape_are_embedded(visual: VisualEncoder) -> None:
    sizes = [(1, 1), (2, 3000), (5000, 1), (4000, 3000)]
    rows = visual.embed_pictures([Image.new("RGB", size, (200, 30, 60)) for size in sizes])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("text", ["", " \n", "\x00", "👩‍👩‍👧" * 200, "red " * 5000, "\ud800"])
def test_no_text_is_too_odd(visual: VisualEncoder, text: str) -> None:
    rows = visual.embed_texts([text, "a red car"])
    assert np.isfinite(rows).all()
    assert rows.shape == (2, visual.dim)
