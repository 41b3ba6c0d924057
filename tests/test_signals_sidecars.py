"""Files beside the media: each format by itself, and all of them in a folder."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin.dates import Dated
from mmrag_plugin.media import Signal, kind_of
from mmrag_plugin.signals import sidecars as sidecars_module
from mmrag_plugin.signals.sidecar_formats import SIDECAR_FORMATS, SidecarFormat, base, xmp_file
from mmrag_plugin.signals.sidecar_formats.base import MediaNames
from mmrag_plugin.signals.sidecars import Beside, FolderSidecars
from mmrag_plugin.xmp import XmpFacts, parse_xmp

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
 <rdf:Description rdf:about=""><dc:title><rdf:Alt><rdf:li xml:lang="x-default">A red barn</rdf:li>
 </rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta>"""

# format -> the name of a file of that kind about farm.jpg (or farm.mp4), what it holds
SAMPLES = {
    "text": ("farm.txt", "A red barn"),
    "json": ("farm.jpg.json", json.dumps({"caption": "A red barn"})),
    "xmp": ("farm.xmp", XMP),
    "captions_json": ("captions.json", json.dumps({"farm.jpg": ["A red barn"]})),
    "takeout_album": (
        "métadonnées.json",
        json.dumps({"title": "", "description": "A red barn", "date": {"timestamp": "0"}}),
    ),
    "csv": ("captions.csv", "file,caption\nfarm.jpg,A red barn\n"),
    "json_lines": ("metadata.jsonl", json.dumps({"file_name": "farm.jpg", "text": "A red barn"})),
    "subtitles": ("farm.en.srt", "1\n00:00:01,000 --> 00:00:02,000\nA red barn\n"),
}


def sidecars_of(folder: Path, above: FolderSidecars | None = None) -> FolderSidecars:
    entries = {
        entry.name: (entry.stat().st_size, entry.stat().st_mtime_ns)
        for entry in os.scandir(folder)
        if entry.is_file()
    }
    return FolderSidecars(folder, entries, above)


def texts(sidecars: FolderSidecars, media_name: str) -> list[str]:
    return [signal.text for signal in sidecars.signals_for(media_name)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("farm.jpg", "farm.mp4", "other.jpg"):
        (tmp_path / name).write_bytes(b"-")
    return tmp_path


# ---- the conformance suite: what every format does


@pytest.fixture(params=SIDECAR_FORMATS, ids=lambda sidecar_format: sidecar_format.name)
def sidecar_format(request: pytest.FixtureRequest) -> SidecarFormat:
    assert isinstance(request.param, SidecarFormat)
    return request.param


def test_a_file_of_the_format_speaks_about_its_media(
    sidecar_format: SidecarFormat, folder: Path
) -> None:
    name, content = SAMPLES[sidecar_format.name]
    (folder / name).write_text(content)
    sidecars = sidecars_of(folder)
    about = "farm.mp4" if sidecar_format.name == "subtitles" else "farm.jpg"
    assert texts(sidecars, about) == ["A red barn"]
    of_all = sidecar_format.name == "takeout_album"
    assert texts(sidecars, "other.jpg") == (["A red barn"] if of_all else [])
    assert sidecars.stamp_for(about)
    assert sidecars.problems() == []


def test_the_stamp_follows_size_and_time_of_the_file(
    sidecar_format: SidecarFormat, folder: Path
) -> None:
    name, _ = SAMPLES[sidecar_format.name]
    about = "farm.mp4" if sidecar_format.name == "subtitles" else "farm.jpg"
    media = {"farm.jpg": (1, 1), "farm.mp4": (1, 1)}
    stamps = [
        FolderSidecars(folder, {**media, **sidecar}).stamp_for(about)
        for sidecar in ({}, {name: (5, 10)}, {name: (6, 10)}, {name: (5, 11)}, {name: (5, 10)})
    ]
    assert stamps[0] == ""
    assert len(set(stamps)) == 4
    assert stamps[1] == stamps[4]


def test_a_folder_of_media_alone_costs_no_index_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refused(name: str) -> str:
        raise AssertionError("the names were indexed")

    monkeypatch.setattr(base, "folded", refused)
    entries = {"a.jpg": (1, 1), "b.mp4": (2, 2)}
    assert FolderSidecars(Path("/photos"), entries).stamp_for("a.jpg") == ""


def test_words_and_date_of_a_packet_are_parsed_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "farm.jpg.xmp").write_text(XMP)
    parsed: list[bytes] = []

    def counted(packet: bytes) -> XmpFacts:
        parsed.append(packet)
        return parse_xmp(packet)

    monkeypatch.setattr(xmp_file, "parse_xmp", counted)
    assert sidecars_of(folder).about("farm.jpg").signals
    assert len(parsed) == 1


