"""Exports of Google Photos and iCloud: what stands beside the files reaches every photo."""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from media_made import end_owners, opened, picture
from mmrag_plugin.dates import Dated
from mmrag_plugin.indexing import SidecarTree
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Signal
from mmrag_plugin.people import people_in
from mmrag_plugin.signals.path_words import path_words
from mmrag_plugin.signals.sidecar_formats import icloud, takeout
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, Place
from mmrag_plugin.signals.sidecar_formats.icloud_album import IcloudAlbum
from mmrag_plugin.signals.sidecar_formats.json_file import JsonFile
from mmrag_plugin.signals.sidecars import FolderSidecars
from mmrag_plugin.terms import terms_of
from mmrag_plugin.upkeep import status

LONG = "a" * 47  # what is left of a longer name of a media, without its suffix


@pytest.fixture
def library(tmp_path: Path) -> Iterator[MediaLibrary]:
    with opened(tmp_path / "home") as found:
        yield found
    end_owners(tmp_path / "home")


def record(**fields: Any) -> str:
    return json.dumps({"photoTakenTime": {"timestamp": "1696574349"}, **fields})


def sidecars_of(folder: Path, root: Path) -> FolderSidecars:
    return SidecarTree(FolderSidecars).of(folder, root)


def texts(sidecars: FolderSidecars, name: str, source: str = "annotation") -> list[str]:
    return [signal.text for signal in sidecars.signals_for(name) if signal.source == source]


# ---- the names of Takeout


@pytest.mark.parametrize(
    ("sidecar", "subjects"),
    [
        ("IMG_1.jpg.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg.supplemental-metadata.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg.supplemental-metad.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg.supp.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg.s.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg..json", {"IMG_1.jpg"}),
        ("IMG_1.jp.json", {"IMG_1.jpg"}),
        ("IMG_1.json", {"IMG_1.jpg"}),
        ("IMG_1.jpg(1).json", {"IMG_1(1).jpg"}),
        ("IMG_1(1).jpg.json", {"IMG_1(1).jpg"}),
        ("IMG_1.jpg.supplemental-metadata(1).json", {"IMG_1(1).jpg"}),
        ("IMG_1(1).jpg.supplemental-metadata.json", {"IMG_1(1).jpg"}),
        ("IMG_1.jpg.supplemental-met(1).json", {"IMG_1(1).jpg"}),
        (f"{LONG[:46]}.json", {f"{LONG}.jpg"}),
        (f"{LONG[:46]}(1).json", {f"{LONG}(1).jpg"}),
        (f"{'b' * 40}.jpg.s.json", {f"{'b' * 40}.jpg"}),
        ("IMG_9.jpg.json", set()),
        ("IMG.jpg.json", set()),
        ("package.json", set()),
        ("user-generated-memory-titles.json", set()),
        ("(1).json", set()),
        (".json", set()),
    ],
)
def test_every_form_of_a_name_finds_its_photo_alone(sidecar: str, subjects: set[str]) -> None:
    names = ["IMG_1.jpg", "IMG_1(1).jpg", "IMG_1-edited.jpg", "IMG_10.jpg"]
    long_names = [f"{'b' * 40}.jpg", f"{LONG}.jpg", f"{LONG}(1).jpg", f"{LONG[:45]}x.jpg"]
    media = MediaNames(names + long_names)
    assert JsonFile().subjects(sidecar, media) == subjects


@pytest.mark.parametrize(
    ("subject", "twin"),
    [
        ("IMG_1.jpg", "IMG_1-edited.jpg"),
        ("IMG_1.jpg", "IMG_1-bearbeitet.jpg"),
        ("IMG_1.jpg", "IMG_1-modifié.jpg"),
        ("IMG_1.jpg", "IMG_1-modifie\u0301.jpg"),  # as macOS writes it
        ("IMG_1.jpg", "IMG_1-編集済み.jpg"),
        ("IMG_1.jpg", "IMG_1-ha-editado.jpg"),
        ("IMG_1(1).jpg", "IMG_1-edited(1).jpg"),
        ("IMG_1.HEIC", "IMG_1-edited.jpg"),
        ("IMG_1.HEIC", "IMG_1.MP4"),
        ("IMG_1.HEIC", "IMG_1.mov"),
        (f"{LONG[:44]}.jpg", f"{LONG[:44]}-ed.jpg"),
        (f"{LONG}.jpg", f"{LONG}(1).jpg"),
    ],
)
def test_edited_twins_and_other_halves_go_by_the_photos_file(subject: str, twin: str) -> None:
    strangers = {
        "IMG_2.jpg",
        "IMG_1-party.jpg",
        "IMG_1-edited(2).jpg",
        "IMG_11.jpg",
        "IMG_1(7).jpg",
    }
    media = MediaNames([subject, twin, *strangers])
    assert takeout.borrowers_of(frozenset({subject}), media) == {twin}


