"""Learning a person's own words: searches get better or stay as they were, and it is taken back."""

from __future__ import annotations

import contextlib
import errno
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from commands import mmrag_here, refused, told
from made_films import BLUE, RED, write_film
from media_made import COLOURS, end_owners, opened, picture
from mmrag_plugin import learning_trial, library_learning
from mmrag_plugin.errors import ModelError, NotFound, StorageError, UsageError
from mmrag_plugin.evaluation.tuning import FALSE_STRONG
from mmrag_plugin.learned_query import LearnedQuery
from mmrag_plugin.learning import Lesson, Training, symmetric_loss, trained
from mmrag_plugin.learning_lesson import MEDIA_AT_LEAST, lesson_of
from mmrag_plugin.learning_page import Example, page_of
from mmrag_plugin.learning_trial import folds_of, held_out_ranks, judged, kept_of, try_fold
from mmrag_plugin.library import MediaLibrary

DIM, KINDS, EACH = 24, 12, 6
GENERAL = [f"general{index}" for index in range(40)]


def unit(rows: Any) -> Any:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def made_lesson(*, seed: int = 0, shuffled: bool = False, cone: float = 0.0) -> Lesson:
    """Twelve things with six photos each; what their names mean to the model is chance.

    ``cone`` moves pictures and texts apart and each closer together, as in models like CLIP.
    """
    random = np.random.default_rng(seed)
    things = unit(random.normal(size=(KINDS, DIM)))
    kinds = np.repeat(np.arange(KINDS), EACH)
    pictures = unit(things[kinds] + 0.35 * unit(random.normal(size=(len(kinds), DIM))))
    texts = unit(random.normal(size=(KINDS, DIM)))
    general = unit(random.normal(size=(len(GENERAL), DIM)))
    seen, read = random.normal(size=(2, DIM))
    pictures = unit(pictures + cone * seen / np.linalg.norm(seen))
    texts, general = (unit(rows + cone * read / np.linalg.norm(read)) for rows in (texts, general))
    shown = random.permutation(kinds) if shuffled else kinds
    ids = [f"media{index}" for index in range(len(kinds))]
    return Lesson(
        stamp="made",
        media_ids=ids,
        groups=ids,
        pictures=pictures,
        texts=[f"thing{index}" for index in range(KINDS)],
        text_vectors=texts,
        strengths=np.ones(KINDS, dtype=np.float32),
        own=np.ones(KINDS, dtype=bool),
        names=[False] * KINDS,
        said=np.arange(KINDS)[:, None] == shown,
        library=pictures,
        general_texts=GENERAL,
        general=general,
    )


def learned_from(lesson: Lesson, seed: int = 0) -> tuple[learning_trial.Trial, LearnedQuery]:
    folds = [try_fold(lesson, media, seed=seed) for media in folds_of(lesson, seed=seed)]
    return judged(lesson, folds, lambda steps: trained(lesson, seed=seed, steps=steps), seed=seed)


# ---- learning ------------------------------------------------------------------------------------


def test_the_gradient_is_that_of_the_loss() -> None:
    training = Training(made_lesson())
    training._learned += 0.1 * np.random.default_rng(1).normal(size=(KINDS, DIM)).astype("f4")
    _, gradient = training._loss()
    for place in ((0, 0), (3, 7), (11, 23)):
        losses = []
        for step in (1e-2, -1e-2):
            training._learned[place] += step
            losses.append(training._loss()[0])
            training._learned[place] -= step
        assert gradient[place] == pytest.approx((losses[0] - losses[1]) / 2e-2, abs=2e-3)


def test_texts_of_one_photo_and_photos_of_one_text_are_no_negatives() -> None:
    scores = np.array([[9, 9, 0], [9, 9, 0], [0, 0, 9]], dtype=np.float32) * 4
    right = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=bool)
    loss, gradient = symmetric_loss(scores, right, np.ones(3, dtype=np.float32))
    assert loss == pytest.approx(0, abs=1e-6)
    assert np.abs(gradient).max() < 1e-6


@pytest.mark.parametrize("cone", [0.0, 2.5])
def test_own_things_are_found_whatever_the_scale_of_a_model_s_similarities(cone: float) -> None:
    trial, _ = learned_from(made_lesson(cone=cone))
    assert trial.adopted, trial.reasons
    assert trial.all["MRR"].after > 3 * trial.all["MRR"].before
    assert trial.all["MRR"].low > 0
    assert trial.kept == 1