def test_a_packet_beside_a_photo_gives_its_date(folder: Path) -> None:
    dated = XMP.replace(
        'rdf:about=""',
        'rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
        'exif:DateTimeOriginal="2019-07-06T05:04:03"',
    )
    (folder / "farm.jpg.xmp").write_text(dated)
    (folder / "farm.txt").write_text("A red barn, 2011-01-01")
    (folder / "other.xmp").write_text("<broken")
    sidecars = sidecars_of(folder)
    assert sidecars.about("farm.jpg").dates == (Dated("2019-07-06T05:04:03", "sidecar"),)
    assert sidecars.about("other.jpg") == Beside()


def test_a_file_of_another_kind_is_not_taken(sidecar_format: SidecarFormat) -> None:
    media = MediaNames(["farm.jpg", "farm.mp4"])
    for name in ("farm.jpg", "farm", "readme.md", "Thumbs.db", ".txt", "farm.jpg.exe", ""):
        assert sidecar_format.subjects(name, media) == frozenset()


def test_a_name_is_matched_whatever_its_case(sidecar_format: SidecarFormat) -> None:
    name, _ = SAMPLES[sidecar_format.name]
    media = MediaNames(["Farm.JPG", "Farm.MP4"])
    assert sidecar_format.subjects(name.upper(), media) != frozenset()


@given(data=st.binary() | st.text().map(str.encode))
def test_any_bytes_are_read_or_refused_with_a_reason(data: bytes) -> None:
    for sidecar_format in SIDECAR_FORMATS:
        name, _ = SAMPLES[sidecar_format.name]
        sidecars = HeldSidecars(name, data)
        for signal in sidecars.signals_for("farm.jpg") + sidecars.signals_for("farm.mp4"):
            assert signal.text.strip()
            signal.text.encode()
        for problem in sidecars.problems():
            assert name in problem.message
            assert problem.remedy


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"title": "\\ud800 half", "tags": [1, null, {"x": 1}, ["y"]], "people": {"name": 5}}',
        b'[{"file": 1, "caption": 2}, 3, null]',
        b"1" * 5000,
        b"\x00\xff" * 500,
        b'"',
        b'file,caption\n"farm.jpg,x',
        b"a,b\n" + b"x" * 200_000,
    ],
)
def test_hostile_content_never_gets_through(content: bytes) -> None:
    test_any_bytes_are_read_or_refused_with_a_reason.hypothesis.inner_test(content)  # type: ignore[attr-defined]


class HeldSidecars(FolderSidecars):
    """A folder whose one sidecar file is held in memory."""

    def __init__(self, name: str, data: bytes) -> None:
        self._data = data
        entries = {"farm.jpg": (1, 1), "farm.mp4": (1, 1), name: (len(data), 1)}
        super().__init__(Path("/nowhere"), entries)

    def _read(self, path: Path) -> bytes:
        return self._data


# ---- one folder, many files


def test_a_bad_file_is_reported_once_and_takes_no_other_with_it(folder: Path) -> None:
    (folder / "captions.json").write_text("{")
    (folder / "farm.jpg.json").write_text("[1]")
    (folder / "farm.txt").write_text("A red barn")
    sidecars = sidecars_of(folder)
    assert texts(sidecars, "farm.jpg") == ["A red barn"]
    assert texts(sidecars, "farm.jpg") == ["A red barn"]
    assert texts(sidecars, "other.jpg") == []
    problems = sidecars.problems()
    assert sorted(Path(problem.path).name for problem in problems) == [
        "captions.json",
        "farm.jpg.json",
    ]
    assert all(problem.message and problem.remedy for problem in problems)
    assert sidecars.problems() == []