def test_a_film_with_a_file_of_its_own_borrows_none(tmp_path: Path) -> None:
    for name in ("IMG_1.jpg", "IMG_1.mp4", "IMG_1-edited.jpg"):
        (tmp_path / name).write_bytes(b"-")
    (tmp_path / "IMG_1.jpg.json").write_text(record(description="The photo"))
    sidecars = sidecars_of(tmp_path, tmp_path)
    for name in ("IMG_1.jpg", "IMG_1.mp4", "IMG_1-edited.jpg"):
        assert texts(sidecars, name) == ["The photo"]
    assert sidecars.subjects_of("IMG_1.jpg.json") == {"IMG_1.jpg", "IMG_1.mp4", "IMG_1-edited.jpg"}
    (tmp_path / "IMG_1.mp4.json").write_text(record(description="The film"))
    sidecars = sidecars_of(tmp_path, tmp_path)
    assert texts(sidecars, "IMG_1.mp4") == ["The film"]
    assert texts(sidecars, "IMG_1-edited.jpg") == ["The photo"]


@given(
    st.text("IMG_1aé().-~ ", max_size=50),
    st.lists(
        st.text("IMG_1aé().-~ ", min_size=1, max_size=55).map(lambda n: n + ".jpg"), max_size=6
    ),
)
def test_any_name_finds_photos_that_are_there(base: str, names: list[str]) -> None:
    media = MediaNames(names)
    found = JsonFile().subjects(f"{base}.json", media)
    assert found <= media.all
    assert JsonFile().borrowers(found, media) <= media.all - found


# ---- what stands in them


def test_a_record_says_date_place_people_and_flags(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"-")
    (tmp_path / "a.jpg.json").write_text(
        record(
            title="Anna & Rex in Lisbon.jpg",
            description="By the river",
            people=[{"name": "Anna"}, {"name": "Rex"}],
            geoData={"latitude": 0.0, "longitude": 0.0},
            geoDataExif={"latitude": 38.711, "longitude": -9.13},
            creationTime={"timestamp": "1700000000"},
            favorited=True,
            archived=True,
            trashed=True,
        )
    )
    about = sidecars_of(tmp_path, tmp_path).about("a.jpg")
    assert about.dates == (Dated("2023-10-06T06:39:09+00:00", "takeout"),)
    assert (about.latitude, about.longitude) == (38.711, -9.13)
    assert set(about.signals) == {
        Signal("annotation", "By the river"),
        Signal("annotation", "People: Anna, Rex"),
        Signal("path", "Anna Rex in Lisbon"),
        *(Signal("exif", word) for word in ("favorite", "archived", "trashed")),
    }


def test_a_corrected_place_comes_before_the_cameras() -> None:
    place = {"latitude": 1.5, "longitude": 2.5}
    said = takeout.facts_of({"geoData": place, "geoDataExif": {**place, "latitude": 9}}, "a.json")
    assert list(said) == [Place(1.5, 2.5)]


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner),
    max_leaves=8,
)
FIELDS = (
    "title description people photoTakenTime geoData geoDataExif favorited archived trashed "
    "albumData date access location enrichments"
).split()
RECORDS = st.dictionaries(
    st.sampled_from(FIELDS),
    ANY_JSON
    | st.fixed_dictionaries({"timestamp": ANY_JSON})
    | st.fixed_dictionaries({"latitude": ANY_JSON, "longitude": ANY_JSON}),
)


@given(RECORDS)
def test_fields_of_any_type_are_passed_over(content: dict[str, object]) -> None:
    for said in takeout.facts_of(content, "a.jpg.json"):
        if isinstance(said, Place):
            assert abs(said.latitude) <= 90
            assert abs(said.longitude) <= 180
        elif isinstance(said, Dated):
            datetime.fromisoformat(said.taken_at)
        else:
            assert said.text.strip()
    if takeout.is_album(content):
        assert all(signal.text.strip() for signal in takeout.album_signals(content))


