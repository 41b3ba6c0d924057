"""What programs and people write into files: EXIF, XMP and IPTC, in every format that has them."""

from __future__ import annotations

import io
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import PIL.Image
import pillow_heif
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL.ExifTags import IFD
from PIL.TiffImagePlugin import IFDRational

from made_films import RED, write_film
from mmrag_plugin.media import MediaFacts
from mmrag_plugin.people import people_in
from mmrag_plugin.pictures import identified_picture
from mmrag_plugin.readers.exif import picture_facts
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.xmp import parse_xmp

pillow_heif.register_heif_opener()

NAMESPACES = " ".join(
    f'xmlns:{prefix}="{name}"'
    for prefix, name in {
        "dc": "http://purl.org/dc/elements/1.1/",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "lr": "http://ns.adobe.com/lightroom/1.0/",
        "digiKam": "http://www.digikam.org/ns/1.0/",
        "photoshop": "http://ns.adobe.com/photoshop/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
        "MP": "http://ns.microsoft.com/photo/1.2/t/Region#",
        "mwg-rs": "http://www.metadataworkinggroup.com/schemas/regions/",
    }.items()
)


def packet(attributes: str = "", elements: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
        f'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" {NAMESPACES}>'
        f'<rdf:Description rdf:about="" {attributes}>{elements}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


def bag(name: str, *items: str) -> str:
    inside = "".join(f"<rdf:li>{item}</rdf:li>" for item in items)
    return f"<{name}><rdf:Bag>{inside}</rdf:Bag></{name}>"


def texts(facts: MediaFacts, source: str) -> list[str]:
    return [signal.text for signal in facts.signals if signal.source == source]


def facts_of(data: bytes) -> MediaFacts:
    with identified_picture(io.BytesIO(data)) as image:
        return picture_facts(image)


def jpeg(**options: Any) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(buffer, "JPEG", **options)
    return buffer.getvalue()


def with_iptc(records: bytes) -> bytes:
    """A JPEG with IPTC records in its Photoshop segment."""
    resource = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(records)) + records
    resource += b"\x00" * (len(records) % 2)
    body = b"Photoshop 3.0\x00" + resource
    plain = jpeg()
    return plain[:2] + b"\xff\xed" + struct.pack(">H", len(body) + 2) + body + plain[2:]


def record(number: int, value: bytes, group: int = 2) -> bytes:
    return b"\x1c" + bytes([group, number]) + struct.pack(">H", len(value)) + value


def exif_with(
    tags: dict[int, Any] | None = None,
    details: dict[int, Any] | None = None,
    gps: dict[int, Any] | None = None,
) -> PIL.Image.Exif:
    exif = PIL.Image.Exif()
    exif.update(tags or {})
    exif.get_ifd(IFD.Exif).update(details or {})
    exif.get_ifd(IFD.GPSInfo).update(gps or {})
    return exif


LISBON = {1: "N", 2: (38.0, 42.0, 39.6), 3: "W", 4: (9.0, 7.0, 48.0)}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif", "heic"])
def test_date_place_camera_and_words_are_read_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = exif_with(
        {0x010F: "Canon", 0x0110: "EOS R5", 0x010E: "The harbour"},
        {0x9003: "2020:06:01 10:20:30", 0x9011: "+01:00", 0x9291: "123"},
        LISBON,
    )
    words = packet(elements=bag("Iptc4xmpExt:PersonInImage", "Anna"))
    PIL.Image.new("RGB", (64, 64), "red").save(path, exif=exif.tobytes(), xmp=words)
    facts = PhotoReader().facts(path)
    assert facts.taken_at == "2020-06-01T10:20:30+01:00"
    assert facts.camera == "Canon EOS R5"
    assert (facts.latitude, facts.longitude) == (38.711, -9.13)
    assert "The harbour" in texts(facts, "annotation")
    # Pillow writes no XMP into PNG and TIFF by this argument
    assert people_in(facts.signals) == ([] if suffix in ("png", "tif") else ["Anna"])


def test_people_are_found_under_all_names_and_are_no_keywords() -> None:
    elements = "".join(
        [
            bag("dc:subject", "Anna", "beach"),
            bag("digiKam:TagsList", "People/Family/Ben", "Places/Lisbon"),
            bag("lr:hierarchicalSubject", "People|Carla", "Events|Easter"),
            bag("Iptc4xmpExt:PersonInImage", "Anna"),
            "<Iptc4xmpExt:PersonInImageWDetails><rdf:Bag><rdf:li rdf:parseType='Resource'>"
            "<Iptc4xmpExt:PersonName><rdf:Alt><rdf:li>Dora</rdf:li></rdf:Alt>"
            "</Iptc4xmpExt:PersonName></rdf:li></rdf:Bag></Iptc4xmpExt:PersonInImageWDetails>",
            "<mwg-rs:RegionList><rdf:Bag>"
            "<rdf:li mwg-rs:Name='Rex' mwg-rs:Type='Pet'/>"
            "<rdf:li mwg-rs:Name='a code' mwg-rs:Type='BarCode'/>"
            "</rdf:Bag></mwg-rs:RegionList>",
            "<rdf:Bag><rdf:li MP:PersonDisplayName='Emil'/></rdf:Bag>",
        ]
    )
    facts = facts_of(jpeg(xmp=packet(elements=elements)))
    assert set(people_in(facts.signals)) == {"Anna", "Ben", "Carla", "Dora", "Rex", "Emil"}
    assert texts(facts, "annotation")[0] == "beach, Events, Easter, Places, Lisbon"