def test_what_macos_leaves_on_foreign_drives_is_no_sidecar(folder: Path) -> None:
    (folder / "captions.csv").write_text("file,caption\nfarm.jpg,A red barn\n")
    (folder / "._captions.csv").write_bytes(b"\x00\x05\x16\x07")
    (folder / "._farm.txt").write_bytes(b"\x00\x05\x16\x07")
    sidecars = sidecars_of(folder)
    assert texts(sidecars, "farm.jpg") == ["A red barn"]
    assert sidecars.problems() == []


def test_a_list_speaks_about_folders_however_deep(tmp_path: Path) -> None:
    folder = tmp_path
    path = "/".join(["a"] * 1200 + ["farm.jpg"])
    (tmp_path / "captions.json").write_text(json.dumps({path: "A red barn", "farm.jpg": 1}))
    sidecars = sidecars_of(tmp_path)
    for _ in range(1200):
        folder /= "a"
        sidecars = FolderSidecars(folder, {"farm.jpg": (1, 1)}, sidecars)
    assert texts(sidecars, "farm.jpg") == ["A red barn"]
    assert sidecars.problems() == []


def test_a_folder_tells_of_its_own_bad_files_only(folder: Path) -> None:
    (folder / "captions.json").write_text("{broken")
    below = FolderSidecars(folder / "a", {"farm.jpg": (1, 1)}, above := sidecars_of(folder))
    assert texts(below, "farm.jpg") == []
    assert below.problems() == []
    assert len(above.problems()) == 1


def test_a_file_over_the_limit_is_a_problem_and_is_not_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sidecars_module, "MAX_SIDECAR_BYTES", 2**20)
    (folder / "farm.txt").write_bytes(b"x" * (2**20 + 1))
    sidecars = sidecars_of(folder)
    assert texts(sidecars, "farm.jpg") == []
    (problem,) = sidecars.problems()
    assert "larger than 1 MB" in problem.message


def test_a_file_that_went_away_is_a_problem(folder: Path) -> None:
    (folder / "farm.txt").write_text("A red barn")
    sidecars = sidecars_of(folder)
    (folder / "farm.txt").unlink()
    assert texts(sidecars, "farm.jpg") == []
    assert len(sidecars.problems()) == 1


def test_a_long_text_is_cut(folder: Path) -> None:
    (folder / "farm.txt").write_text("word " * 100_000)
    (text,) = texts(sidecars_of(folder), "farm.jpg")
    assert len(text) <= 10_000


def test_the_same_words_from_two_files_are_said_once(folder: Path) -> None:
    (folder / "farm.txt").write_text("A red barn\n")
    (folder / "captions.csv").write_text("file,caption\nfarm.jpg,A red barn\n")
    assert texts(sidecars_of(folder), "farm.jpg") == ["A red barn"]


def test_a_readme_speaks_of_nothing(folder: Path) -> None:
    (folder / "readme.txt").write_text("About this folder")
    sidecars = sidecars_of(folder)
    assert texts(sidecars, "farm.jpg") == []
    assert sidecars.stamp_for("farm.jpg") == ""


def test_lists_are_parsed_once_for_the_whole_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "captions.csv").write_text("file,caption\nfarm.jpg,A\nother.jpg,B\n")
    sidecars = sidecars_of(folder)
    reads: list[Path] = []
    read = FolderSidecars._read

    def counted_read(self: FolderSidecars, path: Path) -> bytes:
        reads.append(path)
        return read(self, path)

    monkeypatch.setattr(FolderSidecars, "_read", counted_read)
    assert [texts(sidecars, name) for name in ("farm.jpg", "other.jpg")] == [["A"], ["B"]]
    assert len(reads) == 1


