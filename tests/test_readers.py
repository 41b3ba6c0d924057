"""What the readers say about files, and that their documents work in stock LlamaIndex."""

from __future__ import annotations

import asyncio
import io
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import av
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from llama_index.core import SimpleDirectoryReader, StorageContext
from llama_index.core.embeddings import MockEmbedding, MultiModalEmbedding
from llama_index.core.indices.multi_modal import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.schema import ImageDocument, ImageNode
from llama_index.core.storage.docstore import SimpleDocumentStore
from llama_index.core.vector_stores import SimpleVectorStore
from PIL.ExifTags import IFD
from PIL.PngImagePlugin import PngInfo

from made_films import BLUE, GREEN, RED, write_film, write_sound
from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.errors import MediaError, UsageError
from mmrag_plugin.films import open_film
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.media import Signal
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.readers.base import MediaReader
from mmrag_plugin.readers.exif import annotation_signals, camera_name, is_junk
from mmrag_plugin.readers.film_facts import _cue_text
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader, frame_at

XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:dc="http://purl.org/dc/elements/1.1/">
 <rdf:Description rdf:about="" dc:title="A red barn"/></rdf:RDF></x:xmpmeta>"""


class MeanColour(MultiModalEmbedding):
    """Embeds a picture as its mean colour and a text as grey."""

    def _get_image_embedding(self, img_file_path: Any) -> list[float]:
        pixel = open_picture(img_file_path).resize((1, 1)).getpixel((0, 0))
        return [channel / 255 + 0.01 for channel in pixel]

    async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:
        return self._get_image_embedding(img_file_path)

    def _get_text_embedding(self, text: str) -> list[float]:
        return [1.0, 0.0, 0.0] if "red" in text else [0.5, 0.5, 0.5]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


def write_photo(path: Path, tags: dict[int, Any], details: dict[int, Any] | None = None) -> Path:
    exif = PIL.Image.Exif()
    exif.update(tags)
    exif.get_ifd(IFD.Exif).update(details or {})
    PIL.Image.new("RGB", (60, 40), "red").save(path, exif=exif)
    return path


def texts(signals: tuple[Signal, ...], source: str = "annotation") -> list[str]:
    return [signal.text for signal in signals if signal.source == source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two photos, one captioned, a HEIC, a film and a broken file."""
    folder = tmp_path / "album"
    folder.mkdir()
    write_photo(folder / "captioned.jpg", {0x010E: "A red square"})
    PIL.Image.new("RGB", (60, 40), "blue").save(folder / "plain.jpg")
    import pillow_heif

    pillow_heif.register_heif_opener()
    PIL.Image.new("RGB", (64, 64), "green").save(folder / "phone.heic")
    write_film(folder / "film.mp4", [RED] * 20 + [BLUE] * 20, gop=20, metadata={"title": "Two"})
    (folder / "broken.jpg").write_text("no picture")
    return folder


def read_folder(folder: Path) -> list[Any]:
    photos = PhotoReader()
    extractors = {".jpg": photos, ".heic": photos, ".mp4": VideoReader()}
    return SimpleDirectoryReader(folder, file_extractor=extractors).load_data()


# ---- photos


def test_a_camera_file_tells_date_place_and_camera(shared_data: Path) -> None:
    facts = PhotoReader().facts(shared_data / "tricky/exif/heic/IMG_5195.HEIC")
    assert facts.taken_at == "2021-04-11T15:47:53-05:00"
    assert facts.camera == "Apple iPhone 11 Pro Max"
    assert facts.latitude == pytest.approx(39.0513, abs=1e-4)
    assert facts.longitude == pytest.approx(-94.2888, abs=1e-4)
    assert (facts.width_px, facts.height_px) == (2566, 3313)
    assert facts.duration_s is None
    assert facts.signals == ()


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("albums_nature/tanners_ridge.jpg", ["Fall 2023 Week 3", "Tanners Ridge Overlook"]),
        ("metadata/tags/picasa.jpg", ["Frost, Yard"]),
        ("metadata/faces/portrait.jpg", ["Marie Curie, Pierre Curie"]),
        ("metadata/rating/mongolels.jpg", ["Mongol Els", "Mongolia"]),
        ("exif/jpg/tests/33-type_error.jpg", ["El cielo sobre Berlin (Heaven above Berlin)"]),
        ("exif/jpg/long_description.jpg", ["Operation Mountain Viper"]),
    ],
)
def test_what_people_wrote_into_a_photo_is_found(
    shared_data: Path, file: str, words: list[str]
) -> None:
    found = "\n".join(texts(PhotoReader().facts(shared_data / "tricky" / file).signals))
    for word in words:
        assert word in found


