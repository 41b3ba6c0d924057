"""Photos that are there several times: copies, twins, bursts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from mmrag_plugin import duplicates
from mmrag_plugin.cli.main import app
from mmrag_plugin.duplicates import BURST_GAP_S, Looked, grouped
from mmrag_plugin.index_looks import LookStage
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.looks import COLOUR_BYTES, HASH_BYTES, look_of
from mmrag_plugin.settings import load_settings

COCO = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_train"


def scene(seed: int, size: tuple[int, int] = (320, 240), shift: int = 0) -> PIL.Image.Image:
    """A picture with large shapes in it, like no other seed's."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 8, 3), np.uint8)
    picture = PIL.Image.fromarray(coarse).resize((400, 300), PIL.Image.Resampling.BICUBIC)
    return picture.crop((20 + shift, 10, 380 + shift, 290)).resize(size)


def save(path: Path, picture: PIL.Image.Image, taken: datetime | None = None, **how: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = PIL.Image.Exif()
    if taken is not None:
        exif[0x0110] = "Camera One"
        exif.get_ifd(0x8769)[0x9003] = taken.strftime("%Y:%m:%d %H:%M:%S")
    picture.save(path, exif=exif, **how)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten scenes; one has an exact copy, one a small twin, one is a burst of three."""
    place = tmp_path_factory.mktemp("photos").resolve()
    noon = datetime(2024, 5, 1, 12)
    for number in range(10):
        save(place / f"{number}.jpg", scene(number), noon + timedelta(hours=number), quality=92)
    shutil.copy(place / "0.jpg", place / "0 copy.jpg")
    save(place / "1 small.jpg", scene(1, (120, 90)), quality=40)
    for number in (1, 2):
        later = noon + timedelta(hours=2, seconds=number)
        save(place / f"2 burst {number}.jpg", scene(2, shift=4 * number), later, quality=92)
    return place


@pytest.fixture(scope="module")
def library(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MediaLibrary]:
    settings = load_settings(
        home=tmp_path_factory.mktemp("home"), visual_model="palette", text_model="off", ocr="off"
    )
    with MediaLibrary.open(settings, create=True) as opened:
        opened.index([folder])
        yield opened


def names(library: MediaLibrary) -> dict[str, list[str]]:
    return {
        group.kind: [Path(file.path).name for file in group.files] for group in library.duplicates()
    }


def test_copies_twins_and_bursts_are_told_apart_with_the_best_first(library: MediaLibrary) -> None:
    found = names(library)
    assert found["copies"] == ["0.jpg", "0 copy.jpg"]
    assert found["twins"] == ["1.jpg", "1 small.jpg"]
    # which of a burst has most bytes is the encoder's choice
    assert sorted(found["burst"]) == ["2 burst 1.jpg", "2 burst 2.jpg", "2.jpg"]
    assert len(library.duplicates()) == 3


def test_results_show_the_best_of_a_group_and_name_the_others(library: MediaLibrary) -> None:
    seen = {"query": "", "picture": scene(2, shift=8)}
    every = library.search(limit=20, grouped=False, **seen).hits
    shown = library.search(limit=20, **seen).hits
    assert len(every) == 13
    assert len(shown) == 10
    assert shown[0].moment == every[0].moment
    assert {every[0].moment.media_id, *shown[0].alike} == {h.moment.media_id for h in every[:3]}
    assert sum(len(hit.alike) for hit in shown) == 3
    assert all(hit.as_dict().get("alike", []) == list(hit.alike) for hit in shown)
    assert [hit.rank for hit in shown] == list(range(1, 11))
    first = library.search(limit=3, **seen).hits
    assert [hit.moment for hit in first] == [hit.moment for hit in shown[:3]]


def test_twins_are_found_one_by_one_when_they_are_what_is_sought(
    library: MediaLibrary, folder: Path
) -> None:
    found = library.similar(str(folder / "1.jpg"), limit=3).hits
    assert Path(found[0].path).name == "1 small.jpg"


def test_a_library_older_than_looks_learns_them_with_the_next_index(
    library: MediaLibrary, folder: Path
) -> None:
    before = names(library)
    with library.ledger._database.writing() as connection:
        connection.exec_driver_sql("delete from looks")
        connection.exec_driver_sql("delete from groups")
        connection.exec_driver_sql("delete from facts where key in ('looks', 'grouped')")
    assert "twins" not in names(library)
    report = library.index([folder])
    assert report.stages["embed"].done == 0  # nothing is embedded again for it
    assert names(library) == before


def test_what_is_edited_or_removed_leaves_its_group(tmp_path: Path) -> None:
    place = tmp_path / "photos"
    for name in ("a", "b", "c"):
        save(place / f"{name}.png", scene(7))
    (place / "b.png").write_bytes(save(tmp_path / "b.png", scene(7, (160, 120))).read_bytes())
    save(place / "c.png", scene(7, (200, 150)))
    settings = load_settings(
        home=tmp_path / "home", visual_model="palette", text_model="off", ocr="off"
    )
    with MediaLibrary.open(settings, create=True) as opened:
        opened.index([place])
        assert names(opened) == {"twins": ["a.png", "c.png", "b.png"]}
        save(place / "c.png", scene(8))
        opened.index([place])
        assert names(opened) == {"twins": ["a.png", "b.png"]}
        (place / "b.png").unlink()
        opened.index([place])
        assert names(opened) == {}


def test_the_command_lists_groups_and_deletes_nothing(library: MediaLibrary, folder: Path) -> None:
    flags = ["--home", str(library.settings.home)]
    before = sorted(folder.iterdir())
    shown = CliRunner().invoke(app, ["duplicates", *flags])
    assert "exact copies, 2 files" in shown.output
    assert "a burst, 3 files" in shown.output
    printed = json.loads(CliRunner().invoke(app, ["duplicates", "--json", *flags]).output)
    assert [group["kind"] for group in printed["groups"]] == ["copies", "twins", "burst"]
    only = CliRunner().invoke(app, ["duplicates", "--kind", "twins", *flags]).output
    assert "small" in only
    assert "burst" not in only
    assert sorted(folder.iterdir()) == before


def test_pictures_without_shapes_have_no_look() -> None:
    for colour in ("red", "black", "white"):
        plain = PIL.Image.new("RGB", (64, 48), colour)
        plain.putpixel((5, 5), (9, 99, 9))
        assert look_of(plain) == ""
    assert len(look_of(scene(1))) == 2 * (HASH_BYTES + COLOUR_BYTES)


def test_the_same_shapes_in_other_colours_are_no_twins() -> None:
    blue = scene(1)
    red = PIL.Image.merge("RGB", blue.split()[::-1])
    photos = [Looked(name, look_of(p), None, "") for name, p in (("a", blue), ("b", red))]
    assert grouped(photos) == {}


@pytest.mark.skipif(not COCO.is_dir(), reason="../shared is not there")
def test_no_two_real_photos_are_twins_and_every_smaller_one_is_found() -> None:
    photos, twins = [], []
    for path in sorted((COCO).rglob("*.jpg")):
        with PIL.Image.open(path) as opened:
            picture = opened.convert("RGB")
        photos.append(Looked(path.stem, look_of(picture), None, ""))
        small = picture.resize((picture.width // 3, picture.height // 3))
        twins.append(Looked(f"{path.stem} small", look_of(small), None, ""))
    assert len(photos) == 80
    assert grouped(photos) == {}
    found = grouped([*photos, *twins])
    assert len(found) == 160
    assert {kind for _, kind in found.values()} == {"twins"}
    assert all(found[photo.media_id][0] == found[f"{photo.media_id} small"][0] for photo in photos)


# ---- groups --------------------------------------------------------------------------------------

PLAIN = "80" * 12


@given(
    st.integers(0, 2**64 - 1),
    st.sets(st.integers(0, 63), max_size=12),
    st.lists(st.integers(0, 2**64 - 1), max_size=20),
)
def test_hashes_that_differ_in_six_bits_are_always_found_and_in_more_never(
    first: int, flipped: set[int], others: list[int]
) -> None:
    second = first
    for bit in flipped:
        second ^= 1 << bit
    hashes = {"a": first, "b": second}
    alone = all(min((other ^ own).bit_count() for own in hashes.values()) > 6 for other in others)
    photos = [Looked(name, f"{value:016x}{PLAIN}", None, "") for name, value in hashes.items()]
    photos += [Looked(f"o{n}", f"{other:016x}{PLAIN}", None, "") for n, other in enumerate(others)]
    found = grouped(photos)
    if len(flipped) <= 6:
        assert found["a"][0] == found["b"][0]
    elif alone:
        assert "a" not in found


def test_a_burst_is_of_one_camera_and_without_pauses() -> None:
    look = f"{0x0F0F0F0F0F0F0F0F:016x}{PLAIN}"
    other = f"{0x0F0F0F0F0F0F00FF:016x}{PLAIN}"  # 8 bits apart: no twin

    def kinds(*photos: Looked) -> set[str]:
        return {kind for _, kind in grouped(photos).values()}

    first = Looked("a", look, "2024-05-01T12:00:00", "One")
    assert kinds(first, Looked("b", other, "2024-05-01T12:00:01", "One")) == {"burst"}
    assert kinds(first, Looked("b", other, "2024-05-01T12:00:01", "Two")) == set()
    late = f"2024-05-01T12:00:{int(BURST_GAP_S) + 1:02}"
    assert kinds(first, Looked("b", other, late, "One")) == set()
    assert kinds(Looked("a", look, "2024-05-01", "One"), Looked("b", other, None, "One")) == set()


def test_what_is_compared_grows_with_the_library_and_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(1)
    compared: list[int] = []
    really = duplicates._alike

    def counting(some: Any, others: Any, *bounds: int) -> Any:
        compared.append(len(np.atleast_2d(some)))
        return really(some, others, *bounds)

    monkeypatch.setattr(duplicates, "_alike", counting)

    count = 20_000
    looks = rng.integers(0, 256, (count, 20), np.uint8)
    looks[::50] = looks[0]  # many that are the same
    looks[:, :2] = 0  # and all agree in two bytes: the square would be 200 million
    photos = [Looked(f"{n:08}", look.tobytes().hex(), None, "") for n, look in enumerate(looks)]
    assert len(grouped(photos)) >= count // 50
    assert sum(compared) <= 32 * 28 * count  # whatever the pictures


def test_groups_that_a_killed_run_did_not_make_are_made_by_the_next(
    library: MediaLibrary, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = names(library)
    with PIL.Image.open(folder / "1.jpg") as image:
        image.resize((160, 120)).save(folder / "smaller.jpg")

    class KilledError(BaseException):
        pass

    def kill(_: LookStage) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(LookStage, "group", kill)
        with pytest.raises(KilledError):
            library.index([folder])
    assert names(library) == before
    library.index([folder])
    assert "smaller.jpg" in names(library)["twins"]
    (folder / "smaller.jpg").unlink()
    library.index([folder])
    assert names(library) == before
