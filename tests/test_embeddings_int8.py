"""Int8 copies of visual models: made from ONNX graphs and from transformers models, and used."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from media_made import opened
from mmrag_plugin.cli.main import app
from mmrag_plugin.embeddings import dtypes, int8_making, transformers_model
from mmrag_plugin.embeddings.int8_copies import FOLDER, copy_of
from mmrag_plugin.embeddings.int8_making import make_copy, remove_copy
from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from mmrag_plugin.errors import MissingExtra, ModelError, ModelMissing, UsageError
from mmrag_plugin.pictures import open_picture
from test_embeddings_choose import minilm
from test_embeddings_transformers import TEXTS, build_clip, build_siglip, build_siglip2, drawn


@pytest.fixture(scope="session")
def copied(minidual: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds the int8 copy of minidual."""
    models_home = tmp_path_factory.mktemp("home") / ".models"
    make_copy(minidual, models_home)
    return models_home


def agreement(one: Any, other: Any) -> float:
    return float((np.asarray(one) * np.asarray(other)).sum(axis=1).min())


def test_a_copy_of_graphs_agrees_and_has_the_stamp_of_its_model(
    minidual: Path, copied: Path, shared_data: Path
) -> None:
    exact = OnnxEncoder(minidual, models_home=copied, dtype="float32")
    copy = OnnxEncoder(minidual, models_home=copied, dtype="int8")
    assert (exact.runs_with, copy.runs_with) == ("float32 on cpu", "int8 on cpu")
    assert copy.stamp == exact.stamp
    photos = sorted((shared_data / "coco_train" / "images").iterdir())[:8]
    pictures = [open_picture(path, at_least_px=2 * exact.input_px) for path in photos]
    assert agreement(exact.embed_pictures(pictures), copy.embed_pictures(pictures)) > 0.99
    texts = ["a dog on the beach", "two people in the snow", "red"]
    vectors = copy.embed_texts(texts)
    assert 0.99 < agreement(exact.embed_texts(texts), vectors) < 0.999999, "nothing was rounded"


def test_auto_measures_a_copy_once_and_takes_it_where_it_is_quickest(
    minidual: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)  # what is quicker at this size is chance
    first = OnnxEncoder(minidual, models_home=copied)
    assert first.dtype == "int8"
    monkeypatch.setattr(dtypes, "decide", lambda *_: pytest.fail("it was measured again"))
    assert OnnxEncoder(minidual, models_home=copied).dtype == "int8"


def test_a_copy_that_disagrees_or_is_slower_is_left_alone(
    minidual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_copy(minidual, tmp_path)
    monkeypatch.setitem(dtypes.MIN_AGREEMENT, "int8", 1.1)
    assert OnnxEncoder(minidual, models_home=tmp_path).dtype == "float32"
    make_copy(minidual, tmp_path)
    monkeypatch.setitem(dtypes.MIN_AGREEMENT, "int8", 0.9)
    monkeypatch.setattr(dtypes, "MIN_GAIN", 1e9)
    assert OnnxEncoder(minidual, models_home=tmp_path).dtype == "float32"


@pytest.mark.slow
def test_a_copy_that_was_damaged_later_is_passed_over(
    minidual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)
    copy = make_copy(minidual, tmp_path)
    assert OnnxEncoder(minidual, models_home=tmp_path).dtype == "int8"
    graph = copy / "visual" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:1000])
    assert OnnxEncoder(minidual, models_home=tmp_path).dtype == "float32"
    with pytest.raises(ModelError, match="can't be loaded"):
        OnnxEncoder(minidual, models_home=tmp_path, dtype="int8")


def test_int8_without_a_copy_names_the_command_that_makes_it(
    minidual: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelMissing) as caught:
        OnnxEncoder(minidual, models_home=tmp_path, dtype="int8")
    assert caught.value.remedy == "Make it: mmrag models quantize minidual"


def test_a_library_stays_searchable_with_a_copy_and_without(
    minidual: Path, copied: Path, shared_data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for path in sorted((shared_data / "coco_train" / "images").iterdir())[:12]:
        shutil.copy(path, folder)
    home = copied.parent
    found = {}
    for dtype in ("float32", "int8"):
        options = {"visual_model": str(minidual), "text_model": "off", "dtype": dtype}
        with opened(home, **options) as library:
            report = library.index([folder])
            assert report.stages["embed"].done == (12 if dtype == "float32" else 0)
            visual, _ = library.models.in_use()
            assert visual.runs_with == f"{dtype} on cpu"
            hits = library.search("a dog on the beach", limit=12).hits
            found[dtype] = [hit.moment.media_id for hit in hits]
    assert sorted(found["float32"]) == sorted(found["int8"])
    assert found["float32"][:3] == found["int8"][:3]


def test_what_is_no_text_image_model_has_no_copy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no text-image model"):
        make_copy(minilm(), tmp_path)


@pytest.mark.slow
def test_a_model_that_takes_pictures_of_any_shape_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    build_siglip2(folder)
    with pytest.raises(ModelError, match="any shape"):
        make_copy(folder, tmp_path)
    assert list(tmp_path.iterdir()) == [folder]


def test_without_the_extra_the_command_that_brings_it_is_named(
    minidual: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8_making, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        make_copy(minidual, tmp_path)
    assert "mmrag-plugin[onnx]" in caught.value.remedy


def test_the_command_makes_measures_and_removes_a_copy(minidual: Path, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        command = ["models", "quantize", str(minidual), "--home", str(tmp_path), *arguments]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        return result.stdout

    made = json.loads(run("--json"))
    assert made["measured"].keys() == {"float32", "int8"}
    assert made["measured"]["int8"]["agreement"] >= 0.99
    assert made["dtype"] in ("float32", "int8")
    assert Path(made["path"]).parent == tmp_path / ".models" / FOLDER
    assert "agreement with float32" in run()
    assert json.loads(run("--remove", "--json"))["removed"] is True
    assert not Path(made["path"]).exists()
    assert "was not there" in run("--remove")


@pytest.mark.slow
@pytest.mark.parametrize("build", [build_clip, build_siglip])
def test_a_transformers_model_is_written_as_graphs_that_agree(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    build(folder)
    copy = make_copy(folder, tmp_path)
    exact = TransformersEncoder(folder, dtype="float32", device="cpu")
    assert copy_of(exact.stamp, tmp_path) == copy
    rounded = TransformersEncoder(folder, dtype="int8", device="cpu", models_home=tmp_path)
    assert rounded.stamp == exact.stamp
    assert rounded.dim == exact.dim
    pictures = drawn((64, 48), (33, 80), (32, 32), (200, 100), (9, 9))
    assert agreement(exact.embed_pictures(pictures), rounded.embed_pictures(pictures)) > 0.99
    for texts in (TEXTS, TEXTS[:1], TEXTS * 5):
        assert agreement(exact.embed_texts(texts), rounded.embed_texts(texts)) > 0.99
    monkeypatch.setattr(transformers_model, "quick_formats", lambda device: ())
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)
    chosen = TransformersEncoder(folder, device="cpu", models_home=tmp_path)
    assert chosen.runs_with == "int8 on cpu"
    assert remove_copy(exact.stamp, tmp_path)
    assert TransformersEncoder(folder, device="cpu", models_home=tmp_path).dtype == "float32"
