"""RAW files are seen as the camera shows them: by the JPEG inside, or developed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import PIL.Image
import pytest

from mmrag_plugin import raw_pictures
from mmrag_plugin.content_kind import kind_by_content
from mmrag_plugin.errors import MediaError, MissingExtra
from mmrag_plugin.media import RAW_SUFFIXES, kind_of
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.readers.photo import PhotoReader

Entry = tuple[int, int, int, bytes]  # tag, type, count, value


def entry(tag: int, kind: int, *values: int | str) -> Entry:
    if kind == 2:
        text = str(values[0]).encode() + b"\0"
        return tag, kind, len(text), text
    form = {1: "B", 3: "H", 4: "I"}[kind]
    return tag, kind, len(values), struct.pack(f"<{len(values)}{form}", *values)


def rationals(tag: int, signed: bool, *values: int) -> Entry:
    parts = [part for value in values for part in (value, 10000)]
    form = "i" if signed else "I"
    return tag, 10 if signed else 5, len(values), struct.pack(f"<{len(parts)}{form}", *parts)


def tiff(entries: list[Entry], *, details: list[Entry], mark: bytes = b"II*\0") -> bytes:
    """A TIFF of one directory with EXIF beside it."""

    def directory(at: int, entries: list[Entry]) -> bytes:
        beyond = at + 2 + 12 * len(entries) + 4
        table, values = struct.pack("<H", len(entries)), b""
        for tag, kind, count, value in sorted(entries):
            table += struct.pack("<HHI", tag, kind, count)
            if len(value) > 4:
                table += struct.pack("<I", beyond + len(values))
                values += value + b"\0" * (len(value) % 2)
            else:
                table += value.ljust(4, b"\0")
        return table + b"\0\0\0\0" + values

    inside = directory(8, [*entries, entry(0x8769, 4, 0)])
    at = 8 + len(inside)
    top = directory(8, [*entries, entry(0x8769, 4, at)])
    return mark + struct.pack("<I", 8) + top + directory(at, details)


def jpeg(size: tuple[int, int], colour: str = "red") -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", size, colour).save(buffer, "JPEG")
    return buffer.getvalue()


TAGS = [entry(0x010F, 2, "Canon"), entry(0x0110, 2, "EOS R5"), entry(0x0112, 3, 6)]
DETAILS = [entry(0x9003, 2, "2021:05:06 07:08:09")]


def raw_file(path: Path, *previews: bytes, mark: bytes = b"II*\0") -> Path:
    """A file as cameras write: tags, previews, and data of the sensor that mean nothing here."""
    sensor = bytes(range(256)) * 40 + b"\xff\xd8\xff\xc3\0\x0b\x0e\0\x10\0\x10\x01\x01\x11\0"
    path.write_bytes(tiff(TAGS, details=DETAILS, mark=mark) + sensor.join([b"", *previews, b""]))
    return path


@pytest.mark.parametrize(
    ("suffix", "mark"),
    [
        (".nef", b"II*\0"),
        (".ARW", b"II*\0"),
        (".orf", b"IIRO"),
        (".rw2", b"IIU\0"),
        (".cr2", b"II*\0"),
    ],
)
def test_a_raw_file_is_its_largest_preview(tmp_path: Path, suffix: str, mark: bytes) -> None:
    small, large = jpeg((160, 120), "blue"), jpeg((1600, 1200), "red")
    path = raw_file(tmp_path / f"a{suffix}", small, large, small, mark=mark)
    assert kind_of(path) == kind_by_content(path) == "image"
    seen = open_picture(path, at_least_px=300)
    assert seen.size == (300, 400), "turned as the camera was held"
    assert seen.getpixel((9, 9))[0] > 200
    facts = PhotoReader().facts(path)
    assert (facts.width_px, facts.height_px) == (1200, 1600)
    assert facts.camera == "Canon EOS R5"
    assert facts.taken_at == "2021-05-06T07:08:09"


def test_a_cr3_tells_its_tags_out_of_its_boxes(tmp_path: Path) -> None:
    boxes = struct.pack(">I", 24) + b"ftypcrx " + b"\0" * 12
    boxes += b"\0\0\0\0CMT1" + tiff(TAGS, details=[])
    boxes += b"\0\0\0\0CMT2" + tiff(DETAILS, details=[])
    path = tmp_path / "a.cr3"
    path.write_bytes(boxes + jpeg((1600, 1200)))
    assert kind_by_content(path) == "image"
    facts = PhotoReader().facts(path)
    assert facts.camera == "Canon EOS R5"
    assert facts.taken_at == "2021-05-06T07:08:09"
    assert (facts.width_px, facts.height_px) == (1200, 1600)


def test_the_tags_of_a_fuji_stand_in_its_preview(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x0110], exif[0x0112] = "X-T4", 8
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (900, 700), "red").save(buffer, "JPEG", exif=exif)
    path = tmp_path / "a.raf"
    path.write_bytes(b"FUJIFILMCCD-RAW 0201".ljust(200, b"\0") + buffer.getvalue())
    facts = PhotoReader().facts(path)
    assert (facts.camera, facts.width_px, facts.height_px) == ("X-T4", 700, 900)


def sensor_only(path: Path) -> Path:
    """A DNG with a Bayer mosaic (RGGB) of a reddish plane and no preview."""
    width, height = 64, 48
    rows = [[(40000 if y % 2 == x % 2 == 0 else 8000) for x in range(width)] for y in range(height)]
    pixels = b"".join(struct.pack(f"<{width}H", *row) for row in rows)
    entries = [
        entry(0x00FE, 4, 0), entry(0x0100, 4, width), entry(0x0101, 4, height),
        entry(0x0102, 3, 16), entry(0x0103, 3, 1), entry(0x0106, 3, 32803),
        *TAGS[:2], entry(0x0111, 4, 0), entry(0x0112, 3, 1), entry(0x0115, 3, 1),
        entry(0x0116, 4, height), entry(0x0117, 4, len(pixels)), entry(0x011C, 3, 1),
        entry(0x828D, 3, 2, 2), entry(0x828E, 1, 0, 1, 1, 2), entry(0xC612, 1, 1, 4, 0, 0),
        entry(0xC614, 2, "Canon EOS R5"), entry(0xC61D, 4, 65535),
        rationals(0xC621, True, 10000, 0, 0, 0, 10000, 0, 0, 0, 10000),
        rationals(0xC628, False, 10000, 10000, 10000), entry(0xC65A, 3, 21),
    ]  # fmt: skip
    head = len(tiff(entries, details=DETAILS))
    entries[entries.index(entry(0x0111, 4, 0))] = entry(0x0111, 4, head)
    path.write_bytes(tiff(entries, details=DETAILS) + pixels)
    return path


def test_without_a_preview_a_raw_file_is_developed(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = sensor_only(tmp_path / "a.dng")
    seen = open_picture(path)
    assert seen.mode == "RGB"
    assert seen.size == (32, 24)
    red, green, blue = seen.getpixel((16, 12))
    assert red > 1.3 * max(green, blue)
    assert PhotoReader().facts(path).taken_at == "2021-05-06T07:08:09"


def test_without_libraw_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_pictures, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra) as caught:
        open_picture(sensor_only(tmp_path / "a.dng"))
    assert "mmrag-plugin[raw]" in caught.value.remedy
    small = raw_file(tmp_path / "b.nef", jpeg((640, 480)))
    assert open_picture(small).size == (480, 640), "better a small preview than nothing"


def test_a_raw_file_of_nonsense_is_a_media_error(tmp_path: Path) -> None:
    pytest.importorskip("rawpy")
    path = tmp_path / "a.dng"
    for content in (b"II*\0" + b"\0" * 100, b"FUJIFILMCCD-RAW", b"Dear diary", b"II"):
        path.write_bytes(content)
        with pytest.raises(MediaError) as caught:
            open_picture(path)
        assert caught.value.remedy


def test_a_picture_that_only_has_the_name_of_a_raw_file_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.dng"
    path.write_bytes(jpeg((40, 30)))
    assert open_picture(path).size == (40, 30)
    assert ".cr3" in RAW_SUFFIXES
