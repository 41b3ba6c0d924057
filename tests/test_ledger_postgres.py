"""The ledger in PostgreSQL: the same as in SQLite, and what only a server brings with it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from commands import environment, mmrag_here, refused, told
from media_made import COLOURS, describe, opened, picture
from mmrag_plugin.errors import LibraryBusy, MmragError, ServiceError, UsageError
from mmrag_plugin.ledger import KnownPath, Ledger
from mmrag_plugin.ledger_copy import TABLES
from mmrag_plugin.ledger_hiding import HidingRule
from mmrag_plugin.ledger_tables import left_out, media, roots
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.migrating_ledger import move_ledger
from mmrag_plugin.settings import CONFIG_FILE
from postgres_server import PASSWORD, PostgresServer
from test_migrating import served_lite

pytestmark = pytest.mark.slow

TESTS = Path(__file__).parent
# All that asks a ledger in its own way; each of these is run once more, on PostgreSQL.
ASKING = [
    "ledger",
    "hiding",
    "browsing",
    "filters",
    "annotating",
    "index_captions",
    "index_speech",
    "same_pixels",
    "people",
    "places",
    "duplicates",
    "learning",
]


@pytest.fixture
def ledger(postgres: PostgresServer, tmp_path: Path) -> Iterator[Ledger]:
    with contextlib.closing(Ledger(postgres.url_for(tmp_path))) as opened:
        yield opened


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that a test may stop."""
    with PostgresServer() as server:
        yield server


def put(ledger: Ledger, path: str) -> str:
    media_id = ledger.mint(f"{abs(hash(path)):040x}", "image")
    ledger.put_path(KnownPath(path, media_id, 1, 2, "", ""), "/photos")
    return media_id


@pytest.mark.timeout(600)
@pytest.mark.parametrize("asking", ASKING)
def test_what_holds_of_a_ledger_in_sqlite_holds_of_one_in_postgresql(
    postgres: PostgresServer, asking: str
) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "--on-postgresql", "--timeout", "300"]
    # tests leave ledgers to the garbage collector, and psycopg warns of that
    command += ["-p", "no:unraisableexception", f"test_{asking}.py"]
    done = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]


# ---- the server goes away --------------------------------------------------------------------


def test_a_server_that_went_away_is_named_without_its_password_and_found_again(
    own_server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Ledger(own_server.url())) as ledger:
        media_id = put(ledger, "/photos/a.jpg")
        own_server.stop()
        ledger._database.patience_s = 0.5
        with pytest.raises(ServiceError, match="can't be used") as caught:
            ledger.media_rows()
        assert str(own_server.port) in caught.value.message
        assert PASSWORD not in str(caught.value)
        assert re.sub(r"\W", "", PASSWORD) not in re.sub(r"\W", "", str(caught.value))
        own_server.start()
        assert list(ledger.media_rows()) == [media_id]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_what_a_restart_cut_off_is_not_half_written(
    own_server: PostgresServer, how: signal.Signals
) -> None:
    with contextlib.closing(Ledger(own_server.url())) as ledger:
        kept = put(ledger, "/photos/kept.jpg")

        def cut_off() -> None:
            with ledger.writer("indexing"), ledger.transaction():
                put(ledger, "/photos/lost.jpg")
                own_server.stop(how=how)
                own_server.start()
                put(ledger, "/photos/never.jpg")

        with pytest.raises(ServiceError):
            cut_off()
        assert list(ledger.media_rows()) == [kept]
        with ledger.writer("indexing"):
            put(ledger, "/photos/lost.jpg")
        assert len(ledger.media_rows()) == 2


def test_a_writer_waits_for_a_server_that_starts_again(own_server: PostgresServer) -> None:
    with contextlib.closing(Ledger(own_server.url())) as ledger, ledger.writer("indexing"):
        own_server.stop()
        writing = threading.Thread(target=put, args=(ledger, "/photos/a.jpg"))
        writing.start()
        time.sleep(3.0)
        own_server.start()
        writing.join()
        assert len(ledger.media_rows()) == 1


def test_a_wrong_address_is_refused_at_once_and_plainly(postgres: PostgresServer) -> None:
    for url in (
        "postgresql://nobody:secret@127.0.0.1:9/ledger",
        postgres.url().replace("mmrag:", "other:"),
        postgres.url() + "_not_there",
    ):
        began = time.monotonic()
        with pytest.raises(ServiceError, match="can't be used") as caught:
            Ledger(url)
        assert time.monotonic() - began < 10
        assert "secret" not in str(caught.value)
    with pytest.raises(UsageError):
        Ledger("mysql://h/d")


def test_the_scheme_may_be_written_as_many_do(postgres: PostgresServer, tmp_path: Path) -> None:
    url = postgres.url_for(tmp_path).replace("postgresql://", "postgres://")
    with contextlib.closing(Ledger(url)) as ledger:
        assert ledger.roots() == []


