"""`mmrag watch`: what changes in a folder is in the library soon, and nothing is taken for gone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmrag_plugin import watching
from mmrag_plugin.errors import IndexStopped
from mmrag_plugin.index_report import IndexReport, Progress
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.settings import load_settings
from mmrag_plugin.signals.ocr_rapid import RapidOcrReader
from mmrag_plugin.watching import Changes, Watcher, news_of, places_to_index

SETTLE_S = 0.3


def picture(path: Path, colour: str = "red", size: tuple[int, int] = (32, 24)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.new("RGB", size, colour).save(path)
    return path


class Watched:
    """A library whose folder is watched in a thread; ``reports`` is what was told so far."""

    def __init__(self, base: Path, *, ocr: str = "off", **options: float | bool) -> None:
        self.folder = (base / "photos").resolve()
        self.folder.mkdir()
        settings = load_settings(
            home=base / "home", visual_model="palette", text_model="off", ocr=ocr
        )
        self.library = MediaLibrary.open(settings, create=True)
        self.reports: list[IndexReport] = []
        self.remarks: list[str] = []
        self.failure: BaseException | None = None
        self.stop = threading.Event()
        chosen = {"settle_s": SETTLE_S, "look_s": 0.3, **options}
        self._watcher = Watcher(self.library, **chosen)  # type: ignore[arg-type]
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            for news in self._watcher.run([self.folder], self.stop):
                if isinstance(news, str):
                    self.remarks.append(news)
                else:
                    self.reports.append(news)
        except BaseException as error:
            self.failure = error

    def start(self) -> None:
        self._thread.start()
        self.until(lambda: len(self.reports) >= 2)  # of what was named, and of all there is

    def until(self, condition: object, within_s: float = 30.0) -> None:
        began = time.monotonic()
        while not condition():  # type: ignore[operator]
            if self.failure is not None:
                raise self.failure
            assert time.monotonic() - began < within_s, (self.names(), self.remarks)
            time.sleep(0.05)

    def names(self) -> list[str]:
        known = self.library.ledger.known_paths(str(self.folder))
        return sorted(os.path.relpath(path, self.folder) for path in known)

    def first_of(self, query: str) -> str:
        return self.library.search(query).hits[0].path

    def ids(self) -> set[str]:
        known = self.library.ledger.known_paths(str(self.folder))
        return {path.media_id for path in known.values()}

    def close(self) -> None:
        self.stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)
            assert not self._thread.is_alive()
        self.library.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    yield made
    made.close()


def test_what_comes_changes_moves_and_goes_is_followed(watched: Watched) -> None:
    picture(watched.folder / "first.png")
    watched.start()
    assert watched.names() == ["first.png"]
    picture(watched.folder / "trip" / "deep" / "second.png", "blue")
    watched.until(lambda: len(watched.names()) == 2)
    watched.until(lambda: watched.first_of("blue").endswith("second.png"))

    ids = watched.ids()
    (watched.folder / "trip").rename(watched.folder / "Lisbon")
    watched.until(lambda: "Lisbon/deep/second.png" in watched.names())
    assert watched.ids() == ids

    picture(watched.folder / "first.png", "green", (40, 30))
    watched.until(lambda: watched.first_of("green").endswith("first.png"))
    assert watched.ids() == ids

    (watched.folder / "first.png").unlink()
    watched.until(lambda: watched.names() == ["Lisbon/deep/second.png"])
    assert not any(report.failed for report in watched.reports)


def test_a_burst_of_files_is_taken_in_at_once_and_whole(watched: Watched) -> None:
    watched.start()
    for number in range(300):
        picture(watched.folder / f"{number % 7}" / f"{number}.png", f"#{number:06x}", (8, 8))
    watched.until(lambda: len(watched.names()) == 300, 60)
    assert len(watched.reports) < 30


def test_a_file_that_is_written_slowly_is_taken_in_when_it_is_whole(watched: Watched) -> None:
    watched.start()
    whole = picture(watched.folder.parent / "whole.png", "red", (300, 300)).read_bytes()
    with (watched.folder / "slow.png").open("wb", buffering=0) as file:
        for start in range(0, len(whole), max(1, len(whole) // 8)):
            file.write(whole[start : start + max(1, len(whole) // 8)])
            time.sleep(SETTLE_S / 3)
    watched.until(lambda: watched.names() == ["slow.png"])
    assert not any(report.failed for report in watched.reports)


def test_a_folder_that_is_unplugged_keeps_its_media_and_is_followed_when_back(
    watched: Watched,
) -> None:
    picture(watched.folder / "a.png")
    watched.start()
    away = watched.folder.rename(watched.folder.parent / "away")
    watched.until(lambda: any("not there now" in remark for remark in watched.remarks))
    assert watched.names() == ["a.png"]
    picture(away / "b.png", "blue")
    away.rename(watched.folder)
    watched.until(lambda: watched.names() == ["a.png", "b.png"])
    picture(watched.folder / "c.png", "green")
    watched.until(lambda: len(watched.names()) == 3)


def test_while_another_process_writes_it_waits_and_loses_nothing(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "RETRY_S", 0.2)
    watched.start()
    other = MediaLibrary.open(watched.library.settings)
    with other.ledger.writer("indexing"):
        picture(watched.folder / "a.png")
        watched.until(lambda: watched.remarks)
        assert watched.names() == []
    watched.until(lambda: watched.names() == ["a.png"])
    assert len(watched.remarks) == 1  # and not one for each try
    other.close()


def test_a_folder_that_another_process_adds_is_followed_too(
    watched: Watched, tmp_path: Path
) -> None:
    watched.start()
    new = (tmp_path / "new").resolve()
    new.mkdir()
    picture(new / "a.png")
    other = MediaLibrary.open(watched.library.settings)
    other.index([new])
    other.close()
    time.sleep(1.0)  # until it has looked which folders there are
    picture(new / "b.png", "blue")
    watched.until(lambda: len(watched.library.ledger.known_paths(str(new))) == 2)


def test_what_no_event_told_is_found_by_looking_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "news_of", lambda paths, roots: [])
    deaf = Watched(tmp_path, rescan_s=0.5)
    try:
        deaf.start()
        picture(deaf.folder / "a.png")
        deaf.until(lambda: deaf.names() == ["a.png"])
    finally:
        deaf.close()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_of_each_run_and_ends_at_a_signal(
    tmp_path: Path, ending: signal.Signals
) -> None:
    folder = tmp_path / "photos"
    picture(folder / "a.png")
    code = "from mmrag_plugin.cli import main; main()"
    flags = ["--home", str(tmp_path / "home"), "--visual-model", "palette", "--text-model", "off"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, "watch", str(folder), "--settle", "0.3", "--json", *flags],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "MMRAG_OCR": "off"},
    )  # fmt: skip
    assert process.stdout
    try:
        assert json.loads(process.stdout.readline())["added"] == 1
        assert json.loads(process.stdout.readline())["unchanged"] == 1
        picture(folder / "b.png", "blue")
        assert json.loads(process.stdout.readline())["added"] == 1
        process.send_signal(ending)
        _, told = process.communicate(timeout=30)
        assert process.returncode == 0, told
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_new_photo_is_found_by_what_it_shows_while_others_are_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[float] = []

    def slowly(_reader: RapidOcrReader, _shown: object) -> str:
        read.append(time.monotonic())
        time.sleep(0.3)
        return ""

    monkeypatch.setattr(RapidOcrReader, "read", slowly)
    monkeypatch.setattr(watching, "LISTEN_S", 0.2)
    watched = Watched(tmp_path, ocr="auto")
    try:
        watched.start()
        for number in range(30):
            picture(watched.folder / f"{number}.png", size=(64 + number, 48))
        watched.until(lambda: read)
        picture(watched.folder / "new.png", "blue")
        watched.until(lambda: watched.first_of("blue").endswith("new.png"))
        assert len(read) < 30, "the others were not all read before"
        watched.until(lambda: len(read) == 31, within_s=60)
    finally:
        watched.close()


def test_a_run_of_indexing_ends_when_watching_ends(tmp_path: Path) -> None:
    made = Watched(tmp_path)
    for number in range(3):
        picture(made.folder / f"{number}.png", f"#{number:06x}")

    class Stopping(Progress):
        def begin(self, stage: str, total: int) -> None:
            if stage == "embed":
                made.stop.set()

    made._watcher.progress = Stopping()
    try:
        made._thread.start()
        made._thread.join(30)
        assert not made._thread.is_alive()
        [report] = made.reports
        assert isinstance(report.stopped_by, IndexStopped)
        assert report.stages["embed"].done == 0
    finally:
        made.close()


# ---- what has to be walked -------------------------------------------------------------------


def test_few_folders_are_walked_and_none_within_another(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    for name in ("a/b", "c"):
        (root / name).mkdir(parents=True)
    places = places_to_index(
        [f"{root}/a/x.jpg", f"{root}/a/b/y.jpg", f"{root}/gone/deep/z.jpg", "/elsewhere/q.jpg"],
        [root],
    )
    assert places == [root]  # for what is gone, the next folder above that is there
    assert places_to_index([f"{root}/a/x.jpg", f"{root}/a/b/y.jpg"], [root]) == [root / "a"]
    assert places_to_index([f"{root}/gone/x.jpg"], [root / "gone"]) == []
    shutil.rmtree(root / "c")
    assert places_to_index([str(root / "c")], [root, root / "c"]) == [root]


def test_hidden_files_are_no_news_but_those_that_rule_others_out() -> None:
    root = Path("/home/ann/.sync/Photos")  # what is hidden above a root doesn't count
    told = ["a/b.jpg", "a/.mmragignore", "a/.nomedia", ".", "a/.b.jpg.part", ".git/b.jpg"]
    paths = [str(root / name) for name in told]
    assert list(news_of([*paths, "/elsewhere/c.jpg"], [root])) == paths[:4]
    file = Path("/photos/.hidden.jpg")  # a root that is a file
    assert list(news_of([str(file)], [file])) == [str(file)]


@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.sampled_from("abcde")), min_size=1, max_size=30),
)
def test_no_change_is_lost_and_none_waits_longer_than_its_patience(
    news: list[tuple[int, str]],
) -> None:
    changes = Changes(settle_s=1_000, patience_s=5_000)  # whole numbers: no rounding
    now_s, waiting_since, taken = 0, {}, set()
    for pause_s, path in news:
        now_s += pause_s
        if changes.is_due(now_s):
            for given_back in changes.take():
                taken.add(given_back)
                waiting_since.pop(given_back)
        for since in waiting_since.values():
            assert now_s - since <= 5_000
        changes.add([path], now_s)
        waiting_since.setdefault(path, now_s)
    assert changes.is_due(now_s + 1_000)
    taken |= changes.take()
    assert taken == {path for _, path in news}
    assert not changes.is_due(now_s + 100_000)
