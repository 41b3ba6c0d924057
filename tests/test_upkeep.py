"""Looking after a library: forget, relocate, back up, verify and repair."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.schema import ImageNode

from made_films import BLUE, RED, write_film
from media_made import describe, end_owner, milvus_rows, opened, picture
from mmrag_plugin.errors import LibraryBusy, MilvusUnavailable, NotFound, StorageError, UsageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Moment
from mmrag_plugin.metadata import row_metadata
from mmrag_plugin.milvus_owner import connect
from mmrag_plugin.milvus_store import MediaVectorStore
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.upkeep import backup, forget, relocate, repair, status, verify


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "photos"
    picture(folder / "Lisbon" / "red.png", "red")
    picture(folder / "Lisbon" / "blue.png", "blue")
    picture(folder / "Porto" / "green.png", "green")
    describe(folder / "Porto" / "green.png", "a meadow")
    write_film(folder / "film.mp4", [RED] * 5 + [BLUE] * 5, gop=5)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for directory in (tmp_path / "home").iterdir():
        end_owner(directory, wait=False)


@pytest.fixture
def library(home: Path, photos: Path) -> Iterator[MediaLibrary]:
    with opened(home) as found:
        found.index([photos])
        yield found


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on no reader may be asked for anything."""

    def poison(*_: Any, **__: Any) -> Any:
        raise AssertionError("a file was read")

    for reader in (PhotoReader, VideoReader):
        for method in ("facts", "frames"):
            monkeypatch.setattr(reader, method, poison)


def names(library: MediaLibrary) -> set[str]:
    return {Path(row.path).name for row in library.ledger.media_rows().values()}


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


# ---- forget ----------------------------------------------------------------------------------


def test_a_folder_is_forgotten_with_its_rows_and_its_files_stay(
    library: MediaLibrary, photos: Path
) -> None:
    assert forget(library, photos / "Lisbon") == 2
    assert names(library) == {"green.png", "film.mp4"}
    assert len(milvus_rows(library)["visual"]) == 3
    assert_agrees(library)
    assert (photos / "Lisbon" / "red.png").is_file()
    assert library.search("Lisbon", channels=["bm25"]).hits == []


def test_a_whole_root_is_forgotten_for_good(library: MediaLibrary, photos: Path) -> None:
    assert forget(library, photos) == 4
    assert library.ledger.roots() == []
    assert milvus_rows(library) == {"visual": {}, "words": {}}
    with pytest.raises(UsageError, match="no folder"):
        library.index([])


def test_what_was_forgotten_inside_a_folder_stays_out_until_it_is_named(
    library: MediaLibrary, photos: Path
) -> None:
    forget(library, photos / "Lisbon")
    forget(library, photos / "film.mp4")
    assert status(library)["left_out"] == [str(photos / "Lisbon"), str(photos / "film.mp4")]
    assert library.index([]).warnings == []
    report = library.index([photos])
    assert names(library) == {"green.png"}
    assert [warning.split(" stays out")[0] for warning in report.warnings] == [
        str(photos / "Lisbon"),
        str(photos / "film.mp4"),
    ]
    with pytest.raises(UsageError, match="taken out") as caught:
        library.index([photos / "Lisbon" / "red.png"])
    assert caught.value.remedy.endswith(f"mmrag index {photos / 'Lisbon'}")
    assert library.index([photos / "Lisbon"]).added == 2
    assert library.index([]).unchanged == 3
    new = photos.rename(photos.parent / "elsewhere")
    relocate(library, str(photos), new)
    assert library.index([]).added == 0
    assert status(library)["left_out"] == [str(new / "film.mp4")]
    assert forget(library, new.parent) == 3
    assert (library.ledger.roots(), library.ledger.left_out()) == ([], [])


def test_a_place_that_holds_nothing_when_it_is_forgotten_may_be_used_again(
    library: MediaLibrary, photos: Path
) -> None:
    path = photos / "Porto" / "green.png"
    path.unlink()
    forget(library, path)
    (photos / "Porto" / "green.txt").unlink()
    picture(path, "yellow")
    assert library.index([]).added == 1


