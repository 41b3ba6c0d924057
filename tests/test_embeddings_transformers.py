"""The transformers adapter, on tiny models of the real architectures that are built here."""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from mmrag_plugin.errors import ModelError, ModelMissing
from mmrag_plugin.pictures import open_picture

LAYERS = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
WORDS = "a photo of dog beach red car blue the in on".split()
TEXTS = ["a red car", "the dog on the beach", "blue", "Two dogs, on a red beach! " * 40, ""]


def word_vocab(*special: str) -> dict[str, int]:
    tokens = [*special, *string.ascii_lowercase, *(f"{c}</w>" for c in string.ascii_lowercase)]
    return {token: number for number, token in enumerate(dict.fromkeys(tokens))}


def seed(number: int) -> None:
    import torch

    torch.manual_seed(number)


def build_clip(folder: Path, number: int = 0) -> None:
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    vocab = word_vocab("<|startoftext|>", "<|endoftext|>")
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77).save_pretrained(folder)
    seed(number)
    config = CLIPConfig(
        text_config={
            **LAYERS,
            "vocab_size": len(vocab),
            "max_position_embeddings": 77,
            "bos_token_id": 0,
            "eos_token_id": 1,
            "pad_token_id": 1,
        },
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(folder)


def siglip_tokenizer(folder: Path, class_name: str) -> int:
    """A tokenizer.json as the SigLIPs ship it, under the class that their config names."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocab = {token: i for i, token in enumerate(["<pad>", "<eos>", "<bos>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = class_name
    path.write_text(json.dumps(config))
    return len(vocab)


def build_siglip(folder: Path, number: int = 0) -> None:
    from transformers import SiglipConfig, SiglipImageProcessorPil, SiglipModel

    size = siglip_tokenizer(folder, "SiglipTokenizer")  # which needs sentencepiece
    seed(number)
    config = SiglipConfig(
        text_config={**LAYERS, "vocab_size": size, "max_position_embeddings": 64},
        vision_config={**LAYERS, "image_size": 32, "patch_size": 8},
    )
    SiglipModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def build_siglip2(folder: Path, number: int = 0) -> None:
    from transformers import Siglip2Config, Siglip2ImageProcessorPil, Siglip2Model

    size = siglip_tokenizer(folder, "PreTrainedTokenizerFast")
    seed(number)
    config = Siglip2Config(
        text_config={**LAYERS, "vocab_size": size, "max_position_embeddings": 64},
        vision_config={**LAYERS, "patch_size": 8, "num_patches": 16},
    )
    Siglip2Model(config).save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)


BUILDERS: dict[str, Callable[..., None]] = {
    "clip": build_clip,
    "siglip": build_siglip,
    "siglip2": build_siglip2,
}


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for name, build in BUILDERS.items():
        folders[name] = tmp_path_factory.mktemp(name)
        build(folders[name])
    return folders


@pytest.fixture(scope="session")
def loaded(tiny_models: dict[str, Path]) -> dict[str, TransformersEncoder]:
    return {
        name: TransformersEncoder(folder, device="cpu", dtype="float32")
        for name, folder in tiny_models.items()
    }


@pytest.fixture(params=list(BUILDERS))
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def photos(shared_data: Path, count: int, at_least_px: int) -> list[Image.Image]:
    paths = sorted((shared_data / "coco_train" / "images").iterdir())[:count]
    return [open_picture(path, at_least_px=at_least_px) for path in paths]


def drawn(*sizes: tuple[int, int]) -> list[Image.Image]:
    rng = np.random.default_rng(3)
    return [
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        for width, height in sizes
    ]


def test_shapes_follow_the_model(family: str, loaded: dict[str, Any]) -> None:
    model = loaded[family]
    assert model.dim == (24 if family == "clip" else 32)
    assert model.input_px == 32
    assert model.max_tokens == (77 if family == "clip" else 64)
    assert model.embed_pictures(drawn((50, 40), (40, 90))).shape == (2, model.dim)
    assert model.embed_texts(TEXTS).shape == (len(TEXTS), model.dim)
    assert model.stamp.startswith(f"{family}-")


def test_a_row_does_not_depend_on_its_batch(family: str, loaded: dict[str, Any]) -> None:
    model = loaded[family]
    pictures = drawn((64, 48), (48, 64), (200, 33), (31, 31), (500, 500))
    together = model.embed_pictures(pictures)
    alone = np.concatenate([model.embed_pictures([picture]) for picture in pictures])
    np.testing.assert_allclose(together, alone, atol=1e-5)
    together = model.embed_texts(TEXTS)
    alone = np.concatenate([model.embed_texts([text]) for text in TEXTS])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_two_loads_give_the_same_vectors(family: str, tiny_models: Any, loaded: Any) -> None:
    again = TransformersEncoder(tiny_models[family], device="cpu", dtype="float32")
    pictures = drawn((64, 48), (33, 80))
    np.testing.assert_array_equal(
        again.embed_pictures(pictures), loaded[family].embed_pictures(pictures)
    )
    np.testing.assert_array_equal(again.embed_texts(TEXTS), loaded[family].embed_texts(TEXTS))
    assert again.stamp == loaded[family].stamp


def test_pictures_agree_with_the_reference_processor(
    family: str, tiny_models: Any, loaded: Any, shared_data: Path
) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    full = photos(shared_data, 12, 10_000)
    processor = AutoImageProcessor.from_pretrained(tiny_models[family], backend="pil")
    with torch.inference_mode():
        output = AutoModel.from_pretrained(tiny_models[family]).get_image_features(
            **processor(images=full, return_tensors="pt")
        )
    reference = torch.nn.functional.normalize(output.pooler_output, dim=-1).numpy()
    ours = loaded[family].embed_pictures(photos(shared_data, 12, 64))  # decoded small
    agreement = np.sort((reference * ours).sum(axis=1))
    # SigLIP 2 of any aspect rounds to a whole grid of patches: one photo may fall on another grid
    assert agreement[1 if family == "siglip2" else 0] > 0.99
    nearest = (ours @ reference.T).argmax(axis=1)
    assert (nearest == np.arange(12)).sum() >= (11 if family == "siglip2" else 12)


def test_siglip_reads_exactly_64_tokens_in_lower_case(loaded: dict[str, Any]) -> None:
    import torch

    model = loaded["siglip"]
    ids = [[WORDS.index(word) + 4 for word in ("a", "red", "car")] + [1] + [0] * 60]
    with torch.inference_mode():
        reference = model.network.get_text_features(input_ids=torch.tensor(ids)).pooler_output
    reference = torch.nn.functional.normalize(reference, dim=-1).numpy()
    np.testing.assert_allclose(model.embed_texts(["A  RED, car!"]), reference, atol=1e-5)


def test_tiny_and_thread_thin_pictures_are_embedded(family: str, loaded: dict[str, Any]) -> None:
    rows = loaded[family].embed_pictures(drawn((1, 1), (3, 3), (3, 7), (1, 4000), (4000, 2)))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


def test_a_renamed_folder_keeps_its_stamp(tiny_models: Any, loaded: Any, tmp_path: Path) -> None:
    copy = tmp_path / "another name"
    shutil.copytree(tiny_models["clip"], copy)
    (copy / "README.md").write_text("said by nobody")
    model = TransformersEncoder(copy, device="cpu", dtype="float32")
    assert model.stamp == loaded["clip"].stamp


def test_other_weights_give_another_stamp(loaded: Any, tmp_path: Path) -> None:
    build_clip(tmp_path, number=1)
    model = TransformersEncoder(tmp_path, device="cpu", dtype="float32")
    assert model.stamp != loaded["clip"].stamp


def test_other_preprocessing_gives_another_stamp(
    tiny_models: Any, loaded: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "clip"
    shutil.copytree(tiny_models["clip"], copy)
    path = copy / "preprocessor_config.json"
    path.write_text(path.read_text().replace("0.48145466", "0.5"))
    model = TransformersEncoder(copy, device="cpu", dtype="float32")
    assert model.stamp != loaded["clip"].stamp


def test_bfloat16_gives_nearly_the_same_vectors(family: str, tiny_models: Any, loaded: Any) -> None:
    model = TransformersEncoder(tiny_models[family], device="cpu", dtype="bfloat16")
    assert model.runs_with == "bfloat16 on cpu"
    pictures = drawn((64, 48), (33, 80))
    agreement = (model.embed_pictures(pictures) * loaded[family].embed_pictures(pictures)).sum(1)
    assert agreement.min() > 0.99
    assert model.stamp == loaded[family].stamp  # a library moves between machines


def test_a_model_that_is_not_on_disk_names_the_command_that_fetches_it(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing) as caught:
        TransformersEncoder("siglip2-so400m-384", models_home=tmp_path)
    assert "`mmrag models pull siglip2-so400m-384`" in caught.value.remedy


def test_damaged_weights_are_a_model_error(tiny_models: Any, tmp_path: Path) -> None:
    copy = tmp_path / "clip"
    shutil.copytree(tiny_models["clip"], copy)
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="can't be loaded"):
        TransformersEncoder(copy)


def test_weights_with_holes_are_refused_instead_of_filled_with_noise(
    tiny_models: Any, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    copy = tmp_path / "clip"
    shutil.copytree(tiny_models["clip"], copy)
    weights = load_file(copy / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="visual_projection"):
        TransformersEncoder(copy)


def test_a_text_only_model_is_refused(tmp_path: Path) -> None:
    from transformers import BertConfig, BertModel

    BertModel(BertConfig(**LAYERS, vocab_size=20)).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="bert"):
        TransformersEncoder(tmp_path)
