"""Models on other machines: without torchvision, with a processor of another name, on a GPU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmrag_plugin.embeddings.devices import batch_size, quick_formats
from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from test_embeddings_transformers import BUILDERS, TEXTS, drawn

WITHOUT_TORCHVISION = """
import sys
sys.modules["torchvision"] = None  # every import of it fails
import numpy as np
from PIL import Image
from mmrag_plugin.embeddings.choose import choose_visual
from pathlib import Path
for folder in sys.argv[2:]:
    model, _ = choose_visual(folder, models_home=Path(sys.argv[1]), dtype="float32", device="cpu")
    pictures = [Image.fromarray(tile) for tile in np.load(sys.argv[1] + "/pictures.npy")]
    np.save(folder + "/vectors.npy", model.embed_pictures(pictures))
"""


def built(folder: Path, names: list[str]) -> dict[str, Path]:
    found = {}
    for name in names:
        found[name] = folder / name
        BUILDERS[name](found[name])
    return found


def test_everything_works_without_torchvision_and_gives_the_same_vectors(tmp_path: Path) -> None:
    folders = built(tmp_path, ["siglip"])
    pictures = drawn((60, 40), (60, 40), (60, 40))
    np.save(tmp_path / "pictures.npy", np.stack([np.asarray(picture) for picture in pictures]))
    command = [
        sys.executable,
        "-c",
        WITHOUT_TORCHVISION,
        str(tmp_path),
        *map(str, folders.values()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    for folder in folders.values():
        model = TransformersEncoder(folder, dtype="float32", device="cpu")
        vectors = np.load(folder / "vectors.npy")
        np.testing.assert_allclose(vectors, model.embed_pictures(pictures), atol=1e-6)


@pytest.mark.parametrize("family", list(BUILDERS))
def test_a_processor_that_its_model_names_fast_is_loaded_with_the_same_result(
    family: str, tmp_path: Path
) -> None:
    folder = built(tmp_path, [family])[family]
    pictures = drawn((64, 48), (33, 80))
    plain = TransformersEncoder(folder, dtype="float32", device="cpu").embed_pictures(pictures)
    other = tmp_path / "fast"
    shutil.copytree(folder, other)
    (file,) = other.glob("*processor_config.json")
    content = json.loads(file.read_text())
    names = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2"}
    named = content.get("image_processor", content)
    named["image_processor_type"] = f"{names[family]}ImageProcessorFast"
    file.write_text(json.dumps(content))
    fast = TransformersEncoder(other, dtype="float32", device="cpu")
    np.testing.assert_array_equal(fast.embed_pictures(pictures), plain)


@pytest.fixture
def gpu() -> str:
    """A GPU that torch can use, or a skip: MMRAG_TEST_DEVICE names it."""
    device = os.environ.get("MMRAG_TEST_DEVICE")
    if not device:
        pytest.skip("MMRAG_TEST_DEVICE names no GPU (cuda, mps)")
    return device


@pytest.mark.live
@pytest.mark.parametrize("family", list(BUILDERS))
def test_a_gpu_gives_the_vectors_of_the_processor(gpu: str, family: str, tmp_path: Path) -> None:
    folder = built(tmp_path, [family])[family]
    pictures = drawn((64, 48), (33, 80), (200, 200)) * 50
    exact = TransformersEncoder(folder, dtype="float32", device="cpu")
    formats: list[Any] = ["float32", *quick_formats(gpu)]
    for dtype in formats:
        model = TransformersEncoder(folder, dtype=dtype, device=gpu)
        assert model.runs_with == f"{dtype} on {gpu}"
        assert model.batch == batch_size(gpu)
        assert model.stamp == exact.stamp
        for one, other in (
            (model.embed_pictures(pictures), exact.embed_pictures(pictures)),
            (model.embed_texts(TEXTS), exact.embed_texts(TEXTS)),
        ):
            assert (one * other).sum(axis=1).min() > 0.99
    first = TransformersEncoder(folder, device=gpu, models_home=tmp_path)
    second = TransformersEncoder(folder, device=gpu, models_home=tmp_path)
    assert first.runs_with == second.runs_with
    assert first.device == gpu
