"""What every VisualEmbedding promises, asked of each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag_plugin.embeddings.base import VisualEmbedding
from mmrag_plugin.embeddings.onnx_folder import OnnxEmbedding
from mmrag_plugin.embeddings.palette import PaletteEmbedding
from mmrag_plugin.embeddings.transformers_model import TransformersEmbedding
from mmrag_plugin.errors import MediaError
from test_embeddings_transformers import BUILDERS

QUERIES = ["a red car", "blue sky above a yellow field", "black"]


@pytest.fixture(scope="module", params=["palette", "onnx", *BUILDERS])
def visual(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VisualEmbedding:
    if request.param == "palette":
        return PaletteEmbedding()
    if request.param == "onnx":
        return OnnxEmbedding(request.getfixturevalue("minidual"))
    folder = tmp_path_factory.mktemp(request.param)
    build: Callable[..., None] = BUILDERS[request.param]
    build(folder)
    return TransformersEmbedding(folder, device="cpu", dtype="float32")


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


def test_the_basics_are_declared(visual: VisualEmbedding) -> None:
    assert visual.stamp
    assert visual.dim > 0
    assert visual.input_px > 0
    assert visual.max_tokens > 0


def test_rows_are_normalised_float32(visual: VisualEmbedding, files: list[str | BytesIO]) -> None:
    pictures = [Image.open(path).convert("RGB") for path in files]
    for rows in (visual.embed_pictures(pictures), visual.embed_texts(QUERIES)):
        assert rows.shape == (3, visual.dim)
        assert rows.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


def test_different_pictures_get_different_rows(
    visual: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    rows = visual.get_image_embedding_batch(files)
    assert len({tuple(row) for row in rows}) == 3


def test_nothing_in_gives_nothing_out(visual: VisualEmbedding) -> None:
    assert visual.embed_pictures([]).shape == (0, visual.dim)
    assert visual.embed_texts([]).shape == (0, visual.dim)


def test_the_same_picture_as_path_bytes_or_stream_is_the_same(
    visual: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    from_path = visual.get_image_embedding(files[0])
    from_stream = visual.get_image_embedding(BytesIO(Path(str(files[0])).read_bytes()))
    from_bytes = visual._get_image_embeddings([Path(str(files[0])).read_bytes()])[0]  # type: ignore[list-item]
    assert from_path == from_stream == from_bytes


def test_batches_agree_with_single_calls(
    visual: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    batch = visual.get_image_embedding_batch(files)
    np.testing.assert_allclose(
        batch, [visual.get_image_embedding(path) for path in files], atol=1e-5
    )
    texts = visual.get_text_embedding_batch(QUERIES)
    np.testing.assert_allclose(
        texts, [visual.get_query_embedding(query) for query in QUERIES], atol=1e-5
    )


async def test_the_async_half_gives_the_same(
    visual: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    assert await visual.aget_image_embedding(files[0]) == visual.get_image_embedding(files[0])
    assert await visual.aget_image_embedding_batch(files) == visual.get_image_embedding_batch(files)
    assert await visual.aget_query_embedding(QUERIES[0]) == visual.get_query_embedding(QUERIES[0])
    assert await visual.aget_text_embedding_batch(QUERIES) == visual.get_text_embedding_batch(
        QUERIES
    )


async def test_many_threads_may_ask_at_once(
    visual: VisualEmbedding, files: list[str | BytesIO]
) -> None:
    expected = visual.embed_texts(QUERIES)
    texts = await asyncio.gather(
        *(asyncio.to_thread(visual.embed_texts, QUERIES[: 1 + n % 3]) for n in range(24))
    )
    for number, rows in enumerate(texts):
        np.testing.assert_allclose(rows, expected[: 1 + number % 3], atol=1e-5)


def test_a_broken_picture_is_a_media_error_that_names_it(
    visual: VisualEmbedding, tmp_path: Path
) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(MediaError, match=r"broken\.jpg"):
        visual.get_image_embedding(str(path))


def test_pictures_of_any_shape_are_embedded(visual: VisualEmbedding) -> None:
    sizes = [(1, 1), (2, 3000), (5000, 1), (4000, 3000)]
    rows = visual.embed_pictures([Image.new("RGB", size, (200, 30, 60)) for size in sizes])
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-4)


@pytest.mark.parametrize("text", ["", " \n", "\x00", "👩‍👩‍👧" * 200, "red " * 5000, "\ud800"])
def test_no_text_is_too_odd(visual: VisualEmbedding, text: str) -> None:
    rows = visual.embed_texts([text, "a red car"])
    assert np.isfinite(rows).all()
    assert rows.shape == (2, visual.dim)