@pytest.mark.parametrize(
    "file", ["olympus-c960", "sony-cybershot", "sanyo-vpcg250", "sony-d700", "kodak-dc210"]
)
def test_what_cameras_write_is_no_annotation(shared_data: Path, file: str) -> None:
    facts = PhotoReader().facts(shared_data / f"tricky/exif/jpg/exif-org/{file}.jpg")
    assert facts.camera
    assert facts.taken_at
    assert facts.signals == ()


@pytest.mark.parametrize(
    "text",
    [
        "OLYMPUS DIGITAL CAMERA  ",
        "SONY DSC",
        "DCIM",
        "  ",
        "----",
        "\x00\x01\x02",
        "cof",
        "123",
        "Created with GIMP",
        "Edited in Adobe Photoshop Lightroom 6",
        "Made with Paint.NET",
    ],
)
def test_junk_is_known(text: str) -> None:
    assert is_junk(text)


@pytest.mark.parametrize(
    "text",
    [
        "Anna",
        "東京",
        "Digital camera fair in Rome",
        "Sony dscovery",
        "ёж",
        "Made by grandma",
        "Edited by Anna: the wedding in Porto",
        "Made in Italy",
    ],
)
def test_words_of_people_are_no_junk(text: str) -> None:
    assert not is_junk(text)


def test_a_date_takes_its_own_offset_and_the_shutter_comes_first(tmp_path: Path) -> None:
    details = {
        0x9003: "2020:06:01 10:20:30",
        0x9011: "+02:00",
        0x9004: "2021:01:01 00:00:00",
    }
    path = write_photo(tmp_path / "a.jpg", {0x0132: "2022:01:01 00:00:00"}, details)
    assert PhotoReader().facts(path).taken_at == "2020-06-01T10:20:30+02:00"
    path = write_photo(tmp_path / "b.jpg", {0x0132: "2022:01:01 00:00:00"}, {})
    assert PhotoReader().facts(path).taken_at == "2022-01-01T00:00:00"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"ASCII\x00\x00\x00At the lake", "At the lake"),
        (b"UNICODE\x00" + "Am Fluß".encode("utf-16-le"), "Am Fluß"),
        (b"UNICODE\x00" + "Am Fluß".encode("utf-16-be"), "Am Fluß"),
        (b"\x00" * 8 + "Café".encode(), "Café"),
    ],
)
def test_user_comments_of_every_charset_are_read(
    tmp_path: Path, value: bytes, expected: str
) -> None:
    path = write_photo(tmp_path / "a.jpg", {}, {0x9286: value})
    assert texts(PhotoReader().facts(path).signals) == [expected]


def test_windows_titles_and_utf_8_descriptions_are_read(tmp_path: Path) -> None:
    tags = {
        0x010E: "Größe".encode(),
        0x9C9B: "Titel\x00".encode("utf-16-le"),
        0x9C9E: "see;lake; See".encode("utf-16-le"),
    }
    assert texts(PhotoReader().facts(write_photo(tmp_path / "a.jpg", tags)).signals) == [
        "Titel",
        "Größe",
        "see, lake",
    ]


def test_terminal_escapes_do_not_come_along(tmp_path: Path) -> None:
    path = write_photo(tmp_path / "a.jpg", {0x010E: b"Lake\x1b[31m \x07Como"})
    assert texts(PhotoReader().facts(path).signals) == ["Lake [31m Como"]
    film = write_film(tmp_path / "a.mkv", [RED], metadata={"title": "Ski\x1b]0;week"})
    assert texts(VideoReader().facts(film).signals) == ["Ski ]0;week"]


