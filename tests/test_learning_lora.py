"""Training the visual model itself: adopted by what was held out, and taken back exactly."""

from __future__ import annotations

import errno
import pickle
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from commands import mmrag_here, refused, told
from media_made import COLOURS, end_owners, opened
from mmrag_plugin.embeddings import lora_training
from mmrag_plugin.embeddings.lora import LoraEncoder, add_lora
from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from mmrag_plugin.errors import ModelError, ModelMismatch, StorageError, UsageError
from mmrag_plugin.index_report import Progress
from mmrag_plugin.learned_versions import LearnedVersions
from mmrag_plugin.learning_encoder import Seen, retained
from mmrag_plugin.ledger_annotations import Annotation
from mmrag_plugin.library import MediaLibrary
from test_embeddings_transformers import BUILDERS
from test_learning import made_lesson

CALLED = "milo bertil cabin grandpa uzh xenia tolstoi fjord kiwi bosphorus".split()
NAMES = dict(zip(COLOURS, CALLED, strict=True))
EACH = 12


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tiny models of chance need larger steps than those that have learned the world."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # of matrices this small more take longer
    monkeypatch.setattr(lora_training, "RATE", 5e-3)
    monkeypatch.setattr(lora_training, "EPOCHS", 16)
    monkeypatch.setattr(lora_training, "OTHERS", 8)
    monkeypatch.setattr(lora_training, "PHRASES", 16)
    yield
    torch.set_num_threads(threads)


def drawn(folder: Path, count: int = EACH * len(NAMES) + 20) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        random = np.random.default_rng(number)
        grey = random.integers(0, 256, (6, 9, 1)).repeat(3, axis=2)
        pixels = np.full((6, 9, 3), COLOURS[list(NAMES)[number % len(NAMES)]])
        patches = random.random((6, 9)) < 0.25
        pixels[patches] = grey[patches]
        picture = Image.fromarray(pixels.astype(np.uint8)).resize((54, 36), 0)
        picture.save(folder / f"{number:03}.png")


def annotate(library: MediaLibrary, *, shuffled: bool = False, most: int = 10**6) -> None:
    rows = sorted(library.ledger.media_rows().values(), key=lambda row: row.path)
    names = [list(NAMES.values())[number % len(NAMES)] for number in range(EACH * len(NAMES))]
    if shuffled:
        names = [names[index] for index in np.random.default_rng(1).permutation(len(names))]
    for row, name in list(zip(rows, names, strict=False))[:most]:
        library.ledger.annotate(row.media_id, [Annotation("caption", name)])


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    """Photos of six colours, of which twelve each are annotated, as a tiny CLIP of chance sees."""
    place = tmp_path_factory.mktemp("lora").resolve()
    BUILDERS["clip"](place / "model")
    drawn(place / "photos")
    with opened(place / "home", visual_model=str(place / "model")) as library:
        library.index([place / "photos"])
        yield library
    end_owners(place / "home")


@pytest.fixture
def library(indexed: MediaLibrary) -> Iterator[MediaLibrary]:
    """The same photos, with nothing written or learned."""
    yield indexed
    if indexed.learned_in_use != "original":
        indexed.use_learned("original")
    shutil.rmtree(indexed.directory / "learned", ignore_errors=True)
    indexed.ledger.state(learned=None)
    for media_id in indexed.ledger.media_rows():
        indexed.ledger.annotate(media_id, (), indexed.ledger.annotations_of(media_id))


def by_sight(library: MediaLibrary) -> dict[str, float]:
    """The score of each media."""
    result = library.search("milo", channels=["visual"], limit=100)
    return {hit.moment.media_id: hit.score for hit in result.hits}


def embedded_again(scores: dict[str, float]) -> Any:
    """Those scores, as far as other pictures in a batch leave the last bits of a vector alone."""
    return pytest.approx(scores, rel=1e-5)


class Stages(Progress):
    """Which stages had something to do."""

    def __init__(self) -> None:
        self.done: dict[str, int] = {}

    def advance(self, stage: Any, count: int) -> None:
        self.done[stage] = self.done.get(stage, 0) + count


# ---- its file and its parts ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    BUILDERS["clip"](folder)
    return folder


