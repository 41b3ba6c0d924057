"""Words of paths and of what files say about themselves."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.media import MediaFacts, Signal
from mmrag_plugin.signals.facts_words import date_words, facts_signals
from mmrag_plugin.signals.path_date import path_date
from mmrag_plugin.signals.path_words import MAX_CHARS, path_signals, path_words


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("2019/Lisbon trip/IMG_2031.jpg", "Lisbon trip"),
        ("LisbonTrip/beach01.jpg", "Lisbon Trip, beach"),
        ("Lisbon_2019/sunset-at-sea.jpg", "Lisbon 2019, sunset at sea"),
        ("2019-05-03 Lisbon/gate-b42.jpg", "2019-05-03 Lisbon, gate b42"),
        ("2019-05-03/20190503_101112_sunset.jpg", "sunset"),
        ("WhatsApp Images/IMG-20190101-WA0003.jpg", "WhatsApp Images"),
        ("iPhone backup/IMG_E1234.HEIC", "iPhone backup"),
        ("Anna's birthday/DSC_0012 copy.jpg", "Anna's birthday"),
        ("Screenshot_20210304-102030_Instagram.png", "Screenshot Instagram"),
        ("Screenshot 2021-03-04 at 10.20.30.png", "Screenshot"),
        ("route 66.jpg", "route 66"),
        ("portrait of Anna.jpg", "portrait of Anna"),
        ("P1010001 sunset.JPG", "sunset"),
        ("Lisbon/Lisbon 7.jpg", "Lisbon, Lisbon 7"),
        ("Lisbon/lisbon.jpg", "Lisbon"),
        ("Москва/Кремль.jpg", "Москва, Кремль"),
        ("東京旅行/IMG_1.jpg", "東京旅行"),
        ("Mu\u0308nchen/a.jpg", "München, a"),
        ("Sam/IMG_1.jpg", "Sam"),
        ("Sam and Anna.jpg", "Sam and Anna"),
        ("Signal hill.jpg", "Signal hill"),
        ("image of Anna.jpg", "image of Anna"),
        ("Christmas 2019.jpg", "Christmas 2019"),
        ("IMG_2019 sunset.jpg", "sunset"),
    ],
)
def test_words_that_people_wrote_are_kept(path: str, words: str) -> None:
    assert path_words(path) == words


@pytest.mark.parametrize(
    "path",
    """IMG_1234.jpg IMG_E1234.HEIC IMG_2031-edited.jpg DSC01234.JPG DSC_0012.NEF.jpg P1010001.JPG
    PXL_20231006_063536303.jpg PXL_20231006_063909898.LS.mp4 VID-20190101-WA0003.mp4 GX010123.MP4
    IMG_20190101_123456_BURST001_COVER.jpg 20190503_101112.jpg signal-2021-01-01-123456.jpg
    2090545563_a4e66ec76b.jpg 550e8400-e29b-41d4-a716-446655440000.jpg 000000125870.jpg
    d41d8cd98f00b204e9800998ecf8427e.png image_1.jpg photo2.jpg 1987.jpg 2019/08/03/0001.jpg
    SAM_0001.JPG PANO_20190101_123456.jpg IMG_2019.jpg images/image.jpg sam2019.jpg
    Signal-2021-01-01-12-34-56-789.mp4 550e8400-e29b-41d4-a716-446655440000/1.jpg
    DCIM/100CANON/MVI_0001.mov received_1234567890123.jpeg IMG_0001.jpg.jpg""".split(),
)
def test_names_that_cameras_and_programs_made_say_nothing(path: str) -> None:
    assert path_signals(path) == []


def test_the_signal_of_a_path_says_that_it_comes_from_the_path() -> None:
    assert path_signals("Lisbon trip/IMG_2031.jpg") == [Signal("path", "Lisbon trip")]


@given(st.text())
def test_any_path_gives_short_text_that_can_be_stored(path: str) -> None:
    words = path_words(path)
    assert len(words) <= MAX_CHARS
    assert words.isprintable()
    words.encode()


@given(st.text(max_size=3000))
def test_a_long_name_gives_no_more_than_the_limit(name: str) -> None:
    assert len(path_words((name + " sea ") * 3 + ".jpg")) <= MAX_CHARS


@pytest.mark.parametrize(
    ("name", "date"),
    [
        ("Screenshot_20240511-063012.jpg", "2024-05-11T06:30:12"),
        ("IMG_20230115_101010.jpg", "2023-01-15T10:10:10"),
        ("PXL_20231006_063536303.jpg", "2023-10-06T06:35:36"),
        ("2019-05-20 Lisbon.jpg", "2019-05-20T00:00:00"),
        ("20190520101112.mp4", "2019-05-20T10:11:12"),
        ("signal-2021-01-02-123456_001.jpg", "2021-01-02T12:34:56"),
        ("Screenshot 2021-03-04 at 1.20.30\u202fPM.png", "2021-03-04T13:20:30"),
        ("Screenshot 2021-03-04 at 11.20.30 PM.png", "2021-03-04T23:20:30"),
        ("WhatsApp Image 2021-03-04 at 12.20.30 am.jpeg", "2021-03-04T00:20:30"),
        ("VID-20190101-WA0003.mp4", "2019-01-01T00:00:00"),
        ("2019.02.30 or 2019.03.01.jpg", "2019-03-01T00:00:00"),
        ("IMG_2031.jpg", None),
        ("2090545563_a4e66ec76b.jpg", None),
        ("FB_IMG_1512345678901.jpg", None),
        ("wallpaper 1920-1080.jpg", None),
        ("2019/photo.jpg", None),
        ("2019-05-20/photo.jpg", None),
        ("20195020.jpg", None),
    ],
)
def test_the_date_in_the_name_of_a_file_is_read(name: str, date: str | None) -> None:
    assert path_date(PurePath(name)) == date


@given(st.text(alphabet="0123456789-_ T.apmAt") | st.text())
def test_any_name_has_a_readable_date_or_none(name: str) -> None:
    date = path_date(PurePath(name))
    assert date is None or datetime.fromisoformat(date)


def test_a_date_is_written_the_way_people_search_for_it() -> None:
    assert date_words("2023-10-06T06:35:36") == "Friday 6 October 2023"
    assert date_words("2023-10-06T23:35:36+02:00") == "Friday 6 October 2023"
    assert date_words("2023-10-06T23:35:36Z") == "Friday 6 October 2023"


@pytest.mark.parametrize("taken_at", [None, "", "yesterday", "0000-00-00T00:00:00", "2023-13-01"])
def test_no_date_gives_no_words(taken_at: str | None) -> None:
    assert date_words(taken_at) == ""


def test_facts_become_exif_signals_only_where_they_are_known() -> None:
    facts = MediaFacts(taken_at="2023-10-06T06:35:36", camera=" Canon  EOS 5D ")
    assert facts_signals(facts) == [
        Signal("exif", "Friday 6 October 2023"),
        Signal("exif", "Canon EOS 5D"),
    ]
    assert facts_signals(MediaFacts()) == []