def test_a_png_tells_its_description_wherever_it_stands(shared_data: Path, tmp_path: Path) -> None:
    info = PngInfo()
    info.add_itxt("Description", "Booking form")
    PIL.Image.new("RGB", (10, 10)).save(tmp_path / "a.png", pnginfo=info)
    assert texts(PhotoReader().facts(tmp_path / "a.png").signals) == ["Booking form"]
    turned = shared_data / "tricky/pillow/images/xmp_tags_orientation.png"
    assert PhotoReader().facts(turned).width_px == open_picture(turned).width


@pytest.mark.parametrize(
    ("make", "model", "expected"),
    [
        ("Canon", "Canon EOS 40D", "Canon EOS 40D"),
        ("NIKON CORPORATION", "NIKON D800", "NIKON D800"),
        ("EASTMAN KODAK COMPANY", "KODAK CX7530", "KODAK CX7530"),
        ("SONY", "DSLR-A550", "SONY DSLR-A550"),
        ("", "X100", "X100"),
        ("Apple", "", "Apple"),
        ("", "", ""),
    ],
)
def test_a_make_is_not_repeated(make: str, model: str, expected: str) -> None:
    assert camera_name(make, model) == expected


def test_size_is_upright_and_agrees_with_the_frame(shared_data: Path) -> None:
    reader = PhotoReader()
    checked = 0
    for path in sorted((shared_data / "tricky").rglob("*.*")):
        if path.suffix.lower() not in (".jpg", ".png", ".webp", ".avif", ".tif", ".mpo"):
            continue
        try:
            frames = list(reader.frames(path))
        except MediaError:
            continue
        facts = reader.facts(path)
        assert (facts.width_px, facts.height_px) == frames[0].picture.size, path
        checked += 1
    assert checked > 60


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_size_is_upright_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = write_photo(tmp_path / f"a{suffix}", {0x0112: 6})
    facts = PhotoReader().facts(path)
    assert (facts.width_px, facts.height_px) == (40, 60)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_facts_decode_no_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    PIL.Image.new("RGB", (300, 200), "red").save(path)
    decoded: list[object] = []
    monkeypatch.setattr(
        "PIL.ImageFile.ImageFile.load",
        lambda image: decoded.append(image),  # noqa: PLW0108 - a bound method would get no image
    )
    assert PhotoReader().facts(path).width_px == 300
    assert decoded == []  # a failing load would be taken for broken metadata


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def test_what_a_png_says_behind_its_pixels_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    PIL.Image.new("RGB", (60, 40), "red").save(path)
    exif = PIL.Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "Red wall"
    exif.get_ifd(IFD.Exif)[0x9003] = "2020:06:01 10:20:30"
    chunks = [
        (b"zTXt", b"Comment\x00\x00" + zlib.compress(b"By the door")),
        (b"iTXt", b"broken"),
        (b"iTXt", b"XML:com.adobe.xmp\x00\x00\x00\x00\x00" + XMP.encode()),
        (b"eXIf", exif.tobytes().removeprefix(b"Exif\x00\x00")),
        (b"tEXt", b"Description\x00A wall"),
    ]
    end = png_chunk(b"IEND", b"")
    behind = b"".join(png_chunk(kind, body) for kind, body in chunks)
    path.write_bytes(path.read_bytes().removesuffix(end) + behind + end)
    facts = PhotoReader().facts(path)
    assert (facts.width_px, facts.height_px) == (40, 60) == open_picture(path).size
    assert facts.taken_at == "2020-06-01T10:20:30"
    assert texts(facts.signals) == ["A red barn", "Red wall", "A wall", "By the door"]


def test_a_frame_is_decoded_small_when_that_is_enough(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (1600, 1200), "red").save(tmp_path / "a.jpg")
    frame = next(PhotoReader().frames(tmp_path / "a.jpg", at_least_px=300))
    assert frame.picture.size == (400, 300)
    assert frame.time_s is None


@given(st.binary(min_size=1, max_size=300))
def test_any_exif_bytes_leave_the_picture_readable(exif: bytes) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), "red").save(buffer, "JPEG", exif=b"Exif\x00\x00" + exif)
    from mmrag_plugin.pictures import identified_picture
    from mmrag_plugin.readers.exif import picture_facts

    with identified_picture(buffer) as image:
        facts = picture_facts(image)
    assert facts.width_px == facts.height_px == 8
    assert open_picture(buffer).size == (8, 8)


