"""Restrictions of a search: what a person says, and which media it leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin.errors import UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.ledger import KnownPath, Ledger, sqlite_url
from mmrag_plugin.media import Kind, MediaFacts, Signal
from mmrag_plugin.metadata import NO_DATE_S, RowFilter, camera_column, wall_clock_s


@dataclass(frozen=True)
class Photo:
    folder: str
    kind: Kind
    taken_at: str | None
    camera: str
    text: bool


PHOTOS = st.builds(
    Photo,
    folder=st.sampled_from(["2019/Lisbon", "2019/Porto", "Lisbon 2", "100%", "a_b"]),
    kind=st.sampled_from(["image", "video"]),
    taken_at=st.none()
    | st.sampled_from(
        [
            "2018-12-31T23:59:59",
            "2019-01-01T00:00:00",
            "2019-05-20T23:30:00-07:00",
            "2019-05-31T23:59:59.900",
            "2019-06-01T00:00:00+02:00",
            "2020-02-29T12:00:00Z",
            "1965-07-01T08:00:00",
        ]
    ),
    camera=st.sampled_from(["", "Canon EOS 5D", "Pixel 7", "ж" * 100]),
    text=st.booleans(),
)
DATES = st.none() | st.sampled_from(["2018", "2019", "2019-05", "2019-05-20", "2020-02", "1965"])
FILTERS = st.builds(
    Filters,
    kind=st.none() | st.sampled_from(["image", "video"]),
    since=DATES,
    until=DATES,
    camera=st.none() | st.sampled_from(["canon", "7", "ж", "nothing"]),
    has_text=st.none() | st.booleans(),
)


def fill(ledger: Ledger, photos: list[Photo]) -> dict[str, Photo]:
    ids: dict[str, Photo] = {}
    ledger.add_root("/photos")
    with ledger.transaction():
        for number, photo in enumerate(photos):
            media_id = ledger.mint(f"{number:040}"[::-1], photo.kind)
            path = f"/photos/{photo.folder}/{number}.jpg"
            ledger.put_path(KnownPath(path, media_id, 1, 1, "", ""), "/photos")
            facts = MediaFacts(taken_at=photo.taken_at, camera=photo.camera)
            ledger.put_read("r", {media_id: (facts, [])})
            if photo.text:
                ledger.put_signals("ocr", "o", {media_id: [Signal("ocr", "EXIT")]})
            ids[media_id] = photo
    return ids


def passes(media_id: str, photo: Photo, where: RowFilter | None) -> bool:
    """What Milvus does with the row of a photo."""
    if where is None:
        return True
    taken = wall_clock_s(photo.taken_at)
    dated = where.taken_from_s is None and where.taken_to_s is None
    return (
        (where.kind in (None, photo.kind))
        and (dated or taken != NO_DATE_S)
        and (where.taken_from_s is None or taken >= where.taken_from_s)
        and (where.taken_to_s is None or taken <= where.taken_to_s)
        and (where.cameras is None or camera_column(photo.camera) in where.cameras)
        and (where.media_ids is None or media_id in where.media_ids)
        and (where.not_media_ids is None or media_id not in where.not_media_ids)
    )


def meant(photo: Photo, filters: Filters) -> bool:
    """What the person means, in terms of what is written about the photo."""
    day = (photo.taken_at or "")[:10]
    return (
        (filters.kind in (None, photo.kind))
        and (filters.since is None or (day != "" and day[: len(filters.since)] >= filters.since))
        and (filters.until is None or (day != "" and day[: len(filters.until)] <= filters.until))
        and (filters.camera is None or filters.camera.casefold() in photo.camera.casefold())
        and (filters.has_text is None or filters.has_text == photo.text)
    )


@settings(max_examples=60, deadline=None)
@given(photos=st.lists(PHOTOS, min_size=1, max_size=8), filters=FILTERS)
def test_a_filter_leaves_what_the_person_means(
    tmp_path_factory: pytest.TempPathFactory, photos: list[Photo], filters: Filters
) -> None:
    path = tmp_path_factory.getbasetemp() / "filters.sqlite3"
    ledger = Ledger(sqlite_url(path))
    ids = fill(ledger, photos)
    try:
        where = filters.resolve(ledger)
    except UsageError:  # an unknown camera, or dates that nothing can lie between
        left = set()
    else:
        left = {media_id for media_id, photo in ids.items() if passes(media_id, photo, where)}
    assert left == {media_id for media_id, photo in ids.items() if meant(photo, filters)}
    ledger.drop_media(ids)
    ledger.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    yield opened
    opened.close()


def test_no_restriction_is_none(ledger: Ledger) -> None:
    assert Filters().resolve(ledger) is None


@pytest.mark.parametrize(
    ("said", "first", "last"),
    [
        ("2019", "2019-01-01T00:00:00", "2019-12-31T23:59:59"),
        ("2020-02", "2020-02-01T00:00:00", "2020-02-29T23:59:59"),
        ("2019-2-3", "2019-02-03T00:00:00", "2019-02-03T23:59:59"),
        ("9999", "9999-01-01T00:00:00", "9999-12-31T23:59:59"),
        ("0001-01-01", "0001-01-01T00:00:00", "0001-01-01T23:59:59"),
        (" 1900 ", "1900-01-01T00:00:00", "1900-12-31T23:59:59"),
    ],
)
def test_a_date_lasts_from_its_first_to_its_last_second(
    ledger: Ledger, said: str, first: str, last: str
) -> None:
    where = Filters(since=said, until=said).resolve(ledger)
    assert where is not None
    assert (where.taken_from_s, where.taken_to_s) == (wall_clock_s(first), wall_clock_s(last))


@pytest.mark.parametrize(
    "said",
    ["", "yesterday", "2019-13", "2019-02-30", "20190520", "2019/05", "0000", "-2019", "2019-"],
)
def test_what_is_no_date_is_refused_by_name(ledger: Ledger, said: str) -> None:
    for filters in (Filters(since=said), Filters(until=said)):
        with pytest.raises(UsageError, match="is not a date") as caught:
            filters.resolve(ledger)
        assert repr(said) in caught.value.message


@settings(max_examples=60, deadline=None)
@given(said=st.text(max_size=12), folder=st.text(max_size=12))
def test_hostile_dates_and_folders_are_refused_with_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, said: str, folder: str
) -> None:
    ledger = Ledger(sqlite_url(tmp_path_factory.getbasetemp() / "hostile.sqlite3"))
    for filters in (Filters(since=said), Filters(folder=folder or "x"), Filters(camera=said)):
        with contextlib.suppress(UsageError):
            filters.resolve(ledger)
    ledger.close()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("/photos", {0, 1, 2, 3, 4}),
        ("photos", {0, 1, 2, 3, 4}),
        ("/photos/2019", {0, 1}),
        ("2019", {0, 1}),
        ("2019/Lisbon", {0}),
        ("Lisbon", {0}),
        ("lisbon/", {0}),
        ("Lisbon 2", {2}),
        ("100%", {3}),
        ("a_b", {4}),
    ],
)
def test_folders_are_known_by_path_and_by_name(
    ledger: Ledger, said: str, expected: set[int]
) -> None:
    folders = ["2019/Lisbon", "2019/Porto", "Lisbon 2", "100%", "a_b"]
    ids = fill(ledger, [Photo(folder, "image", None, "", False) for folder in folders])
    where = Filters(folder=said).resolve(ledger)
    assert where is not None
    assert where.media_ids == {list(ids)[number] for number in expected}


@pytest.mark.parametrize(
    "said", ["axb", "1000", "Lis", "/elsewhere", "..", "0.jpg/..", "~nobody-here", "a\0b"]
)
def test_a_folder_that_is_not_in_the_library_is_refused_by_name(ledger: Ledger, said: str) -> None:
    folders = ["2019/Lisbon", "100%", "a_b"]
    fill(ledger, [Photo(folder, "image", None, "", False) for folder in folders])
    with pytest.raises(UsageError) as caught:
        Filters(folder=said).resolve(ledger)
    assert said in caught.value.message
    assert caught.value.remedy


def test_a_camera_that_nobody_has_is_refused(ledger: Ledger) -> None:
    with pytest.raises(UsageError, match="'Leica'"):
        Filters(camera="Leica").resolve(ledger)