def test_the_same_seed_gives_the_same_and_training_lowers_the_loss() -> None:
    lesson = made_lesson()
    first, again = (trained(lesson, seed=3, steps=20).to_bytes() for _ in range(2))
    assert first == again
    training = Training(lesson)
    before = training.loss()
    for _ in range(20):
        training.step()
    assert training.loss() < before


@pytest.mark.parametrize("seed", range(5))
def test_wrong_annotations_are_refused(seed: int) -> None:
    trial, _ = learned_from(made_lesson(seed=seed, shuffled=True), seed)
    assert not trial.adopted
    assert "did not surely get better" in trial.reasons[0]


def test_a_fold_is_judged_after_the_steps_that_the_other_folds_choose() -> None:
    def fold(losses: list[float], ranks: list[list[int]]) -> learning_trial.Fold:
        pairs = [(0.0, loss) for loss in losses]
        return learning_trial.Fold(["a"], ["m"], [True], [True], [9], ranks, pairs)

    lucky = fold([5.0, 0.0, 5.0, 5.0], [[9], [1], [2], [3]])  # would choose the second look itself
    folds = [lucky, fold([3.0, 2.0, 1.0], [[9], [8], [7]]), fold([3.0, 2.0, 1.0], [[9], [6], [5]])]
    assert held_out_ranks(folds).tolist() == [2, 8, 6]


def test_photos_that_are_much_alike_are_held_out_together() -> None:
    lesson = replace(made_lesson(), groups=[f"group{index // 3}" for index in range(KINDS * EACH)])
    folds = folds_of(lesson, seed=0)
    where = {int(index): number for number, fold in enumerate(folds) for index in fold}
    assert sorted(where) == list(range(KINDS * EACH))
    assert all(where[index] == where[index - index % 3] for index in where)


def test_a_query_near_none_of_the_texts_stays_the_very_vector() -> None:
    lesson = made_lesson()
    learned = trained(lesson, seed=0, steps=10)
    assert np.array_equal(learned(lesson.general, GENERAL), lesson.general)
    assert not np.allclose(learned(lesson.text_vectors, lesson.texts), lesson.text_vectors)
    assert kept_of(lesson, learned) == 1


def test_names_that_are_one_to_the_model_are_told_apart_by_their_letters() -> None:
    lesson = made_lesson()
    same = np.tile(lesson.text_vectors[:1], (KINDS, 1))  # the model knows none of the words
    trial, _ = learned_from(replace(lesson, text_vectors=same))
    assert trial.adopted
    assert trial.all["R@1"].after > 0.9


def test_a_person_is_found_among_other_words() -> None:
    lesson = replace(made_lesson(), names=[True, *[False] * (KINDS - 1)])
    learned = trained(lesson, seed=0, steps=10)
    asked = lesson.general[:1]
    for text, moves in (("thing0 at the lake", True), ("thing1 at the lake", False)):
        assert (not np.array_equal(learned(asked, [text]), asked)) == moves


def test_a_loss_that_is_no_number_stops_learning() -> None:
    lesson = made_lesson()
    lesson.pictures[3] = np.nan
    with pytest.raises(ModelError, match=r"Learning went astray: the loss is nan at step 1\."):
        trained(lesson, seed=0, steps=5)


# ---- its file ------------------------------------------------------------------------------------


def test_what_is_learned_survives_its_file() -> None:
    lesson = made_lesson()
    learned = trained(lesson, seed=0, steps=5)
    again = LearnedQuery.from_bytes(learned.to_bytes())
    asked = learned(lesson.text_vectors, lesson.texts)
    assert np.array_equal(again(lesson.text_vectors, lesson.texts), asked)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_file_is_never_half_read(data: st.DataObject) -> None:
    whole = trained(made_lesson(), seed=0, steps=0).to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        content = whole[:at]
    else:
        content = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    found = None
    with contextlib.suppress(ModelError):
        found = LearnedQuery.from_bytes(content)
    assert found is None or np.isfinite(found.values).all()  # a byte may mean nothing, as in a date


def test_no_pickle_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", about=np.array([{"a": 1}], dtype=object), keys=[1], values=[1])
    with pytest.raises(ModelError, match="damaged"):
        LearnedQuery.from_bytes((tmp_path / "x.npz").read_bytes())


# ---- in a library --------------------------------------------------------------------------------