def test_every_exif_sample_is_read(shared_data: Path) -> None:
    for path in (shared_data / "tricky/exif").rglob("*.*"):
        assert PhotoReader().facts(path).width_px > 0


# ---- films


def test_a_film_tells_its_length_size_and_subtitles(shared_data: Path) -> None:
    facts = VideoReader().facts(shared_data / "video/torchcodec_nasa_13013.mp4")
    assert (facts.width_px, facts.height_px) == (480, 270)
    assert facts.duration_s == pytest.approx(13.056)
    cues = [signal for signal in facts.signals if signal.source == "subtitle"]
    assert len(cues) == 4  # two identical streams
    assert cues[1].text == "space telescope in one of the largest cleanrooms in the world"
    assert (cues[1].start_s, cues[1].end_s) == (4.26, 8.35)


@pytest.mark.parametrize(("turn", "size"), [(0, (568, 320)), (90, (320, 568)), (270, (320, 568))])
def test_a_turned_film_has_its_upright_size(
    shared_data: Path, turn: int, size: tuple[int, int]
) -> None:
    facts = VideoReader().facts(shared_data / f"video/decord_video_{turn}.mov")
    assert (facts.width_px, facts.height_px) == size


def test_tags_of_a_film_are_read(tmp_path: Path) -> None:
    tags = {
        "title": "Ski week",
        "comment": "Lisa falls",
        "creation_time": "2015-02-03T10:00:00Z",
        "keywords": "snow;Alps",
    }
    facts = VideoReader().facts(write_film(tmp_path / "a.mkv", [RED] * 5, metadata=tags))
    assert texts(facts.signals) == ["Ski week", "Lisa falls", "snow, Alps"]
    assert facts.taken_at == "2015-02-03T10:00:00+00:00"


def test_a_phone_film_tells_its_place(shared_data: Path) -> None:
    path = next((shared_data / "tricky/takeout").rglob("*.LS.mp4"))
    facts = VideoReader().facts(path)
    assert (facts.latitude, facts.longitude) == (48.8125, 2.4862)
    assert facts.taken_at == "2023-10-06T06:39:09+00:00"


def test_a_corrupt_film_gives_what_can_be_read(shared_data: Path) -> None:
    path = shared_data / "video/decord_corrupted.mp4"
    assert VideoReader().facts(path).duration_s == 5
    assert len(list(VideoReader().frames(path))) >= 1


def test_a_film_whose_only_key_frame_is_damaged_is_read(tmp_path: Path) -> None:
    path = write_film(tmp_path / "a.mp4", [RED] * 20)
    with av.open(str(path)) as container:
        key_frame = bytes(next(container.demux(video=0)))
    content = path.read_bytes()
    for damaged_at in (len(key_frame) // 2, len(key_frame) - 1):
        damaged = bytearray(content)
        damaged[content.index(key_frame) + damaged_at] ^= 0xFF
        path.write_bytes(damaged)
        assert VideoReader().facts(path).width_px == 64
        assert list(VideoReader().frames(path))


def test_a_film_of_two_recordings_whose_clock_starts_anew_is_read_to_its_end(
    tmp_path: Path,
) -> None:
    parts = [
        write_film(tmp_path / f"{name}.ts", [colour] * count, codec="libx264", gop=20)
        for name, colour, count in (("a", RED, 60), ("b", BLUE, 40))
    ]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with open_film(path) as film:
        times_s = [time_s for time_s, _ in film.frames()]
    assert len(times_s) == 100
    assert times_s == pytest.approx([number / 10 for number in range(100)], abs=0.01)
    frames = list(VideoReader().frames(path))
    assert [frame.time_s for frame in frames] == pytest.approx([0, 2, 4, 6, 8], abs=0.01)
    assert frames[-1].end_s == pytest.approx(9.95, abs=0.06)
    for time_s, channel in [(1, 0), (5.9, 0), (6.1, 2), (8, 2), (9.5, 2)]:
        pixel = frame_at(path, time_s).getpixel((50, 40))
        assert max(range(3), key=pixel.__getitem__) == channel, time_s


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r"{\i1}Tom{\i0}\N<b>Jerry</b> <3", "Tom Jerry <3"),
        ("<" * 300_000, "<" * 10_000),
        ("{" * 300_000, "{" * 10_000),
        ("word " * 100_000, ("word " * 2_000).strip()),
    ],
)
def test_embedded_cues_lose_their_styling_and_have_bounds(written: str, read: str) -> None:
    class Cue:
        dialogue = written.encode()

    class Packet:
        def decode(self) -> list[Cue]:
            return [Cue()]

    started = time.perf_counter()
    assert _cue_text(Packet()) == read
    assert time.perf_counter() - started < 1


