"""Neighbours: which annotated photos are near a picture, and what is taken from them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import PIL.Image
import PIL.ImageDraw
import pytest

from made_films import BLUE, RED, write_film
from media_made import describe, end_owners, opened
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.neighbours import LONG_SIDE_PX, MOST, Neighbours, fingerprint, shown

GROUNDS = ("white", "black", "green", "blue", "yellow", "orange", "purple", "pink", "brown")


def scene(path: Path, ground: str, thing: str, *, at: int = 0, width: int = 600) -> Path:
    """Draw a thing somewhere on a ground; ``at`` moves it by a little."""
    picture = PIL.Image.new("RGB", (width, 400), ground)
    box = (width // 6 + at, 60, width // 2 + at, 260)
    PIL.ImageDraw.Draw(picture).rectangle(box, fill=thing)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A red thing on grey that is called Rex in some photos, and others that look otherwise."""
    place = tmp_path_factory.mktemp("neighbours")
    photos = place / "photos"
    for number in range(MOST + 1):
        name = f"Rex sleeps in {('Rome', 'Oslo', 'Bern', 'Graz')[number]}"
        describe(scene(photos / f"rex_{number}.png", "grey", "red", at=number), name)
    describe(scene(photos / "rex_again.png", "grey", "red", at=9), "Rex sleeps in Rome!")
    describe(scene(photos / "rex_wordless.png", "grey", "red", at=12), "...")
    scene(photos / "unnamed.png", "grey", "red", at=15, width=900)
    for number, ground in enumerate(GROUNDS):
        other = scene(photos / f"other_{number}.png", ground, GROUNDS[number - 1])
        describe(other, f"Something else, number {number}")
        scene(photos / f"plain_{number}.png", ground, "white", at=90)
    write_film(photos / "film.mp4", [RED] * 5 + [BLUE] * 5)
    describe(photos / "film.mp4", "A film of Rex")
    with opened(place / "home") as library:
        library.index([photos])
    yield place
    end_owners(place / "home")


@pytest.fixture
def library(place: Path) -> Iterator[MediaLibrary]:
    with opened(place / "home") as library:
        yield library


@pytest.fixture
def neighbours(library: MediaLibrary) -> Neighbours:
    return Neighbours(library.ledger, library.stores()["visual"])


@pytest.fixture
def id_of(library: MediaLibrary) -> Callable[[str], str]:
    ids = {Path(row.path).stem: row.media_id for row in library.ledger.media_rows().values()}
    return ids.__getitem__


def test_annotated_are_photos_that_somebody_put_words_to(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    assert id_of("rex_0") in neighbours.annotated
    assert not neighbours.annotated & {id_of("unnamed"), id_of("plain_0"), id_of("film")}


def test_what_looks_alike_lends_its_words(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    found = neighbours.near(id_of("unnamed"))
    assert len(found) == MOST
    assert all("Rex" in one.words for one in found)
    assert len({one.words for one in found}) == MOST


def test_words_that_say_the_same_are_taken_once_and_no_words_never(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    taken = {one.media_id for one in neighbours.near(id_of("unnamed"))}
    assert not {id_of("rex_0"), id_of("rex_again")} <= taken
    assert id_of("rex_wordless") not in taken


def test_a_photo_learns_nothing_from_itself(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    rex = id_of("rex_3")
    assert rex not in {one.media_id for one in neighbours.near(rex)}
    assert neighbours.near(rex)


def test_what_is_only_nearest_is_not_near(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    assert not [one for one in neighbours.near(id_of("plain_1")) if "Rex" in one.words]


def test_what_has_no_vector_has_no_neighbours(neighbours: Neighbours) -> None:
    assert neighbours.near("nobody") == []


def test_examples_are_small_pictures_with_their_words(
    neighbours: Neighbours, id_of: Callable[[str], str], place: Path
) -> None:
    found = neighbours.near(id_of("unnamed"))
    examples = shown(found)
    assert [words for _, words in examples] == [one.words for one in found]
    assert {max(picture.size) for picture, _ in examples} == {LONG_SIDE_PX}
    away = Path(found[0].path)
    shutil.move(away, away.with_suffix(".away"))
    try:
        assert len(shown(found)) == MOST - 1
        assert found[0] not in neighbours.near(id_of("unnamed"))
    finally:
        shutil.move(away.with_suffix(".away"), away)


def test_a_choice_is_named_by_its_photos_and_their_words(
    neighbours: Neighbours, id_of: Callable[[str], str]
) -> None:
    found = neighbours.near(id_of("unnamed"))
    assert fingerprint(found) == fingerprint(list(found))
    assert fingerprint(found) != fingerprint(found[:-1])
    assert fingerprint([]) == ""


def test_in_a_handful_of_photos_nothing_is_near(tmp_path: Path) -> None:
    for number in range(5):
        describe(
            scene(tmp_path / "photos" / f"{number}.png", "grey", "red", at=number), f"Rex {number}"
        )
    with opened(tmp_path / "home") as library:
        library.index([tmp_path / "photos"])
        few = Neighbours(library.ledger, library.stores()["visual"])
        assert len(few.annotated) == 5
        assert all(few.near(media_id) == [] for media_id in few.annotated)
    end_owners(tmp_path / "home")