def test_a_root_without_media_can_be_forgotten(library: MediaLibrary, tmp_path: Path) -> None:
    empty = tmp_path.resolve() / "empty"
    empty.mkdir()
    library.index([empty])
    empty.rmdir()
    assert str(empty) in library.index([]).warnings[0]
    assert forget(library, empty) == 0
    assert library.index([]).warnings == []


def test_a_root_that_is_gone_can_be_forgotten(library: MediaLibrary, photos: Path) -> None:
    shutil.rmtree(photos)
    assert forget(library, photos) == 4


def test_forgetting_one_copy_keeps_the_media(library: MediaLibrary, photos: Path) -> None:
    copy = Path(shutil.copy(photos / "Lisbon" / "red.png", photos / "Porto" / "copy.png"))
    library.index([])
    assert forget(library, copy) == 0
    assert "red.png" in names(library)
    found = library.find(str(photos / "Lisbon" / "red.png"))
    assert found is not None
    library.finish()
    assert "Porto" not in library.words_of(Moment(found.media_id, found.kind))
    assert_agrees(library)


def test_with_a_folder_goes_what_was_wrong_beside_its_media(
    library: MediaLibrary, photos: Path
) -> None:
    (photos / "Porto" / "green.json").write_text("{broken")
    assert len(library.index([]).failed) == 1
    forget(library, photos / "Porto")
    assert library.ledger.bad_sidecars() == []