def test_the_frame_at_a_time_is_the_one_on_the_screen(tmp_path: Path) -> None:
    for suffix, codec in [(".mp4", "mpeg4"), (".ts", "libx264")]:
        colours = [RED] * 20 + [GREEN] * 20 + [BLUE] * 20
        path = write_film(tmp_path / f"a{suffix}", colours, codec=codec, gop=25)
        for time_s, channel in [
            (-1, 0),
            (0, 0),
            (1.95, 0),
            (2.0, 1),
            (3.99, 1),
            (4.05, 2),
            (99, 2),
        ]:
            pixel = frame_at(path, time_s).getpixel((50, 40))
            assert max(range(3), key=pixel.__getitem__) == channel, (suffix, time_s)
    with pytest.raises(UsageError):
        frame_at(path, float("nan"))


def test_the_frame_at_a_keyframes_time_is_the_keyframe(shared_data: Path) -> None:
    path = shared_data / "video/decord_flipping_a_pancake.mkv"
    for frame in VideoReader().frames(path):
        again = frame_at(path, round(frame.time_s or 0, 3))
        assert again.tobytes() == frame.picture.tobytes()


# ---- both


@pytest.fixture(params=[PhotoReader, VideoReader], ids=["photo", "video"])
def reader(request: pytest.FixtureRequest) -> MediaReader:
    return request.param()


def test_what_is_no_media_ends_in_media_error(reader: MediaReader, tmp_path: Path) -> None:
    for suffix in (".jpg", ".mp4"):
        (tmp_path / f"empty{suffix}").touch()
        (tmp_path / f"text{suffix}").write_text("Dear diary")
    write_sound(tmp_path / "sound.mp4")
    for path in [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "none.jpg"]:
        for read in (reader.facts, lambda path: list(reader.frames(path)), reader.load_data):
            with pytest.raises(MediaError) as caught:
                read(path)
            assert caught.value.remedy


def test_stock_llamaindex_reads_a_folder_and_skips_what_is_broken(folder: Path) -> None:
    documents = read_folder(folder)
    assert [(doc.metadata["file_name"], doc.metadata.get("time_s")) for doc in documents] == [
        ("captioned.jpg", None),
        ("film.mp4", 0.0),
        ("film.mp4", 2.0),
        ("phone.heic", None),
        ("plain.jpg", None),
    ]
    assert all(type(document) is ImageDocument for document in documents)
    captioned, first, second, phone, plain = documents
    assert captioned.text == "A red square"
    assert captioned.image_path == str(folder / "captioned.jpg")
    assert plain.text == ""
    assert first.text == "Two"
    assert (second.metadata["time_s"], second.metadata["end_s"]) == (2.0, 4.0)
    for document in (first, second, phone):  # no file of their own, or one that few programs read
        assert PIL.Image.open(document.resolve_image()).format == "JPEG"
    assert {"file_path", "kind", "width_px", "height_px", "content_hash"} <= set(plain.metadata)