# ---- several machines ------------------------------------------------------------------------


def test_the_lease_goes_by_the_servers_clock(
    ledger: Ledger, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(Ledger(postgres.url_for(tmp_path))) as other:
        with monkeypatch.context() as patch:  # a machine whose clock is an hour behind
            patch.setattr(time, "time", lambda now=time.time: now() - 3600)
            writing = ledger.writer("indexing")
            writing.__enter__()
        with pytest.raises(LibraryBusy):
            other.writer("forgetting").__enter__()
        with monkeypatch.context() as patch:  # one whose clock is an hour ahead
            patch.setattr(time, "time", lambda now=time.time: now() + 3600)
            with pytest.raises(LibraryBusy):
                other.writer("forgetting").__enter__()
        writing.__exit__(None, None, None)


def test_only_one_of_many_that_come_at_once_writes(
    ledger: Ledger, postgres: PostgresServer, tmp_path: Path
) -> None:
    others = [Ledger(postgres.url_for(tmp_path)) for _ in range(6)]
    inside, refused, most = [], [], []

    def write(mine: Ledger) -> None:
        try:
            with mine.writer("indexing"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.3)
                inside.pop()
        except LibraryBusy:
            refused.append(1)

    threads = [threading.Thread(target=write, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(most) + len(refused) == 6
    for other in others:
        other.close()


def test_who_reads_sees_one_moment_and_waits_for_nobody(
    ledger: Ledger, postgres: PostgresServer, tmp_path: Path
) -> None:
    put(ledger, "/photos/a.jpg")
    count = sa.select(sa.func.count()).select_from(media)
    with (
        contextlib.closing(Ledger(postgres.url_for(tmp_path))) as other,
        ledger._database.reading() as connection,
    ):
        assert connection.scalar(count) == 1
        put(other, "/photos/b.jpg")
        assert connection.scalar(count) == 1
    assert len(ledger.media_rows()) == 2


def test_assistants_can_not_write_through_their_views(
    ledger: Ledger, postgres: PostgresServer, tmp_path: Path
) -> None:
    shown, hidden = put(ledger, "/photos/a.jpg"), put(ledger, "/photos/b.jpg")
    ledger.hide(HidingRule("media", hidden, hidden))
    url = postgres.url_for(tmp_path)
    with contextlib.closing(Ledger(url, for_assistants=True)) as seen:
        assert list(seen.media_rows()) == [shown]
        for write in (
            lambda: seen.drop_media([shown]),
            lambda: seen.mint("f" * 40, "image"),
            lambda: seen.hide(HidingRule("media", shown, shown)),
            lambda: seen.add_root("/elsewhere"),
        ):
            with pytest.raises(MmragError):
                write()
    assert len(ledger.media_rows()) == 2
    with ledger._database.reading() as connection:
        for table in (roots, left_out):
            assert connection.execute(sa.select(table)).all() == []


PROGRAM = """
import socket, sys, time
name, *words = sys.argv[1:]
socket.gethostname = lambda: name
from mmrag_plugin import ledger_lease
ledger_lease.LEASE_S = 4.0
if "--slowly" in words:
    words.remove("--slowly")
    from mmrag_plugin.ledger import Ledger
    put_read = Ledger.put_read
    def slowly(*arguments):
        print("reading", flush=True)
        time.sleep(60)
        put_read(*arguments)
    Ledger.put_read = slowly
sys.argv[1:] = words
from mmrag_plugin.cli import main
main()
"""


def test_two_machines_share_a_library(own_server: PostgresServer, tmp_path: Path) -> None:
    photos = tmp_path.resolve() / "photos"
    for number in range(8):
        colour = list(COLOURS)[number % len(COLOURS)]
        describe(picture(photos / f"{number}.png", colour, number=number), f"thing number{number}")
    with served_lite(tmp_path / "milvus") as server:

        def command(machine: str, *words: object) -> tuple[list[str], dict[str, str]]:
            known = {"MMRAG_LEDGER_URL": own_server.url(), "MMRAG_MILVUS_URI": server.uri}
            (tmp_path / machine).mkdir(exist_ok=True)
            variables = environment(tmp_path / machine, **known)
            return [sys.executable, "-c", PROGRAM, machine, *map(str, words)], variables

        def run(machine: str, *words: object) -> subprocess.CompletedProcess[str]:
            line, variables = command(machine, *words)
            return subprocess.run(
                line, env=variables, capture_output=True, text=True, check=False, timeout=100
            )

        done = run("one", "index", photos / "0.png", photos / "1.png", "--no-ocr", "--json")
        assert json.loads(done.stdout)["added"] == 2, done.stderr

        line, variables = command("one", "index", photos, "--no-ocr", "--json", "--slowly")
        writing = subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, text=True)
        try:
            assert writing.stdout
            assert writing.stdout.readline() == "reading\n"
            refused = run("two", "index", photos, "--no-ocr", "--json")
            assert refused.returncode == 3
            said = json.loads(refused.stdout)["error"]
            assert f"Process {writing.pid} on one is writing" in said["message"]
            found = run("two", "search", "number1", "--json")
            assert json.loads(found.stdout)["hits"][0]["path"] == str(photos / "1.png")
            assert "on one" in json.loads(run("two", "status", "--json").stdout)["writer"]
        finally:
            writing.kill()
            writing.communicate()
        deadline = time.monotonic() + 60
        while (done := run("two", "index", photos, "--no-ocr", "--json")).returncode == 3:
            assert time.monotonic() < deadline, "the lease of a dead machine runs out"
        assert json.loads(done.stdout)["failed"] == []
        for machine in ("one", "two"):
            found = run(machine, "search", "number7", "--json")
            assert json.loads(found.stdout)["hits"][0]["path"] == str(photos / "7.png")
        status = json.loads(run("one", "status", "--verify", "--json").stdout)
        assert status["media"] == {"image": 8}
        assert all(not d["missing"] and not d["surplus"] for d in status["verify"])


# ---- moving the ledger -----------------------------------------------------------------------


def id_of(library: MediaLibrary, path: Path) -> str:
    found = library.find(str(path))
    assert found is not None
    return found.media_id


def tables(ledger: Ledger) -> dict[str, list[dict[str, object]]]:
    """All that a ledger holds but who writes."""
    with ledger._database.reading() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(
                    sa.select(table).order_by(*table.primary_key)
                ).mappings()
                if row.get("key") not in ("moved_to", "library")
            ]
            for table in TABLES
        }


