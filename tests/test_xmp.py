"""XMP packets: what people filled in is found, and hostile ones end in MediaError."""

from __future__ import annotations

import contextlib
import time
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.dates import iso_date
from mmrag_plugin.errors import MediaError
from mmrag_plugin.pictures import identified_picture
from mmrag_plugin.xmp import XmpFacts, distinct, parse_xmp

PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
  xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"
  xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
  xmlns:lr="http://ns.adobe.com/lightroom/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/"
  xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
  xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/">
 <rdf:Description rdf:about="" xmp:Rating="4" exif:DateTimeOriginal="2019-07-06T05:04:03.21+02:00"
   photoshop:City="Lisbon">
  <dc:title><rdf:Alt><rdf:li xml:lang="de">Hafen</rdf:li>
    <rdf:li xml:lang="x-default">The harbour</rdf:li></rdf:Alt></dc:title>
  <dc:subject><rdf:Bag><rdf:li>boats</rdf:li><rdf:li>Boats</rdf:li></rdf:Bag></dc:subject>
  <lr:hierarchicalSubject><rdf:Bag><rdf:li>Animals|Gull</rdf:li></rdf:Bag></lr:hierarchicalSubject>
  <mwg-rs:Regions rdf:parseType="Resource"><mwg-rs:RegionList><rdf:Bag>
    <rdf:li><rdf:Description mwg-rs:Name="Anna" mwg-rs:Type="Face"/></rdf:li>
    <rdf:li><rdf:Description mwg-rs:Name="Rex" mwg-rs:Type="Pet"/></rdf:li>
  </rdf:Bag></mwg-rs:RegionList></mwg-rs:Regions>
 </rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""

EXPECTED = XmpFacts(
    title="The harbour",
    keywords=("boats", "Animals", "Gull"),
    people=("Anna", "Rex"),
    taken_at="2019-07-06T05:04:03+02:00",
    rating=4,
    places=("Lisbon",),
)


@pytest.mark.parametrize(
    "packet",
    [PACKET, PACKET.encode(), PACKET.encode("utf-16"), PACKET.encode() + b"\x00\n \x00"],
    ids=["str", "utf-8", "utf-16", "padded"],
)
def test_a_packet_says_the_same_in_every_encoding(packet: str | bytes) -> None:
    assert parse_xmp(packet) == EXPECTED


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>', "document type"),
        ("<a>" * 5000, "nested"),
        ("<a>&b;</a>", "undefined entity"),
        ("", "no element"),
        (b"\xff\xfe\x00", "XMP packet"),
        ("\ud800", "XMP packet"),
        ("<a/>" + " " * (16 * 2**20), "more than"),
        ("<a>" + "<b/>" * 200_000 + "</a>", "elements"),
    ],
)
def test_a_hostile_packet_is_refused_with_the_reason(packet: str | bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason) as caught:
        parse_xmp(packet)
    assert caught.value.remedy


@pytest.mark.parametrize("padding", ["", " " * 150, " " * 300])
@pytest.mark.parametrize(
    "repeated", ["<p:b/>" * 20_000, "<p:b " + " ".join(f"p:a{n}='1'" for n in range(20_000)) + "/>"]
)
def test_a_long_namespace_used_often_is_refused_at_once(repeated: str, padding: str) -> None:
    packet = f"<a xmlns:p{padding} = '{'u' * 400_000}'>{repeated}</a>"
    started = time.perf_counter()
    with pytest.raises(MediaError, match="XMP packet"):
        parse_xmp(packet)
    assert time.perf_counter() - started < 1


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_bytes_end_in_facts_or_media_error(packet: bytes | str) -> None:
    with contextlib.suppress(MediaError):
        assert isinstance(parse_xmp(packet), XmpFacts)


@given(
    st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2200, 1, 1)),
    st.sampled_from(["", "Z", "+02:00", "-0330"]),
    st.sampled_from(["%Y:%m:%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%dT%H%M%S", "%Y%m%d%H%M%S"]),
)
def test_a_date_keeps_its_wall_clock(moment: datetime, zone: str, form: str) -> None:
    date = iso_date(moment.strftime(form) + zone)
    assert date is not None
    assert datetime.fromisoformat(date).replace(tzinfo=None) == moment.replace(microsecond=0)
    assert (datetime.fromisoformat(date).tzinfo is not None) == bool(zone)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0000:00:00 00:00:00",
        "    :  :     :  :  ",
        "2017:08:21 15:08:70",
        "1904-01-01T00:00:00Z",
        "0001-01-01",
        "yesterday",
        "2020:02:30 10:00:00",
        "2020-01-01T10:00:00+25:00",
        "\ud800",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert iso_date(text) is None


@given(st.text(max_size=30), st.text(max_size=10))
def test_any_text_is_a_readable_date_or_none(text: str, offset: str) -> None:
    date = iso_date(text, offset)
    assert date is None or datetime.fromisoformat(date)


def test_a_day_may_be_written_without_dashes() -> None:
    assert iso_date("20230115") == "2023-01-15T00:00:00"
    assert iso_date("20231315") is None
    assert iso_date("2023011") is None


def test_an_offset_beside_the_date_counts_where_the_date_has_none() -> None:
    assert iso_date("2020:01:02 03:04:05", "+01:00") == "2020-01-02T03:04:05+01:00"
    assert iso_date("2020:01:02 03:04:05", "   :  ") == "2020-01-02T03:04:05"
    assert iso_date("2020-01-02T03:04:05Z", "+01:00") == "2020-01-02T03:04:05+00:00"


def test_repeated_words_are_kept_once_in_their_order() -> None:
    assert distinct(["b", " a ", "B", "", "\x00"]) == ("b", "a")


def test_packets_of_real_programs_are_read(shared_data: Path) -> None:
    faces = shared_data / "tricky/metadata/faces/portrait.jpg"
    with identified_picture(faces) as image:
        assert parse_xmp(image.info["xmp"]).people == ("Marie Curie", "Pierre Curie")
    with identified_picture(shared_data / "tricky/metadata/rating/mongolels.jpg") as image:
        facts = parse_xmp(image.info["xmp"])
    assert (facts.title, facts.rating, facts.taken_at) == ("Mongol Els", 3, "2009-08-29T13:18:08")
    sidecar = parse_xmp((shared_data / "tricky/metadata/xmp/dates/2000.xmp").read_bytes())
    assert sidecar.taken_at == "2000-09-27T14:35:33+02:00"