def test_places_and_position_of_a_packet_are_read() -> None:
    created = (
        "<Iptc4xmpExt:LocationCreated><rdf:Bag><rdf:li Iptc4xmpExt:Sublocation='Alfama' "
        "Iptc4xmpExt:CountryName='Portugal'/></rdf:Bag></Iptc4xmpExt:LocationCreated>"
    )
    attributes = (
        "photoshop:City='Lisbon' photoshop:State='Lisboa' exif:GPSLatitude='38,42.66N' "
        "exif:GPSLongitude='9,7.8W' exif:GPSTimeStamp='2019-07-06T04:04:03Z' "
        "exif:DateTimeOriginal='2019-07-06T05:04:03'"
    )
    facts = facts_of(jpeg(xmp=packet(attributes, created)))
    assert texts(facts, "annotation") == ["Lisbon, Lisboa, Alfama, Portugal"]
    assert (facts.latitude, facts.longitude) == (38.711, -9.13)
    assert facts.taken_at == "2019-07-06T05:04:03+01:00"  # the offset is the satellites'


@pytest.mark.parametrize(
    ("rating", "words"),
    [("4", ["4 stars"]), ("1", ["1 star"]), ("-1", ["rejected"]), ("0", []), ("9", []), ("x", [])],
)
def test_a_rating_is_said_in_words(rating: str, words: list[str]) -> None:
    assert texts(facts_of(jpeg(xmp=packet(f"xmp:Rating='{rating}'"))), "exif") == words


def test_stars_of_windows_and_the_photographer_are_read() -> None:
    facts = facts_of(jpeg(exif=exif_with({0x4746: 5, 0x013B: "Dorothea Lange"})))
    assert texts(facts, "exif") == ["by Dorothea Lange", "5 stars"]
    assert facts_of(jpeg(exif=exif_with({0x013B: "OLYMPUS DIGITAL CAMERA"}))).signals == ()


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [(b"\x1b%G", "utf-8"), (b"", "utf-8"), (b"", "cp1252"), (b"\x1b.A", "latin-1")],
)
def test_iptc_is_read_in_every_charset(charset: bytes, encoding: str) -> None:
    values = {5: "Fête", 25: "café;Düne", 90: "Málaga", 101: "España", 120: "À la plage", 80: "Zoë"}
    records = (record(90, charset, group=1) if charset else b"") + b"".join(
        record(number, value.encode(encoding)) for number, value in values.items()
    )
    facts = facts_of(with_iptc(records + record(55, b"20190706") + record(60, b"050403+0000")))
    assert texts(facts, "annotation") == ["Fête", "À la plage", "café, Düne, Málaga, España"]
    assert texts(facts, "exif") == ["by Zoë"]
    assert facts.taken_at == "2019-07-06T05:04:03"


@pytest.mark.parametrize(
    "gps",
    [
        {1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {1: "N", 2: (IFDRational(1, 0), 0.0, 0.0), 3: "E", 4: (1.0, 0.0, 0.0)},
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {1: "N", 2: (38.0, 42.0, 39.6)},
        {1: "N", 2: (), 3: "W", 4: (9.0,)},
        {1: "N", 2: "38", 3: "W", 4: "9"},
    ],
)
def test_a_broken_position_is_none(gps: dict[int, Any]) -> None:
    try:
        data = jpeg(exif=exif_with(gps=gps))
    except Exception:  # what Pillow does not even write
        pytest.skip("Pillow writes no such value")
    facts = facts_of(data)
    assert (facts.latitude, facts.longitude) == (None, None)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({0x9003: "0000:00:00 00:00:00", 0x9004: "2019:01:02 03:04:05"}, "2019-01-02T03:04:05"),
        ({0x9003: "2019:01:02 03:04:05.678"}, "2019-01-02T03:04:05"),
        ({0x9003: "2019:01:02 03:04:05", 0x9011: "   :  "}, "2019-01-02T03:04:05"),
        ({0x9003: "2019:01:02 03:04:05", 0x9011: "+05:45"}, "2019-01-02T03:04:05+05:45"),
        ({0x9003: "2019:01:02"}, "2019-01-02T00:00:00"),
        ({0x9003: "    :  :     :  :  "}, None),
    ],
)
def test_dates_as_cameras_write_them(details: dict[int, Any], expected: str | None) -> None:
    assert facts_of(jpeg(exif=exif_with(details=details))).taken_at == expected