def test_a_forgetting_that_broke_off_is_ended_by_the_next(
    library: MediaLibrary, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise MilvusUnavailable("Milvus is away.")

    with monkeypatch.context() as broken:
        broken.setattr(MediaVectorStore, "delete_media", away)
        with pytest.raises(MilvusUnavailable):
            forget(library, photos)
    assert forget(library, photos) == 4
    assert library.ledger.media_rows() == {}
    assert_agrees(library)
    with pytest.raises(NotFound):
        forget(library, photos)


def test_forgetting_through_a_link_means_what_is_behind_it(
    library: MediaLibrary, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(photos)
    assert forget(library, tmp_path / "link" / "Porto") == 1


def test_what_does_not_belong_to_the_library_cannot_be_forgotten(library: MediaLibrary) -> None:
    for target in ("/nowhere", "~nobody-here", "a\0b", "\udce9"):
        with pytest.raises((NotFound, UsageError)) as caught:
            forget(library, Path(target))
        assert caught.value.remedy
    assert len(names(library)) == 4


# ---- relocate --------------------------------------------------------------------------------


def test_after_relocating_nothing_is_read_again(
    library: MediaLibrary, photos: Path, request: pytest.FixtureRequest
) -> None:
    rows, ids = milvus_rows(library), set(library.ledger.media_rows())
    new = photos.rename(photos.parent / "elsewhere")
    request.getfixturevalue("unread")
    assert relocate(library, str(photos), new) == (4, 4)
    assert library.ledger.roots() == [str(new)]
    report = library.index([])
    assert (report.unchanged, report.added, report.moved, report.updated) == (4, 0, 0, 0)
    assert report.failed == report.warnings == []
    assert milvus_rows(library) == rows
    assert set(library.ledger.media_rows()) == ids
    assert library.search("meadow").hits[0].path == str(new / "Porto" / "green.png")


def test_a_part_of_a_root_can_be_relocated_and_is_looked_after_there(
    library: MediaLibrary, photos: Path, tmp_path: Path
) -> None:
    new = (photos / "Porto").rename(tmp_path.resolve() / "disk")
    assert relocate(library, str(photos / "Porto"), new) == (1, 1)
    report = library.index([])
    assert (report.unchanged, report.failed) == (4, [])
    picture(new / "more.png", "black")
    assert library.index([]).added == 1
    describe(new / "green.png", "a lawn")
    assert library.index([]).failed == []
    assert library.search("lawn").hits[0].path == str(new / "green.png")


def test_relocating_after_indexing_the_new_place_changes_nothing_more(
    library: MediaLibrary, photos: Path
) -> None:
    ids = set(library.ledger.media_rows())
    new = photos.rename(photos.parent / "elsewhere")
    library.index([new])
    with pytest.raises(NotFound):
        relocate(library, str(photos), new)
    assert library.index([new]).unchanged == 4
    assert set(library.ledger.media_rows()) == ids


def test_relocating_what_is_not_there_is_refused(library: MediaLibrary, photos: Path) -> None:
    with pytest.raises(NotFound, match="not a folder"):
        relocate(library, str(photos), photos / "nowhere")
    with pytest.raises(NotFound, match="xxx is not a folder"):
        relocate(library, str(photos), Path("x" * 300))
    with pytest.raises(NotFound, match="/never/known"):
        relocate(library, "/never/known", photos)
    with pytest.raises(UsageError, match="is where it was"):
        relocate(library, str(photos), photos)
    assert library.index([]).unchanged == 4


def test_relocating_to_a_folder_with_other_files_is_refused(
    library: MediaLibrary, photos: Path, tmp_path: Path
) -> None:
    other = tmp_path.resolve() / "other"
    picture(other / "stranger.png", "pink")
    with pytest.raises(UsageError, match="None of the 4 files"):
        relocate(library, str(photos), other)
    assert library.index([]).unchanged == 4
    some = photos.rename(photos.parent / "some")
    (some / "Porto" / "green.png").unlink()
    assert relocate(library, str(photos), some) == (4, 3)


# ---- backup ----------------------------------------------------------------------------------


def test_a_backup_is_a_library_that_answers_in_another_home(
    library: MediaLibrary, tmp_path: Path
) -> None:
    expected = [hit.as_dict() for hit in library.search("red meadow").hits]
    kept = ("conversations/holiday.json", "made/meadow.mp4", "made/.meadow.0.part.mp4")
    for name in kept:
        (library.directory / name).parent.mkdir(exist_ok=True)
        (library.directory / name).write_bytes(b"x" * 1_000_000)
    size_bytes = backup(library, tmp_path / "saved")
    assert 2_010_000 < size_bytes < 3_000_000
    assert [(tmp_path / "saved" / name).is_file() for name in kept] == [True, True, False]
    assert (tmp_path / "saved").stat().st_mode & 0o077 == 0, "for nobody else's eyes"
    other_home = tmp_path / "other home"
    shutil.copytree(tmp_path / "saved", other_home / "restored")
    with opened(other_home, "restored") as restored:
        assert [hit.as_dict() for hit in restored.search("red meadow").hits] == expected
        assert_agrees(restored)
        assert restored.index([]).unchanged == 4
    end_owner(other_home / "restored", wait=False)
    assert [hit.as_dict() for hit in library.search("red meadow").hits] == expected


def test_a_backup_is_not_written_over_anything(library: MediaLibrary, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match="exists already"):
        backup(library, tmp_path / "there")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file" / "saved", tmp_path / ("x" * 300)):
        with pytest.raises(StorageError, match="can't be written"):
            backup(library, place)


def test_a_backup_that_fails_leaves_nothing_and_can_be_made_again(
    library: MediaLibrary, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(StorageError, match="No space left"):
            backup(library, home / "saved")
    assert [path.name for path in home.iterdir()] == ["default"]
    backup(library, home / "saved")
    with opened(home, "saved") as saved:
        assert_agrees(saved)


def test_forgetting_in_a_backup_leaves_the_original_on_the_same_server_as_it_is(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    server = connect(tmp_path / "server")
    flags = {"milvus_uri": server.uri, "milvus_token": server.token}
    with opened(home, **flags) as library:
        library.index([photos])
        rows = milvus_rows(library)
        backup(library, home / "copy")
        with opened(home, "copy", **flags) as copy:
            assert copy.index([]).stages["embed"].done == 4
            assert milvus_rows(copy) == rows
            assert forget(copy, photos) == 4
        assert milvus_rows(library) == rows
        assert_agrees(library)
    end_owner(tmp_path / "server")


def test_an_empty_library_can_be_backed_up(home: Path, tmp_path: Path) -> None:
    with opened(home) as library:
        assert backup(library, tmp_path / "saved") > 0


# ---- verify and repair -----------------------------------------------------------------------


def stray(media_id: str, row_id: str, dim: int) -> ImageNode:
    metadata = row_metadata(
        media_id=media_id,
        kind="image",
        stage="embed",
        source="frame",
        start_s=None,
        end_s=None,
        taken_at=None,
        camera="",
    )
    return ImageNode(id_=row_id, metadata=metadata, embedding=[1.0] + [0.0] * (dim - 1))


def test_differences_from_either_side_are_found_and_mended(
    library: MediaLibrary, photos: Path
) -> None:
    assert_agrees(library)
    rows = milvus_rows(library)
    frames, words = library.stores()["visual"], library.stores()["words"]

    def id_of(name: str) -> str:
        found = library.find(str(photos / name))
        assert found is not None
        return found.media_id

    red, blue, green = (id_of(n) for n in ("Lisbon/red.png", "Lisbon/blue.png", "Porto/green.png"))
    frames.delete_media([red])  # lost in Milvus
    words.delete_media([green])
    assert frames.dim is not None
    nobodys, twice = stray("nobody", "nobody:0", frames.dim), stray(blue, "extra", frames.dim)
    frames.add([nobodys, twice])  # unknown to the ledger
    library.ledger.begin("embed", [id_of("film.mp4")])  # the ledger forgot that it was done

    visual, worded = verify(library)
    assert visual.missing == [red]
    assert set(visual.surplus) == {"nobody", blue, id_of("film.mp4")}
    assert (worded.missing, worded.surplus) == ([green], [])
    found = repair(library)
    assert found == [visual, worded], "it says what it mended"
    assert_agrees(library)
    assert milvus_rows(library) == rows
    assert library.search("meadow").hits[0].path.endswith("green.png")


def test_repair_mends_what_it_can_while_a_drive_is_missing(
    library: MediaLibrary, photos: Path
) -> None:
    rows = milvus_rows(library)
    for store in library.stores().values():
        store.delete_media(list(library.ledger.media_rows()))
    away = photos.rename(photos.parent / "unplugged")
    repair(library)
    found = milvus_rows(library)
    assert found["words"] == rows["words"], "words are in the ledger"
    assert found["visual"] == {}
    assert_agrees(library)
    away.rename(photos)
    library.index([])
    assert milvus_rows(library) == rows
    assert_agrees(library)


def test_a_library_whose_milvus_was_deleted_is_made_again(
    library: MediaLibrary, home: Path, photos: Path
) -> None:
    rows = milvus_rows(library)
    library.close()
    end_owner(home / "default")
    shutil.rmtree(home / "default" / "milvus")
    with opened(home) as again:
        assert all(difference.missing for difference in verify(again))
        repair(again)
        assert milvus_rows(again) == rows
        assert_agrees(again)


def test_only_one_process_mends_at_a_time(library: MediaLibrary, home: Path) -> None:
    with opened(home) as other, other.ledger.writer("indexing"):
        for action in (
            repair,
            lambda it: forget(it, Path("/x")),
            lambda it: backup(it, home / "b"),
        ):
            with pytest.raises(LibraryBusy, match=str(os.getpid())):
                action(library)


def test_milvus_and_ledger_are_not_compared_while_somebody_writes(
    library: MediaLibrary, home: Path
) -> None:
    with opened(home) as other, other.ledger.writer("indexing"):
        with pytest.raises(LibraryBusy, match="indexing") as caught:
            verify(library)
        assert caught.value.remedy
    assert_agrees(library)


def test_status_counts_what_is_there(library: MediaLibrary, photos: Path) -> None:
    (photos / "bad.jpg").write_text("no picture")
    library.index([])
    found = status(library)
    assert found["media"] == {"image": 4, "video": 1}
    assert found["roots"] == [str(photos)]
    assert found["rows"]["frames"] == len(milvus_rows(library)["visual"]) == 5
    assert found["rows"]["signals"] == len(milvus_rows(library)["words"])
    assert found["stages"]["read:failed"] == found["failed"] == 1
    assert found["models"]["visual"] == "palette"
    assert found["milvus"]["embedded"] is True
    assert found["writer"] is None
