"""Runs that are killed anywhere end, once they are run to the end, where an unbroken run ends."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import sqlalchemy as sa

from made_films import BLUE, GREEN, RED, write_film
from media_made import COLOURS, describe, end_owner, opened, owner_pid, picture
from mmrag_plugin.ledger_database import LedgerDatabase
from mmrag_plugin.ledger_tables import lease, media, paths, signals, stages, terms
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_place import LEDGER_FILE
from mmrag_plugin.milvus_store import MediaVectorStore
from mmrag_plugin.upkeep import verify

PICTURES = 60
# Small steps, so that a run of seconds has as many places to break as one of hours.
SMALL_STEPS = {
    "indexing": {"_READ_BATCH": 12},
    "index_words": {"_EMBED_ROWS": 1, "_COMMIT_ROWS": 10},
    "index_pixels": {"_COMMIT_FRAMES": 8},
    "index_seeing_here": {"EMBED_BATCH": 6},
}
COMMAND = (
    "from importlib import import_module; from mmrag_plugin.cli import main\n"
    f"for name, steps in {SMALL_STEPS}.items():\n"
    "    vars(import_module(f'mmrag_plugin.{name}')).update(steps)\n"
    "main()"
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty pictures, a film, sidecars, a copy and a broken file."""
    folder = tmp_path_factory.mktemp("media").resolve() / "photos"
    for number in range(PICTURES):
        path = folder / f"trip {number % 4}" / f"picture {number}.png"
        picture(path, list(COLOURS)[number % len(COLOURS)], number=number, size=(320, 240))
        if number % 5 == 0:
            describe(path, f"thing number {number} beside a {list(COLOURS)[number % 7]} wall")
    write_film(folder / "film.mp4", [RED] * 10 + [GREEN] * 10 + [BLUE] * 10, gop=10)
    (folder / "film.srt").write_text("1\n00:00:00,500 --> 00:00:02,000\nhere we are\n")
    shutil.copy(folder / "trip 0" / "picture 0.png", folder / "copy.png")
    (folder / "broken.jpg").write_text("no picture")
    return folder


def state_of(library: MediaLibrary) -> dict[str, Any]:
    """All that a run makes: ids, facts, signals, stages, and every row in Milvus."""
    ledger = library.ledger
    found: dict[str, Any] = {}
    with ledger._database.reading() as connection:
        for table in (media, paths, stages, signals, terms):
            keys = list(table.primary_key)
            rows = connection.execute(sa.select(table).order_by(*keys)).mappings()
            found[table.name] = [dict(row) for row in rows]
    for row in found["paths"]:
        row.pop("mtime_ns")
    for name, store in library.stores().items():
        fields = ["id", "media_id", "text", "source", "start_ms", "end_ms", "taken_at", "camera"]
        rows = sorted(store._read("", fields), key=lambda row: str(row["id"]))
        found[f"rows of {name}"] = [{field: row[field] for field in fields} for row in rows]
    frames = library.stores()["visual"]
    vectors = frames.vectors(row_id for row_id, _ in frames.row_ids())
    found["vectors"] = {row: np.round(vector, 4).tolist() for row, vector in vectors.items()}
    found["collections"] = len(library.connection.call("list_collections"))
    return found


def assert_same(library: MediaLibrary, expected: dict[str, Any]) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference
    found = state_of(library)
    for part, content in expected.items():
        assert found[part] == content, part


def index_command(home: Path, folder: Path) -> list[str]:
    options = ["--no-ocr", "--visual-model", "palette", "--text-model", "off", "--json"]
    return [sys.executable, "-c", COMMAND, "index", str(folder), "--home", str(home), *options]