def test_lists_beside_a_folder_of_pictures_speak_about_it(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.jpg", "b.jpg"):
        (images / name).write_bytes(b"-")
    (tmp_path / "captions.json").write_text('{"a.jpg": "bare name"}')
    (tmp_path / "captions.csv").write_text("file,caption\nimages/b.jpg,with folder\n")
    below = sidecars_of(images, above=sidecars_of(tmp_path))
    assert texts(below, "a.jpg") == ["bare name"]
    assert texts(below, "b.jpg") == ["with folder"]
    assert below.stamp_for("a.jpg") != sidecars_of(images).stamp_for("a.jpg")


def test_media_that_comes_beside_a_list_changes_what_it_says_about_folders_below(
    tmp_path: Path,
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"-")
    (tmp_path / "captions.json").write_text('{"a.jpg": "bare name"}')
    before = sidecars_of(images, above=sidecars_of(tmp_path))
    assert texts(before, "a.jpg") == ["bare name"]
    (tmp_path / "other.jpg").write_bytes(b"-")
    after = sidecars_of(images, above=sidecars_of(tmp_path))
    assert texts(after, "a.jpg") == []
    assert after.stamp_for("a.jpg") != before.stamp_for("a.jpg")


def test_a_bare_name_in_a_list_means_the_media_beside_it_first(folder: Path) -> None:
    below = folder / "2019"
    below.mkdir()
    (below / "farm.jpg").write_bytes(b"-")
    (folder / "captions.csv").write_text("file,caption\nfarm.jpg,The upper one\n")
    above = sidecars_of(folder)
    assert texts(above, "farm.jpg") == ["The upper one"]
    assert texts(sidecars_of(below, above), "farm.jpg") == []


# ---- what single formats read


def read(folder: Path, name: str, content: str | bytes, about: str = "farm.jpg") -> list[Signal]:
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    sidecars = sidecars_of(folder)
    signals = sidecars.signals_for(about)
    assert sidecars.problems() == []
    return signals


def words(signals: list[Signal]) -> list[str]:
    assert {signal.source for signal in signals} <= {"annotation"}
    return [signal.text for signal in signals]


def test_json_fields_become_annotations(folder: Path) -> None:
    record = {
        "title": "Summer",
        "captions": ["A red barn", "A barn in a field"],
        "Description": "Our farm",
        "keywords": ["barn", "field"],
        "tags": "red; green",
        "people": [{"name": "Anna"}, {"name": "Ben"}],
        "rating": 5,
    }
    assert words(read(folder, "farm.json", json.dumps(record))) == [
        "Summer",
        "A red barn",
        "A barn in a field",
        "Our farm",
        "barn, field",
        "red, green",
        "People: Anna, Ben",
    ]


@pytest.mark.parametrize(
    ("media", "sidecar"),
    [
        ("PXL_1.jpg", "PXL_1.jpg.json"),
        ("PXL_1.jpg", "PXL_1.jpg.supplemental-metadata.json"),
        ("PXL_1.jpg", "PXL_1.jpg.supplemental-meta.json"),
        ("PXL_1.jpg", "PXL_1.jpg.s.json"),
        ("PXL_1(2).jpg", "PXL_1.jpg(2).json"),
        ("PXL_1(2).jpg", "PXL_1.jpg.supplemental-metadata(2).json"),
        ("a" * 50 + ".jpg", "a" * 46 + ".json"),
        ("a" * 44 + ".jpg", "a" * 44 + ".j.json"),
        ("film.mp4", "film.info.json"),
    ],
)
def test_names_of_google_takeout_and_yt_dlp_are_understood(
    tmp_path: Path, media: str, sidecar: str
) -> None:
    for name in (media, "another.jpg", "b" * 50 + ".jpg"):
        (tmp_path / name).write_bytes(b"-")
    content = json.dumps({"title": media, "description": "Eiffel tower"})
    said = read(tmp_path, sidecar, content, about=media)
    assert [signal.text for signal in said if signal.source == "annotation"] == ["Eiffel tower"]
    assert sidecars_of(tmp_path).signals_for("another.jpg") == []


def test_every_takeout_sidecar_finds_its_media_and_none_a_wrong_one(shared_data: Path) -> None:
    for album in sorted(shared_data.glob("tricky/takeout/*/Google Photos/*")):
        sidecars = sidecars_of(album)
        media = [path.name for path in album.iterdir() if path.suffix in (".jpg", ".mp4")]
        for name in media:
            assert [n for n, _ in sidecars._own[name]] == [
                path.name for path in sorted(album.iterdir()) if path.name.startswith(f"{name}.")
            ]
            assert not any(kind_of(text) for text in texts(sidecars, name))  # a name is no title
        assert sidecars.problems() == []


@pytest.mark.parametrize(
    "content",
    [
        {"farm.jpg": "A red barn"},
        {"farm.jpg": ["A red barn"]},
        {"farm.jpg": {"caption": "A red barn"}},
        {"./farm.jpg": "A red barn"},
        {"FARM": "A red barn"},
        [{"file": "farm.jpg", "caption": "A red barn"}],
        [{"file_name": "farm.jpg", "captions": ["A red barn"]}],
        [{"image": "farm.jpg", "text": "A red barn"}],
        {"data": [{"fileName": "farm.jpg", "title": "A red barn"}]},
        {"images": [{"filename": "farm.jpg", "sentences": [{"raw": "A red barn"}]}]},
        {
            "images": [{"id": 7, "file_name": "farm.jpg"}],
            "annotations": [{"image_id": 7, "caption": "A red barn"}],
        },
    ],
)
def test_the_shapes_of_captions_json(folder: Path, content: object) -> None:
    assert words(read(folder, "captions.json", json.dumps(content))) == ["A red barn"]
    assert texts(sidecars_of(folder), "other.jpg") == []


@pytest.mark.parametrize(
    "content",
    [
        "file,caption\nfarm.jpg,A red barn\n",
        "\ufeffFile Name;Caption\r\nfarm.jpg;A red barn\r\n",
        "image\ttitle\nfarm.jpg\tA red barn",
        'id,file_name,text\n1,farm.jpg,"A red barn"\n2\n',
        "SourceFile,Description,Rating\n./farm.jpg,A red barn,5\n",
        "file,keywords\nfarm.jpg,A red barn\n",
        "file,caption\nfarm.jpg,A red barn\n".encode("utf-16"),
        "file,caption,place\nfarm.jpg,A red barn,Café\n".encode("cp1252"),
    ],
)
def test_the_shapes_of_tables(folder: Path, content: str | bytes) -> None:
    assert words(read(folder, "captions.csv", content)) == ["A red barn"]


def test_a_table_about_something_else_is_left_alone(folder: Path) -> None:
    assert read(folder, "album.csv", "imgName\nfarm.jpg\n") == []
    assert read(folder, "budget.csv", "a,b\n1,2\n") == []


def test_a_captions_table_without_its_columns_is_a_problem(folder: Path) -> None:
    (folder / "captions.csv").write_text("farm.jpg,A red barn\n")
    sidecars = sidecars_of(folder)
    assert texts(sidecars, "farm.jpg") == []
    (problem,) = sidecars.problems()
    assert "names no column of files" in problem.message


def test_a_broken_json_line_takes_no_other_with_it(folder: Path) -> None:
    lines = [
        '{"file_name": "farm.jpg", "text": "A"}',
        "{",
        '{"file_name": "other.jpg", "text": "B"}',
    ]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    sidecars = sidecars_of(folder)
    assert [texts(sidecars, name) for name in ("farm.jpg", "other.jpg")] == [["A"], ["B"]]
    (problem,) = sidecars.problems()
    assert "line 2 " in problem.message


def test_subtitles_speak_of_films_and_say_when(folder: Path) -> None:
    content = "WEBVTT\n\n00:01.000 --> 00:02.500\nHello"
    (folder / "farm.pt-BR.vtt").write_text(content)
    sidecars = sidecars_of(folder)
    assert sidecars.signals_for("farm.mp4") == [Signal("subtitle", "Hello", 1.0, 2.5)]
    assert sidecars.signals_for("farm.jpg") == []


def test_real_caption_files_are_read_whole(shared_data: Path) -> None:
    for name, count in (("flickr8k_dev", 5), ("personal210", 1), ("coco_train", 5)):
        root = shared_data / name
        below = sidecars_of(root / "images", above=sidecars_of(root))
        media = [path.name for path in (root / "images").iterdir()]
        assert all(len(below.signals_for(media_name)) >= count - 1 for media_name in media)
        assert below.problems() == []
