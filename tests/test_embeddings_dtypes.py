"""The number format of a model: tried out at its first load, and remembered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from mmrag_plugin.embeddings import devices, dtypes, text_models, transformers_model
from mmrag_plugin.embeddings.dtypes import Measured, Trial, Verdict, Verdicts, decide, quickest
from mmrag_plugin.embeddings.text_models import SentenceEncoder
from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from test_embeddings_choose import minilm
from test_embeddings_transformers import build_clip, drawn

HERE = {"device": "cpu", "name": "Some processor", "torch": "2.13"}
VERDICT = Verdict("bfloat16", 24, {"float32": Measured(2.0, 1.0), "bfloat16": Measured(1.0, 0.999)})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    build_clip(folder)
    return folder


class Pretended:
    """A model that takes so many seconds in each format, and whose vectors turn away so far."""

    def __init__(self, seconds: dict[str, float], cosines: dict[str, float]) -> None:
        self.seconds, self.cosines = seconds, cosines
        self.now, self.time_s, self.loads = "", 0.0, list[str]()

    def use(self, name: str) -> None:
        self.loads.append(name)
        self.now = name

    def probe(self) -> NDArray[np.float32]:
        if self.now not in self.seconds:
            raise RuntimeError("not implemented for this format")
        self.time_s += self.seconds[self.now]
        cosine = self.cosines.get(self.now, 1.0)
        return np.array([[cosine, (1 - cosine**2) ** 0.5]] * 3, np.float32)

    def trial(self) -> Trial:
        return Trial(self.use, self.probe, lambda: self.time_s)


@pytest.mark.parametrize(
    ("seconds", "cosines", "expected"),
    [
        ({"float32": 1.0, "bfloat16": 0.3}, {"bfloat16": 0.999}, "bfloat16"),
        ({"float32": 1.0, "bfloat16": 0.3}, {"bfloat16": 0.99}, "float32"),
        ({"float32": 1.0, "bfloat16": 3.0}, {"bfloat16": 0.999}, "float32"),
        ({"float32": 1.0, "bfloat16": 0.95}, {"bfloat16": 0.999}, "float32"),
        ({"float32": 1.0, "bfloat16": 0.5, "int8": 0.3}, {"int8": 0.992}, "int8"),
        ({"float32": 1.0, "bfloat16": 0.5, "int8": 0.3}, {"int8": 0.98}, "bfloat16"),
        ({"float32": 1.0, "int8": 0.3}, {"int8": float("nan")}, "float32"),
        ({"float32": 1.0, "int8": 0.5}, {}, "int8"),  # bfloat16 has no kernels here
    ],
)
def test_the_quickest_format_that_agrees_is_taken_and_left_loaded(
    seconds: dict[str, float], cosines: dict[str, float], expected: str
) -> None:
    model = Pretended(seconds, cosines)
    verdict = decide(("bfloat16", "int8"), model.trial())
    assert verdict.dtype == model.now == expected
    assert verdict.dim == 2
    assert verdict.measured.keys() == seconds.keys()


def test_nothing_is_tried_out_where_there_is_no_choice() -> None:
    model = Pretended({"float32": 1.0}, {})
    assert decide((), model.trial()) == Verdict("float32", 2)
    assert model.loads == ["float32"]
    assert model.time_s == 1.0


def test_one_slow_round_among_quick_ones_decides_nothing() -> None:
    model = Pretended({"float32": 1.0, "bfloat16": 0.3}, {})
    rounds = iter([0.3, 9.0, 9.0, 9.0])
    plain = model.probe

    def disturbed() -> NDArray[np.float32]:
        if model.now == "bfloat16":
            model.seconds["bfloat16"] = next(rounds)
        return plain()

    assert decide(("bfloat16",), Trial(model.use, disturbed, lambda: model.time_s)).dtype == (
        "bfloat16"
    )


def test_a_verdict_is_read_again_and_is_only_of_its_model_and_machine(tmp_path: Path) -> None:
    kept = Verdicts(tmp_path)
    assert kept.read("clip-1", HERE) is None
    kept.keep("clip-1", HERE, VERDICT)
    assert Verdicts(tmp_path).read("clip-1", HERE) == VERDICT
    assert kept.read("clip-2", HERE) is None
    assert kept.read("clip-1", {**HERE, "torch": "2.14"}) is None
    assert kept.latest("clip-1", "Some processor") == (VERDICT, HERE)
    assert kept.latest("clip-1", "Another processor") is None


def test_without_a_folder_and_in_one_that_is_not_writable_nothing_is_kept(tmp_path: Path) -> None:
    Verdicts(None).keep("clip-1", HERE, VERDICT)
    assert Verdicts(None).read("clip-1", HERE) is None
    (tmp_path / "file").write_text("")
    Verdicts(tmp_path / "file").keep("clip-1", HERE, VERDICT)
    assert Verdicts(tmp_path / "file").read("clip-1", HERE) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: "[" * 100_000,
        lambda text: text.replace("bfloat16", "rm -rf"),
        lambda text: text.replace('"dim": 24', '"dim": -1'),
        lambda text: text.replace('"dim": 24', '"dim": 1e9'),
        lambda text: text.replace("clip-1", "clip-2"),
        lambda text: text.replace("Some processor", "Another"),
        lambda text: text.replace("0.999", "NaN"),
        lambda text: text.replace('"measured"', '"measure"'),
    ],
)
def test_a_damaged_or_foreign_file_counts_as_none(
    tmp_path: Path, change: Callable[[str], str]
) -> None:
    kept = Verdicts(tmp_path)
    kept.keep("clip-1", HERE, VERDICT)
    (path,) = (tmp_path / dtypes.FOLDER).iterdir()
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    assert kept.read("clip-1", HERE) is None
    kept.keep("clip-1", HERE, VERDICT)
    assert kept.read("clip-1", HERE) == VERDICT


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    def write() -> None:
        for _ in range(30):
            Verdicts(tmp_path).keep("clip-1", HERE, VERDICT)
            assert Verdicts(tmp_path).read("clip-1", HERE) == VERDICT

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list((tmp_path / dtypes.FOLDER).iterdir())) == 1


def test_the_second_load_goes_straight_to_the_format_that_was_decided_on(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_model, "quick_formats", lambda device: ("bfloat16",))
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)  # what is quicker at this size is chance
    first = TransformersEncoder(clip, device="cpu", models_home=tmp_path)
    assert first.runs_with == "bfloat16 on cpu"
    loads: list[str] = []
    plain = TransformersEncoder._network

    def watched(self: TransformersEncoder, folder: Path, dtype: str) -> Any:
        loads.append(dtype)
        return plain(self, folder, dtype)

    def no_probe(*_: Any) -> Any:
        raise AssertionError("the model was tried out again")

    monkeypatch.setattr(TransformersEncoder, "_network", watched)
    monkeypatch.setattr(dtypes, "decide", no_probe)
    second = TransformersEncoder(clip, device="cpu", models_home=tmp_path)
    assert loads == ["bfloat16"]
    assert (second.dtype, second.dim, second.stamp) == ("bfloat16", 24, first.stamp)
    pictures = drawn((64, 48))
    np.testing.assert_array_equal(second.embed_pictures(pictures), first.embed_pictures(pictures))


def test_a_format_that_disagrees_is_not_used(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transformers_model, "quick_formats", lambda device: ("bfloat16",))
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)
    monkeypatch.setitem(dtypes.MIN_AGREEMENT, "bfloat16", 1.1)
    model = TransformersEncoder(clip, device="cpu", models_home=tmp_path)
    exact = TransformersEncoder(clip, device="cpu", dtype="float32")
    assert model.runs_with == "float32 on cpu"
    texts = ["a red car", "the dog on the beach"]
    np.testing.assert_array_equal(model.embed_texts(texts), exact.embed_texts(texts))


def test_a_text_model_takes_the_quicker_format_that_agrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_models, "quick_formats", lambda device: ("bfloat16",))
    monkeypatch.setattr(dtypes, "MIN_GAIN", 0.0)
    half = SentenceEncoder(minilm(), device="cpu", models_home=tmp_path)
    exact = SentenceEncoder(minilm(), device="cpu", dtype="float32")
    assert (half.runs_with, exact.runs_with) == ("bfloat16 on cpu", "float32 on cpu")
    assert half.stamp == exact.stamp
    texts = ["Gate B42", "a long walk in the mountains " * 30, "receipt"]
    assert (half.embed(texts) * exact.embed(texts)).sum(axis=1).min() > 0.99
    assert SentenceEncoder(minilm(), device="cpu", models_home=tmp_path).dtype == "bfloat16"


def test_the_quickest_of_nothing_but_float32_is_float32() -> None:
    assert quickest({"float32": Measured(1.0, 1.0)}) == "float32"


def pretend(
    monkeypatch: pytest.MonkeyPatch,
    *,
    cuda: bool = False,
    mps: bool = False,
    cuda_bfloat16: bool = False,
    processor: str = "",
    machine: str = "x86_64",
) -> None:
    """Make torch say what it would on another machine."""
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: cuda_bfloat16)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == processor, raising=False)
    monkeypatch.setattr(devices.platform, "machine", lambda: machine)


def test_a_gpu_is_taken_where_there_is_one_unless_another_device_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch)
    assert devices.pick_device("auto") == "cpu"
    pretend(monkeypatch, mps=True)
    assert devices.pick_device("auto") == "mps"
    pretend(monkeypatch, cuda=True)
    assert devices.pick_device("auto") == "cuda"
    assert devices.pick_device("cpu") == "cpu"
    assert devices.pick_device("cuda:1") == "cuda:1"


def test_the_formats_to_try_are_those_that_the_hardware_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch)
    assert devices.quick_formats("cpu") == ()
    pretend(monkeypatch, processor="_is_amx_tile_supported")
    assert devices.quick_formats("cpu") == ("bfloat16",)
    pretend(monkeypatch, processor="_is_avx512_bf16_supported")
    assert devices.quick_formats("cpu") == ("bfloat16",)
    pretend(monkeypatch, cuda_bfloat16=True)
    assert devices.quick_formats("cuda:1") == ("bfloat16",)
    pretend(monkeypatch)
    assert devices.quick_formats("cuda") == ("float16",)
    assert set(devices.quick_formats("mps")) == {"bfloat16", "float16"}


@pytest.mark.parametrize("native", [True, False])
def test_an_arm_processor_is_asked_through_onednn(
    monkeypatch: pytest.MonkeyPatch, native: bool
) -> None:
    import torch

    pretend(monkeypatch, machine="aarch64")
    asked = SimpleNamespace(_is_mkldnn_bf16_supported=lambda: native)
    monkeypatch.setattr(torch.ops, "mkldnn", asked, raising=False)
    assert devices.quick_formats("cpu") == (("bfloat16",) if native else ())


def test_batches_are_larger_on_a_gpu() -> None:
    sizes = [devices.batch_size(device) for device in ("cpu", "mps", "cuda:1")]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_a_model_takes_the_batch_size_of_its_device_unless_told(clip: Path) -> None:
    model = TransformersEncoder(clip, device="cpu", dtype="float32")
    assert model.batch == devices.batch_size("cpu")
    told = TransformersEncoder(clip, device="cpu", dtype="float32", batch=3)
    assert told.batch == 3


def test_formats_are_compared_in_one_thread_and_the_others_come_back() -> None:
    import torch

    before, seen = torch.get_num_threads(), list[int]()
    torch.set_num_threads(2)
    try:
        with devices.one_thread():
            seen.append(torch.get_num_threads())
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)