def some_lora(folder: Path) -> tuple[bytes, Any]:
    """A file with matrices of chance, and the vectors that peft itself gives with them."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save

    model = TransformersEncoder(folder, device="cpu", dtype="float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        config = LoraConfig(r=4, lora_alpha=4, target_modules=lora_training._TARGETS)
        adapted = get_peft_model(model.network, config)
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.2)
    vectors = model.embed_texts(["a red car"])
    return save(get_peft_model_state_dict(adapted)), vectors


def test_a_model_with_its_file_gives_the_vectors_that_peft_gives(tiny: Path) -> None:
    content, expected = some_lora(tiny)
    plain = TransformersEncoder(tiny, device="cpu", dtype="float32")
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "digest": "ab" * 32}
    adapted = LoraEncoder(tiny, content, base_stamp=plain.stamp, **options)
    np.testing.assert_allclose(adapted.embed_texts(["a red car"]), expected, atol=1e-5)
    assert not np.allclose(plain.embed_texts(["a red car"]), expected, atol=1e-2)
    assert adapted.stamp == f"{plain.stamp}+lora-{'ab' * 8}"
    with pytest.raises(ModelError, match="not the one that was learned on"):
        LoraEncoder(tiny, content, base_stamp="clip-of-others", **options)
    for damaged in (content[:200], b"", pickle.dumps({"a": 1})):
        with pytest.raises(ModelError, match="can't be used"):
            add_lora(plain.network, damaged)


def test_a_model_without_weights_to_train_is_a_clear_sentence(tmp_path: Path) -> None:
    drawn(tmp_path / "photos", 3)
    with opened(tmp_path / "home") as library:
        library.index([tmp_path / "photos"])
        with pytest.raises(ModelError, match="palette has no weights that can be trained"):
            library.learn(lora=True)
    end_owners(tmp_path / "home")


def test_without_peft_the_command_that_installs_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lora_training, "find_spec", lambda name: None)
    with opened(tmp_path / "home"):
        done = refused(mmrag_here(tmp_path / "home", "learn", "--lora", "--json"), 2)
    assert done[0] == "missing_extra"
    assert "pip install 'mmrag-plugin[learn]'" in done[2]


class Facts:
    """A ledger's facts."""

    def __init__(self, **learned: Any) -> None:
        self.learned = learned

    def fact(self, name: str) -> Any:
        return self.learned

    def state(self, learned: Any) -> None:
        self.learned = learned


def test_each_version_goes_with_the_visual_model_that_it_was_learned_on() -> None:
    versions = LearnedVersions(
        Facts(  # type: ignore[arg-type]
            in_use="v2",
            versions={
                "v1": {"visual": "clip"},
                "v2": {"kind": "lora", "base": "clip"},
                "v3": {"visual": "learned:v2"},
                "v4": {},
            },
        )
    )
    wanted = {name: versions.visual_of(name, "learned:v2") for name in ("v1", "v2", "v3", "v4")}
    assert wanted == {"v1": "clip", "v2": "learned:v2", "v3": "learned:v2", "v4": "learned:v2"}
    assert versions.visual_of("original", "learned:v2") == "clip"
    assert versions.visual_of("original", "other") == "other"
    versions.settle("other")  # somebody indexed with another model
    assert (versions.known()["in_use"], versions.known()["before"]) == ("original", ["v2"])
    versions.want({"version": "v2", "visual": "learned:v2", "before": []})
    versions.settle("learned:v2")
    assert (versions.known()["in_use"], versions.known()["next"]) == ("v2", None)


def test_general_searches_may_swap_what_is_equally_near_and_nothing_else() -> None:
    lesson = made_lesson()
    same = Seen(lesson.pictures, lesson.text_vectors, lesson.general, lesson.library)
    assert retained(lesson, same) == pytest.approx(1)
    other = replace(same, general=np.roll(lesson.general, 1, axis=0))
    assert retained(lesson, other) < 0.5


# ---- in a library --------------------------------------------------------------------------------