@pytest.mark.filterwarnings("ignore:.*SimpleMultiModalQueryEngine:DeprecationWarning")
def test_a_stock_multi_modal_index_finds_every_picture(folder: Path, tmp_path: Path) -> None:
    storage = StorageContext.from_defaults(
        vector_store=SimpleVectorStore(), image_store=SimpleVectorStore()
    )
    index = MultiModalVectorStoreIndex.from_documents(
        read_folder(folder),
        storage_context=storage,
        embed_model=MockEmbedding(3),
        image_embed_model=MeanColour(),
        transformations=[SentenceSplitter()],
    )
    hits = index.as_retriever(image_similarity_top_k=9).text_to_image_retrieve("red")
    assert len(hits) == 5
    assert all(isinstance(hit.node, ImageNode) for hit in hits)
    best = {(hit.node.metadata["file_name"], hit.node.metadata.get("time_s")) for hit in hits[:2]}
    assert best == {("captioned.jpg", None), ("film.mp4", 0.0)}
    captioned = next(hit.node for hit in hits if hit.node.metadata["file_name"] == "captioned.jpg")
    assert isinstance(captioned, ImageNode)
    assert captioned.text == "A red square"
    assert open_picture(captioned.resolve_image()).size == (60, 40)  # type: ignore[arg-type]
    index.storage_context.persist(tmp_path / "kept")


def test_upserts_notice_a_changed_photo_and_only_that(folder: Path) -> None:
    pipeline = IngestionPipeline(
        transformations=[SentenceSplitter(), MockEmbedding(3)],
        docstore=SimpleDocumentStore(),
        vector_store=SimpleVectorStore(),
    )
    assert len(pipeline.run(documents=read_folder(folder))) == 5
    assert pipeline.run(documents=read_folder(folder)) == []
    PIL.Image.new("RGB", (60, 40), "yellow").save(folder / "plain.jpg")
    changed = pipeline.run(documents=read_folder(folder))
    assert [node.metadata["file_name"] for node in changed] == ["plain.jpg"]


def test_the_ingestion_cache_tells_pictures_without_text_apart(folder: Path) -> None:
    pipeline = IngestionPipeline(transformations=[SentenceSplitter()])
    names = []
    for document in read_folder(folder):
        (node,) = pipeline.run(documents=[document])
        names.append((node.metadata["file_name"], node.metadata.get("time_s")))
    assert len(set(names)) == 5


def test_extra_info_is_laid_over_the_metadata(folder: Path) -> None:
    (document,) = PhotoReader().load_data(folder / "plain.jpg", extra_info={"owner": "Anna"})
    assert document.metadata["owner"] == "Anna"
    assert document.metadata["kind"] == "image"


def test_files_of_another_file_system_are_read(folder: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("captioned.jpg", "film.mp4"):
        memory.pipe(f"/album/{name}", (folder / name).read_bytes())
    (photo,) = PhotoReader().load_data("/album/captioned.jpg", fs=memory)
    assert photo.metadata["file_path"] == "/album/captioned.jpg"
    assert photo.text == "A red square"
    assert PIL.Image.open(photo.resolve_image()).size == (60, 40)
    assert len(VideoReader().load_data("/album/film.mp4", fs=memory)) == 2


async def test_async_reading_leaves_the_event_loop_free(folder: Path) -> None:
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            longest_s = max(longest_s, time.perf_counter() - before)

    class SlowReader(PhotoReader):
        def facts(self, path: Path) -> Any:
            time.sleep(0.5)
            return super().facts(path)

    watcher = asyncio.create_task(watch())
    for read in (SlowReader().aload_data, SlowReader().alazy_load_data):
        assert len(list(await read(folder / "plain.jpg"))) == 1
    watcher.cancel()
    assert longest_s < 0.4


def test_another_selector_gives_other_keyframes(folder: Path) -> None:
    reader = VideoReader(UniformSelector(every_s=1))
    assert [round(frame.time_s or 0, 1) for frame in reader.frames(folder / "film.mp4")] == [
        0,
        1,
        2,
        3,
    ]


def test_a_content_hash_follows_the_bytes(tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"a")
    assert len(content_hash_of(small)) == 40
    with large.open("wb") as file:
        file.truncate(65 * 2**20)
    before = content_hash_of(large)
    with large.open("ab") as file:
        file.write(b"more")
    assert content_hash_of(large) != before


def test_annotations_are_not_repeated() -> None:
    signals = annotation_signals(["Lake", "lake", "Como"], ["x", "X", "-", "y"])
    assert texts(signals) == ["Lake", "Como", "x, y"]