def test_a_satellite_gives_the_offset_of_a_camera_without_one() -> None:
    gps = {**LISBON, 7: (14.0, 50.0, 12.0), 29: "2020:06:01"}
    exif = exif_with(details={0x9003: "2020:06:01 16:50:30"}, gps=gps)
    assert facts_of(jpeg(exif=exif)).taken_at == "2020-06-01T16:50:30+02:00"
    assert facts_of(jpeg(exif=exif_with(gps=gps))).taken_at == "2020-06-01T14:50:12+00:00"


def test_a_film_tells_what_its_maker_wrote(tmp_path: Path) -> None:
    tags = {
        "title": "Harbour",
        "comment": "The ferry leaves",
        "make": "Apple",
        "model": "iPhone 11",
        "creation_time": "2020-06-01T14:50:12Z",
        "com.apple.quicktime.creationdate": "2020-06-01T16:50:12+0200",
        "location": "+38.7110-009.1300+012.5/",
    }
    facts = VideoReader().facts(write_film(tmp_path / "a.mkv", [RED] * 3, metadata=tags))
    assert facts.taken_at == "2020-06-01T16:50:12+02:00"
    assert (facts.latitude, facts.longitude) == (38.711, -9.13)
    assert facts.camera == "Apple iPhone 11"
    assert texts(facts, "annotation") == ["Harbour", "The ferry leaves"]


def test_samples_of_photo_managers_are_read(shared_data: Path) -> None:
    samples = shared_data / "tricky/metadata"
    curies = PhotoReader().facts(samples / "faces/portrait.jpg")
    assert people_in(curies.signals) == ["Marie Curie", "Pierre Curie"]
    assert texts(curies, "annotation") == ["People: Marie Curie, Pierre Curie"]
    stars = PhotoReader().facts(samples / "rating/mongolels.jpg")
    assert "3 stars" in texts(stars, "exif")
    assert PhotoReader().facts(samples / "dates/gps-datetime.jpg").taken_at == (
        "2023-11-15T12:30:00+00:00"
    )


# ---- hostile files

VALUES = (
    st.text(max_size=40)
    | st.binary(max_size=40)
    | st.integers(0, 2**32 - 1)
    | st.floats(0, 2**32 - 1)
    | st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=4).map(tuple)
)
TAGS = st.dictionaries(
    st.sampled_from([0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x4746, 0x9C9B, 0x9C9E]), VALUES
)
DETAILS = st.dictionaries(st.sampled_from([0x9003, 0x9004, 0x9011, 0x9286]), VALUES)
GPS = st.dictionaries(st.sampled_from([1, 2, 3, 4, 7, 29]), VALUES)


@given(TAGS, DETAILS, GPS)
def test_fields_of_any_type_leave_sound_facts(
    tags: dict[int, Any], details: dict[int, Any], gps: dict[int, Any]
) -> None:
    buffer = io.BytesIO()
    try:
        data = exif_with(tags, details, gps).tobytes()
    except Exception:
        return  # nothing that Pillow can write
    PIL.Image.new("RGB", (8, 8)).save(buffer, "PNG", exif=data)
    assert_sound(facts_of(buffer.getvalue()))


@given(st.binary(max_size=300))
def test_any_iptc_bytes_leave_sound_facts(records: bytes) -> None:
    assert_sound(facts_of(with_iptc(records)))


@given(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=10))
def test_any_iptc_records_leave_sound_facts(records: list[tuple[int, bytes]]) -> None:
    assert_sound(facts_of(with_iptc(b"".join(record(number, value) for number, value in records))))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                "dc:subject dc:title lr:hierarchicalSubject xmp:Rating exif:GPSLatitude "
                "exif:GPSLongitude exif:DateTimeOriginal Iptc4xmpExt:PersonInImage "
                "Iptc4xmpExt:LocationShown photoshop:City".split()
            ),
            st.text("People|/,0123456789NS.:-TZ aé\u202e", max_size=40),
        ),
        max_size=6,
    )
)
def test_any_values_in_a_packet_leave_sound_facts(values: list[tuple[str, str]]) -> None:
    words = packet(elements="".join(bag(name, value) for name, value in values))
    parse_xmp(words)
    assert_sound(facts_of(jpeg(xmp=words)))


def assert_sound(facts: MediaFacts) -> None:
    assert (facts.latitude is None) == (facts.longitude is None)
    assert facts.latitude is None or abs(facts.latitude) <= 90
    assert facts.longitude is None or abs(facts.longitude) <= 180
    assert facts.taken_at is None or datetime.fromisoformat(facts.taken_at)
    for signal in facts.signals:
        assert signal.text.strip()
        assert not any(ord(char) < 32 for char in signal.text)
        assert len(signal.text) <= 25_000
