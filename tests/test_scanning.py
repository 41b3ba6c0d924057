"""The scan: what was added, moved, copied, edited and removed, told apart without decoding."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmrag_plugin import content_hash, scanning
from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.indexing import SidecarTree
from mmrag_plugin.ledger import Ledger, sqlite_url
from mmrag_plugin.media import MediaFacts
from mmrag_plugin.scanning import ScanResult, scan
from mmrag_plugin.signals.sidecars import FolderSidecars
from mmrag_plugin.walking import list_folder, resolve_root


class Scanned:
    """A folder and a ledger, scanned as the indexing flow does, rows in Milvus left out."""

    def __init__(self, base: Path) -> None:
        self.root = (base / "photos").resolve()
        self.root.mkdir()
        self.ledger = Ledger(sqlite_url(base / "ledger.sqlite3"))

    def __call__(self, *roots: Path, dry_run: bool = False) -> ScanResult:
        tree = SidecarTree(FolderSidecars)
        for root in () if dry_run else roots or [self.root]:
            self.ledger.add_root(str(root))
        found = scan(self.ledger, roots or [self.root], tree.stamp_for, dry_run=dry_run)
        if not dry_run:
            self.ledger.drop_media(found.removed)
            read = {m: (MediaFacts(), []) for m in self.ledger.pending("read", "r")}
            self.ledger.put_read("r", read)
            self.looked_again = sorted(read)
        return found

    def write(self, name: str, content: str = "") -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content or f"content of {name}")
        return path

    def ids(self) -> dict[str, str]:
        """Path relative to the folder -> media id."""
        known = self.ledger.known_paths(str(self.root))
        return {os.path.relpath(path, self.root): found.media_id for path, found in known.items()}


@pytest.fixture
def scanned(tmp_path: Path) -> Iterator[Scanned]:
    found = Scanned(tmp_path)
    yield found
    found.ledger.close()


def counts(result: ScanResult) -> dict[str, int]:
    every = {
        "added": result.added,
        "updated": result.updated,
        "moved": result.moved,
        "removed": len(result.removed),
        "problems": len(result.problems),
    }
    return {name: number for name, number in every.items() if number}


def edit(path: Path, content: str) -> None:
    path.write_text(content)
    stamp = path.stat().st_mtime_ns + 10_000_000  # file systems with coarse clocks
    os.utime(path, ns=(stamp, stamp))


# ---- the ordinary life of a folder -----------------------------------------------------------


def test_new_files_are_added_and_other_files_left_alone(scanned: Scanned) -> None:
    for name in ("a.jpg", "deep/er/b.PNG", "c.mp4", "notes.md", ".hidden.jpg", ".trash/d.jpg"):
        scanned.write(name)
    result = scanned()
    assert counts(result) == {"added": 3}
    assert result.new_kinds == {"image": 2, "video": 1}
    assert set(scanned.ids()) == {"a.jpg", "deep/er/b.PNG", "c.mp4"}


def test_unchanged_files_are_not_even_opened(
    scanned: Scanned, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned.write("a.jpg")
    scanned()

    def poison(*_: Any, **__: Any) -> str:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(scanning, "content_hash_of", poison)
    assert counts(scanned()) == {}
    assert scanned.looked_again == []


def test_a_touched_file_is_hashed_and_nothing_more(scanned: Scanned) -> None:
    path = scanned.write("a.jpg")
    scanned()
    os.utime(path, (1, 1))
    assert counts(scanned()) == {}
    assert scanned.looked_again == []
    assert scanned.ledger.known_paths(str(path))[str(path)].mtime_ns == 1_000_000_000


def test_an_edit_in_place_keeps_the_id(scanned: Scanned) -> None:
    path = scanned.write("a.jpg")
    scanned()
    before = scanned.ids()
    edit(path, "edited")
    assert counts(scanned()) == {"updated": 1}
    assert scanned.ids() == before


@pytest.mark.parametrize("new", ["b.jpg", "deep/a.jpg", "A.jpg", "a.JPEG"])
def test_a_renamed_or_moved_file_keeps_its_id_and_is_read_again(scanned: Scanned, new: str) -> None:
    path = scanned.write("a.jpg")
    scanned()
    [media_id] = scanned.ids().values()
    (scanned.root / new).parent.mkdir(exist_ok=True)
    path.rename(scanned.root / new)
    assert counts(scanned()) == {"moved": 1}
    assert scanned.ids() == {new: media_id}
    assert scanned.looked_again == [media_id], "folder and file names are words too"


def test_a_renamed_folder_moves_each_media_once(scanned: Scanned) -> None:
    for number in range(3):
        scanned.write(f"old/{number}.jpg")
    shutil.copy(scanned.root / "old/0.jpg", scanned.root / "old/copy.jpg")
    scanned()
    before = {Path(name).name: media_id for name, media_id in scanned.ids().items()}
    (scanned.root / "old").rename(scanned.root / "new")
    assert counts(scanned()) == {"moved": 3}, "counts are media, not files"
    assert {Path(name).name: media_id for name, media_id in scanned.ids().items()} == before


def test_names_that_are_passed_on_are_moves_and_not_edits(scanned: Scanned) -> None:
    """Renumbering: 1 -> 2, 2 -> 3, 3 -> 4, where all names but the last are known."""
    for number in (1, 2, 3):
        scanned.write(f"{number}.jpg", f"picture {number}")
    scanned()
    before = scanned.ids()
    for number in (3, 2, 1):
        (scanned.root / f"{number}.jpg").rename(scanned.root / f"{number + 1}.jpg")
    assert counts(scanned()) == {"moved": 3}
    assert scanned.ids() == {f"{n + 1}.jpg": before[f"{n}.jpg"] for n in (1, 2, 3)}


def test_names_that_are_passed_on_are_moves_when_the_first_name_is_used_again(
    scanned: Scanned,
) -> None:
    for number in (1, 2, 3):
        scanned.write(f"{number}.jpg", f"picture {number}")
    scanned()
    before = scanned.ids()
    for number in (3, 2, 1):
        (scanned.root / f"{number}.jpg").rename(scanned.root / f"{number + 1}.jpg")
    scanned.write("1.jpg", "an altogether new one")
    assert counts(scanned()) == {"added": 1, "moved": 3}
    after = scanned.ids()
    assert {n: after[f"{n + 1}.jpg"] for n in (1, 2, 3)} == {
        n: before[f"{n}.jpg"] for n in (1, 2, 3)
    }


def test_two_files_that_swap_names_keep_their_ids(scanned: Scanned) -> None:
    one, two = scanned.write("a.jpg", "one"), scanned.write("b.jpg", "two!")
    scanned()
    before = scanned.ids()
    one.rename(scanned.root / "c")
    two.rename(one)
    (scanned.root / "c").rename(two)
    assert counts(scanned()) == {"moved": 2}
    assert scanned.ids() == {"a.jpg": before["b.jpg"], "b.jpg": before["a.jpg"]}


def test_a_file_that_replaces_another_is_the_one_that_moved(scanned: Scanned) -> None:
    scanned.write("a.jpg", "one")
    two = scanned.write("b.jpg", "two")
    scanned()
    before = scanned.ids()
    two.replace(scanned.root / "a.jpg")
    assert counts(scanned()) == {"moved": 1, "removed": 1}
    assert scanned.ids() == {"a.jpg": before["b.jpg"]}


def test_a_removed_file_is_reported_and_forgotten(scanned: Scanned) -> None:
    scanned.write("a.jpg")
    scanned.write("b.jpg").unlink()
    gone = scanned.write("c.jpg")
    scanned()
    media_id = scanned.ids()["c.jpg"]
    gone.unlink()
    assert scanned().removed == [media_id]
    assert set(scanned.ids()) == {"a.jpg"}
    assert counts(scanned()) == {}


def test_a_deleted_file_that_comes_back_is_new_with_the_same_id(scanned: Scanned) -> None:
    scanned.write("a.jpg")
    path = scanned.write("b.jpg")
    scanned()
    before = scanned.ids()
    path.unlink()
    scanned()
    scanned.write("b.jpg")
    assert counts(scanned()) == {"added": 1}
    assert scanned.ids() == before


def test_a_file_that_gets_another_kind_of_name_is_read_as_that_kind(scanned: Scanned) -> None:
    path = scanned.write("clip.jpg")
    scanned()
    path.rename(path.with_suffix(".mp4"))
    assert counts(scanned()) == {"added": 1, "removed": 1}
    [row] = scanned.ledger.media_rows().values()
    assert row.kind == "video"


# ---- copies ----------------------------------------------------------------------------------


def test_copies_are_one_media_and_deleting_one_keeps_it(scanned: Scanned) -> None:
    path = scanned.write("a.jpg", "same")
    scanned.write("best/b.jpg", "same")
    assert counts(scanned()) == {"added": 1}
    [media_id] = set(scanned.ids().values())
    path.unlink()
    assert counts(scanned()) == {}
    assert scanned.ids() == {"best/b.jpg": media_id}
    assert scanned.looked_again == [media_id], "its words no longer hold the other folder"


def test_a_later_copy_has_its_media_read_again_for_its_words(scanned: Scanned) -> None:
    scanned.write("a.jpg", "same")
    scanned()
    scanned.write("best/b.jpg", "same")
    assert counts(scanned()) == {}
    assert scanned.looked_again == [scanned.ids()["a.jpg"]]


def test_editing_one_copy_splits_it_off(scanned: Scanned) -> None:
    scanned.write("a.jpg", "same")
    path = scanned.write("b.jpg", "same")
    scanned()
    [media_id] = set(scanned.ids().values())
    edit(path, "cropped")
    assert counts(scanned()) == {"added": 1}
    after = scanned.ids()
    assert after["a.jpg"] == media_id
    assert after["b.jpg"] != media_id


def test_editing_all_copies_alike_keeps_one_media(scanned: Scanned) -> None:
    copies = [scanned.write(f"{name}.jpg", "same") for name in "abc"]
    scanned()
    before = scanned.ids()
    for path in copies:
        edit(path, "rated")
    assert counts(scanned()) == {"updated": 1}
    assert scanned.ids() == before


def test_a_file_overwritten_with_anothers_content_becomes_its_copy(scanned: Scanned) -> None:
    one = scanned.write("a.jpg", "one")
    scanned.write("b.jpg", "two")
    scanned()
    before = scanned.ids()
    edit(one, "two")
    assert counts(scanned()) == {"removed": 1}
    assert scanned.ids() == {"a.jpg": before["b.jpg"], "b.jpg": before["b.jpg"]}


def test_large_films_that_only_look_alike_in_samples_are_two(
    scanned: Scanned, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_hash, "WHOLE_HASH_BYTES", 100)
    monkeypatch.setattr(content_hash, "_BLOCK_BYTES", 4)
    one = bytearray(b"x" * 1000)
    (scanned.root / "a.mp4").write_bytes(one)
    (scanned.root / "copy.mp4").write_bytes(one)
    one[70] ^= 1  # between two samples
    (scanned.root / "b.mp4").write_bytes(one)
    assert counts(scanned()) == {"added": 2}
    ids = scanned.ids()
    assert ids["a.mp4"] == ids["copy.mp4"] != ids["b.mp4"]
    assert counts(scanned()) == {}
    os.utime(scanned.root / "b.mp4", (1, 1))
    assert counts(scanned()) == {}, "touched, not edited"
    (scanned.root / "b.mp4").rename(scanned.root / "c.mp4")
    assert counts(scanned()) == {"moved": 1}
    assert scanned.ids()["c.mp4"] == ids["b.mp4"]


# ---- sidecars --------------------------------------------------------------------------------


def test_a_sidecar_that_comes_changes_or_goes_has_its_media_read_again(scanned: Scanned) -> None:
    scanned.write("a.jpg")
    scanned.write("b.jpg")
    scanned()
    media_id = scanned.ids()["a.jpg"]
    sidecar = scanned.write("a.txt", "a red barn")
    assert counts(scanned()) == {"updated": 1}
    assert scanned.looked_again == [media_id]
    edit(sidecar, "a green barn")
    assert counts(scanned()) == {"updated": 1}
    sidecar.unlink()
    assert counts(scanned()) == {"updated": 1}
    assert scanned.looked_again == [media_id]
    assert counts(scanned()) == {}


def test_a_sidecar_of_one_of_two_copies_updates_one_media(scanned: Scanned) -> None:
    scanned.write("a.jpg", "same")
    scanned.write("b.jpg", "same")
    scanned()
    scanned.write("a.txt", "words")
    scanned.write("b.txt", "words")
    assert counts(scanned()) == {"updated": 1}


# ---- folders that are not what they were -----------------------------------------------------


def test_a_folder_that_is_empty_now_loses_nothing(scanned: Scanned) -> None:
    path = scanned.write("a.jpg")
    scanned()
    before = scanned.ids()
    path.unlink()
    result = scanned()
    assert counts(result) == {}
    assert scanned.ids() == before
    [warning] = result.warnings
    assert str(scanned.root) in warning
    assert "mmrag forget" in warning


def test_a_folder_whose_files_moved_to_another_root_is_a_move(
    scanned: Scanned, tmp_path: Path
) -> None:
    scanned.write("a.jpg")
    scanned()
    [media_id] = scanned.ids().values()
    other = (tmp_path / "other").resolve()
    (scanned.root / "a.jpg").rename((other.mkdir() or other) / "a.jpg")
    assert counts(scanned(scanned.root, other)) == {"moved": 1}
    assert [p.media_id for p in scanned.ledger.known_paths(str(other)).values()] == [media_id]


def test_a_root_inside_another_library_folder_is_left_alone_when_it_is_not_scanned(
    scanned: Scanned,
) -> None:
    scanned.write("in/a.jpg")
    scanned.write("out/b.jpg")
    scanned()
    (scanned.root / "out/b.jpg").unlink()
    assert counts(scanned(scanned.root / "in")) == {}
    assert counts(scanned()) == {"removed": 1}


def as_nobody(action: Callable[[], Any]) -> Any:
    """Do something as a person without special rights (root may read anything)."""
    if os.geteuid() != 0:
        return action()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            os.write(writer, repr(action()).encode())
        except BaseException as error:
            os.write(writer, f"{error!r}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return eval(said, {})


@pytest.fixture
def open_to_all(tmp_path: Path) -> None:
    """Let nobody reach the folders of this test, up to the temporary root."""
    place = tmp_path
    while place != place.parent and place.stat().st_uid == os.getuid() and place != Path("/tmp"):
        place.chmod(0o777)
        place = place.parent


@pytest.mark.parametrize("mode", [0o000, 0o444], ids=["shut", "names without access"])
@pytest.mark.usefixtures("open_to_all")
def test_a_folder_that_cannot_be_read_loses_nothing_and_is_reported(
    tmp_path: Path, mode: int
) -> None:
    def life() -> Any:
        base = tmp_path / "mine"
        base.mkdir()
        scanned = Scanned(base)
        scanned.write("locked/a.jpg")
        scanned.write("open/b.jpg")
        scanned()
        before = scanned.ids()
        (scanned.root / "locked").chmod(mode)
        result = scanned()
        kept = scanned.ids() == before
        (scanned.root / "locked").chmod(0o755)
        again = counts(scanned())
        problems = [(p.path, p.reason, p.remedy) for p in result.problems]
        return kept, result.removed, problems, result.warnings, again

    kept, removed, problems, warnings, again = as_nobody(life)
    assert kept
    assert removed == warnings == []
    [(path, reason, remedy)] = problems
    assert "/photos/locked" in path
    assert "ermission" in reason
    assert remedy
    assert again == {}


@pytest.mark.usefixtures("open_to_all")
def test_a_file_that_cannot_be_read_is_kept_and_reported_until_it_can(tmp_path: Path) -> None:
    def life() -> Any:
        base = tmp_path / "mine"
        base.mkdir()
        scanned = Scanned(base)
        path = scanned.write("a.jpg")
        scanned()
        before = scanned.ids()
        edit(path, "edited")
        path.chmod(0)
        twice = [counts(scanned()), counts(scanned())]
        kept = scanned.ids() == before
        path.chmod(0o644)
        return twice, kept, counts(scanned())

    twice, kept, mended = as_nobody(life)
    assert twice == [{"problems": 1}, {"problems": 1}]
    assert kept
    assert mended == {"updated": 1}


def test_an_empty_file_is_reported_every_time_and_what_was_known_is_kept(scanned: Scanned) -> None:
    path = scanned.write("a.jpg")
    scanned.write("b.jpg")
    scanned()
    before = scanned.ids()
    path.write_text("")
    for _ in range(2):
        [problem] = scanned().problems
        assert (problem.path, problem.reason) == (str(path), "The file is empty.")
        assert problem.remedy
    assert scanned.ids() == before


# ---- links -----------------------------------------------------------------------------------


def test_links_out_of_the_folder_are_not_followed(scanned: Scanned, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.jpg").write_text("secret")
    scanned.write("a.jpg")
    (scanned.root / "folder").symlink_to(outside)
    (scanned.root / "file.jpg").symlink_to(outside / "secret.jpg")
    (scanned.root / "dots.jpg").symlink_to(scanned.root / ".." / "outside" / "secret.jpg")
    result = scanned()
    assert set(scanned.ids()) == {"a.jpg"}
    [warning] = result.warnings
    assert str(scanned.root / "folder") in warning


def test_links_inside_are_followed_and_a_folder_keeps_its_own_name(scanned: Scanned) -> None:
    scanned.write("z/real/a.jpg", "a")
    scanned.write(".kept/b.jpg", "b")
    (scanned.root / "alias").symlink_to(scanned.root / "z" / "real")
    (scanned.root / "shown").symlink_to(scanned.root / ".kept")
    (scanned.root / "file.jpg").symlink_to(scanned.root / "z" / "real" / "a.jpg")
    assert counts(scanned()) == {"added": 2}
    ids = scanned.ids()
    assert set(ids) == {"z/real/a.jpg", "file.jpg", "shown/b.jpg"}
    assert ids["z/real/a.jpg"] == ids["file.jpg"]


@pytest.mark.timeout(20)
def test_loops_end(scanned: Scanned) -> None:
    scanned.write("in/a.jpg")
    (scanned.root / "in" / "up").symlink_to(scanned.root)
    (scanned.root / "in" / "self").symlink_to(scanned.root / "in")
    (scanned.root / "round.jpg").symlink_to(scanned.root / "round.jpg")
    (scanned.root / "ping").symlink_to(scanned.root / "pong")
    (scanned.root / "pong").symlink_to(scanned.root / "ping")
    (scanned.root / "dangling.jpg").symlink_to(scanned.root / "nowhere.jpg")
    assert counts(scanned()) == {"added": 1}
    assert set(scanned.ids()) == {"in/a.jpg"}


def test_a_pipe_that_is_called_a_picture_is_not_opened(scanned: Scanned) -> None:
    os.mkfifo(scanned.root / "pipe.jpg")
    scanned.write("a.jpg")
    assert counts(scanned()) == {"added": 1}
    [problem] = scanned(resolve_root(scanned.root / "pipe.jpg")).problems
    assert problem.path == str(scanned.root / "pipe.jpg")


# ---- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "it's.jpg",
        'say "hi".jpg',
        "new\nline.jpg",
        "tab\there.jpg",
        "100%_done.jpg",
        "[a-z]*?.jpg",
        "back\\slash.jpg",
        "🦊 東京.jpg",
        "-rf.jpg",
        "x" * 251 + ".jpg",
        " .jpg",
        "a.b.c.jpg",
    ],
)
def test_hostile_names_live_through_adding_moving_and_removing(scanned: Scanned, name: str) -> None:
    scanned.write("other.jpg")
    path = scanned.write(name, "hostile")
    assert counts(scanned()) == {"added": 2}
    media_id = scanned.ids()[name]
    assert counts(scanned()) == {}
    path.rename(scanned.root / "plain.jpg")
    assert counts(scanned()) == {"moved": 1}
    (scanned.root / "plain.jpg").rename(path)
    assert counts(scanned()) == {"moved": 1}
    assert scanned.ids()[name] == media_id
    path.unlink()
    assert scanned().removed == [media_id]


def test_names_that_differ_only_by_case_are_two_files(scanned: Scanned) -> None:
    scanned.write("Trip/a.jpg", "one")
    scanned.write("trip/a.jpg", "two")
    if len(list(scanned.root.iterdir())) == 1:
        pytest.skip("this file system does not tell case apart")
    assert counts(scanned()) == {"added": 2}
    shutil.rmtree(scanned.root / "Trip")
    assert counts(scanned()) == {"removed": 1}
    assert set(scanned.ids()) == {"trip/a.jpg"}


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
@pytest.mark.parametrize("name", [b"caf\xe9.jpg", b"caf\xe9/a.jpg"], ids=["file", "folder"])
def test_a_name_that_is_no_text_is_reported_with_a_remedy(scanned: Scanned, name: bytes) -> None:
    path = scanned.root / os.fsdecode(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    scanned.write("a.jpg")
    for _ in range(2):
        result = scanned()
        [problem] = result.problems
        assert "caf" in problem.path
        assert problem.path.encode(), "it can be printed"
        assert problem.remedy == "Rename the file."
    assert set(scanned.ids()) == {"a.jpg"}


@pytest.mark.skipif(sys.platform == "darwin", reason="names are Unicode there")
def test_a_link_out_of_the_folder_with_a_name_that_is_no_text_can_be_printed(
    scanned: Scanned,
) -> None:
    (scanned.root / os.fsdecode(b"caf\xe9")).symlink_to("/")
    [warning] = scanned().warnings
    assert warning.encode()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["write", "move", "remove", "copy", "scan"]),
            st.sampled_from("abcd"),
            st.sampled_from("abcd"),
        ),
        max_size=14,
    )
)
def test_whatever_happens_between_scans_the_ledger_ends_with_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    """Same files in the end: same grouping into media, and no media without a file."""
    scanned = Scanned(tmp_path_factory.mktemp("life"))
    scanned.write("stays.jpg")
    scanned()
    for number, (what, one, other) in enumerate(steps):
        here, there = scanned.root / f"{one}.jpg", scanned.root / f"{other}.jpg"
        if what == "scan":
            scanned()
        elif what == "write":
            edit(scanned.write(here.name), f"content {number % 3}")
        elif here.exists() and here != there:
            if what == "move":
                here.replace(there)
            elif what == "copy":
                shutil.copy(here, there)
            else:
                here.unlink()
            if there.exists():
                os.utime(there, ns=(number, number))
    scanned()
    ids = scanned.ids()
    here = {path.name: path.read_text() for path in scanned.root.iterdir()}
    assert set(ids) == set(here)
    for one, other in ((a, b) for a in ids for b in ids):
        assert (ids[one] == ids[other]) == (here[one] == here[other]), (one, other)
    assert set(scanned.ledger.media_rows()) == set(ids.values())
    assert counts(scanned()) == {}, "and a further scan finds nothing to do"
    scanned.ledger.close()


# ---- dry runs and roots ----------------------------------------------------------------------


def test_a_dry_run_says_the_same_and_writes_nothing(scanned: Scanned) -> None:
    for name in ("a", "b", "c", "d"):
        scanned.write(f"{name}.jpg")
    shutil.copy(scanned.root / "d.jpg", scanned.root / "d2.jpg")
    scanned()
    before = scanned.ids()
    (scanned.root / "a.jpg").rename(scanned.root / "moved.jpg")
    edit(scanned.root / "b.jpg", "edited")
    (scanned.root / "c.jpg").unlink()
    (scanned.root / "d2.jpg").unlink()
    scanned.write("new.jpg", "new")
    scanned.write("new copy.jpg", "new")
    said = counts(scanned(dry_run=True))
    assert scanned.ids() == before
    assert said == {"added": 1, "updated": 1, "moved": 1, "removed": 1}
    assert counts(scanned()) == said


def test_a_dry_run_waits_for_no_writer(scanned: Scanned, tmp_path: Path) -> None:
    scanned.write("a.jpg")
    writer = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    with writer.transaction():
        began = time.monotonic()
        assert counts(scanned(dry_run=True)) == {"added": 1}
        assert time.monotonic() - began < 5
    writer.close()


def test_a_part_of_a_root_is_scanned_as_part_of_it(scanned: Scanned) -> None:
    scanned.write("2019/Lisbon/a.jpg")
    scanned.write("captions.json", '{"2019/Lisbon/a.jpg": "a tram"}')
    scanned()
    assert counts(scanned(scanned.root / "2019")) == {}
    scanned.write("2019/Lisbon/b.jpg")
    assert counts(scanned(scanned.root / "2019" / "Lisbon")) == {"added": 1}
    assert counts(scanned(scanned.root / "2019" / "Lisbon" / "b.jpg")) == {}
    assert scanned.ledger.roots() == [str(scanned.root)]
    assert {row.root for row in scanned.ledger.media_rows().values()} == {str(scanned.root)}
    assert counts(scanned()) == {}


def test_a_root_takes_in_the_roots_inside_it(scanned: Scanned) -> None:
    scanned.write("2019/a.jpg")
    scanned.write("b.jpg")
    scanned(scanned.root / "2019")
    assert scanned.looked_again == [scanned.ids()["2019/a.jpg"]]
    assert counts(scanned()) == {"added": 1}
    assert scanned.ledger.roots() == [str(scanned.root)]
    assert set(scanned.looked_again) == set(scanned.ids().values()), "2019 is a word now"


def test_a_single_file_can_be_a_root(scanned: Scanned) -> None:
    path = scanned.write("a.jpg")
    scanned.write("b.jpg")
    assert counts(scanned(resolve_root(path))) == {"added": 1}
    assert set(scanned.ids()) == {"a.jpg"}


def test_what_is_no_folder_and_no_media_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="does not exist"):
        resolve_root(tmp_path / "nowhere")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(UsageError, match=r"notes\.md"):
        resolve_root(tmp_path / "notes.md")
    with pytest.raises(NotFound, match="~nobody"):
        resolve_root(Path("~nobody-of-that-name/photos"))
    for odd_name in ("nul\0inside", "x" * 300):
        with pytest.raises(NotFound):
            resolve_root(Path(odd_name))
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    with pytest.raises(UsageError, match="no valid text") as caught:
        resolve_root(odd)
    assert caught.value.message.encode()


def test_a_folder_is_listed_without_what_links_lead_out_to(scanned: Scanned) -> None:
    scanned.write("a.jpg")
    (scanned.root / "b.jpg").symlink_to("/etc/hostname")
    assert list(list_folder(scanned.root, scanned.root)) == ["a.jpg"]