# ---- albums


@pytest.mark.parametrize(
    "name",
    ["metadata.json", "métadonnées.json", "Metadaten.json", "metadatos(1).json", "元数据.json"],
)
@pytest.mark.parametrize("nested", [False, True])
def test_an_album_speaks_of_all_photos_in_its_folder_and_of_no_other(
    tmp_path: Path, name: str, nested: bool
) -> None:
    album = {"title": "Lisbon 2019", "description": "With grandma", "date": {"timestamp": "0"}}
    content = {"albumData": album} if nested else album
    inner = tmp_path / "album" / "inner"
    inner.mkdir(parents=True)
    for folder in (inner, inner.parent, tmp_path):
        (folder / "title.jpg").write_bytes(b"-")
    (inner.parent / name).write_text(json.dumps(content))
    tree = SidecarTree(FolderSidecars)
    sidecars = tree.of(inner.parent, tmp_path)
    assert texts(sidecars, "title.jpg") == ["Album: Lisbon 2019", "With grandma"]
    assert sidecars.stamp_for("title.jpg")
    assert texts(tree.of(inner, tmp_path), "title.jpg") == []
    assert texts(tree.of(tmp_path, tmp_path), "title.jpg") == []
    assert tree.problems() == []


def test_a_year_is_no_album(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"-")
    for title in ("Photos from 2019", "Fotos von 2019", "Photos de 2019"):
        (tmp_path / "metadata.json").write_text(json.dumps({"title": title, "access": ""}))
        assert texts(sidecars_of(tmp_path, tmp_path), "a.jpg") == []


def test_a_photo_in_a_year_and_in_two_albums_is_one_media_with_the_words_of_all(
    library: MediaLibrary, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    places = [photos / name for name in ("Photos from 2019", "Lisbon", "Best of")]
    for number, place in enumerate(places):
        place.mkdir(parents=True)
        if number == 0:
            picture(place / "IMG_1.jpg")
        else:
            shutil.copy(places[0] / "IMG_1.jpg", place / "IMG_1.jpg")
        names = [["Anna"], ["Anna", "Rex"], []][number]
        (place / "IMG_1.jpg.json").write_text(record(people=[{"name": name} for name in names]))
        (place / "metadata.json").write_text(json.dumps({"title": place.name, "access": ""}))
    picture(places[0] / "IMG_2.jpg", "blue")
    library.index([photos])
    assert sorted(row.path for row in library.ledger.media_rows().values()) == sorted(
        [str(min(places) / "IMG_1.jpg"), str(places[0] / "IMG_2.jpg")]
    )
    (row,) = [row for row in library.ledger.media_rows().values() if "IMG_1" in row.path]
    signals = [signal for _, signal in library.ledger.signals_of([row.media_id])[row.media_id]]
    said = {signal.text for signal in signals if signal.source == "annotation"}
    assert said == {"Album: Lisbon", "Album: Best of", "People: Anna, Rex"}
    assert row.taken_at == "2023-10-06T06:39:09+00:00"
    (hit,) = library.search("rex").hits[:1]
    assert hit.moment.media_id == row.media_id
    assert "People" in hit.reason


def test_an_album_that_is_renamed_is_read_again_and_nothing_is_embedded_again(
    library: MediaLibrary, tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    picture(photos / "a.jpg")
    (photos / "metadata.json").write_text(json.dumps({"title": "Old", "access": ""}))
    library.index([photos])
    (photos / "metadata.json").write_text(json.dumps({"title": "Renamed", "access": ""}))
    report = library.index([])
    assert report.updated == 1
    assert report.stages["embed"].done == 0
    (row,) = library.ledger.media_rows().values()
    assert "Album: Renamed" in str(library.ledger.signals_of([row.media_id]))


# ---- iCloud


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("Friday October 06,2023 12:11 PM GMT", "2023-10-06T12:11:00+00:00"),
        ("Saturday January 1,2000 12:05 AM GMT", "2000-01-01T00:05:00+00:00"),
        ("Saturday January 1,2000 1:05:07 pm GMT", "2000-01-01T13:05:07+00:00"),
        ("Saturday January 32,2000 1:05 PM GMT", None),
        ("Saturday Brumaire 1,2000 1:05 PM GMT", None),
        ("Saturday January 1,2000 13:05 PM GMT", None),
        ("", None),
    ],
)
def test_dates_of_icloud_are_read(written: str, expected: str | None) -> None:
    said = list(icloud.facts_of({"originalCreationDate": written}))
    assert said == ([Dated(expected, "icloud")] if expected else [])


