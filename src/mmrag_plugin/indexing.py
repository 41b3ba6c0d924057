"""The indexing flow: scan, then read, embed and OCR whatever is pending, in resumable steps.

Every step writes to Milvus first, under ids derived from media and stage, flushes, and then writes
the ledger's line. A run that is killed anywhere is finished by the next one, with the same result.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.dates import dated, most_trusted
from mmrag_plugin.errors import IndexStopped, MediaError
from mmrag_plugin.index_captions import CaptionStage
from mmrag_plugin.index_dates import DateStage
from mmrag_plugin.index_looks import LookStage
from mmrag_plugin.index_ocr import OcrStage
from mmrag_plugin.index_pixels import PixelStages
from mmrag_plugin.index_report import IndexReport, Progress, StageReport
from mmrag_plugin.index_run import READ_STAMP, GaveWay, Parts, Run, Stamps, remove_media
from mmrag_plugin.index_same_pixels import SamePixelsStage
from mmrag_plugin.index_seeing import ReadMedia
from mmrag_plugin.index_speech import SpeechStage
from mmrag_plugin.index_words import WordsStage
from mmrag_plugin.ledger import BadSidecar, Failure, Ledger
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Kind, MediaFacts, Signal, Stage, each_once
from mmrag_plugin.people import merged_people
from mmrag_plugin.scanning import ScanResult, scan
from mmrag_plugin.tracing import span
from mmrag_plugin.walking import (
    Entries,
    News,
    Problem,
    is_empty,
    is_encodable,
    is_there,
    list_folder,
    misnamed,
)

if TYPE_CHECKING:
    from mmrag_plugin.signals.sidecars import Beside, FolderSidecars

__all__ = ["IndexReport", "Indexer", "Parts", "Progress", "SidecarTree", "StageReport"]

_READ_BATCH = 64


class SidecarTree:
    """The sidecars of folders, each knowing those above it up to the root; listed once a run."""

    def __init__(self, sidecars: type[FolderSidecars]) -> None:
        self._sidecars = sidecars
        self._folders: dict[Path, FolderSidecars] = {}

    def stamp_for(
        self, folder: Path, root: Path, entries: Entries, news: News
    ) -> Callable[[str], str]:
        """How the scan finds out that a sidecar changed."""
        return self.of(folder, root, entries, news).stamp_for

    def of(
        self,
        folder: Path,
        root: Path,
        entries: Entries | None = None,
        news: News | None = None,
    ) -> FolderSidecars:
        """The sidecars of one folder under a root. Raises MediaError if it can't be listed.

        A scan hears in its ``news`` of sidecars whose names are no text, and of folders above that
        can't be listed; it goes on without them.
        """
        unlisted = list[Path]()
        place = folder
        while place not in self._folders:  # no recursion: a tree may be deeper than Python's stack
            unlisted.append(place)
            if place == root or not place.is_relative_to(root):
                break
            place = place.parent
        above = self._folders.get(place)
        for place in reversed(unlisted):
            known = entries if place == folder else None
            try:
                listed = list_folder(place, root) if known is None else known
            except OSError as error:
                told = f"{place} can't be listed ({error.strerror})."
                if news is None:
                    raise MediaError(told) from error
                # no problem of the scan's: what lies below can be read, and what went is gone
                news.warnings.append(f"{told} Lists in it say nothing about what lies below.")
                listed = {}
            odd = {name for name in listed if not is_encodable(name)}
            if odd:
                if news is not None:
                    of_all = self._sidecars(place, listed, above)
                    odd_paths = sorted(str(place / name) for name in odd if of_all.may_speak(name))
                    news.problems += map(misnamed, odd_paths)
                listed = {name: facts for name, facts in listed.items() if name not in odd}
            above = self._folders[place] = self._sidecars(place, listed, above)
            above.listen_to(list(self._elsewhere(place, root, listed)))
        return self._folders[folder]

    def _elsewhere(self, folder: Path, root: Path, entries: Entries) -> Iterator[FolderSidecars]:
        """The folders under the root, neither above nor below, that list media of this one."""
        for place in self._sidecars.lists_elsewhere(folder, entries):
            if place.is_relative_to(root) and place.is_dir() and not place.is_symlink():
                with suppress(MediaError):  # nobody may look; what lies there tells of it
                    yield self.of(place, root)

    def beside(self, media: Path, root: Path) -> Beside | None:
        """What stands beside a media; None when it is not there now, or nobody may look."""
        try:
            found = self.of(media.parent, root) if is_there(media) else None
        except MediaError:
            return None
        if found is None:
            return None
        return found.about(media.name)

    def listed(self, folder: Path) -> FolderSidecars | None:
        """The sidecars of a folder if it was listed in this run."""
        return self._folders.get(folder)

    def problems(self) -> list[MediaError]:
        """Sidecars that could not be read."""
        return [error for sidecars in self._folders.values() for error in sidecars.problems()]


def owed_media(
    ledger: Ledger, stamps: Stamps, kinds: Iterable[Kind], found: ScanResult
) -> dict[Stage, set[str]]:
    """The known media that each stage would look at after a scan.

    What failed in the stage before does not come as far as the next one.
    """
    gone = set(found.removed)
    owed: dict[Stage, set[str]] = {"read": set(), "embed": set(), "ocr": set()}
    owed["speech"] = set(ledger.to_hear(stamps.speech))
    after: dict[Stage, Stage] = {"embed": "read", "ocr": "embed"}
    for kind in kinds:
        coming = found.read_again.union(ledger.pending("read", stamps.of("read", kind), kind=kind))
        owed["read"] |= coming
        for stage, before in after.items():
            pending = partial(ledger.pending, stage, stamps.of(stage, kind), kind=kind)
            coming = coming.union(pending(after=before)).intersection(pending())
            owed[stage] |= coming
    return {stage: media_ids - gone for stage, media_ids in owed.items()}


class Indexer:
    """One run of the flow over one library; the caller holds the writer's lease."""

    def __init__(
        self,
        parts: Parts,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        news: Callable[[], bool] = lambda: False,
    ) -> None:
        """With ``news``, what takes long is left to the next run once there are any."""
        self._run = Run(parts, progress, stop)
        self._news = news
        self.parts, self.ledger = parts, parts.ledger
        self.progress, self.report = self._run.progress, self._run.report
        self._sidecars = SidecarTree(parts.sidecars)
        self._earlier = set[Failure | BadSidecar]()  # what had failed before the run
        self._scanned = False
        self._unseen: list[str] = []  # files beside which nobody could look

    def run(self, roots: Sequence[Path]) -> IndexReport:
        """Scan resolved folders, then finish whatever is pending in the whole library.

        When it is stopped what is done is kept, and the report says so.
        """
        with span("index") as now:
            try:
                self._do_all(roots)
            except GaveWay:
                self._run.enter_failures()
            except IndexStopped as stopped:
                self._run.enter_failures()
                self.report.stopped_by = stopped
                self.report.warnings.append(str(stopped))
            report = self._reported(roots)
            now.set(
                added=report.added,
                updated=report.updated,
                moved=report.moved,
                removed=report.removed,
                unchanged=report.unchanged,
                failed=len(report.failed),
                stopped=report.stopped_by is not None,
            )
        return report

    def _do_all(self, roots: Sequence[Path]) -> None:
        with self.ledger.transaction():
            for root in roots:
                self.ledger.add_root(str(root), is_file=is_there(root) and root.is_file())
        with self._run.timed("scan"):
            found = scan(
                self.ledger,
                roots,
                self._sidecars.stamp_for,
                seen=lambda files: self.progress.advance("scan", files),
                between=self._run.check_stop,
            )
        self._scanned = True
        self._take_over(found)
        self._earlier = set(self._known_bad())
        parts = self.parts
        remove_media(self.ledger, (parts.frames, parts.words, *parts.others), found.removed)
        self._try_bad_sidecars_again()
        words, pixels = WordsStage(self._run), PixelStages(self._run)
        self._run.on_annotated = words.project_annotated
        captions = CaptionStage(self._run, words, parts.captions)
        captions.owe()
        self._read()
        self._leave_out()
        self._name_places()
        SamePixelsStage(self._run).take_up()
        words.project()
        DateStage(self._run).rewrite()
        pixels.embed()
        LookStage(self._run).group()
        self._run.gives_way = self._news  # all is searchable by what it shows
        OcrStage(self._run).read()
        words.project()  # with what was read in the pictures
        SpeechStage(self._run, words, parts.speech).listen()
        captions.caption()
        words.project_annotated()

    def _reported(self, roots: Sequence[Path]) -> IndexReport:
        """Say what the run did, and what is known to have failed."""
        report = self.report
        if self._scanned:
            self.ledger.put_not_taken_in(
                map(str, roots),
                [Failure(bad.path, "scan", bad.reason, bad.remedy) for bad in report.failed],
            )
        for bad in self._known_bad():
            problem = Problem(bad.path, bad.reason, bad.remedy)
            report.failed.append(problem)
            if bad in self._earlier:
                report.failed_before.append(problem)
        waiting = self._run.absent | self._run.unreadable
        stopped = isinstance(report.stopped_by, IndexStopped)
        stages: tuple[Stage, ...] = ("read", "embed", "ocr")
        for stage in stages:
            if stage in report.stages and (waiting or stopped):
                left = self._run.pending(stage).values()
                owed = [media_id for ids in left for media_id in ids]
                report.stages[stage].pending = len(owed if stopped else waiting & set(owed))
        if "speech" in report.stages:
            to_hear = self.ledger.to_hear(self.parts.stamps.speech)
            report.stages["speech"].pending = len(to_hear)
        report.failed = list(dict.fromkeys(report.failed))  # by scan and by stages
        if self._run.absent:
            report.warnings.append(
                f"{len(self._run.absent)} media are not where they were (is a drive missing?) "
                "and wait for the next run."
            )
        total = self.ledger.media_count(None)
        report.unchanged = max(total - report.added - report.updated - report.moved, 0)
        self._remember_rates()
        return report

    def _known_bad(self) -> list[Failure | BadSidecar]:
        return [*self.ledger.failures(), *self.ledger.bad_sidecars()]

    def _take_over(self, found: ScanResult) -> None:
        report = self.report
        report.added, report.updated = found.added, found.updated
        report.moved, report.removed = found.moved, len(found.removed)
        report.failed += found.problems
        report.warnings += found.warnings
        report.ignored += found.ignored
        report.stages["scan"].done = found.seen_files

    def _read(self) -> None:
        pending = [media_id for ids in self._run.pending("read").values() for media_id in ids]
        with (
            self._run.timed("read", len(pending)),
            closing(self.parts.seer.read(self._run.rows(pending))) as read,
        ):
            for batch in batches(read, _READ_BATCH):
                self._enter_read(batch)
                self.progress.advance("read", len(batch))
                self._run.between_media()

    def _enter_read(self, batch: Sequence[ReadMedia]) -> None:
        """Enter what files say, together with what stands beside them."""
        read: dict[str, tuple[MediaFacts, list[Signal]]] = {}
        outdated = set[str]()  # a frame's row in Milvus holds date and camera
        moving = set[str]()  # photos whose films came or went
        places = self.ledger.places_of([found.media.media_id for found in batch])
        for found in batch:
            media = found.media
            with self._run.failing("read", media):
                if found.facts is None:
                    raise found.error or AssertionError(media)
                with span("beside"):
                    place = places[media.media_id]
                    facts, signals = self._with_what_stands_beside(found.facts, place)
                read[media.media_id] = facts, signals
                if (facts.taken_at, facts.camera) != (media.taken_at, media.camera):
                    outdated.add(media.media_id)
                if media.kind == "image" and facts.duration_s != media.duration_s:
                    moving.add(media.media_id)
        self._run.enter_failures()
        self._enter_sidecars()
        self.ledger.outdate("embed", outdated)
        self.ledger.redo("embed", moving)
        self.ledger.put_read(READ_STAMP, read)
        self.report.stages["read"].done += len(read)

    def _leave_out(self) -> None:
        """Take out again what a rule leaves out for what it is, now that it was read."""
        gone = self.ledger.leave_out_by_rules()
        self.ledger.forget_captions(gone)
        self.ledger.forget_heard(gone)
        parts = self.parts
        remove_media(self.ledger, (parts.frames, parts.words, *parts.others), gone)
        self.report.removed += len(gone)

    def _name_places(self) -> None:
        """Name the places of media with a position, also of those that were read before."""
        with span("index.places"):
            for batch in batches(self.ledger.placeless().items()):
                self.ledger.put_places({m: self.parts.place_name(*where) for m, where in batch})

    def _enter_sidecars(self) -> None:
        """Note what could not be read beside media, before it is said that they are read."""
        unseen, self._unseen = self._unseen, []
        self.ledger.forget_sidecars(unseen)
        self.ledger.put_bad_sidecars(
            BadSidecar(error.path, _content_of(error.path), error.message, error.remedy)
            for error in self._sidecars.problems()
        )

    def _try_bad_sidecars_again(self) -> None:
        """Have media read again whose bad sidecars were mended; drop those that are none now."""
        self.ledger.drop_lone_bad_sidecars()
        for bad in self.ledger.bad_sidecars():
            folder, name = Path(bad.path).parent, Path(bad.path).name
            sidecars = self._sidecars.listed(folder)
            if sidecars is None:
                continue
            if not sidecars.may_speak(name):
                if not is_empty(folder):  # else a drive may be missing
                    self.ledger.drop_bad_sidecar(bad.path)
            elif is_there(bad.path) and _content_of(bad.path) != bad.content_hash:
                media_ids = self._media_beside(folder, sidecars.subjects_of(name))
                self.ledger.drop_bad_sidecar(bad.path, read_again=media_ids)

    def _media_beside(self, folder: Path, names: Iterable[str] | None) -> Iterable[str]:
        """Media by their names in a folder; all in it and below without names."""
        if names is None:
            return self.ledger.media_ids_under(str(folder))
        known = self.ledger.known_files(str(folder / name) for name in names)
        return {found.media_id for found in known.values()}

    def _with_what_stands_beside(
        self, facts: MediaFacts, places: Sequence[tuple[str, str]]
    ) -> tuple[MediaFacts, list[Signal]]:
        """Add what stands beside each copy of a media and in their names.

        Its own place wins over one beside it; of the dates the most trusted does.
        """
        signals, named, dates = list(facts.signals), list[Signal](), list(facts.dates)
        latitude, longitude = facts.latitude, facts.longitude
        for path, root in ((Path(path), Path(root)) for path, root in places):
            above = root if root != path else path.parent
            beside = self._sidecars.beside(path, above)
            if beside is None:  # it is away; what stands beside it is read when it is back
                self._unseen.append(str(path))
            else:
                signals += beside.signals
                dates += beside.dates
                if latitude is None:
                    latitude, longitude = beside.latitude, beside.longitude
            named += self.parts.path_signals(path.relative_to(above))
            dates += dated(self.parts.path_date(path), "name")
        taken = most_trusted(dates)
        facts = replace(
            facts,
            taken_at=taken.taken_at if taken else None,
            dates=tuple(dates),
            latitude=latitude,
            longitude=longitude,
        )
        signals = merged_people(signals) + named + self.parts.facts_signals(facts)
        return facts, [signal for signal in each_once(signals) if signal.text.strip()]

    def _remember_rates(self) -> None:
        """Keep what a media of this library costs, for the estimates of ``--dry-run``."""
        rates = dict(self.ledger.fact("rates") or {})
        for stage, report in self.report.stages.items():
            if report.done and stage != "scan":
                rates[stage] = report.seconds / report.done
        self.ledger.state(rates=rates)


def _content_of(path: str) -> str:
    """The hash of a file's content; empty while it can't be read."""
    try:
        return content_hash_of(Path(path))
    except OSError:
        return ""