# What the person calls a colour is another one, which the palette can learn.
CALLED = dict(zip(list(COLOURS)[:8], [*list(COLOURS)[1:8], "red"], strict=True))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    """40 photos of 8 colours, no two of them much alike."""
    place = tmp_path_factory.mktemp("learning").resolve()
    for number in range(5 * len(CALLED)):
        colour = list(CALLED)[number % len(CALLED)]
        grey = np.random.default_rng(number).integers(0, 256, (6, 9, 1)).repeat(3, axis=2)
        pixels = np.full((6, 9, 3), COLOURS[colour])
        patches = np.random.default_rng(100 + number).random((6, 9)) < 0.25
        pixels[patches] = grey[patches]
        path = place / "photos" / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).resize((90, 60), 0).save(path)
    with opened(place / "home") as library:
        library.index([place / "photos"])
        yield library
    end_owners(place / "home")


@pytest.fixture
def library(indexed: MediaLibrary) -> Iterator[MediaLibrary]:
    """The same photos, with nothing written or learned."""
    yield indexed
    shutil.rmtree(indexed.directory / "learned", ignore_errors=True)
    indexed.ledger.state(learned=None)
    for media_id in indexed.ledger.media_rows():
        indexed.ledger.annotate(media_id, (), indexed.ledger.annotations_of(media_id))


@pytest.fixture
def its_home(library: MediaLibrary) -> Path:
    """Where the library with the photos is."""
    return library.settings.home


def annotate(library: MediaLibrary, words: dict[str, str] = CALLED, most: int = 100) -> None:
    rows = sorted(library.ledger.media_rows().values(), key=lambda row: row.path)
    for number, row in enumerate(rows[:most]):
        text = words[list(CALLED)[number % len(CALLED)]]
        library.ledger.annotate(row.media_id, annotations_of(text))


def annotations_of(text: str) -> list[Any]:
    from mmrag_plugin.ledger_annotations import Annotation

    return [Annotation("caption", text)]


def by_sight(library: MediaLibrary, query: str) -> list[tuple[str, float, str]]:
    result = library.search(query, channels=["visual"], limit=40)
    return [(hit.moment.media_id, hit.score, hit.confidence) for hit in result.hits]


def colour_of(library: MediaLibrary, media_id: str) -> str:
    row = library.ledger.media_rows([media_id])[media_id]
    return list(CALLED)[int(Path(row.path).stem) % len(CALLED)]


def test_searches_follow_what_was_learned_and_are_the_same_to_the_bit_after_taking_it_back(
    library: MediaLibrary, its_home: Path
) -> None:
    annotate(library)
    queries = ["blue", "green", "a dark wall", "white"]
    before = {query: by_sight(library, query) for query in queries}
    assert colour_of(library, before["blue"][0][0]) == "blue"
    done = library.learn()
    assert (done.version, done.in_use, done.media, done.texts) == ("v1", True, 40, 8)
    assert done.trial.all["MRR"].after > done.trial.all["MRR"].before
    after = {query: by_sight(library, query) for query in queries}
    wanted = next(colour for colour, called in CALLED.items() if called == "blue")

    def first_ten(found: dict[str, Any]) -> int:
        return sum(colour_of(library, hit[0]) == wanted for hit in found["blue"][:10])

    assert first_ten(before) < first_ten(after) == 5
    assert after["white"] == before["white"]
    with opened(its_home) as other:  # another process would ask with it as well
        assert by_sight(other, "blue") == after["blue"]
        assert other.roll_back_learned() == "original"
    assert {query: by_sight(library, query) for query in queries} == before
    assert library.use_learned("v1") == "original"
    assert {query: by_sight(library, query) for query in queries} == after
    assert library.use_learned("original") == "v1"
    assert library.roll_back_learned() == "v1"
    with pytest.raises(NotFound, match="no version 'v9'"):
        library.use_learned("v9")


def test_without_enough_to_learn_from_it_says_how_much_is_missing(library: MediaLibrary) -> None:
    annotate(library, most=17)
    with pytest.raises(
        UsageError, match=r"words of yours: 17\. Learning takes 20\. Write to 3 more"
    ):
        library.learn()
    assert library.learned_versions() == []
    with pytest.raises(NotFound, match="nothing was learned yet"):
        library.roll_back_learned()


def test_one_caption_for_everything_teaches_nothing(library: MediaLibrary) -> None:
    annotate(library, dict.fromkeys(CALLED, "red thing"))
    with pytest.raises(UsageError, match="All that is written says the same: 'red thing'"):
        library.learn()


def test_texts_that_say_nothing_to_the_model_are_named(library: MediaLibrary) -> None:
    annotate(library, {colour: f"Näärivana {name}" for colour, name in CALLED.items()})
    lesson, warnings = lesson_of(library.ledger, library.stores()["visual"], visual_of(library))
    assert (len(lesson.texts), warnings) == (8, [])
    for media_id in library.ledger.media_rows():
        library.ledger.annotate(media_id, (), library.ledger.annotations_of(media_id))
    annotate(library, {colour: f"Bertil {number}" for number, colour in enumerate(CALLED)})
    with pytest.raises(UsageError, match="palette has something to say about the words of 0"):
        library.learn()