@given(st.dictionaries(st.sampled_from(["originalCreationDate", "favorite"]), ANY_JSON | st.text()))
def test_any_line_of_icloud_is_read_or_passed_over(line: dict[str, object]) -> None:
    for said in icloud.facts_of(line):
        assert isinstance(said, Signal) or datetime.fromisoformat(said.taken_at)  # type: ignore[union-attr]


def write_export(export: Path, albums: Path | None = None) -> Path:
    photos = export / "Photos"
    photos.mkdir(parents=True)
    picture(photos / "IMG_1.jpg")
    picture(photos / "IMG_2.jpg", "blue")
    (photos / "Photo Details.csv").write_text(
        "imgName,fileChecksum,favorite,hidden,deleted,originalCreationDate\n"
        'IMG_1.jpg,x,yes,no,no,"Friday October 06,2023 12:11 PM GMT"\n'
    )
    for name, title in (("Albums", "Lisbon"), ("Memories", "1. April 2025")):
        folder = (albums or export) / name
        folder.mkdir(parents=True)
        (folder / f"{title}.csv").write_text("\ufeffimgName\nIMG_1.jpg\n")
    return photos


@pytest.mark.parametrize("parts", [False, True])
def test_albums_of_icloud_reach_the_photos_beside_them(tmp_path: Path, parts: bool) -> None:
    export = tmp_path / "iCloud Photos Part 2 of 3" if parts else tmp_path / "export"
    other = tmp_path / "iCloud Photos Part 1 of 3" if parts else None
    photos = write_export(export, other)
    about = sidecars_of(photos, tmp_path).about("IMG_1.jpg")
    assert about.dates == (Dated("2023-10-06T12:11:00+00:00", "icloud"),)
    assert {signal.text for signal in about.signals} == {
        "Album: Lisbon",
        "Memory: 1. April 2025",
        "favorite",
    }
    assert sidecars_of(photos, tmp_path).signals_for("IMG_2.jpg") == []


def test_albums_outside_the_root_or_behind_a_link_are_not_read(tmp_path: Path) -> None:
    photos = write_export(tmp_path / "export", albums=tmp_path / "elsewhere")
    (tmp_path / "export" / "Albums").symlink_to(tmp_path / "elsewhere" / "Albums")
    linked = sidecars_of(photos, tmp_path / "export").signals_for("IMG_1.jpg")
    assert linked == [Signal("exif", "favorite")]
    inside = write_export(tmp_path / "second")
    assert sidecars_of(inside, inside).signals_for("IMG_1.jpg") == [Signal("exif", "favorite")]


@given(st.binary(max_size=200) | st.text('imgName,\n"\x00\r é', max_size=60).map(str.encode))
def test_any_table_in_a_folder_of_albums_is_read_or_refused(data: bytes) -> None:
    for content in (data, b"imgName\n" + data):
        with contextlib.suppress(ValueError):
            for _, said in IcloudAlbum("Album").parse("Lisbon.csv", content):
                assert isinstance(said, Dated) or said.text.strip()  # type: ignore[union-attr]


def test_a_table_with_a_field_without_end_is_a_problem_and_no_failure(tmp_path: Path) -> None:
    photos = write_export(tmp_path / "export")
    (tmp_path / "export" / "Albums" / "Lisbon.csv").write_bytes(b"imgName\n" + b"x" * 200_000)
    tree = SidecarTree(FolderSidecars)
    signals = tree.of(photos, tmp_path).signals_for("IMG_1.jpg")
    assert Signal("exif", "favorite") in signals
    (problem,) = tree.problems()
    assert "Lisbon.csv" in problem.message


def test_folders_that_name_each_other_come_to_an_end(tmp_path: Path) -> None:
    for name in ("Albums", "Memories", "Shared Albums"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "Photo Details.csv").write_text("imgName,originalCreationDate\n")
        (folder / "a.jpg").write_bytes(b"-")
    assert sidecars_of(tmp_path / "Albums", tmp_path).signals_for("a.jpg") == []


