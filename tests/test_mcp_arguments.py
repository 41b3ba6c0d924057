"""What models write for dates, times, kinds and ids is taken for what it means."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_mcp.arguments import as_date, as_kind, as_time
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary
from mmrag_plugin.errors import NotFound
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.timecode import parse_time


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (2019, "2019"),
        (2019.0, "2019"),
        ("2019", "2019"),
        ("2019-05", "2019-05"),
        ("2019/5/2", "2019-05-02"),
        ("2019.05.20", "2019-05-20"),
        ("2019:05:20", "2019-05-20"),
        ("2019-05-20T10:11:12Z", "2019-05-20"),
        ("2019-05-20 10:11", "2019-05-20"),
        ("May 2019", "2019-05"),
        ("20 May 2019", "2019-05-20"),
        ("May 20th, 2019", "2019-05-20"),
        ("1. März 2019", "2019-03-01"),
        ("last May", "last May"),
        ("20 Foo 2019", "20 Foo 2019"),
        ("1 May 2 2019", "1 May 2 2019"),
        (True, True),
        (None, None),
    ],
)
def test_a_date_is_taken_as_models_write_it(written: object, meant: object) -> None:
    assert as_date(written) == meant


@given(st.dates(min_value=date(1000, 1, 1)))
def test_every_day_in_every_spelling_is_that_day(day: date) -> None:
    for spelling in ("%Y-%m-%d", "%Y/%m/%d", "%d %B %Y", "%B %d, %Y", "%Y-%m-%dT%H:%M:%S"):
        assert as_date(day.strftime(spelling)) == day.isoformat()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (5, 5),
        (5.25, 5.25),
        ("0:05", 5),
        ("90s", 90),
        ("90 seconds", 90),
        ("1m30s", 90),
        ("1 min 30 sec", 90),
        ("2 minutes", 120),
        ("1h2m3.5s", 3723.5),
        ("01:02:03,250", 3723.25),
    ],
)
def test_a_time_is_taken_as_models_write_it(written: object, seconds: float) -> None:
    assert parse_time(str(as_time(written))) == seconds


@given(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(allow_nan=False),
        st.booleans(),
        st.none(),
        st.lists(st.text()),
    )
)
def test_anything_else_is_left_for_the_check_that_follows(written: Any) -> None:
    for read in (as_date, as_time, as_kind):
        once = read(written)
        assert read(once) == once


async def test_kinds_ids_and_numbers_are_taken_as_models_write_them() -> None:
    def nothing() -> MediaLibrary:
        raise NotFound("There is no library.")

    server = MmragServer(WarmLibrary(nothing))

    def read(tool: str, **arguments: Any) -> Any:
        return server._by_name[tool].fn_metadata.arg_model.model_validate(arguments)

    for written, meant in (("Photos", "image"), ("movie", "video"), ("any", None), ("", None)):
        assert read("search_media", query="x", kind=written).kind == meant
    assert read("search_media", query="x", limit="7", has_text="true").limit == 7
    assert read("get_media", media_id="mmrag://media/ab12-2/thumbnail").media_id == "ab12-2"
    assert read("get_media", media_id="ab12", at=5.5, include_picture="yes").at == "5.5"
    assert read("find_similar", media_id="", picture="").media_id is None
    assert read("browse_media", by="year", value=2019).value == "2019"
