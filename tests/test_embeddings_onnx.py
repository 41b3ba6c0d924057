"""The ONNX folder layout: preprocessing, variants of it, damage, and recall on real photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
from mmrag_plugin.embeddings.onnx_graph import Graph
from mmrag_plugin.errors import ModelError
from mmrag_plugin.model_input import Square
from mmrag_plugin.pictures import open_picture


@pytest.fixture(scope="module")
def model(minidual: Path) -> OnnxEncoder:
    return OnnxEncoder(minidual)


@pytest.fixture
def copied(minidual: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    shutil.copytree(minidual, folder)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def recall(ranks: np.ndarray, at: int) -> float:
    return round(100 * float((ranks < at).mean()), 1)


@pytest.mark.slow
def test_recall_on_flickr8k_is_what_the_model_was_published_with(
    model: OnnxEncoder, shared_data: Path
) -> None:
    folder = shared_data / "flickr8k_dev"
    captions = json.loads((folder / "captions.json").read_text("utf-8"))
    pictures = [open_picture(folder / "images" / name) for name in captions]
    texts = [text for given in captions.values() for text in given]
    own = np.repeat(np.arange(len(pictures)), [len(given) for given in captions.values()])
    scores = model.embed_texts(texts) @ model.embed_pictures(pictures).T
    ranks = (scores > scores[np.arange(len(texts)), own][:, None]).sum(axis=1)
    assert len(texts) == 5000
    assert [recall(ranks, at) for at in (1, 5, 10)] == [16.1, 41.9, 53.9]


def test_a_sample_of_flickr8k_is_found(model: OnnxEncoder, shared_data: Path) -> None:
    folder = shared_data / "flickr8k_dev"
    captions = json.loads((folder / "captions.json").read_text("utf-8"))
    names = list(captions)[:100]
    rows = model.embed_pictures([open_picture(folder / "images" / name) for name in names])
    scores = model.embed_texts([captions[name][0] for name in names]) @ rows.T
    ranks = (scores > scores.diagonal()[:, None]).sum(axis=1)
    assert recall(ranks, 10) > 75  # chance is 10


def test_the_vectors_match_the_graph_run_by_hand(model: OnnxEncoder, minidual: Path) -> None:
    import onnxruntime

    picture = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    )
    session = onnxruntime.InferenceSession(minidual / "visual" / "model.onnx")
    pixels = (np.asarray(picture, np.float32) / 127.5 - 1).transpose(2, 0, 1)[None]
    (expected,) = session.run(None, {"pixel_values": pixels})
    np.testing.assert_allclose(model.embed_pictures([picture]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("shortest", (80, 40), "middle"),
        ("squash", (80, 40), "all"),
        ("longest", (80, 40), "filled"),
    ],
)
def test_each_resize_mode_shows_its_part(mode: str, size: tuple[int, int], expected: str) -> None:
    picture = Image.new("RGB", size, "red")
    picture.paste("blue", (0, 0, 20, 40))  # the left quarter
    ways = Square(32, (0.5,) * 3, (0.5,) * 3, "nearest", mode, 32)
    square = np.asarray(ways.fitted(picture))
    assert square.shape == (32, 32, 3)
    blue = (square == (0, 0, 255)).all(axis=2).mean()
    black = (square == 0).all(axis=2).mean()
    assert {
        "middle": blue == 0 and black == 0,
        "all": blue == pytest.approx(0.25) and black == 0,
        "filled": blue == pytest.approx(0.125) and black == pytest.approx(0.5),
    }[expected]


def test_a_picture_of_the_models_size_is_taken_as_it_is() -> None:
    ways = Square(32, (0.5,) * 3, (0.5,) * 3, "bicubic", "shortest", 40)
    picture = Image.new("RGB", (32, 32), "red")
    assert ways.fitted(picture) is picture


def test_texts_are_padded_and_cut_to_the_context_length(model: OnnxEncoder) -> None:
    encoding = model._encode(["dog", "dog " * 100])
    assert [len(one.ids) for one in encoding] == [24, 24]
    assert encoding[0].ids[1:] == [0] * 23


def test_words_in_an_unknown_script_are_not_understood(model: OnnxEncoder) -> None:
    assert model.understands("a dog")
    assert not model.understands("犬")
    assert not model.embed_texts(["犬"]).any()


def test_the_pad_token_may_be_named_in_the_tokenizers_configuration(copied: Path) -> None:
    change(copied / "config.json", text_cfg={"context_length": 24})
    (copied / "textual" / "tokenizer_config.json").write_text('{"pad_token": "\'"}')
    assert OnnxEncoder(copied)._encode(["dog"])[0].ids[1:] == [2] * 23


def test_a_renamed_folder_keeps_its_stamp_and_another_preprocessing_changes_it(
    model: OnnxEncoder, copied: Path
) -> None:
    assert OnnxEncoder(copied).stamp == model.stamp
    change(copied / "visual" / "preprocess_cfg.json", interpolation="bilinear")
    assert OnnxEncoder(copied).stamp != model.stamp


def test_one_changed_byte_of_the_weights_changes_the_stamp_of_a_small_graph(
    model: OnnxEncoder, copied: Path
) -> None:
    graph = copied / "textual" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert OnnxEncoder(copied).stamp != model.stamp


@pytest.mark.parametrize(
    "damage",
    ["visual/model.onnx", "textual/model.onnx", "textual/tokenizer.json", "config.json"],
)
def test_a_damaged_file_is_a_model_error_that_says_what_belongs_there(
    copied: Path, damage: str
) -> None:
    (copied / damage).write_bytes((copied / damage).read_bytes()[:100])
    with pytest.raises(ModelError, match="can't be loaded") as caught:
        OnnxEncoder(copied)
    assert "preprocess_cfg.json" in caught.value.remedy


def test_an_unknown_resize_mode_is_not_guessed_at(copied: Path) -> None:
    change(copied / "visual" / "preprocess_cfg.json", resize_mode="diagonal")
    with pytest.raises(ModelError, match="diagonal"):
        OnnxEncoder(copied)


class FakeSession:
    """Answers as a graph with a fixed batch would: refuses any other shape or type."""

    def __init__(self, batch: int, dtype: str) -> None:
        self.batch, self.dtype, self.calls = batch, dtype, 0

    def run(self, _: None, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.calls += 1
        (given,) = inputs.values()  # and no attention_mask, for which it has no input
        assert given.dtype == self.dtype
        assert len(given) == self.batch
        return [given.astype(np.float16)]


@pytest.mark.parametrize("dtype", ["int32", "int64", "float16", "float32"])
def test_a_graph_gets_its_own_type_and_batch(dtype: str) -> None:
    session = FakeSession(4, dtype)
    graph = Graph(session, {"text": dtype}, "text", 4)
    ids = np.arange(6).reshape(3, 2)
    output = graph.run({"text": ids, "attention_mask": np.ones((3, 2), np.int64)})
    np.testing.assert_array_equal(output, ids)
    assert output.dtype == np.float32


def test_texts_are_cut_into_the_batches_of_the_graph(minidual: Path) -> None:
    model = OnnxEncoder(minidual)
    session = FakeSession(1, "int32")
    model._textual = Graph(session, {"text": "int32"}, "text", 1)
    assert model.embed_texts(["a dog", "a cat", "a boy"]).shape == (3, 24)
    assert session.calls == 3


def test_a_graph_that_normalises_itself_gets_the_bare_pixels(model: OnnxEncoder) -> None:
    inner = OnnxEncoder.__new__(OnnxEncoder)
    inner._takes = Square(4, (0.5,) * 3, (0.5,) * 3)
    inner._visual = Graph(None, {"image": "uint8"}, "image", 0)
    squares = np.zeros((2, 4, 4, 3), np.uint8)
    assert inner._pixels(squares) is squares
