"""Follow a library's folders: what changes in them is indexed once it has come to rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mmrag_plugin.errors import LibraryBusy, NoSuchPath, ServiceError, UsageError
from mmrag_plugin.ignoring import IGNORE_FILE, NO_MEDIA
from mmrag_plugin.index_report import IndexReport, Progress
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.walking import is_there

SETTLE_S = 2.0  # without news of a batch: whoever writes a file is done with it
PATIENCE_S = 60.0  # a copy that goes on for hours is taken in on the way
RETRY_S = 5.0  # when the library is busy or Milvus away
RESCAN_S = 3600.0  # what no event told: network drives, folders behind links, a full queue
LOOK_S = 10.0  # for folders that the library has got or lost, and drives
LISTEN_S = 2.0  # while a run reads text; each time takes as long as a tick
_TICK_MS = 200
_STEP_MS = 50
_MANY_FOLDERS = 64  # so many that walking their roots costs no more


@dataclass
class Changes:
    """Paths that changed, until they have come to rest; times are of one clock, in seconds."""

    settle_s: float = SETTLE_S
    patience_s: float = PATIENCE_S
    paths: set[str] = field(default_factory=set)
    first_s: float = 0.0
    last_s: float = 0.0

    def add(self, paths: Iterable[str], now_s: float) -> None:
        """Take note of changes."""
        news = set(paths)
        if news:
            if not self.paths:
                self.first_s = now_s
            self.last_s = now_s
            self.paths |= news

    def is_due(self, now_s: float) -> bool:
        """Whether nothing has come for a while, or something has waited too long."""
        return bool(self.paths) and (self.is_quiet(now_s) or now_s - self.first_s > self.patience_s)

    def is_quiet(self, now_s: float) -> bool:
        """Whether nobody seems to be writing any more."""
        return now_s - self.last_s >= self.settle_s

    def take(self) -> set[str]:
        """Hand the paths over."""
        paths, self.paths = self.paths, set()
        return paths


def places_to_index(paths: Iterable[str], roots: Sequence[Path]) -> list[Path]:
    """The folders that have to be walked for some changed paths: few, and none in another.

    A folder that is gone is looked for from the next one above that is there; of a root that is
    gone (a drive that was unmounted) nothing is told, and so nothing is forgotten.
    """
    wanted: set[Path] = set()
    for path in map(Path, paths):
        for root in roots:
            if path == root and not root.is_dir():
                wanted.add(root)  # a file that is a root of its own
            elif path.is_relative_to(root):
                place = path if path == root else path.parent
                while place != root and not place.is_dir():
                    place = place.parent
                wanted.add(place)
    if len(wanted) > _MANY_FOLDERS:
        wanted = {root for root in roots if any(place.is_relative_to(root) for place in wanted)}
    outer = {place for place in wanted if wanted.isdisjoint(place.parents)}
    return sorted(place for place in outer if is_there(place))


def news_of(paths: Iterable[str], roots: Sequence[Path]) -> Iterator[str]:
    """The changed paths that may matter.

    What is hidden in a root doesn't, but for the files that rule others out.
    """
    for path in paths:
        for root in roots:
            if Path(path).is_relative_to(root):
                *folders, name = Path(path).relative_to(root).parts or (root.name,)
                if not any(part.startswith(".") for part in folders) and (
                    not name.startswith(".") or name in (IGNORE_FILE, NO_MEDIA) or path == str(root)
                ):
                    yield path
                    break


@dataclass
class Watcher:
    """Keeps a library up to date with its folders until it is told to stop."""

    library: MediaLibrary
    progress: Progress | None = None
    settle_s: float = SETTLE_S
    rescan_s: float = RESCAN_S
    look_s: float = LOOK_S
    polling: bool = False  # ask the folders instead of hearing from the system

    def run(self, paths: Sequence[Path], stop: threading.Event) -> Iterator[IndexReport | str]:
        """Index some folders (all of the library's without any), then what changes in all of them.

        Yields the report of each run, and remarks. Raises UsageError for a wrong path or when there
        is no folder, StorageError when the library can't be written.
        """
        if paths:
            yield from self._index(paths, stop)
        missed: list[Path] = []
        while not stop.is_set():
            roots = self._roots()
            if not roots:
                raise UsageError("There is no folder to watch.", "Name one: mmrag watch FOLDER")
            there = [root for root in roots if is_there(root)]
            away = [root for root in roots if root not in there]
            yield from (
                f"{root} is not there now. It is watched when it is back."
                for root in away
                if root not in missed
            )
            missed = away
            if there:
                yield from self._follow(there, stop)
            else:
                stop.wait(self.look_s)

    def _roots(self) -> list[Path]:
        return [Path(root) for root in self.library.ledger.roots()]

    def _follow(self, roots: list[Path], stop: threading.Event) -> Iterator[IndexReport | str]:
        """Follow folders until the library has others, or one of them comes or goes."""
        from watchfiles import watch

        changes = Changes(self.settle_s)
        events = watch(
            *roots,
            watch_filter=None,
            stop_event=stop,
            rust_timeout=_TICK_MS,
            step=_STEP_MS,
            debounce=_TICK_MS,
            yield_on_timeout=True,
            ignore_permission_denied=True,
            force_polling=self.polling or None,
        )
        looked_s = scanned_s = listened_s = float("-inf")

        def heard() -> bool:
            """Whether something has come to rest while texts are read, films heard and the like."""
            nonlocal listened_s
            if time.monotonic() - listened_s > LISTEN_S:
                listened_s = time.monotonic()
                changes.add(news_of((path for _, path in next(events, ())), roots), listened_s)
            return changes.is_due(time.monotonic()) and bool(places_to_index(changes.paths, roots))

        with suppress(FileNotFoundError):  # one went between looking and listening
            for news in events:  # it is listened to from here on, also while something is indexed
                changes.add(news_of((path for _, path in news), roots), time.monotonic())
                if time.monotonic() - scanned_s > self.rescan_s:
                    yield from self._index([], stop, heard)
                    scanned_s = time.monotonic()
                elif changes.is_due(time.monotonic()) and (
                    places := places_to_index(changes.take(), roots)
                ):
                    yield from self._index(places, stop, heard)
                if time.monotonic() - looked_s > self.look_s:
                    looked_s = time.monotonic()
                    if [root for root in self._roots() if is_there(root)] != roots:
                        return

    def _index(
        self,
        places: Sequence[Path],
        stop: threading.Event,
        heard: Callable[[], bool] = lambda: False,
    ) -> Iterator[IndexReport | str]:
        """Index folders (all without any); waits while another process writes or Milvus is away."""
        told = ""
        while not stop.is_set():
            try:
                report = self.library.index(places, self.progress, stop, heard)
            except (LibraryBusy, ServiceError) as error:
                if error.message != told:  # once is enough
                    told = error.message
                    yield f"{error.message} It is tried again every {RETRY_S:.0f} s."
                stop.wait(RETRY_S)
            except NoSuchPath as error:  # gone since the news of it
                yield error.message
                return
            else:
                yield report
                return