def test_a_model_that_tells_no_texts_apart_is_named(library: MediaLibrary) -> None:
    class OneForAll:
        model_name, stamp, dim = "small-english", "one", visual_of(library).dim

        def embed_texts(self, texts: Any) -> Any:
            return np.full((len(texts), self.dim), self.dim**-0.5, dtype=np.float32)

    annotate(library, {colour: f"عکس {number}" for number, colour in enumerate(CALLED)})
    _, warnings = lesson_of(library.ledger, library.stores()["visual"], OneForAll())  # type: ignore[arg-type]
    assert any("small-english hardly tells your texts apart" in line for line in warnings)


def visual_of(library: MediaLibrary) -> Any:
    return library.models.in_use()[0]


def test_folders_and_files_count_less_than_the_person(home: Path, tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "all"
    for number in range(2 * MEDIA_AT_LEAST):
        picture(folder / f"Red barn {number % 5}" / f"{number}.png", "red", number=number)
    with opened(home) as library:
        library.index([folder])
        with pytest.raises(UsageError, match="words of yours: 0"):  # folders alone teach nothing
            library.learn()
        annotate(library)
        lesson, _ = lesson_of(library.ledger, library.stores()["visual"], visual_of(library))
        strengths = dict(zip(lesson.texts, lesson.strengths.tolist(), strict=True))
        assert {strengths[name] for name in CALLED.values() if name in strengths} == {1.0}
        assert {value for text, value in strengths.items() if "barn" in text} == {0.25}


def test_a_part_of_a_film_is_learned_from_its_own_frames(home: Path, tmp_path: Path) -> None:
    folder = tmp_path.resolve() / "media"
    for number in range(MEDIA_AT_LEAST):
        picture(folder / f"{number}.png", list(COLOURS)[number % 4], number=number)
    write_film(folder / "film.mp4", [RED] * 40 + [BLUE] * 40, gop=10)
    with opened(home) as library:
        library.index([folder])
        annotate(library)
        film = next(row for row in library.ledger.media_rows().values() if row.kind == "video")
        for text, start_s, end_s in (("red ball", 0, 3), ("blue ball", 5, 7)):
            library.annotate(film.media_id, caption=text, start_s=start_s, end_s=end_s)
        lesson, _ = lesson_of(library.ledger, library.stores()["visual"], visual_of(library))
    vectors = {}
    for text in ("red ball", "blue ball"):
        [place] = np.flatnonzero(lesson.said[lesson.texts.index(text)])
        vectors[text] = lesson.pictures[place]
    asked = visual_of(library).embed_texts(["red", "blue"])
    assert int(np.argmax(asked @ vectors["red ball"])) == 0
    assert int(np.argmax(asked @ vectors["blue ball"])) == 1


def test_a_full_disk_adopts_nothing(library: MediaLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    annotate(library)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(library_learning.os, "fsync", full)
        with pytest.raises(StorageError, match=r"v1\.npz can't be written: No space left"):
            library.learn()
    assert (library.learned_in_use, library.learned_versions()) == ("original", [])
    folder = library.directory / "learned"
    assert not list(folder.glob("*")), "nothing half-written is left"


def test_a_run_that_was_stopped_goes_on_where_it_was(
    library: MediaLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotate(library)
    whole = library.learn(seed=5)
    tried: list[int] = []
    known = learning_trial.try_fold

    def counting(lesson: Lesson, held_out: Any, *, seed: int) -> Any:
        tried.append(len(held_out))
        return known(lesson, held_out, seed=seed)

    monkeypatch.setattr(learning_trial, "try_fold", counting)

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        library.learn(seed=5, heard=stop)
    assert (len(tried), library.learned_in_use) == (2, "v1")
    again = library.learn(seed=5)
    assert len(tried) == learning_trial.FOLDS
    assert again.version == "v2"
    assert again.trial == whole.trial
    files = [(library.directory / "learned" / f"{name}.npz").read_bytes() for name in ("v1", "v2")]
    assert files[0] == files[1]


@pytest.mark.parametrize("harm", ["gone", "cut", "another"])
def test_a_damaged_version_is_left_out_of_searches_and_they_say_so(
    harm: str, library: MediaLibrary, its_home: Path
) -> None:
    annotate(library)
    before = by_sight(library, "blue")
    library.learn()
    place = library.directory / "learned" / "v1.npz"
    if harm == "gone":
        place.unlink()
    elif harm == "cut":
        place.write_bytes(place.read_bytes()[:-200])
    else:
        place.write_bytes(replace(trained(made_lesson(), seed=0, steps=0), stamp="x").to_bytes())
    with opened(its_home) as other:
        result = other.search("blue", channels=["visual"], limit=40)
        assert any("Searches go without what was learned" in line for line in result.warnings)
        assert [(h.moment.media_id, h.score, h.confidence) for h in result.hits] == before
        with pytest.raises(ModelError):
            other.use_learned("v1")


def test_what_was_learned_for_another_model_is_not_asked_with(
    library: MediaLibrary, its_home: Path
) -> None:
    annotate(library)
    library.learn()
    known = library.ledger.fact("learned")
    known["versions"]["v1"]["stamp"] = "a model that the library had before"
    library.ledger.state(learned=known)
    with opened(its_home) as other:
        warnings = other.search("blue", channels=["visual"]).warnings
        assert any("learned for another visual model" in line for line in warnings)
        with pytest.raises(ModelError, match="another visual model"):
            other.use_learned("v1")


def test_the_commands_learn_show_use_and_take_back(library: MediaLibrary, its_home: Path) -> None:
    assert refused(mmrag_here(its_home, "learn", "--json"), 2)[0] == "usage"
    annotate(library)
    tried = told(mmrag_here(its_home, "learn", "--dry-run", "--json"), 0)
    assert (tried["version"], tried["in_use"], tried["trial"]["reasons"]) == (None, False, [])
    shown = mmrag_here(its_home, "learn")
    assert shown.returncode == 0, shown.stderr
    assert "Searches use v1 now. Take it back: mmrag models rollback" in shown.stdout
    page = (library.directory / "learned" / "v1.html").read_text()
    assert "<svg" in page
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert told(mmrag_here(its_home, "status", "--json"), 0)["models"]["learned"] == "v1"
    listed = mmrag_here(its_home, "models", "list").stdout
    assert "learned v1 (in use)" in listed
    assert told(mmrag_here(its_home, "models", "use", "original", "--json"), 0)["before"] == "v1"
    assert told(mmrag_here(its_home, "models", "rollback", "--json"), 0)["in_use"] == "v1"
    [version] = told(mmrag_here(its_home, "models", "list", "--json"), 0)["learned"]
    assert (version["version"], version["in_use"]) == ("v1", True)
    refused(mmrag_here(its_home, "models", "use", "../v1", "--json"), 1)


def test_wrong_annotations_leave_the_model_in_use_and_exit_with_1(
    library: MediaLibrary, its_home: Path
) -> None:
    words = list(CALLED.values())
    random = np.random.default_rng(0)
    for media_id in sorted(library.ledger.media_rows()):
        library.ledger.annotate(media_id, annotations_of(words[int(random.integers(8))]))
    before = by_sight(library, "blue")
    done = mmrag_here(its_home, "learn")
    assert done.returncode == 1
    assert "Nothing was adopted: held-out searches" in done.stdout
    assert library.learned_in_use == "original"
    assert by_sight(library, "blue") == before


@pytest.mark.slow
def test_real_photos_are_found_by_what_others_of_them_are_called(
    minidual: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = minidual.parents[1] / "data"
    if not (data / "personal210").is_dir():
        pytest.skip("../shared/data/personal210 is not there")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1]))
    words = ["learning", "--seeds", "2", "--general", str(data / "coco_train"), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    importlib.import_module("benchmarks.learning").main()
    found = json.loads(capsys.readouterr().out)
    percent = {name: np.mean(pairs, axis=0) for name, pairs in found["percent"].items()}
    assert (found["adopted"], found["refused_shuffled"]) == (2, 2)
    for name, times in (("own things: R@1", 4), ("own things: R@10", 1.4)):
        assert percent[name][1] >= times * percent[name][0]
    assert percent["general: R@10"][1] >= percent["general: R@10"][0] - 0.3
    assert percent["nothing fits, strong by sight"][1] <= 100 * FALSE_STRONG
    for half in ("that half", "whole library"):
        before, after = percent[f"near domain, {half}: R@10"]
        assert after >= before - 1


def test_hostile_texts_stay_text_on_the_page() -> None:
    trial, _ = learned_from(made_lesson())
    hostile = "</h3><script>alert(1)</script><img src=x onerror=alert(1)>"
    page = page_of(trial, [Example(hostile, 3, 1, [b"\xff\xd8"], [])])
    assert "<script" not in page
    assert "<img src=x" not in page
    assert "&lt;script&gt;" in page
