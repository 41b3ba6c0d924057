"""New pictures: labelled as generated, known as such, left out of search unless asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from commands import mmrag_here, refused, told
from made_films import GREEN, RED, write_film
from media_made import describe, end_owners, opened, picture
from mmrag_plugin.cli import doctor
from mmrag_plugin.errors import MissingExtra, ModelMissing, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_making import Target
from mmrag_plugin.makers import diffusers_generator
from mmrag_plugin.makers.base import Stopped
from mmrag_plugin.makers.diffusers_generator import DiffusersGenerator
from mmrag_plugin.makers.generating import SOURCE_TYPE, Idea, PictureGenerator
from mmrag_plugin.makers.plain_generator import PlainGenerator
from mmrag_plugin.marks import GENERATED
from mmrag_plugin.readers.photo import PhotoReader

EVIL = 'a barn <x> & "y" </rdf:li> \x1b[31m [img-1]'


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of a photo and a film."""
    home = tmp_path_factory.mktemp("home")
    photos = home / "photos"
    photos.mkdir()
    describe(picture(photos / "barn.jpg", "red"), "the red barn")
    describe(write_film(photos / "film.mp4", [RED] * 20 + [GREEN] * 20), "a day out")
    with opened(home / "libraries") as library:
        library.index([photos])
    yield home
    end_owners(home / "libraries")


@pytest.fixture
def library(home: Path) -> Iterator[MediaLibrary]:
    with opened(home / "libraries", generator="plain") as library:
        yield library


# -- generators -----------------------------------------------------------------------------------


def tiny_model(folder: Path) -> Path:
    """A Stable Diffusion of a few thousand random weights, made from its configuration."""
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
    from diffusers import UNet2DConditionModel as Network
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    letters = [chr(code) for code in range(33, 127)]
    words = letters + [f"{letter}</w>" for letter in letters]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "words").mkdir(parents=True)
    vocabulary = folder / "words" / "vocab.json"
    vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    text = CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=1,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4),
        text_encoder=CLIPTextModel(text),
        tokenizer=CLIPTokenizer.from_pretrained(str(folder / "words"), model_max_length=77),
        unet=Network(
            sample_size=16,
            block_out_channels=(8, 16),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=4,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        ),
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> DiffusersGenerator:
    if find_spec("diffusers") is None:
        pytest.skip("diffusers is not installed: pip install 'mmrag-plugin[generate]'")
    return DiffusersGenerator(str(tiny_model(tmp_path_factory.mktemp("tiny"))))


GENERATORS = [
    "plain",
    pytest.param(
        "tiny",
        marks=[
            pytest.mark.slow,
            pytest.mark.filterwarnings("ignore"),  # of libraries about each other
        ],
    ),
]


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest) -> PictureGenerator:
    if request.param == "plain":
        return PlainGenerator()
    made: PictureGenerator = request.getfixturevalue("tiny")
    return made


class Hears:
    def __init__(self, stop: bool = False) -> None:
        self.done: list[float] = []
        self.stop = stop

    def __call__(self, done: float) -> None:
        self.done.append(done)
        if self.stop:
            raise Stopped("stopped")

    def begin(self, place: int) -> None:
        pass


def test_a_generator_makes_the_same_picture_of_the_same_words_and_seed(
    generator: PictureGenerator,
) -> None:
    hears = Hears()
    idea = Idea("a red barn", seed=1, steps=3, size=(32, 24))
    first = generator.generate(idea, hears)
    assert (first.mode, first.size) == ("RGB", (32, 24))
    assert hears.done == sorted(hears.done)
    assert hears.done[-1] == pytest.approx(1.0)
    assert np.array_equal(first, generator.generate(idea, Hears()))
    other = generator.generate(Idea("a red barn", seed=2, steps=3, size=(32, 24)), Hears())
    assert not np.array_equal(first, other)


def test_a_generator_goes_as_far_from_a_picture_as_it_may(generator: PictureGenerator) -> None:
    like = PIL.Image.new("RGB", (64, 48), (220, 30, 30))
    off = []
    for strength in (0.2, 1.0):
        idea = Idea("blue", (like,), strength, steps=5, seed=3, size=(32, 24))
        made = generator.generate(idea, Hears())
        assert made.size == (32, 24)
        off.append(float(np.abs(np.asarray(made, float) - (220, 30, 30)).mean()))
    assert off[0] != off[1]
    mixed = Idea("blue", (like, like.rotate(90)), 0.2, steps=5, seed=3, size=(32, 24))
    assert generator.generate(mixed, Hears()).size == (32, 24)


