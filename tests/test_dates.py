"""Dates: which of several is trusted, and how a wall clock gets its offset."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.dates import Dated, DateSource, dated, epoch_date, most_trusted

CLOCKS = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2100, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0)
)
OFFSETS = st.integers(-24, 28).map(lambda halves: timedelta(minutes=30 * halves))
DATES = st.builds(
    lambda moment, zone, source: Dated(moment.isoformat() + zone, source),
    CLOCKS,
    st.sampled_from(["", "+00:00", "-03:30", "+14:00"]),
    st.sampled_from(get_args(DateSource)),
)


@given(st.lists(DATES, max_size=6))
def test_the_most_trusted_source_wins_whatever_the_order(dates: list[Dated]) -> None:
    best = most_trusted(dates)
    if not dates:
        assert best is None
        return
    order = get_args(DateSource)
    assert best is not None
    assert best.source == min((date.source for date in dates), key=order.index)
    datetime.fromisoformat(best.taken_at)


@given(CLOCKS, OFFSETS, st.integers(-240, 240))
def test_a_wall_clock_gets_the_offset_between_it_and_a_satellites_moment(
    local: datetime, offset: timedelta, drift_s: int
) -> None:
    moment = (local - offset + timedelta(seconds=drift_s)).isoformat() + "+00:00"
    best = most_trusted([Dated(moment, "satellite"), Dated(local.isoformat(), "exif")])
    assert best is not None
    found = datetime.fromisoformat(best.taken_at)
    assert found.replace(tzinfo=None) == local
    if local.time() != datetime.min.time():
        assert found.utcoffset() == offset


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        # an export knows the zone
        (
            [("2023-10-06T08:30:00", "exif"), ("2023-10-06T06:30:00+00:00", "takeout")],
            "2023-10-06T08:30:00+02:00",
        ),
        # an export that took the camera's clock for UTC does not
        (
            [("2023-10-06T08:30:00", "exif"), ("2023-10-06T08:30:00+00:00", "takeout")],
            "2023-10-06T08:30:00",
        ),
        # the fix is from yesterday
        (
            [("2023-10-06T08:30:00", "exif"), ("2023-10-05T06:30:00+00:00", "satellite")],
            "2023-10-06T08:30:00",
        ),
        # no zone lies twenty minutes off
        (
            [("2023-10-06T08:30:00", "exif"), ("2023-10-06T06:50:00+00:00", "satellite")],
            "2023-10-06T08:30:00",
        ),
        # Kathmandu
        (
            [("2023-10-06T12:15:10", "exif"), ("2023-10-06T06:30:00+00:00", "satellite")],
            "2023-10-06T12:15:10+05:45",
        ),
        # a film counts in UTC, its name in the time of the phone
        (
            [("2023-10-06T06:39:09+00:00", "film"), ("2023-10-06T08:39:02", "name")],
            "2023-10-06T08:39:02+02:00",
        ),
        # a name with a day alone says nothing of a zone
        (
            [("2023-10-06T06:30:00+00:00", "takeout"), ("2023-10-06T00:00:00", "name")],
            "2023-10-06T06:30:00+00:00",
        ),
        # what edited the file last is asked last
        (
            [("2024-01-01T10:00:00", "edited"), ("2019-05-20T00:00:00", "name")],
            "2019-05-20T00:00:00",
        ),
        ([("2024-01-01T10:00:00", "edited")], "2024-01-01T10:00:00"),
    ],
)
def test_dates_are_weighed(dates: list[tuple[str, DateSource]], expected: str) -> None:
    best = most_trusted(Dated(*date) for date in dates)
    assert best is not None
    assert best.taken_at == expected


def test_a_source_without_a_date_gives_none() -> None:
    assert dated(None, "exif") == dated("", "exif") == ()


@given(st.integers() | st.text(max_size=30) | st.floats() | st.none())
def test_any_number_of_seconds_is_a_date_or_none(seconds: object) -> None:
    date = epoch_date(seconds)
    assert date is None or datetime.fromisoformat(date).tzinfo is not None


@given(CLOCKS)
def test_seconds_since_1970_become_their_moment(moment: datetime) -> None:
    utc = moment.replace(tzinfo=timezone.utc)
    assert epoch_date(int(utc.timestamp())) == utc.isoformat()
    assert epoch_date("-86400000") == "1967-04-07T00:00:00+00:00"
    assert epoch_date(0) is None
