"""What is written into a file beside its pixels has nothing looked at anew; other pixels do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import PIL.Image
import pytest

from made_films import BLUE, RED, write_film
from media_made import end_owners, milvus_rows, opened, picture, picture_with_text
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.filters import Filters
from mmrag_plugin.indexing import Indexer
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Moment
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.upkeep import verify

RATING = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/></rdf:RDF></x:xmpmeta>'
)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = (tmp_path / "photos").resolve()
    folder.mkdir()
    return folder


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was looked at: ``embed`` for each picture, ``ocr`` for each that was read."""
    done: list[str] = []
    for owner, name, what in (
        (Palette, "embed_pictures", "embed"),
        (RapidOcrReader, "read", "ocr"),
    ):
        original = getattr(owner, name)

        def asked(self, given, *, original=original, what=what):  # type: ignore[no-untyped-def]
            done.extend([what] * (len(given) if what == "embed" else 1))
            return original(self, given)

        monkeypatch.setattr(owner, name, asked)
    return done


def rate(path: Path, xmp: bytes = RATING) -> None:
    """Write a rating into a JPEG as photo programs do: its compressed pixels stay as they are."""
    content = path.read_bytes()
    body = b"http://ns.adobe.com/xap/1.0/\0" + xmp
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    path.write_bytes(content[:2] + segment + content[2:])


def entitle(path: Path, title: str) -> None:
    """Write a title into a film without touching what it shows."""
    part = path.with_name("part.mp4")
    with av.open(str(path)) as source, av.open(str(part), "w") as target:
        target.metadata["title"] = title
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)
    part.replace(path)


def words_of(library: MediaLibrary, path: Path) -> str:
    row = library.find(str(path))
    assert row is not None
    return library.words_of(Moment(row.media_id, row.kind))


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


def set_aside(library: MediaLibrary) -> list[str]:
    return [found.media_id for found in library.ledger.set_aside()]


def test_a_rating_written_into_a_photo_embeds_and_reads_nothing_again(
    home: Path, photos: Path, seen: list[str]
) -> None:
    text = picture_with_text(photos / "gate.png", "GATE B42")
    path = photos / "gate.jpg"
    PIL.Image.open(text).convert("RGB").save(path, quality=95)
    text.unlink()
    with opened(home, ocr="auto") as library:
        library.index([photos])
        assert sorted(seen) == ["embed", "ocr"]
        assert "B42" in words_of(library, path)
        row = library.find(str(path))
        rows = milvus_rows(library)
        seen.clear()
        rate(path)
        report = library.index([])
        assert seen == []
        assert (report.updated, report.stages["embed"].done, report.stages["ocr"].done) == (1, 0, 0)
        assert "B42" in words_of(library, path), "what was read in it holds"
        assert "5 stars" in words_of(library, path)
        assert [hit.path for hit in library.search("B42 stars", limit=1).hits] == [str(path)]
        assert library.find(str(path)) == row
        assert milvus_rows(library)["visual"] == rows["visual"]
        assert set_aside(library) == []
        assert_agrees(library)
        library.index([])
        assert seen == []


def test_a_date_that_is_written_into_a_photo_reaches_its_vectors(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = picture(photos / "a.jpg", "red")
    with opened(home) as library:
        library.index([photos])
        seen.clear()
        rate(path, RATING.replace(b'xmp:Rating="5"', b'xmp:CreateDate="2019-07-06T05:04:03"'))
        library.index([])
        assert seen == []
        where = Filters(since="2019", until="2019").resolve(library.ledger)
        assert len(list(library.stores()["visual"].row_ids(where))) == 1
        assert_agrees(library)


def test_a_title_written_into_a_film_embeds_nothing_again(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = write_film(photos / "film.mp4", [RED] * 5 + [BLUE] * 5, gop=5)
    with opened(home) as library:
        library.index([photos])
        assert seen == ["embed"] * 2
        seen.clear()
        entitle(path, "The harbour at dawn")
        assert library.index([]).updated == 1
        assert seen == []
        assert "harbour" in words_of(library, path)
        assert_agrees(library)


def test_a_turn_written_into_a_photo_is_a_new_look_at_it(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = picture(photos / "a.jpg", "red", number=5)
    with opened(home) as library:
        library.index([photos])
        before = library.stores()["visual"]
        seen.clear()
        with PIL.Image.open(path) as image:
            exif = PIL.Image.Exif()
            exif[0x0112] = 6
            image.save(path, quality="keep", exif=exif)
        library.index([])
        assert seen == ["embed"]
        assert len(list(before.row_ids())) == 1
        assert set_aside(library) == []
        assert_agrees(library)


def test_text_of_an_edited_picture_is_gone_and_does_not_come_back_with_a_rating(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = photos / "gate.jpg"
    text = PIL.Image.open(picture_with_text(photos / "gate.png", "GATE B42")).convert("RGB")
    (photos / "gate.png").unlink()
    text.save(path, quality=95)
    with opened(home, ocr="auto") as library:
        library.index([photos])
        assert "B42" in words_of(library, path)
        picture(path, "green")
        library.index([])
        assert "B42" not in words_of(library, path)
        seen.clear()
        rate(path)
        library.index([])
        assert seen == []
        assert "B42" not in words_of(library, path)
        assert_agrees(library)


def test_a_run_that_ends_after_the_scan_forgets_nothing_of_what_was_seen(
    home: Path, photos: Path, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rated = picture(photos / "a.jpg", "red", number=1)
    edited = picture(photos / "b.jpg", "blue", number=2)
    back = picture(photos / "c.jpg", "yellow", number=3)
    original = back.read_bytes()
    with opened(home) as library:
        library.index([photos])
        seen.clear()

        class BrokenOffError(Exception):
            pass

        def end(_: Indexer) -> None:
            raise BrokenOffError

        for change in (rate, lambda path: rate(path, b"again")):
            change(rated)
            change(edited)
            picture(back, "green", number=4)
            change(back)
            with monkeypatch.context() as patch:
                patch.setattr(Indexer, "_read", end)
                with pytest.raises(BrokenOffError):
                    library.index([])
        picture(edited, "white", number=9)
        back.write_bytes(original)
        library.index([])
        assert seen == ["embed"], "only what shows something else"
        assert set_aside(library) == []
        assert_agrees(library)


def test_a_picture_that_breaks_and_is_rated_later_is_looked_at_anew(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = picture(photos / "a.jpg", "red")
    original = path.read_bytes()
    with opened(home) as library:
        library.index([photos])
        path.write_text("no picture")
        assert len(library.index([]).failed) == 1
        assert set_aside(library) == []
        assert milvus_rows(library)["visual"] == {}
        seen.clear()
        path.write_bytes(original)
        rate(path)
        assert library.index([]).failed == []
        assert seen == ["embed"]
        assert_agrees(library)


def test_a_rated_photo_whose_rows_were_lost_is_embedded_again(
    home: Path, photos: Path, seen: list[str]
) -> None:
    path = picture(photos / "a.jpg", "red")
    with opened(home) as library:
        library.index([photos])
        store = library.stores()["visual"]
        store.delete_media([row.media_id for row in library.ledger.media_rows().values()])
        store.flush()
        seen.clear()
        rate(path)
        library.index([])
        assert seen == ["embed"]
        assert_agrees(library)
