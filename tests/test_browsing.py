"""Looking through a library: counted by year, place, folder and name, and paged by date."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands import mmrag_here
from ledgers_made import generated
from media_made import end_owners, opened, picture
from mmrag_plugin.browsing import FACETS, count_by, page_of
from mmrag_plugin.dates import dated
from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.ledger import KnownPath, Ledger
from mmrag_plugin.ledger_annotations import Annotation
from mmrag_plugin.ledger_tables import facts, marks
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.marks import folded, marks_of
from mmrag_plugin.media import MediaFacts, Signal, each_once
from mmrag_plugin.places import PlaceName
from mmrag_plugin.readers.exif import annotation_signals
from mmrag_plugin.signals.annotations import annotations_of

LISBON, PORTO = PlaceName("Lisbon", "Lisbon", "Portugal"), PlaceName("Porto", "Porto", "Portugal")
OREGON = PlaceName("Portland", "Oregon", "United States")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite://")


def enter(
    ledger: Ledger,
    path: str,
    *,
    taken_at: str | None = None,
    camera: str = "",
    place: PlaceName | None = None,
    said: tuple[str, ...] = (),
    kind: str = "image",
    root: str = "/home/ann/Photos",
) -> str:
    """Enter a media as indexing does, without a file."""
    media_id = ledger.mint(f"{hash(path) & 0xFFFFFFFFFFFFFFFF:016x}", kind)  # type: ignore[arg-type]
    ledger.put_path(KnownPath(path, media_id, 1, 1, "", ""), root)
    found = MediaFacts(
        taken_at=taken_at,
        dates=dated(taken_at, "exif"),
        camera=camera,
        latitude=None if place is None else 1.0,
        longitude=None if place is None else 1.0,
    )
    words = [Signal("annotation", text) for text in said]
    ledger.put_read("read", {media_id: (found, words)})
    if place is not None:
        ledger.put_places({media_id: place})
    return media_id


@pytest.fixture
def album(ledger: Ledger) -> dict[str, str]:
    place = "/home/ann/Photos"
    with ledger.transaction():
        ledger.add_root(place)
    return {
        "tram": enter(
            ledger,
            f"{place}/2019/Lisbon/tram.jpg",
            taken_at="2019-05-20T10:00:00+01:00",
            camera="Canon EOS R",
            place=LISBON,
            said=("beach, Summer", "People: Anna, Ben", "Album: Portugal trip"),
        ),
        "port": enter(
            ledger,
            f"{place}/2019/port.jpg",
            taken_at="2019-05-21T23:30:00",
            camera="Canon EOS R",
            place=PORTO,
            said=("summer", "People: anna"),
        ),
        "bridge": enter(
            ledger,
            f"{place}/2020/bridge.mp4",
            taken_at="2020-01-01T00:00:00Z",
            place=OREGON,
            kind="video",
            said=("A long sentence about a bridge that spans the river.",),
        ),
        "scan": enter(ledger, f"{place}/scan.jpg"),
    }


def counted(ledger: Ledger, by: str, **options: object) -> dict[str, int]:
    found = count_by(ledger, by, **options)  # type: ignore[arg-type]
    return {value.label: value.count for value in found.values}


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("year", {"2020": 1, "2019": 2}),
        ("month", {"2020-01": 1, "2019-05": 2}),
        ("day", {"2020-01-01": 1, "2019-05-21": 1, "2019-05-20": 1}),
        ("country", {"Portugal": 2, "United States": 1}),
        ("region", {"Lisbon, Portugal": 1, "Oregon, United States": 1, "Porto, Portugal": 1}),
        (
            "place",
            {"Lisbon, Portugal": 1, "Porto, Portugal": 1, "Portland, Oregon, United States": 1},
        ),
        ("kind", {"image": 3, "video": 1}),
        ("camera", {"Canon EOS R": 2}),
        ("person", {"Anna": 2, "Ben": 1}),
        ("tag", {"Summer": 2, "beach": 1}),
        ("album", {"Portugal trip": 1}),
        ("folder", {"Photos": 4}),
    ],
)
def test_media_are_counted_by(ledger: Ledger, by: str, expected: dict[str, int]) -> None:
    assert counted(ledger, by) == expected
    if by in ("year", "month", "day"):
        assert list(counted(ledger, by)) == list(expected)


@pytest.mark.usefixtures("album")
def test_folders_are_counted_one_level_at_a_time(ledger: Ledger) -> None:
    top = count_by(ledger, "folder").values[0]
    inside = count_by(ledger, "folder", folder=top.value)
    assert {value.label: value.count for value in inside.values} == {
        "Photos/2019": 2,
        "Photos/2020": 1,
        "Photos": 1,  # what lies in the folder itself
    }
    assert counted(ledger, "folder", folder="Photos/2019") == {
        "Photos/2019/Lisbon": 1,
        "Photos/2019": 1,
    }
    assert counted(ledger, "folder", folder="2019") == counted(
        ledger, "folder", folder="Photos/2019"
    )
    with pytest.raises(UsageError, match="No media of this library lies in the folder"):
        count_by(ledger, "folder", folder="../../etc")


def test_a_place_means_all_that_are_called_so(ledger: Ledger) -> None:
    maine = PlaceName("Portland", "Maine", "United States")
    both = {enter(ledger, f"/p/{place.region}.jpg", place=place) for place in (OREGON, maine)}
    page = page_of(ledger, by="place", value="portland")
    assert {row.media_id for row in page.media} == both
    assert page.total == 2
    assert page_of(ledger, by="place", value="Portland, Maine").total == 1
    with pytest.raises(UsageError, match="has the place 'Port'"):
        page_of(ledger, by="place", value="Port")


def test_a_folders_name_means_those_with_media_and_two_of_one_name_are_told_apart(
    ledger: Ledger,
) -> None:
    with ledger.transaction():
        for root in ("/home/ann/Pics", "/home/ben/Pics"):
            ledger.add_root(root)
    inside: dict[str, str] = {}
    for path in ("ann/Pics/a/1.jpg", "ben/Pics/b/2.jpg", "ben/Pics/b/Deep/2/3.jpg"):
        root = "/home/" + path[: path.index("Pics") + 4]
        inside[path[-5]] = enter(ledger, f"/home/{path}", root=root)
    enter(ledger, "/home/cid/Album/4.jpg", root="/home/cid/Album/4.jpg")
    assert counted(ledger, "folder") == {"ann/Pics": 1, "ben/Pics": 2, "Album": 1}
    assert counted(ledger, "folder", folder="ben/Pics/b") == {
        "ben/Pics/b": 1,
        "ben/Pics/b/Deep": 1,
    }
    for name, numbers in {
        "Pics": "123",
        "ann/Pics": "1",
        "ben/Pics": "23",
        "Pics/b": "23",
        "b": "23",
        "ben/Pics/b/Deep": "3",
        "deep": "3",
    }.items():
        wanted = {inside[number] for number in numbers}
        assert {row.media_id for row in page_of(ledger, by="folder", value=name).media} == wanted
        assert Filters(folder=name).resolve(ledger).media_ids == wanted
        assert sum(counted(ledger, "folder", folder=name).values()) == len(wanted)
    for name in ("ann/Pics/b", "cid/Pics", "home"):
        with pytest.raises(UsageError, match="lies in the folder"):
            page_of(ledger, by="folder", value=name)


def test_what_has_no_value_is_counted_apart(ledger: Ledger, album: dict[str, str]) -> None:
    found = count_by(ledger, "month", examples=1)
    assert (found.total, found.without, found.distinct) == (4, 1, 2)
    assert [value.media_ids for value in found.values] == [(album["bridge"],), (album["port"],)]
    page = count_by(ledger, "day", limit=1, offset=1)
    assert [value.value for value in page.values] == ["2019-05-21"]
    assert page.distinct == 3


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(kind="video"), {"2020": 1}),
        (Filters(since="2019-05-21", until="2019"), {"2019": 1}),
        (Filters(until="2019-05-20"), {"2019": 1}),
        (Filters(camera="canon"), {"2019": 2}),
        (Filters(folder="/home/ann/Photos/2019"), {"2019": 2}),
        (Filters(tags=("SUMMER",)), {"2019": 2}),
        (Filters(people=("Ben",)), {"2019": 1}),
        (Filters(yearly=("12-20", "01-06")), {"2020": 1}),
    ],
)
def test_the_filters_of_a_search_restrict_what_is_counted(
    ledger: Ledger, filters: Filters, expected: dict[str, int]
) -> None:
    assert counted(ledger, "year", filters=filters) == expected
    passing = ledger.media_passing(filters.resolve(ledger))
    assert sum(expected.values()) == len(passing) == page_of(ledger, filters).total


def test_a_page_goes_on_where_the_one_before_ended(ledger: Ledger, album: dict[str, str]) -> None:
    newest = [album[name] for name in ("bridge", "port", "tram", "scan")]
    for oldest_first, order in ((False, newest), (True, [*reversed(newest[:3]), newest[3]])):
        seen, after = [], None
        for _ in range(4):
            page = page_of(ledger, limit=1, after=after, oldest_first=oldest_first)
            assert page.total == 4
            seen += [row.media_id for row in page.media]
            after = page.next
        assert (seen, after) == (order, None)


@pytest.mark.parametrize(
    ("by", "value", "expected"),
    [
        ("month", "2019-05", ["port", "tram"]),
        ("year", "2020", ["bridge"]),
        ("place", "lisbon, portugal", ["tram"]),
        ("place", "Lisbon", ["tram"]),
        ("city", "porto", ["port"]),
        ("region", "Oregon", ["bridge"]),
        ("folder", "lisbon", ["tram"]),
        ("folder", "2019/lisbon", ["tram"]),
        ("country", "Portugal", ["port", "tram"]),
        ("person", "ANNA", ["port", "tram"]),
        ("tag", "summer", ["port", "tram"]),
        ("folder", "Photos/2019", ["port", "tram"]),
        ("kind", "video", ["bridge"]),
        ("camera", "Canon EOS R", ["port", "tram"]),
    ],
)
def test_the_media_of_one_value_come_by_date(
    ledger: Ledger, album: dict[str, str], by: str, value: str, expected: list[str]
) -> None:
    page = page_of(ledger, by=by, value=value)  # type: ignore[arg-type]
    assert [row.media_id for row in page.media] == [album[name] for name in expected]
    assert page.total == len(expected)


@pytest.mark.usefixtures("album")
@pytest.mark.parametrize(
    "asked",
    [
        {"by": "colour", "value": "red"},
        {"by": "month", "value": "2019-05' OR 1=1"},
        {"by": "place", "value": "Atlantis"},
        {"by": "year"},
        {"after": "x' --|y"},
        {"after": "2019|" + "f" * 99},
        {"limit": 0},
    ],
)
def test_a_page_that_is_none_is_refused_in_words(ledger: Ledger, asked: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refused:
        page_of(ledger, **asked)  # type: ignore[arg-type]
    assert refused.value.remedy


@settings(max_examples=60, deadline=None)
@given(after=st.text(max_size=40))
def test_no_mark_of_a_page_breaks_anything(after: str) -> None:
    ledger = Ledger("sqlite://")
    try:
        assert page_of(ledger, after=after).media == []
    except UsageError:
        pass
    finally:
        ledger.close()


def test_only_what_is_short_is_a_tag() -> None:
    said = [
        Signal("annotation", "Beach, beach, two words"),
        Signal("annotation", "private, and then a sentence that goes on and on, and on"),
        Signal("annotation", "People: Anna"),
        Signal("ocr", "Gate, B42"),
    ]
    found = {(mark.kind, mark.name) for mark in marks_of(said)}
    assert found == {
        ("tag", "Beach"),
        ("tag", "two words"),
        ("part", "private"),
        ("part", "and on"),
        ("person", "Anna"),
    }


def test_what_is_listed_is_a_tag_however_long_it_is() -> None:
    listed = Signal(
        "annotation",
        "private!, a very long tag of seven words, Lisbon, Portugal",
        tags=("private!", "a very long tag of seven words", "Lisbon, Portugal", "x" * 300),
    )
    found = marks_of([listed])
    assert [(mark.kind, mark.name) for mark in found[:3]] == [
        ("tag", "private!"),
        ("tag", "a very long tag of seven words"),
        ("tag", "Lisbon, Portugal"),
    ]
    assert found[3].folded == folded("x" * 400)
    assert {(mark.kind, mark.name) for mark in found[4:]} == {
        ("part", "Lisbon"),
        ("part", "Portugal"),
    }


def test_a_title_that_says_the_same_takes_no_tag_away() -> None:
    words = "our trip to the lake district"
    for record in ({"title": words, "tags": [words]}, {"title": "x", "tags": f"beach, {words}"}):
        said = each_once(annotations_of(record))
        assert words in {mark.name for mark in marks_of(said)}
    assert [mark.name for mark in marks_of(annotation_signals([words], [words]))] == [words]


def test_marks_of_an_earlier_version_are_made_anew_out_of_the_lists(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    ledger = Ledger(url)
    media_id = enter(ledger, "/home/ann/Photos/a.jpg", said=("beach, a tag of far more words",))
    ledger.annotate(media_id, [Annotation("tag", "holiday"), Annotation("tag", "not to be shown")])
    ledger.annotate(media_id, [Annotation("tag", "one of very many words")])
    with ledger._database.writing() as connection:
        connection.execute(marks.delete())
        connection.execute(facts.update().where(facts.c.key == "marks").values(value=1))
    ledger.close()
    ledger = Ledger(url)
    assert counted(ledger, "tag") == {
        "holiday": 1,
        "not to be shown": 1,
        "one of very many words": 1,
    }
    assert ledger.pending("read", "read", kind="image") == [media_id]  # for the file's own list
    ledger.close()


def test_a_ledger_of_an_earlier_program_gets_its_marks_when_it_is_opened(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    ledger = Ledger(url)
    enter(ledger, "/home/ann/Photos/a.jpg", said=("beach, summer", "People: Anna"))
    with ledger._database.writing() as connection:
        marks.drop(connection)
        connection.execute(facts.delete().where(facts.c.key == "marks"))
    ledger.close()
    ledger = Ledger(url)
    assert counted(ledger, "tag") == {"beach": 1, "summer": 1}
    assert counted(ledger, "person") == {"Anna": 1}
    ledger.close()


def test_places_are_named_when_a_folder_is_indexed(tmp_path: Path) -> None:
    import PIL.Image

    home, folder = tmp_path / "home", tmp_path / "photos"
    path = picture(folder / "castle.jpg", taken_at="2021:02:03 10:00:00")
    exif = PIL.Image.Exif()
    exif.get_ifd(0x8825).update(
        {1: "N", 2: (38.0, 42.0, 50.0), 3: "W", 4: (9.0, 8.0, 0.0)}  # Lisbon
    )
    with PIL.Image.open(path) as image:
        image.save(path, exif=exif)
    picture(folder / "nowhere.jpg", "blue")
    try:
        with opened(home) as library:
            library.index([folder])
            found = library.browse("place", examples=1)
            assert [value.label for value in found.values] == ["Lisbon, Portugal"]
            assert found.without == 1
            page = library.browse_media(by="place", value="Lisbon, Portugal")
            assert [Path(row.path).name for row in page.media] == ["castle.jpg"]
    finally:
        end_owners(home)


@pytest.mark.slow
def test_a_hundred_thousand_media_are_counted_while_one_waits(tmp_path: Path) -> None:
    ledger = generated(tmp_path / "ledger.sqlite3", 100_000)
    for by in FACETS:
        began = time.monotonic()
        count_by(ledger, by, folder="/photos" if by == "folder" else None, limit=20, examples=3)
        assert time.monotonic() - began < 5.0, by
    began = time.monotonic()
    assert len(page_of(ledger, by="month", value="2015-05").media) == 50
    assert time.monotonic() - began < 1.0
    ledger.close()


def test_the_command_counts_and_lists(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "photos"
    for number, day in enumerate(("2021:02:03", "2021:02:04", "2022:05:06")):
        picture(folder / f"{number}.jpg", taken_at=f"{day} 10:00:00", number=number)
    try:
        with opened(home) as library:
            library.index([folder])
        done = mmrag_here(home, "facets", "month", "--json")
        assert [(item["value"], item["count"]) for item in json.loads(done.stdout)["values"]] == [
            ("2022-05", 1),
            ("2021-02", 2),
        ]
        first = json.loads(mmrag_here(home, "facets", "year", "2021", "-n", "1", "--json").stdout)
        assert [Path(item["path"]).name for item in first["media"]] == ["1.jpg"]
        rest = mmrag_here(home, "facets", "year", "2021", "--after", first["next"])
        assert "0.jpg" in rest.stdout
        assert "1.jpg" not in rest.stdout
        assert mmrag_here(home, "facets", "colour").returncode == 2
    finally:
        end_owners(home)


def test_a_library_is_looked_through_without_a_model(tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "photos"
    picture(folder / "a.jpg", taken_at="2021:02:03 10:00:00")
    try:
        with opened(home) as library:
            library.index([folder])
        with opened(home) as library:
            assert library.browse("year").values[0].count == 1
            assert library.browse_media(by="year", value="2021").total == 1
            assert "connection" not in library.__dict__
            assert not library.models.are_loaded
            assert isinstance(library, MediaLibrary)
    finally:
        end_owners(home)