def test_an_album_of_icloud_that_changes_is_read_again(
    library: MediaLibrary, tmp_path: Path
) -> None:
    photos = write_export(tmp_path / "export")
    library.index([tmp_path / "export"])
    (tmp_path / "export" / "Albums" / "Lisbon.csv").write_text("imgName\nIMG_1.jpg\nIMG_2.jpg\n")
    report = library.index([])
    assert report.failed == []
    found = library.find(str(photos / "IMG_2.jpg"))
    assert found is not None
    assert "Album: Lisbon" in str(library.ledger.signals_of([found.media_id]))


# ---- the real exports, against their files as plain JSON and CSV


def test_every_photo_of_the_exports_has_date_title_people_and_albums_of_its_files(
    library: MediaLibrary, shared_data: Path
) -> None:
    exports = shared_data / "tricky/takeout"
    report = library.index([exports])
    assert report.failed == []
    checked = dict.fromkeys(("dates", "titles", "people", "albums", "places"), 0)
    files = sorted(path for path in exports.rglob("*") if path.suffix in (".jpg", ".mp4"))
    told_of = {path: _told_of(path) for path in files}
    for media in files:
        row = library.find(str(media))
        assert row is not None, media
        signals = [signal for _, signal in library.ledger.signals_of([row.media_id])[row.media_id]]
        annotations = {signal.text for signal in signals if signal.source == "annotation"}
        words = {term for signal in signals for term in terms_of(signal.text)}
        told = told_of[media]
        copies = [told_of[path] for path in files if path.read_bytes() == media.read_bytes()]
        people = {name for copy in copies for name in copy["people"]}
        albums = {f"Album: {title}" for copy in copies for title in copy["albums"]}
        if told["moment"] is not None:
            assert row.taken_at is not None, media
            taken = datetime.fromisoformat(row.taken_at)
            assert taken.tzinfo is not None, media
            assert abs(taken - told["moment"]) <= timedelta(seconds=1), media
            checked["dates"] += 1
        if told["title"] is not None:
            assert set(terms_of(path_words(told["title"]))) <= words, media
            checked["titles"] += 1
        assert people == set(people_in(signals)), media
        checked["people"] += len(people)
        assert albums == {text for text in annotations if text.startswith("Album: ")}, media
        checked["albums"] += len(told["albums"])
        if told["place"] is not None:
            assert "Paris" in " ".join(signal.text for signal in signals), media
            checked["places"] += 1
    assert status(library)["taken_at"]["by"] == {"exif": 7, "takeout": 5, "film": 1, "icloud": 1}
    print(f"of {len(files)} files in three exports: {checked}")
    # nobody is named in these exports; in test_a_record_says_... somebody is
    assert checked == {"dates": 19, "titles": 18, "people": 0, "albums": 16, "places": 8}


def _told_of(media: Path) -> dict[str, Any]:
    """What stands beside a file of the exports, looked up by its exact name."""
    told: dict[str, Any] = {"moment": None, "title": None, "people": [], "place": None}
    for ending in (".json", ".supplemental-metadata.json"):
        beside = media.with_name(media.name + ending)
        if beside.exists():
            content = json.loads(beside.read_text())
            seconds = int(content["photoTakenTime"]["timestamp"])
            told["moment"] = datetime.fromtimestamp(seconds, timezone.utc)
            told["title"] = content["title"]
            told["people"] = [person["name"] for person in content.get("people", [])]
            told["place"] = content.get("geoData")
    told["albums"] = set()
    for name in ("metadata.json", "métadonnées.json"):
        if (media.parent / name).exists():
            told["albums"].add(json.loads((media.parent / name).read_text())["title"])
    if media.parent.name == "Photos":
        for table in (media.parent.parent / "Albums").glob("*.csv"):
            if media.name in table.read_text().split():
                told["albums"].add(table.stem)
        with (media.parent / "Photo Details.csv").open() as file:
            for line in csv.DictReader(file):
                if line["imgName"] == media.name:
                    moment = datetime.strptime(
                        line["originalCreationDate"], "%A %B %d,%Y %I:%M %p GMT"
                    )
                    told["moment"] = moment.replace(tzinfo=timezone.utc)
    return told
