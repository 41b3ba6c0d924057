"""A library's rows moved from one Milvus to another, and everything that may come in between."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from commands import environment, mmrag_here, refused, told
from media_made import COLOURS, describe, end_owners, opened, picture
from milvus_servers import Server, lite_core, real_server
from mmrag_plugin import milvus_connection, milvus_copy
from mmrag_plugin.errors import IndexStopped, LibraryBusy, MilvusUnavailable, UsageError
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_milvus import Places, connection_of, known_places
from mmrag_plugin.migrating import Migration, Report
from mmrag_plugin.milvus_collection import Collection, shape_of
from mmrag_plugin.settings import CONFIG_FILE, Settings
from mmrag_plugin.upkeep import verify

PICTURES = 12
# The command in small steps, which ends as if killed before the so manieth call of Milvus.
KILLED = """
import os, signal, sys
from mmrag_plugin import milvus_connection, milvus_copy
from mmrag_plugin.cli import main
from mmrag_plugin.milvus_connection import MilvusConnection
milvus_copy.ROWS_PER_PAGE = 2
left, call = int(sys.argv.pop(1)), MilvusConnection.call
def counted(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **options)
MilvusConnection.call = counted
main()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "home"
    end_owners(tmp_path / "home")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media").resolve() / "photos"
    for number in range(PICTURES):
        path = folder / f"{list(COLOURS)[number % len(COLOURS)]} {number}.png"
        picture(path, list(COLOURS)[number % len(COLOURS)], number=number)
        describe(path, f"thing number{number} beside a wall, 東京, it's")
    return folder


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that knows words: Milvus Lite, on loopback."""
    with served_lite(tmp_path_factory.mktemp("lite")) as server:
        yield server.uri


@contextlib.contextmanager
def served_lite(folder: Path) -> Iterator[Server]:
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", "from milvus_lite.cmdline import main; main()", "server"]
    command += ["--data-dir", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    server = Server(f"http://127.0.0.1:{port}", command, {}, folder, health="")
    try:
        server.start()
        yield server
    finally:
        server.kill()


def moved(library: MediaLibrary, uri: str, *, remove_old: bool = False, **options: Any) -> Report:
    return Migration(library, target(library, uri), **options).move(remove_old=remove_old)


def target(library: MediaLibrary, uri: str) -> Settings:
    return library.settings.model_copy(update={"milvus_uri": uri})


def contents(library: MediaLibrary, uri: str | None = None) -> dict[str, dict[str, Any]]:
    """Every row, with its vectors: of the Milvus in use, or of another one."""
    settings = library.settings if uri is None else target(library, uri)
    found: dict[str, dict[str, Any]] = {}
    with contextlib.closing(connection_of(settings)) as connection:
        for name in ("visual", "words"):
            model = library.recorded(name)
            assert model is not None
            dim, words = shape_of(connection, model.collection)
            collection = Collection(connection, model.collection, dim=dim, words=words)
            pages = collection.pages("", ["*"], 1000)
            found[name] = {row["id"]: row for page in pages for row in page}
    return found


def paths_of(library: MediaLibrary, query: str) -> list[str]:
    """What is found; only the first, for others are as good as each other."""
    return [hit.path for hit in library.search(query).hits[:1]]


# ---- there and back --------------------------------------------------------------------------


@pytest.mark.slow
def test_rows_are_the_same_on_a_server_and_back(home: Path, photos: Path, lite: str) -> None:
    with opened(home) as library:
        library.index([photos])
        before, found = contents(library), paths_of(library, "number7")
        report = moved(library, lite)
        assert [collection.same for collection in report.collections] == [
            len(before["visual"]),
            len(before["words"]),
        ]
        assert report.old == "kept"
        assert contents(library, lite) == before
        with pytest.raises(UsageError, match="were moved"):
            paths_of(library, "red")
    assert f'milvus_uri = "{lite}"' in (home / "default" / CONFIG_FILE).read_text()
    with opened(home) as library:
        assert library.settings.milvus_uri == lite
        assert paths_of(library, "number7") == found
        assert library.index([photos]).unchanged == PICTURES
        assert [(d.missing, d.surplus) for d in verify(library)] == [([], []), ([], [])]
        report = moved(library, "", remove_old=True)
        assert report.old == "removed"
        assert {collection.mended for collection in report.collections} == {0}
    assert "milvus_uri" not in (home / "default" / CONFIG_FILE).read_text()
    with opened(home) as library:
        assert contents(library) == before
        assert paths_of(library, "number7") == found
        with contextlib.closing(connection_of(target(library, lite))) as connection:
            names = connection.call("list_collections")
            assert not [name for name in names if library.models.is_ours(name)]


@pytest.mark.slow
def test_what_changed_since_the_old_place_was_left_is_mended_there(
    home: Path, photos: Path, lite: str, tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    for number, colour in enumerate(["red", "green", "blue"]):
        picture(mine / f"{colour}.png", colour, number=number)
    with opened(home) as library:
        library.index([mine])
        moved(library, lite)
    (mine / "red.png").unlink()
    picture(mine / "black.png", "black")
    describe(mine / "green.png", "a meadow")
    with opened(home) as library:
        library.index([mine])
        after = contents(library)
        report = moved(library, "")
    assert sum(collection.removed for collection in report.collections) == 2
    with opened(home) as library:
        assert contents(library) == after
        assert {Path(hit.path).name for hit in library.search("meadow").hits[:1]} == {"green.png"}


@pytest.mark.slow
def test_a_library_without_rows_only_switches(home: Path, lite: str) -> None:
    with opened(home) as library:
        assert moved(library, lite).collections == []
    with opened(home) as library:
        assert library.settings.milvus_uri == lite


# ---- broken off ------------------------------------------------------------------------------


class AtEachStep:
    """Hears of a move, and does something at each step of it."""

    def __init__(self, do: Callable[[], object]) -> None:
        self._do = do

    def begin(self, step: str, total: int) -> None: ...

    def advance(self, step: str, count: int) -> None:
        self._do()

    def note(self, text: str) -> None: ...


def test_a_move_that_was_stopped_goes_on_where_it_was(
    home: Path, photos: Path, lite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_copy, "ROWS_PER_PAGE", 4)
    with opened(home) as library:
        library.index([photos])
        before = contents(library)
        stop = threading.Event()

        with pytest.raises(IndexStopped):
            moved(library, lite, stop=stop, watcher=AtEachStep(stop.set))
        assert paths_of(library, "red"), "the old place is in use as before"
        assert not (home / "default" / CONFIG_FILE).exists()
        report = moved(library, lite)
        assert report.collections[0].copied == len(before["visual"]) - 4
        assert contents(library, lite) == before


@pytest.mark.slow
def test_a_move_that_is_killed_anywhere_ends_where_an_unbroken_one_does(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
        before = contents(library)
    with served_lite(tmp_path) as server:
        for last_call in [*random.Random(7).sample(range(2, 50), 6), 0]:
            command = [sys.executable, "-c", KILLED, str(last_call), "migrate", "--json"]
            done = subprocess.run(
                [*command, "--to", server.uri], env=environment(home), check=False, timeout=100
            )
            if last_call and done.returncode != 0:
                assert done.returncode == -signal.SIGKILL
                assert not (home / "default" / CONFIG_FILE).exists()
        with opened(home) as library:
            assert library.settings.milvus_uri == server.uri
            assert contents(library) == before
            assert known_places(library.ledger) == Places(["lite"])


@pytest.mark.slow
def test_a_move_that_was_killed_just_after_its_switch_is_settled_by_the_next(
    home: Path, photos: Path, lite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(home) as library:
        library.index([photos])
        with monkeypatch.context() as patch:
            patch.setattr(Migration, "_arrived", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                moved(library, lite)
    with opened(home) as library:
        assert library.settings.milvus_uri == lite
        with pytest.raises(UsageError, match="already"):
            moved(library, lite)
        assert known_places(library.ledger).left == ["lite"]
        moved(library, "", remove_old=True)


@pytest.mark.slow
def test_the_old_place_stays_in_use_when_the_server_goes_away_in_the_middle(
    home: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(milvus_copy, "ROWS_PER_PAGE", 4)
    with opened(home) as library:
        library.index([photos])
        with served_lite(tmp_path) as server:
            monkeypatch.setattr(milvus_connection, "PATIENCE_S", 3.0)
            with pytest.raises(MilvusUnavailable):
                moved(library, server.uri, watcher=AtEachStep(server.kill))
        assert paths_of(library, "red")
        assert not (home / "default" / CONFIG_FILE).exists()


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_target_with_rows_that_did_not_come_from_here_is_refused(
    home: Path, photos: Path, lite: str
) -> None:
    with opened(home) as library:
        library.index([photos])
        moved(library, lite)
        there = contents(library, lite)
        library.ledger.state(milvus_places=None)  # as another copy of the library knows nothing
        (home / "default" / CONFIG_FILE).unlink()
    with opened(home) as library:
        with pytest.raises(UsageError, match="were not brought there from here"):
            moved(library, lite)
        assert contents(library, lite) == there
        assert paths_of(library, "red")


@pytest.mark.slow
def test_where_nothing_answers_nothing_changes(home: Path, photos: Path) -> None:
    with opened(home) as library:
        library.index([photos])
        with pytest.raises(MilvusUnavailable):
            moved(library, "http://127.0.0.1:9")
        with pytest.raises(UsageError, match="not a Milvus address"):
            moved(library, "somewhere")
        assert not (home / "default" / CONFIG_FILE).exists()
        assert paths_of(library, "red")


def test_nobody_moves_while_somebody_writes(home: Path, lite: str) -> None:
    with (
        opened(home) as library,
        opened(home) as other,
        other.ledger.writer("indexing"),
        pytest.raises(LibraryBusy, match="indexing"),
    ):
        moved(library, lite)


# ---- the command -----------------------------------------------------------------------------


def test_the_command_moves_says_so_and_keeps_what_the_person_wrote(
    home: Path, photos: Path, lite: str
) -> None:
    config = home / "default" / CONFIG_FILE
    told(mmrag_here(home, "index", photos, "--no-ocr", "--json"), 0)
    config.write_text('# mine\nocr = "off"  # too slow here\n')
    said = told(mmrag_here(home, "migrate", "--to", lite, "--with-token", "a:b", "--json"), 0)
    assert said["from"] == "the library's own Milvus"
    assert said["to"] == f"Milvus at {lite}"
    assert any("MMRAG_MILVUS_TOKEN" in warning for warning in said["warnings"])
    assert config.read_text() == (f'# mine\nocr = "off"  # too slow here\nmilvus_uri = "{lite}"\n')
    hits = told(mmrag_here(home, "search", "number3", "--json"), 0)["hits"]
    assert "3.png" in hits[0]["path"]
    assert told(mmrag_here(home, "status", "--json"), 0)["milvus"]["address"] == lite

    back = mmrag_here(home, "migrate", "--to", "lite", MMRAG_MILVUS_URI=lite)
    assert back.returncode == 0
    assert "MMRAG_MILVUS_URI in the environment says something else" in back.stderr
    assert f"mmrag migrate --to {lite} --remove-old" in back.stdout.replace("\n", "")
    assert config.read_text() == '# mine\nocr = "off"  # too slow here\n'
    _, message, remedy = refused(
        mmrag_here(home, "search", "red", "--json", MMRAG_MILVUS_URI=lite), 2
    )
    assert lite in message
    assert "MMRAG_MILVUS_URI" in remedy

    gone = mmrag_here(home, "migrate", "--to", lite, "--remove-old")
    assert gone.returncode == 0
    assert "any more" in gone.stdout
    assert told(mmrag_here(home, "search", "number3", "--json"), 0)["hits"] == hits


@pytest.mark.slow
def test_a_token_is_kept_when_it_is_asked_for_and_goes_to_no_other_server(
    home: Path, photos: Path, lite: str
) -> None:
    config = home / "default" / CONFIG_FILE
    told(mmrag_here(home, "index", photos, "--no-ocr", "--json"), 0)
    told(mmrag_here(home, "migrate", "--to", lite, "--with-token=a:b", "--keep-token", "--json"), 0)
    assert 'milvus_token = "a:b"' in config.read_text()
    assert config.stat().st_mode & 0o077 == 0
    other = lite.replace("127.0.0.1", "localhost")
    said = told(mmrag_here(home, "migrate", "--to", other, "--no-copy", "--json"), 0)
    assert "milvus_token" not in config.read_text()
    assert any("milvus_token was taken out" in warning for warning in said["warnings"])
    told(mmrag_here(home, "migrate", "--to", "lite", "--no-copy", "--json"), 0)


def test_a_password_in_the_address_is_refused_and_not_repeated(home: Path) -> None:
    address = "http://me:secret@127.0.0.1:19530"
    said = refused(mmrag_here(home, "migrate", "--to", address, "--json"), 2)
    assert "--with-token" in said[2]
    assert "secret" not in str(said)


def test_without_a_place_to_go_to_the_command_says_how(home: Path) -> None:
    with opened(home):
        pass
    _, _, remedy = refused(mmrag_here(home, "migrate", "--json"), 2)
    assert "--to URI" in remedy


# ---- real servers ----------------------------------------------------------------------------


@pytest.mark.slow
def test_a_server_without_words_is_refused_until_one_agrees_and_words_come_back(
    home: Path, photos: Path, tmp_path: Path
) -> None:
    with opened(home) as library:
        library.index([photos])
        before, found = contents(library), paths_of(library, "number7")
        with real_server(tmp_path / "server") as server:
            with pytest.raises(UsageError, match=r"2\.3\.5.*can't be searched by words"):
                pytest.fail(str(moved(library, server.uri)))
            report = moved(library, server.uri, without_words=True)
            assert any("without what words" in warning for warning in report.warnings)
            assert contents(library, server.uri)["visual"] == before["visual"]
            with opened(home) as there:
                assert paths_of(there, "red")
                report = moved(there, "", remove_old=True)
                assert report.words_to_make
    with opened(home) as library:
        library.index([photos])
        assert contents(library) == before
        assert paths_of(library, "number7") == found


@pytest.mark.slow
def test_rows_are_the_same_in_the_cpp_core_and_back(
    home: Path, photos: Path, tmp_path: Path, minidual: Path
) -> None:
    with opened(home, visual_model=str(minidual), text_model="visual") as library:
        library.index([photos])
        before = contents(library)
        with lite_core(tmp_path / "server") as server:
            moved(library, server.uri)
            assert contents(library, server.uri) == before
            with opened(home) as there:
                moved(there, "", remove_old=True)
    with opened(home) as library:
        assert contents(library) == before
