"""A library among processes: opened again, shared, switched to other models, on a full disk."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mmrag_plugin.index_pixels as pixels_module
import mmrag_plugin.index_seeing_here as seeing_module
from made_films import BLUE, RED, write_film
from media_made import describe, end_owner, milvus_rows, opened, owner_pid, picture
from mmrag_plugin.errors import (
    LibraryBusy,
    ModelMismatch,
    ModelMissing,
    NotALibrary,
    NotFound,
    StorageError,
    UsageError,
)
from mmrag_plugin.index_ocr import OcrStage
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.settings import load_settings
from mmrag_plugin.upkeep import forget, verify

MMRAG = [sys.executable, "-c", "from mmrag_plugin.cli import main; main()"]
FAST = ["--visual-model", "palette", "--text-model", "off", "--no-ocr"]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    for directory in (tmp_path / "home").glob("*"):
        end_owner(directory, wait=False)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "photos"
    for number, colour in enumerate(["red", "green", "blue", "black"]):
        picture(folder / f"{colour}.png", colour, number=number)
    describe(folder / "green.png", "a meadow")
    return folder


def mmrag(home: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*MMRAG, *arguments, "--home", str(home)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=100, check=False, **options
    )


def found_by(home: Path, query: str) -> list[str]:
    """What a new process finds."""
    said = mmrag(home, "search", query, "--json")
    assert said.returncode == 0, said.stderr + said.stdout
    return [Path(hit["path"]).name for hit in json.loads(said.stdout)["hits"]]


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


# ---- opened again ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_library_answers_new_processes_even_after_everything_was_killed(
    home: Path, photos: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
    expected = found_by(home, "meadow")
    assert expected[0] == "green.png"
    owner = owner_pid(home / "default")
    assert owner is not None
    end_owner(home / "default", signal.SIGKILL)
    assert found_by(home, "meadow") == expected
    assert owner_pid(home / "default") != owner
    with opened(home) as library:
        assert_agrees(library)


def test_one_library_survives_its_owner_in_the_middle_of_its_life(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        for _ in range(2):
            end_owner(home / "default", signal.SIGKILL)
            assert library.search("meadow").hits[0].path.endswith("green.png")
        picture(photos / "new.png", "white")
        end_owner(home / "default", signal.SIGKILL)
        assert library.index([]).added == 1
        assert_agrees(library)


@pytest.mark.slow
@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_indexes_that_a_kill_cut_short_are_made_again(
    home: Path, photos: Path, part: float
) -> None:
    with opened(home) as library:
        library.index([photos])
        end_owner(home / "default", signal.SIGKILL)
        cut = [p for p in (home / "default" / "milvus").rglob("indexes/*") if p.is_file()]
        assert {path.suffix for path in cut} == {".idx", ".sidx"}
        for path in cut:
            os.truncate(path, int(path.stat().st_size * part))
        assert library.search("meadow").hits[0].path.endswith("green.png")
        assert library.search("green", channels=["visual"]).hits
        assert_agrees(library)


# ---- shared ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_others_search_while_one_process_indexes_and_may_not_index(
    home: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "bad.jpg").write_text("no picture")
    with opened(home) as library:
        library.index([photos])
        picture(photos / "later.png", "yellow")
        reached, go_on = threading.Event(), threading.Event()
        original = PhotoReader.frames

        def waiting(self: Any, path: Path, **options: Any) -> Any:
            reached.set()
            assert go_on.wait(60)
            return original(self, path, **options)

        monkeypatch.setattr(PhotoReader, "frames", waiting)
        indexing = threading.Thread(target=library.index, args=([],))
        indexing.start()
        try:
            assert reached.wait(60)
            assert found_by(home, "meadow")[0] == "green.png"
            second = mmrag(home, "index", str(photos), *FAST, "--json")
            retry = mmrag(home, "index", "--retry", *FAST, "--json")
            failures = library.ledger.failures()
            with opened(home) as other, pytest.raises(LibraryBusy):
                other.index([photos])
        finally:
            go_on.set()
            indexing.join()
        assert second.returncode == retry.returncode == 3
        assert [failure.path for failure in failures] == [str(photos / "bad.jpg")]
        error = json.loads(second.stdout)["error"]
        assert error["kind"] == "busy"
        assert f"Process {os.getpid()}" in error["message"]
        assert "indexing" in error["message"]
        assert error["remedy"]
        assert library.search("yellow").hits[0].path.endswith("later.png")


@pytest.mark.slow
def test_processes_that_make_a_new_library_together_make_one(home: Path, photos: Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[3]); from pathlib import Path; "
        "from media_made import opened\n"
        "with opened(Path(sys.argv[1])) as library: print(library.ledger.fact('id'))"
    )
    tests = str(Path(__file__).parent)
    command = [sys.executable, "-c", script, str(home), str(photos), tests]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate(timeout=100) for process in processes]
    assert len({out for out, _ in said}) == 1, said


# ---- where a library may lie -----------------------------------------------------------------


def test_a_library_is_made_only_when_asked(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no library 'default'") as caught:
        MediaLibrary.open(load_settings(home=tmp_path))
    assert "mmrag index" in caught.value.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_directory_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "thesis.doc").write_text("x")
    for create in (False, True):
        with pytest.raises(NotALibrary, match="not a library"):
            MediaLibrary.open(load_settings(home=tmp_path), create=create)
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotALibrary):
        MediaLibrary.open(load_settings(home=tmp_path, library="file"), create=True)


@pytest.mark.parametrize("marker", ['{"format": 99}', "nonsense", "[]", "{}"])
def test_a_library_of_another_format_is_left_alone(tmp_path: Path, marker: str) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "mmrag-library.json").write_text(marker)
    with pytest.raises(NotALibrary, match="format"):
        MediaLibrary.open(load_settings(home=tmp_path), create=True)


def test_a_library_whose_making_was_broken_off_is_made(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "mmrag-library.json").write_text("")
    MediaLibrary.open(load_settings(home=tmp_path), create=True).close()
    MediaLibrary.open(load_settings(home=tmp_path)).close()


def test_a_library_can_be_configured_before_it_is_made(tmp_path: Path) -> None:
    (tmp_path / "default").mkdir()
    (tmp_path / "default" / "config.toml").write_text('ocr = "off"\n')
    with pytest.raises(NotFound, match="no library"):
        MediaLibrary.open(load_settings(home=tmp_path))
    with MediaLibrary.open(load_settings(home=tmp_path), create=True) as library:
        assert library.settings.ocr == "off"


@pytest.mark.parametrize(
    "lost", [lambda marker: marker.unlink(), lambda marker: marker.write_text("")]
)
def test_a_library_that_lost_its_marker_is_known_by_its_ledger(
    tmp_path: Path, lost: Callable[[Path], None]
) -> None:
    with opened(tmp_path) as library:
        library.ledger.add_root("/photos")
    lost(tmp_path / "default" / "mmrag-library.json")
    with MediaLibrary.open(load_settings(home=tmp_path)) as library:
        assert library.ledger.roots() == ["/photos"]


def test_a_library_that_lost_its_ledger_says_so_and_begins_nothing_anew(
    home: Path, photos: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
    for path in (home / "default").glob("ledger.sqlite3*"):
        path.unlink()
    with pytest.raises(StorageError, match="is gone") as caught, opened(home):
        pass
    assert "backup" in caught.value.remedy
    assert not (home / "default" / "ledger.sqlite3").exists()


@pytest.mark.parametrize("arguments", [["/nope"], ["/nope", "--dry-run"], [], ["--dry-run", "."]])
def test_a_wrong_path_and_a_dry_run_make_no_library(
    home: Path, photos: Path, arguments: list[str]
) -> None:
    said = mmrag(home, "index", *arguments, "--json", cwd=photos)
    assert (said.returncode == 0) == ("." in arguments), said
    assert '"added": 4' in said.stdout or '"remedy": "' in said.stdout
    assert not home.exists()


def test_the_librarys_own_directory_is_not_indexed(home: Path, tmp_path: Path) -> None:
    picture(home / "default" / "x.png")
    (home / "default" / "mmrag-library.json").write_text('{"format": 1}')
    picture(tmp_path / "a.png", "blue")
    with opened(home) as library:
        with pytest.raises(UsageError, match="own directory"):
            library.index([home / "default"])
        library.index([tmp_path])
        assert {Path(row.path).name for row in library.ledger.media_rows().values()} == {"a.png"}


def test_folders_in_one_another_are_walked_once(home: Path, photos: Path) -> None:
    picture(photos / "in" / "deep.png", "pink")
    with opened(home) as library:
        report = library.index([photos / "in", photos, photos])
        assert report.added == 5
        assert library.ledger.roots() == [str(photos)]
        assert library.index([]).unchanged == 5
        assert library.index([photos / "in"]).unchanged == 5


def test_a_plan_counts_and_writes_nothing(home: Path, photos: Path) -> None:
    (photos / "empty.jpg").write_text("")
    with opened(home) as library:
        plan = library.plan([photos])
        assert plan.scan.added == 4
        assert plan.scan.new_bytes == sum(p.stat().st_size for p in photos.glob("*.png"))
        assert plan.pending == {"read": 4, "embed": 4}
        assert plan.seconds["embed"] > 0
        assert plan.disk_bytes > 0
        assert len(plan.scan.problems) == 1
        assert library.ledger.media_rows() == {}
        assert library.recorded("visual") is None
    assert owner_pid(home / "default") is None, "not even Milvus was started"


def test_a_plan_counts_what_another_model_would_look_at_again(
    home: Path, photos: Path, minidual: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
        assert library.plan([]).pending == {"read": 0, "embed": 0}
        (photos / "red.png").unlink()
    with opened(home, visual_model=str(minidual), ocr="auto") as library:
        plan = library.plan([])
        assert plan.pending == {"read": 0, "embed": 3, "ocr": 3}
        assert plan.seconds["ocr"] > 0
        assert plan.disk_bytes > 3 * 4 * 256
    with opened(home, visual_model="/no/model") as library, pytest.raises(ModelMissing):
        library.plan([])


def test_a_plan_counts_what_is_said_anew_and_nothing_that_failed(
    home: Path, photos: Path, minidual: Path
) -> None:
    (photos / "bad.jpg").write_text("no picture")
    with opened(home) as library:
        library.index([photos])
        assert library.plan([]).pending == {"read": 0, "embed": 0}
        describe(photos / "red.png", "a red wall")
        plan = library.plan([])
        assert (plan.scan.updated, plan.pending) == (1, {"read": 1, "embed": 0})
    with opened(home, visual_model=str(minidual), ocr="auto") as library:
        assert library.plan([]).pending == {"read": 1, "embed": 4, "ocr": 4}


def test_a_library_whose_folders_are_all_away_says_which(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        away = photos.rename(photos.with_name("away"))
        with pytest.raises(UsageError, match="photos is not there now") as caught:
            library.index([])
        assert "relocate" in caught.value.remedy
        away.rename(photos)
        assert library.index([]).unchanged == 4


def test_what_an_index_that_was_refused_had_to_say_is_not_told_by_the_next_search(
    home: Path, photos: Path
) -> None:
    other = photos.with_name("other")
    picture(other / "b.png", "blue")
    with opened(home) as library:
        library.index([photos, other])
        for folder in (photos, other):
            folder.rename(folder.with_name(f"{folder.name} away"))
        with pytest.raises(UsageError, match=r"other is not there now.*photos is not there now"):
            library.index([])
        assert library.search("blue").warnings == []


def test_a_ledger_on_a_server_is_of_one_library(home: Path, tmp_path: Path, photos: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite3'}"
    with opened(home, "one", ledger_url=url) as library:
        library.index([photos])
    with (
        pytest.raises(UsageError, match="'one', not of 'two'"),
        opened(home, "two", ledger_url=url),
    ):
        pass
    with opened(home, "one", ledger_url=url) as library:
        assert library.search("meadow").hits


# ---- another model ---------------------------------------------------------------------------


def collections(library: MediaLibrary) -> list[str]:
    return sorted(library.connection.call("list_collections"))


def test_switching_the_model_embeds_again_beside_and_then_drops_the_old(
    home: Path, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(photos / "film.mp4", [RED] * 5 + [BLUE] * 5, gop=5)
    with opened(home) as library:
        library.index([photos])
        before = collections(library)
        rows = milvus_rows(library)
    done: list[str] = []
    during: list[str] = []
    frames, facts = PhotoReader.frames, PhotoReader.facts

    def watched(self: Any, path: Path, **options: Any) -> Any:
        done.append(f"frames {path.name}")
        with opened(home, visual_model="auto") as other:
            during.append(Path(other.search("something red").hits[0].path).name)
        return frames(self, path, **options)

    def read(self: Any, path: Path) -> Any:
        done.append(f"facts {path.name}")
        return facts(self, path)

    monkeypatch.setattr(PhotoReader, "frames", watched)
    monkeypatch.setattr(PhotoReader, "facts", read)
    with (
        opened(home, visual_model=str(minidual)) as library,
        opened(home, visual_model="auto") as watcher,
    ):
        assert watcher.search("red").hits
        searcher = watcher.searcher()
        report = library.index([])
        with monkeypatch.context() as patch:  # it asked which model just before the switch
            stale = iter([searcher])
            known = watcher.searcher
            patch.setattr(watcher, "searcher", lambda: next(stale, None) or known())
            assert watcher.search("a red wall", channels=["visual"]).hits
        assert report.unchanged == 5
        assert sorted(done) == [f"frames {n}.png" for n in ("black", "blue", "green", "red")]
        assert set(during) <= {"red.png", "film.mp4"}, "the old model answers meanwhile"
        after = collections(library)
        assert len(after) == len(before) == 2
        assert len(set(after) & set(before)) == 1, "the words stand as they were"
        assert milvus_rows(library) == rows
        assert_agrees(library)
        assert library.search("a red wall", channels=["visual"]).hits
    with opened(home, visual_model="auto") as library:
        assert library.search("a red wall", channels=["visual"]).hits, "the library knows its model"
        assert library.index([]).stages["embed"].done == 0
    with opened(home) as library, pytest.raises(ModelMismatch):
        library.search("red")


@pytest.mark.slow
def test_a_switch_that_was_broken_off_is_gone_on_with_or_gone_back_on(
    home: Path, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seeing_module, "EMBED_BATCH", 1)
    monkeypatch.setattr(pixels_module, "_COMMIT_FRAMES", 1)
    with opened(home) as library:
        library.index([photos])
        rows = milvus_rows(library)
    original = PhotoReader.frames

    def breaks(self: Any, path: Path, **options: Any) -> Any:
        if path.name == "green.png":
            raise KeyboardInterrupt
        return original(self, path, **options)

    def broken_off() -> None:
        monkeypatch.setattr(PhotoReader, "frames", breaks)
        with opened(home, visual_model=str(minidual)) as library:
            with pytest.raises(KeyboardInterrupt):
                library.index([])
            assert len(collections(library)) == 3
        monkeypatch.setattr(PhotoReader, "frames", original)

    broken_off()
    with opened(home) as library:
        assert library.search("red", channels=["visual"]).hits[0].path.endswith("red.png")
    with opened(home, visual_model=str(minidual)) as library:
        assert library.index([]).stages["embed"].done == 2, "two of four were done"
        assert len(collections(library)) == 2
        assert milvus_rows(library) == rows
        assert_agrees(library)
    with opened(home) as library:  # back to the first model, and once more broken off
        assert library.index([]).stages["embed"].done == 4
    broken_off()
    with opened(home) as library:
        library.index([])
        assert len(collections(library)) == 2, "what was begun and given up is gone"
        assert milvus_rows(library) == rows
        assert_agrees(library)


def test_what_is_removed_while_a_switch_is_broken_off_is_in_no_collection_afterwards(
    home: Path, photos: Path, minidual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with opened(home) as library:
        library.index([photos])
    (photos / "red.png").unlink()  # noticed in the run that is broken off
    with monkeypatch.context() as patch, opened(home, visual_model=str(minidual)) as library:
        patch.setattr(OcrStage, "read", broken_off)
        with pytest.raises(KeyboardInterrupt):
            library.index([])
    with opened(home) as library:
        assert_agrees(library)
        assert len(milvus_rows(library)["visual"]) == 3
        forget(library, photos / "blue.png")  # rows of it stand in the collection begun, too
        (photos / "blue.png").unlink()
    with opened(home, visual_model=str(minidual)) as library:
        library.index([])
        assert_agrees(library)
        assert len(milvus_rows(library)["visual"]) == 2


def test_a_drive_that_misses_the_switch_is_embedded_when_it_is_back(
    home: Path, photos: Path, minidual: Path, tmp_path: Path
) -> None:
    drive = tmp_path / "drive"
    picture(drive / "far.png", "yellow")
    with opened(home) as library:
        library.index([photos, drive])
    away = drive.rename(tmp_path / "unplugged")
    with opened(home, visual_model=str(minidual)) as library:
        report = library.index([])
        assert report.stages["embed"].pending == 1
        assert any("1 media are not where" in warning for warning in report.warnings)
        assert_agrees(library)
        away.rename(drive)
        assert library.index([]).stages["embed"].done == 1
        assert len(milvus_rows(library)["visual"]) == 5
        assert_agrees(library)


# ---- disks that are full or shut -------------------------------------------------------------


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_a_storage_error_and_nothing_is_lost(
    home: Path, photos: Path
) -> None:
    """A limit on the size of files stands for the full disk: every writer meets it, Milvus too."""
    with opened(home) as library:
        library.index([photos])
        rows = milvus_rows(library)
        expected = [hit.path for hit in library.search("meadow").hits]
    end_owner(home / "default")
    for number in range(40):
        picture(photos / "many" / f"{number}.png", "brown", number=number)
        describe(photos / "many" / f"{number}.png", f"long story {number} " * 200)

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))

    said = mmrag(home, "index", str(photos), *FAST, "--json", preexec_fn=limited)
    error = json.loads(said.stdout)["error"]
    assert (said.returncode, error["kind"]) == (1, "storage"), said
    assert error["message"]
    assert error["remedy"]
    end_owner(home / "default")  # it lives under the limit too

    with opened(home) as library:
        assert [hit.path for hit in library.search("meadow").hits][:1] == expected[:1]
        for name, known in rows.items():
            assert known.items() <= milvus_rows(library)[name].items()
        library.index([photos])
        assert len(library.ledger.media_rows()) == 44
        assert len(milvus_rows(library)["visual"]) == 44
        assert_agrees(library)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with very little room; needs the right to mount."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("nothing can be mounted here")
    yield place
    end_owner(place / "default")
    subprocess.run(["umount", "-l", str(place)], check=True)


def remount(place: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_full_disk_is_a_storage_error_wherever_it_fills_up(
    small_disk: Path, photos: Path
) -> None:
    for number in range(60):
        picture(photos / "many" / f"{number}.png", "brown", number=number)
        describe(photos / "many" / f"{number}.png", f"long story {number} " * 100)
    outcomes: list[int] = []
    for size_kb in range(100, 3000, 260):  # always a little more room, until all fits
        remount(small_disk, f"size={size_kb}k")
        said = mmrag(small_disk, "index", str(photos), *FAST, "--json")
        outcomes.append(said.returncode)
        if said.returncode == 0:
            break
        error = json.loads(said.stdout)["error"]
        assert (said.returncode, error["kind"]) == (1, "storage"), (size_kb, said)
        assert error["remedy"]
    print("exit codes with more and more room:", outcomes)
    remount(small_disk, "size=100m")
    with opened(small_disk) as library:
        library.index([photos])
        assert len(milvus_rows(library)["visual"]) == 64
        assert_agrees(library)
    assert outcomes.count(1) >= 3


def test_a_disk_that_may_only_be_read_is_a_storage_error(small_disk: Path, photos: Path) -> None:
    remount(small_disk, "size=50m")
    with opened(small_disk) as library:
        library.index([photos])
    end_owner(small_disk / "default")
    remount(small_disk, "ro")
    try:
        for name in ("default", "new"):
            with pytest.raises(StorageError, match="can't be used") as caught:
                MediaLibrary.open(load_settings(home=small_disk, library=name), create=True)
            assert caught.value.exit_code == 1
            assert caught.value.remedy
    finally:
        remount(small_disk, "rw")
    with opened(small_disk) as library:
        assert library.index([]).unchanged == 4
        assert library.search("meadow").hits


def test_a_home_that_is_a_file_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    began = time.monotonic()
    with pytest.raises(StorageError, match="can't be used") as caught:
        MediaLibrary.open(load_settings(home=tmp_path / "file"), create=True)
    assert "MMRAG_HOME" in caught.value.remedy
    assert time.monotonic() - began < 5