@pytest.mark.slow
def test_it_is_adopted_embeds_again_and_is_taken_back(library: MediaLibrary) -> None:
    annotate(library)
    before, stage = by_sight(library), Stages()
    done = library.learn(lora=True, progress=stage)
    assert (done.version, done.in_use, done.trial.reasons) == ("v1", True, [])
    assert done.trial.all["MRR"].after > done.trial.all["MRR"].before
    assert stage.done == {"embed": EACH * len(NAMES) + 20}
    assert not (library.directory / "learned" / ".lora").exists()
    after = by_sight(library)
    assert after != embedded_again(before)
    home = library.settings.home
    with opened(home, visual_model="auto") as other:  # another process takes the same
        assert by_sight(other) == after
    listed = mmrag_here(home, "models", "list").stdout
    assert "learned v1 (in use): the visual model itself" in listed
    assert told(mmrag_here(home, "status", "--json"), 0)["models"]["learned"] == "v1"
    with opened(home) as other, pytest.raises(ModelMismatch, match="ask for palette"):
        other.roll_back_learned()
    assert library.index([]).stages["embed"].done == 0  # whoever names the base gets it trained
    adapter = library.learn()
    if adapter.version:  # one on top of it goes with it
        assert library.use_learned("v1") == adapter.version
    stage = Stages()
    assert library.use_learned("original", stage) == "v1"
    assert stage.done == {"embed": EACH * len(NAMES) + 20}
    assert by_sight(library) == embedded_again(before)
    assert library.roll_back_learned() == "v1"
    assert by_sight(library) == embedded_again(after)
    file = library.directory / "learned" / "v1.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with (
        opened(home, visual_model="auto") as other,
        pytest.raises(ModelError, match="v1, which the visual model learned, is not what it was"),
    ):
        by_sight(other)
    with opened(home, visual_model="auto") as other:
        assert other.use_learned("original") == "v1"
        assert by_sight(other) == embedded_again(before)


@pytest.mark.slow
def test_shuffled_captions_are_refused_and_too_few_are_said(library: MediaLibrary) -> None:
    annotate(library, most=30)
    with pytest.raises(UsageError, match=r"looked at: 30\. Training the visual model takes 40"):
        library.learn(lora=True)
    annotate(library, shuffled=True)
    before = by_sight(library)
    done = library.learn(lora=True)
    assert not done.trial.adopted
    assert (library.learned_in_use, library.learned_versions()) == ("original", [])
    assert by_sight(library) == before


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_nothing_is_half_adopted(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(library)
    before, steps = by_sight(library), list[int]()

    def killed(step: int, total: int) -> None:
        if step == total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.learn(lora=True, heard=killed)
    assert by_sight(library) == before

    class Killed(Progress):
        def advance(self, stage: Any, count: int) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.learn(lora=True, heard=lambda step, _: steps.append(step), progress=Killed())
    assert steps[0] > steps[-1] // 3  # the first rounds were not done again
    assert library.learned_in_use == "original"
    assert by_sight(library) == before
    library.finish()
    assert library.learned_in_use == "v1"
    assert by_sight(library) != before


@pytest.mark.slow
def test_a_loss_that_is_no_number_and_a_full_disk_leave_the_old_model(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import Trainer

    annotate(library)
    before = by_sight(library)

    def full(self: Any, *_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_save_checkpoint", full)
        with pytest.raises(StorageError, match="No space left"):
            library.learn(lora=True)
    with monkeypatch.context() as patch:
        patch.setattr(lora_training, "_moved", lambda old, new: torch.tensor(float("nan")))
        with pytest.raises(ModelError, match="Learning went astray: the loss is nan at step 1"):
            library.learn(lora=True)
    assert (library.learned_in_use, library.learned_versions()) == ("original", [])
    assert by_sight(library) == before


@pytest.mark.slow
@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_the_siglips_learn_as_well(family: str, tmp_path: Path) -> None:
    BUILDERS[family](tmp_path / "model")
    drawn(tmp_path / "photos")
    with opened(tmp_path / "home", visual_model=str(tmp_path / "model")) as library:
        library.index([tmp_path / "photos"])
        annotate(library)
        curve = library.learn(lora=True, dry_run=True).trial.curve
        assert min(line[2] for line in curve[1:]) < curve[0][2]
        assert library.learned_versions() == []
    end_owners(tmp_path / "home")
