"""The ledger: what it keeps, for whom it waits, and what it says when it can't."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from mmrag_plugin import ledger_lease
from mmrag_plugin.errors import LibraryBusy, NotALibrary, StorageError
from mmrag_plugin.ledger import KnownPath, Ledger, sqlite_url
from mmrag_plugin.ledger_database import LedgerDatabase, shown
from mmrag_plugin.ledger_tables import lease, metadata
from mmrag_plugin.media import MediaFacts, Signal

HOSTILE_NAMES = [
    "it's.jpg",
    'say "hi".jpg',
    "new\nline.jpg",
    "100%.jpg",
    "under_score.jpg",
    "back\\slash.jpg",
    "🦊 東京.jpg",
    "; DROP TABLE paths; --.jpg",
    "x" * 250 + ".jpg",
    " leading.jpg",
]


_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    yield opened
    opened.close()


def url_of(ledger: Ledger) -> str:
    """Where it is kept, for another process."""
    return ledger._database.url.render_as_string(hide_password=False)


def put(ledger: Ledger, path: str, content_hash: str = "", root: str = "/photos") -> str:
    media_id = ledger.mint(content_hash or f"{abs(hash(path)):040x}", "image")
    ledger.put_path(KnownPath(path, media_id, 1, 2, "", ""), root)
    return media_id


def test_an_id_begins_as_the_hash_and_a_twin_of_old_content_gets_another(ledger: Ledger) -> None:
    first = ledger.mint("a" * 40, "image")
    assert first == "a" * 16
    ledger.content_changed(first, "b" * 40, "image")
    assert ledger.mint("a" * 40, "image") == "a" * 16 + "-2"
    assert ledger.mint("a" * 40, "video") == "a" * 16 + "-3"


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_any_name_comes_back_as_it_was_and_touches_no_other(ledger: Ledger, name: str) -> None:
    mine = put(ledger, f"/photos/{name}")
    other = put(ledger, "/photos/other.jpg")
    assert ledger.known_paths(f"/photos/{name}").keys() == {f"/photos/{name}"}
    assert ledger.media_ids_under(f"/photos/{name}") == {mine}
    ledger.drop_paths([f"/photos/{name}"])
    assert ledger.pathless() == [mine]
    assert ledger.known_paths("/photos")["/photos/other.jpg"].media_id == other


@pytest.mark.parametrize(
    ("folder", "inside", "beside"),
    [
        ("/photos/a_c", "/photos/a_c/x.jpg", "/photos/abc/x.jpg"),
        ("/photos/100%", "/photos/100%/x.jpg", "/photos/1000/x.jpg"),
        ("/photos/Trip", "/photos/Trip/x.jpg", "/photos/trip/x.jpg"),
        ("/photos/a", "/photos/a/x.jpg", "/photos/ab/x.jpg"),
        ("/photos/é", "/photos/é/x.jpg", "/photos/É/x.jpg"),
    ],
)
def test_a_folder_holds_only_what_lies_in_it(
    ledger: Ledger, folder: str, inside: str, beside: str
) -> None:
    mine = put(ledger, inside)
    put(ledger, beside)
    assert ledger.media_ids_under(folder) == {mine}
    assert ledger.media_ids_under(folder + "/") == {mine}
    assert ledger.relocate(folder, "/new") == 1
    assert set(ledger.known_paths("/")) == {inside.replace(folder, "/new"), beside}


def test_relocating_takes_the_roots_along(ledger: Ledger) -> None:
    media_id = put(ledger, "/old/photos/a/x.jpg", root="/old/photos")
    ledger.add_root("/old/photos")
    assert ledger.relocate("/old", "/new") == 1
    assert ledger.roots() == ["/new/photos"]
    row = ledger.media_rows([media_id])[media_id]
    assert (row.path, row.root) == ("/new/photos/a/x.jpg", "/new/photos")


def test_a_part_of_a_root_that_went_elsewhere_becomes_a_root(ledger: Ledger) -> None:
    stays = put(ledger, "/photos/a/x.jpg")
    goes = put(ledger, "/photos/b/x.jpg")
    ledger.add_root("/photos")
    assert ledger.relocate("/photos/b", "/disk/b") == 1
    assert ledger.roots() == ["/disk/b", "/photos"]
    assert ledger.media_rows()[stays].root == "/photos"
    assert ledger.media_rows()[goes].root == "/disk/b"


def test_relocating_to_where_the_files_are_known_already_keeps_each_once(ledger: Ledger) -> None:
    media_id = put(ledger, "/old/x.jpg", root="/old")
    ledger.put_path(KnownPath("/new/x.jpg", media_id, 1, 2, "", ""), "/new")
    put(ledger, "/old/y.jpg", root="/old")
    for root in ("/old", "/new"):
        ledger.add_root(root)
    assert ledger.relocate("/old", "/new") == 2
    assert set(ledger.known_paths("/")) == {"/new/x.jpg", "/new/y.jpg"}
    assert ledger.roots() == ["/new"]


@pytest.mark.parametrize("new", ["/photos", "/photos/archive", "/", "/pho"])
def test_relocating_into_or_out_of_itself_loses_nothing(ledger: Ledger, new: str) -> None:
    for name in ("a.jpg", "archive/a.jpg", "archive/archive/a.jpg"):
        put(ledger, f"/photos/{name}")
    ledger.add_root("/photos")
    assert ledger.relocate("/photos", new) == 3
    place = new.rstrip("/")
    assert set(ledger.known_paths("/")) == {
        f"{place}/{name}" for name in ("a.jpg", "archive/a.jpg", "archive/archive/a.jpg")
    }
    assert ledger.roots() == [new]


def test_dropping_one_copy_has_the_other_read_again(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_path(KnownPath("/photos/b.jpg", media_id, 1, 2, "", ""), "/photos")
    ledger.put_read("r", {media_id: (MediaFacts(), [])})
    assert ledger.pending("read", "r") == []
    ledger.drop_paths(["/photos/a.jpg"])
    assert ledger.pathless() == []
    assert ledger.pending("read", "r") == [media_id]


def test_dropping_media_leaves_nothing_of_them(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_read("r", {media_id: (MediaFacts(), [Signal("path", "a")])})
    ledger.failed("embed", "e", media_id, "why", "what")
    ledger.drop_media([media_id])
    with ledger._database.reading() as connection:
        for table in ("media", "paths", "stages", "signals"):
            count = sa.select(sa.func.count()).select_from(metadata.tables[table])
            assert connection.scalar(count) == 0


def test_a_stage_is_pending_until_it_is_done_or_failed_under_its_stamp(ledger: Ledger) -> None:
    done, failed, began, untouched = (put(ledger, f"/photos/{n}.jpg") for n in range(4))
    ledger.done("embed", "v1", {done: 1})
    ledger.failed("embed", "v1", failed, "broken", "mend it")
    ledger.begin("embed", [began])
    assert ledger.pending("embed", "v1") == [began, untouched]
    assert len(ledger.pending("embed", "v2")) == 4
    assert ledger.pending("embed", "v2", after="read") == []
    assert ledger.touched("embed", [done, failed, began, untouched]) == {done, failed, began}
    ledger.retry_failed()
    assert failed in ledger.pending("embed", "v1")
    assert ledger.failures() == []


def test_a_failure_names_every_path_and_its_first_stage(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_path(KnownPath("/photos/b.jpg", media_id, 1, 2, "", ""), "/photos")
    ledger.failed("ocr", "o", media_id, "later", "")
    ledger.failed("read", "r", media_id, "first", "mend it")
    assert [(f.path, f.stage, f.reason) for f in ledger.failures()] == [
        ("/photos/a.jpg", "read", "first"),
        ("/photos/b.jpg", "read", "first"),
    ]


def test_an_edit_has_every_stage_look_again_and_keeps_the_id(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_read("r", {media_id: (MediaFacts(), [])})
    ledger.done("embed", "e", {media_id: 1})
    ledger.content_changed(media_id, "c" * 40, "image")
    assert ledger.pending("read", "r") == ledger.pending("embed", "e") == [media_id]
    assert ledger.media_with_hash("c" * 40, "image") == {media_id: ["/photos/a.jpg"]}
    assert ledger.media_with_hash("c" * 40, "video") == {}


@settings(max_examples=20, deadline=None)
@given(
    words=st.lists(
        st.tuples(st.sampled_from(["ocr", "path", "subtitle"]), st.text(_TEXT, max_size=20)),
        max_size=6,
    )
)
def test_signals_come_back_as_they_were_put(
    tmp_path_factory: pytest.TempPathFactory, words: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "signals.sqlite3"
    ledger = Ledger(sqlite_url(path))
    found = [Signal(source, text, 1.5, None) for source, text in words]  # type: ignore[arg-type]
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_read("r", {media_id: (MediaFacts(), found)})
    assert [signal for _, signal in ledger.signals_of([media_id])[media_id]] == found
    ledger.drop_media([media_id])
    ledger.close()


def test_a_nul_in_a_text_costs_no_more_than_itself(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_read("r", {media_id: (MediaFacts(camera="a\0b"), [Signal("ocr", "left\0right")])})
    ((_, signal),) = ledger.signals_of([media_id])[media_id]
    assert signal.text in ("left\0right", "left\ufffdright")
    assert ledger.media_rows()[media_id].camera in ("a\0b", "a\ufffdb")


@settings(max_examples=15, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("abc"), st.frozensets(st.sampled_from(["x", "y", "z"]))),
        max_size=8,
    ),
    gone=st.sampled_from(["", "a", "b"]),
)
def test_counts_of_terms_are_those_of_the_media_that_are_there(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, frozenset[str]]], gone: str
) -> None:
    ledger = Ledger(sqlite_url(tmp_path_factory.mktemp("terms") / "ledger.sqlite3"))
    ids = {name: put(ledger, f"/photos/{name}.jpg") for name in "abc"}
    now: dict[str, frozenset[str]] = {}
    for name, found in steps:
        ledger.put_words("v1", {ids[name]: (1, found)})
        now[name] = found
    if gone:
        ledger.drop_media([ids[gone]])
        now.pop(gone, None)
    expected = {term: sum(term in found for found in now.values()) for term in "xyz"}
    counted, documents = ledger.document_counts(["x", "y", "z", "never"])
    assert counted == {term: count for term, count in expected.items() if count}
    assert documents == sum(bool(found) for found in now.values())
    ledger.close()


def test_thousands_of_ids_fit_every_statement(ledger: Ledger) -> None:
    with ledger.transaction():
        ids = [put(ledger, f"/photos/{n}.jpg", f"{n:040}"[::-1]) for n in range(1500)]
    assert len(ledger.media_rows(ids)) == 1500
    assert len(ledger.paths_of(ids)) == 1500
    ledger.begin("embed", ids)
    ledger.drop_media(ids)
    assert ledger.media_rows() == {}


def test_a_query_of_any_length_has_its_words_counted(ledger: Ledger) -> None:
    assert ledger.document_counts([f"word{number}" for number in range(300_000)]) == ({}, 0)


def test_a_transaction_that_fails_leaves_nothing(ledger: Ledger) -> None:
    def broken_off() -> None:
        with ledger.transaction():
            put(ledger, "/photos/a.jpg")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken_off()
    assert ledger.known_paths("/") == {}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("canon", ("Canon EOS 5D",)),
        ("émile", ("ÉMILE cam",)),
        ("%", ("100% cam",)),
        ("_", ("a_b",)),
        ("nothing", ()),
    ],
)
def test_cameras_are_found_by_part_of_their_name(
    ledger: Ledger, words: str, found: tuple[str, ...]
) -> None:
    for number, camera in enumerate(["Canon EOS 5D", "ÉMILE cam", "100% cam", "a_b"]):
        media_id = put(ledger, f"/photos/{number}.jpg")
        ledger.put_read("r", {media_id: (MediaFacts(camera=camera), [])})
    assert ledger.cameras_like(words) == found


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lisbon", ["/home/me/Lisbon/a.jpg", "/home/me/Lisbon/trip/b.jpg"]),
        ("Lisbon/trip", ["/home/me/Lisbon/trip/b.jpg"]),
        ("me", []),  # over the library's folders
        ("c.jpg", []),
        ("sbon", []),
        ("top", ["/top/d.jpg"]),
    ],
)
def test_folders_are_found_by_name_the_librarys_own_too(
    ledger: Ledger, name: str, found: list[str]
) -> None:
    ids = {
        put(ledger, path, root=root): path
        for path, root in (
            ("/home/me/Lisbon/a.jpg", "/home/me/Lisbon"),
            ("/home/me/Lisbon/trip/b.jpg", "/home/me/Lisbon"),
            ("/home/me/c.jpg", "/home/me/c.jpg"),
            ("/top/d.jpg", "/top"),
        )
    }
    assert sorted(ids[i] for i in ledger.media_ids_in_folders_called(name)) == found


def test_a_very_long_camera_name_is_found_as_milvus_has_it(ledger: Ledger) -> None:
    media_id = put(ledger, "/photos/a.jpg")
    ledger.put_read("r", {media_id: (MediaFacts(camera="ж" * 100 + " end"), [])})
    assert ledger.cameras_like("end") == ("ж" * 64,)


# ---- one writer ------------------------------------------------------------------------------


def test_a_second_writer_is_told_who_writes(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    with ledger.writer("indexing"):
        with pytest.raises(LibraryBusy, match=rf"Process {os.getpid()} .*\(indexing\)") as caught:
            other.writer("forgetting").__enter__()
        assert caught.value.exit_code == 3
        assert caught.value.remedy
        assert other.lease_holder() == f"indexing (process {os.getpid()})"
    assert other.lease_holder() is None
    with other.writer("forgetting"):
        pass
    other.close()


def test_the_lease_of_a_dead_process_is_taken_over_at_once(ledger: Ledger) -> None:
    script = (
        "import os, sys; from mmrag_plugin.ledger import Ledger; "
        "lease = Ledger(sys.argv[1]).writer('dying'); lease.__enter__(); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", script, url_of(ledger)], check=False)
    assert done.returncode == 9
    assert ledger.lease_holder() is None
    began = time.monotonic()
    with ledger.writer("indexing"):
        assert time.monotonic() - began < 5


def test_the_lease_of_another_machine_is_taken_over_once_it_ran_out(ledger: Ledger) -> None:
    def held_until(expires: float) -> None:
        row = {"name": "writer", "holder": "x", "purpose": "indexing", "host": "far-away"}
        with ledger._database.writing() as connection:
            connection.execute(lease.delete())
            connection.execute(lease.insert().values(**row, pid=1, expires=expires))

    held_until(time.time() + 60)
    assert ledger.lease_holder() == "indexing (process 1 on far-away)"
    with pytest.raises(LibraryBusy, match="far-away"):
        ledger.writer("indexing").__enter__()
    held_until(time.time() - 1)
    with ledger.writer("indexing"):
        pass


@pytest.mark.parametrize("elsewhere", ["another machine", "another container of this one"])
def test_a_writer_whose_process_can_not_be_seen_from_here_is_not_taken_for_dead(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, elsewhere: str
) -> None:
    with ledger.writer("indexing"):
        with ledger._database.writing() as connection:  # a number that no process has here
            connection.execute(lease.update().values(pid=2**22 + 1))
        if elsewhere == "another machine":
            monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
        else:
            monkeypatch.setattr(Path, "readlink", lambda path: Path("pid:[1]"))
        with pytest.raises(LibraryBusy):
            ledger.writer("forgetting").__enter__()
        monkeypatch.undo()
        with ledger.writer("forgetting"):
            pass


def test_a_lease_is_kept_alive(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_lease, "LEASE_S", 0.4)
    with ledger.writer("indexing"):
        time.sleep(1.0)
        assert ledger.lease_holder() is not None


def test_a_writer_that_slept_through_its_lease_writes_no_more(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ledger.writer("indexing"):
        with ledger._database.writing() as connection:  # another one took over
            connection.execute(lease.update().values(holder="another"))
        monkeypatch.setattr(time, "time", lambda now=time.time: now() + 3600)
        with pytest.raises(LibraryBusy, match="stopped for so long"):
            ledger.add_root("/photos")
        monkeypatch.undo()
    assert ledger.roots() == []


def test_readers_do_not_wait_for_a_writer(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))
    with ledger.transaction():
        put(ledger, "/photos/a.jpg")
        began = time.monotonic()
        assert other.known_paths("/") == {}
        with closing(Ledger(sqlite_url(tmp_path / "ledger.sqlite3"))) as third:
            assert third.roots() == []
        assert time.monotonic() - began < 2
    other.close()


def test_threads_write_side_by_side(ledger: Ledger) -> None:
    def write(number: int) -> None:
        for turn in range(10):
            put(ledger, f"/photos/{number}-{turn}.jpg", f"{number:08}{turn:032}")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.known_paths("/")) == 60


def test_processes_that_open_a_new_ledger_at_the_same_time_all_get_it(tmp_path: Path) -> None:
    script = (
        "import sys; from mmrag_plugin.ledger import Ledger; print(Ledger(sys.argv[1]).fact('id'))"
    )
    database = LedgerDatabase(sqlite_url(tmp_path / "ledger.sqlite3"))
    url = database.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert [process.returncode for process in processes] == [0] * 6
    assert len(said) == 1


# ---- what can go wrong with the file ---------------------------------------------------------


@pytest.mark.usefixtures("sqlite_alone")
def test_a_file_that_is_no_ledger_is_not_a_library(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(NotALibrary, match=r"ledger\.sqlite3"):
        Ledger(sqlite_url(path))


@pytest.mark.parametrize(
    "url", ["postgresql://anna:hush@db/mine", "postgresql://db/mine?user=anna&password=hush"]
)
def test_the_address_of_a_ledger_is_shown_without_its_password(url: str) -> None:
    told = shown(sa.make_url(url))
    assert "hush" not in told
    assert "anna" in told
    assert "db/mine" in told


def test_a_ledger_of_a_newer_program_is_left_alone(ledger: Ledger) -> None:
    ledger.state(schema=99)
    with pytest.raises(NotALibrary, match="99"):
        Ledger(url_of(ledger))


@pytest.mark.usefixtures("sqlite_alone")
def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="can't be used") as caught:
        Ledger(sqlite_url(tmp_path / "nowhere" / "ledger.sqlite3"))
    assert caught.value.remedy


@pytest.mark.usefixtures("sqlite_alone")
def test_a_full_disk_is_a_storage_error_and_loses_nothing(tmp_path: Path) -> None:
    """A file size limit stands for the full disk: SQLite meets a failing write either way."""
    url = sqlite_url(tmp_path / "ledger.sqlite3")
    first = Ledger(url)
    put(first, "/photos/a.jpg")
    first.close()
    child = os.fork()
    if child == 0:  # the limit can't be lifted again
        code = 1
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
            ledger = Ledger(url)
            try:
                for number in range(100_000):
                    ledger.state(**{f"k{number}": "x" * 5000})
            except StorageError:
                code = 9
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    again = Ledger(url)
    assert set(again.known_paths("/")) == {"/photos/a.jpg"}
    put(again, "/photos/b.jpg")
    again.close()