def test_a_ledger_moves_to_postgresql_and_back_with_all_its_lines(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    home, photos = tmp_path / "home", tmp_path.resolve() / "photos"
    for number, colour in enumerate(["red", "green", "blue"]):
        describe(
            picture(photos / f"{colour}.png", colour, number=number), f"number{number} \U0001f98a"
        )
    with opened(home) as library:
        library.index([photos])
        red, blue = (id_of(library, photos / f"{name}.png") for name in ("red", "blue"))
        library.annotate(red, caption="mine", tags=["a tag"], people=["Ann"])
        library.hide("person:Ann")
        before = tables(library.ledger)
    url = postgres.url_for(home)

    said = told(mmrag_here(home, "migrate", "--ledger-to", url, "--json"), 0)["ledger"]
    assert said["rows"] >= sum(map(len, before.values()))
    assert PASSWORD not in str(said)
    assert any("password is not kept" in warning for warning in said["warnings"])
    config = (home / "default" / CONFIG_FILE).read_text()
    assert "ledger_url" in config
    assert quote(PASSWORD, safe="") not in config
    here = {"PGPASSWORD": PASSWORD}
    hits = told(mmrag_here(home, "search", "number1", "--json", **here), 0)["hits"]
    assert hits[0]["path"] == str(photos / "green.png")
    with opened(home, ledger_url=url) as library:
        assert tables(library.ledger) == before
        library.annotate(blue, caption="after the move")
        library.index([photos])
        later = tables(library.ledger)
    (home / "default" / CONFIG_FILE).unlink()
    _, message, remedy = refused(mmrag_here(home, "search", "red", "--json"), 2)
    assert "was moved to postgresql://" in message
    assert PASSWORD not in message
    assert "MMRAG_LEDGER_URL" in remedy

    done = mmrag_here(home, "migrate", "--ledger-to", "sqlite", "--no-copy")
    assert done.returncode == 0, done.stderr  # as if the server were lost
    with opened(home) as library:
        assert tables(library.ledger) == before

    there = {"MMRAG_LEDGER_URL": url}
    with opened(home) as library:
        library.ledger.state(moved_to=url.partition("@")[2])
    told(mmrag_here(home, "migrate", "--ledger-to", "sqlite", "--json", **there), 0)
    with opened(home) as library:
        assert library.ledger.address.startswith("sqlite")
        assert tables(library.ledger) == later
        assert len(library.hidden()) == 1
    assert refused(mmrag_here(home, "search", "red", "--json", **there), 2)


def test_a_ledger_goes_into_no_other_one_and_a_broken_move_leaves_nothing(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    home, url = tmp_path / "home", postgres.url_for(tmp_path)

    def broken_off(_: int) -> None:
        raise KeyboardInterrupt

    with opened(home) as library:
        put(library.ledger, "/photos/a.jpg")
        with pytest.raises(KeyboardInterrupt):
            move_ledger(library, url, broken_off)
        assert not (home / "default" / CONFIG_FILE).exists()
        with contextlib.closing(Ledger(url)) as other:
            assert other.is_empty()
            put(other, "/photos/b.jpg")
        with pytest.raises(UsageError, match="holds another ledger"):
            move_ledger(library, url, broken_off)
    with opened(home) as library:
        assert len(library.ledger.media_rows()) == 1