def run_to_the_end(home: Path, folder: Path) -> None:
    command = index_command(home, folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode in (0, 1), done.stderr  # 1 where the broken file is news
    report = json.loads(done.stdout)
    assert [Path(failure["path"]).name for failure in report["failed"]] == ["broken.jpg"]


@pytest.fixture(scope="module")
def unbroken(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run that nobody disturbed makes."""
    home = tmp_path_factory.mktemp("unbroken")
    run_to_the_end(home, photos)
    with opened(home) as library:
        expected = state_of(library)
    end_owner(home / "default")
    assert len(expected["rows of visual"]) == PICTURES + 3
    return expected


def kill(process: subprocess.Popen[bytes], directory: Path, *, owner_too: bool) -> bool:
    """Kill a run, and the process that holds Milvus too; says whether it was still under way."""
    under_way = process.poll() is None
    owner = owner_pid(directory)
    process.kill()
    if owner_too and owner is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(owner, signal.SIGKILL)
    process.wait(timeout=100)
    return under_way


def entered(ledger: Path) -> int:
    """How many stages of media the ledger has entered so far."""
    if not ledger.exists():
        return 0
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        try:
            count: int = connection.execute("SELECT count(*) FROM stages").fetchone()[0]
        except sqlite3.OperationalError:  # not even its tables are there
            return 0
    return count


def killed_and_finished(
    base: Path, photos: Path, expected: dict[str, Any], times: int, seed: int
) -> None:
    """Kill ``times`` runs of as many libraries, at moments spread over a run, and compare.

    The moments are told by what the ledger has entered; the clock would tell imports only. A run
    that was over before the blow fell is killed earlier.
    """
    chance = random.Random(seed)
    for number in range(times):
        home, owner_too = base / str(number), number % 3 == 1
        ledger = home / "default" / LEDGER_FILE
        wanted = 1 + int(len(expected["stages"]) * 0.9 * (number + chance.random()) / times)
        for _ in range(10):
            process = subprocess.Popen(
                index_command(home, photos), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            while process.poll() is None and entered(ledger) < wanted:
                time.sleep(0.002)
            time.sleep(0.01 * chance.random())
            at = entered(ledger)
            if kill(process, ledger.parent, owner_too=owner_too):
                break
            wanted = 1 + wanted // 2
            end_owner(ledger.parent)
            shutil.rmtree(home, ignore_errors=True)
        else:
            pytest.fail("no run was under way when it was killed")
        run_to_the_end(home, photos)
        with opened(home) as library:
            assert_same(library, expected)
        end_owner(ledger.parent, wait=False)
        victim = "run and owner" if owner_too else "run"
        print(f"{victim} killed at {at} of {len(expected['stages'])} entries: same library")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_killed_runs_end_in_the_same_library(
    tmp_path: Path, photos: Path, unbroken: dict[str, Any]
) -> None:
    killed_and_finished(tmp_path, photos, unbroken, times=3, seed=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_of_ten_killed_runs_end_in_the_same_library(
    tmp_path: Path, photos: Path, unbroken: dict[str, Any]
) -> None:
    killed_and_finished(tmp_path, photos, unbroken, times=10, seed=1)


# ---- broken off before each single write -----------------------------------------------------


class BrokenOffError(BaseException):
    """Stands for the kill: nothing of ours catches it."""


class Breaker:
    """Counts writes to ledger and Milvus, and breaks off before the one that it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.writes = 0
        self.break_before = 0
        for owner, names in (
            (LedgerDatabase, ["writing"]),
            (MediaVectorStore, ["add", "flush", "delete_media", "delete_nodes"]),
        ):
            for name in names:
                monkeypatch.setattr(owner, name, self._counting(getattr(owner, name)))

    def _counting(self, original: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            if self.writes == self.break_before:
                raise BrokenOffError
            return original(*args, **kwargs)

        return counted

    def start(self, break_before: int) -> None:
        self.writes, self.break_before = 0, break_before


def change(photos: Path, folder: Path) -> None:
    """A folder's further life: edits, moves, a new file, a copy, a removal, a broken file."""
    picture(folder / "trip 0" / "picture 4.png", "pink", number=999)
    with PIL.Image.open(folder / "trip 0" / "picture 8.png") as image:
        exif = PIL.Image.Exif()
        exif[0x010E] = "said in the file, which shows what it showed"
        image.save(folder / "trip 0" / "picture 8.png", exif=exif)
    (folder / "trip 1" / "picture 1.png").rename(folder / "moved.png")
    picture(folder / "new.png", "white", number=500)
    shutil.copy(folder / "trip 2" / "picture 2.png", folder / "copy of 2.png")
    (folder / "copy.png").unlink()
    (folder / "trip 3" / "picture 3.png").unlink()
    (folder / "trip 3" / "picture 7.png").write_text("broken now")
    describe(folder / "trip 2" / "picture 6.png", "said later")
    assert photos != folder


def broken_off_everywhere(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    for module, steps in SMALL_STEPS.items():
        for name, size in steps.items():
            monkeypatch.setattr(f"mmrag_plugin.{module}.{name}", size)
    folder = tmp_path / "photos"
    before = tmp_path / "before"
    shutil.copytree(photos, folder)
    with opened(before) as library:
        library.index([folder])
    end_owner(before / "default")
    change(photos, folder)

    unbroken = shutil.copytree(before, tmp_path / "unbroken")
    breaker = Breaker(monkeypatch)
    with opened(unbroken) as library:
        breaker.start(0)
        library.index([])
        writes = breaker.writes
        expected = state_of(library)
    end_owner(unbroken / "default", wait=False)

    tried = range(1, writes + 1, every)
    for number in tried:
        home = shutil.copytree(before, tmp_path / f"broken {number}")
        with opened(home) as library:
            breaker.start(number)
            with pytest.raises(BrokenOffError):
                library.index([])
            breaker.start(0)
            with library.ledger._database.writing_anyway() as connection:
                connection.execute(lease.delete())  # a killed process holds none, this one lives
            library.index([])
            assert_same(library, expected)
        end_owner(home / "default", wait=False)
        shutil.rmtree(home, ignore_errors=True)
    print(f"{len(tried)} of {len(tried)} places to break (of {writes} writes): same library")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_changed_folder_is_taken_in_alike_wherever_the_run_breaks_off(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off_everywhere(tmp_path, photos, monkeypatch, every=13)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_folder_is_taken_in_alike_wherever_at_all_the_run_breaks_off(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off_everywhere(tmp_path, photos, monkeypatch, every=1)