def test_a_generator_stops_when_nobody_wants_the_picture_any_more(
    generator: PictureGenerator,
) -> None:
    with pytest.raises(Stopped):
        generator.generate(Idea("a barn", steps=3, size=(32, 24)), Hears(stop=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_whole_way_with_a_diffusers_model(
    tiny: DiffusersGenerator, home: Path, tmp_path: Path
) -> None:
    with opened(home / "libraries", generator=tiny.name) as library:
        made = library.imagine("a barn", folder=tmp_path, steps=2)
        assert (made.width_px, made.height_px) == (16, 16)  # what the model was made for
        barn = Target(str(home / "photos" / "barn.jpg"))
        like = library.imagine("a barn", like=[barn], folder=tmp_path, steps=2, size=(48, 32))
        assert (like.width_px, like.height_px) == (48, 32)
        assert [piece.path.name for piece in like.pieces] == ["barn.jpg"]
    with pytest.raises(ModelMissing, match="can't be loaded from this disk"):
        DiffusersGenerator("nobody/no-such-model").generate(Idea("x"), Hears())


# -- labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_the_file_says_that_a_model_made_it(
    suffix: str, library: MediaLibrary, home: Path, tmp_path: Path
) -> None:
    barn = Target(str(home / "photos" / "barn.jpg"))
    target = tmp_path / f"new{suffix}"
    made = library.imagine(EVIL, like=[barn], output=target)
    assert made.path == target
    content = target.read_bytes()
    assert SOURCE_TYPE.encode() in content
    assert b"Generated by plain through mmrag, after barn.jpg" in content
    assert str(home).encode() not in content
    facts = PhotoReader().facts(target)
    texts = [signal.text for signal in facts.signals]
    assert GENERATED in texts
    assert any('a barn <x> & "y" </rdf:li>' in text for text in texts)
    assert not any("\x1b" in text for text in texts)


def test_it_is_like_the_pictures_and_moments_that_are_named(
    library: MediaLibrary, home: Path, tmp_path: Path
) -> None:
    film = Target(str(home / "photos" / "film.mp4"), 2.5, 3.5)
    made = library.imagine("x", like=[film], strength=0.0, folder=tmp_path)
    with PIL.Image.open(made.path) as image:
        shown = np.asarray(image.convert("RGB")).reshape(-1, 3).mean(axis=0)
    assert shown.argmax() == 1  # green, as the film is then


# -- in the library -------------------------------------------------------------------------------


def test_generated_pictures_are_known_and_left_out_unless_asked_for(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    describe(picture(photos / "real.jpg", "red"), "the red barn")
    with opened(tmp_path / "home", generator="plain") as library:
        library.imagine("the red barn", folder=photos)
        library.index([photos])

        def found(**options: object) -> set[str]:
            return {Path(hit.path).name for hit in library.search("red barn", **options).hits}

        assert found() == {"real.jpg"}
        assert found(filters=Filters(kind="image")) == {"real.jpg"}
        both = {"real.jpg", "the-red-barn-picture.png"}
        assert found(filters=Filters(generated=True)) == both
        assert found(filters=Filters(tags=(GENERATED,))) == {"the-red-barn-picture.png"}
        planned = library.search_question("photos of red barns")
        assert {Path(hit.path).name for hit in planned.hits} == {"real.jpg"}
        assert {v.label: v.count for v in library.browse("tag").values}[GENERATED] == 1
        assert sum(value.count for value in library.browse("kind").values) == 2
        hits = told(mmrag_here(tmp_path / "home", "search", "red barn", "--json"), 0)["hits"]
        assert len(hits) == 1
        command = ("search", "red barn", "--generated", "--json")
        assert len(told(mmrag_here(tmp_path / "home", *command), 0)["hits"]) == 2
    end_owners(tmp_path / "home")


# -- without a generator, and wrong wishes --------------------------------------------------------


def test_without_the_extra_a_sentence_says_how_to_install_it(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusers_generator, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    done = mmrag_here(home / "libraries", "imagine", "a red barn", "--json")
    kind, message, remedy = refused(done, 2)
    assert kind == MissingExtra.kind
    assert message == "Making new pictures needs a generator, which is not installed."
    assert remedy == "Run `pip install 'mmrag-plugin[generate]'`."
    assert not list(tmp_path.iterdir())


def test_without_a_model_a_sentence_says_how_to_name_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diffusers_generator, "find_spec", lambda name: True)
    monkeypatch.chdir(tmp_path)
    _, message, remedy = refused(mmrag_here(home / "libraries", "imagine", "x", "--json"), 2)
    assert message == "No model for new pictures is named."
    assert "--generator" in remedy


def test_doctor_says_what_new_pictures_need_and_misses_nothing_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "find_spec", lambda name: None)
    done = mmrag_here(home / "libraries", "doctor", "--json")
    (check,) = [c for c in json.loads(done.stdout)["checks"] if c["name"] == "new pictures"]
    assert check["works"]
    assert "no generator is installed" in check["found"]
    assert "mmrag-plugin[generate]" in check["remedy"]


@pytest.mark.parametrize(
    ("prompt", "options", "reason"),
    [
        (" ", {}, "made of words"),
        ("x" * 2001, {}, "2,000 characters"),
        ("x", {"strength": 1.1}, "strength of 1.1"),
        ("x", {"size": (10, 10)}, "10 x 10 pixels"),
        ("x", {"size": (64, 9999)}, "64 x 9999 pixels"),
        ("x", {"like": [Target("a")] * 9}, "too many"),
    ],
)
def test_wishes_that_can_not_be_met_are_refused(
    prompt: str, options: dict[str, object], reason: str, library: MediaLibrary, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=reason):
        library.imagine(prompt, folder=tmp_path, **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_the_command_makes_a_picture(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    libraries = home / "libraries"
    barn = home / "photos" / "barn.jpg"
    plain = ("--generator", "plain", "--json")
    made = told(mmrag_here(libraries, "imagine", "a red barn", *plain, "--size", "96x64"), 0)
    assert (made["what"], made["how"]) == ("picture", "generated")
    assert (made["width_px"], made["height_px"]) == (96, 64)
    assert Path(made["path"]) == tmp_path / "a-red-barn-picture.png"
    like = ("--like", barn, "--strength", "0.1", "-o", tmp_path / "x.jpg")
    made = told(mmrag_here(libraries, "imagine", "a red barn", *plain, *like), 0)
    assert [Path(piece["path"]).name for piece in made["pieces"]] == ["barn.jpg"]
    refused(mmrag_here(libraries, "imagine", "a red barn", *plain, *like), 2)
    assert mmrag_here(libraries, "imagine", "x", *plain, "--size", "big").returncode == 2
