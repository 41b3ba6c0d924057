"""What a library does to take media in: the parts of a run, its plan, and what it leaves behind."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import IndexStopped, UsageError
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.library_captions import caption_work, to_be_captioned
from mmrag_plugin.library_milvus import require_current
from mmrag_plugin.library_models import LibraryModels, Model, Wanted
from mmrag_plugin.library_speech import recogniser_of
from mmrag_plugin.media import Kind, Stage
from mmrag_plugin.settings import Settings
from mmrag_plugin.tracing import span
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

    from mmrag_plugin.index_run import Stamps
    from mmrag_plugin.index_seeing import Seer
    from mmrag_plugin.indexing import IndexReport, Parts, Progress
    from mmrag_plugin.keyframes.base import KeyframeSelector
    from mmrag_plugin.milvus_connection import MilvusConnection
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.readers.decoding import Decoder
    from mmrag_plugin.scanning import ScanResult
    from mmrag_plugin.signals.ocr import TextReader
    from mmrag_plugin.signals.speech import SpeechRecogniser

_DEFAULT_RATES = {
    "read": 0.005,
    "embed": 0.03,
    "ocr": 0.4,
    "caption": 8.0,
    "speech": 60.0,
}  # seconds a media, before any run
_MOST_DECODERS = 16  # processes; a model on a processor leaves less than that to do
_ROW_BYTES = 1_500  # of a frame and its words in Milvus, beside the vectors


@dataclass(frozen=True)
class IndexPlan:
    """What ``mmrag index --dry-run`` expects of a run."""

    scan: ScanResult
    pending: dict[Stage, int]  # media that each stage would look at
    seconds: dict[Stage, float]
    disk_bytes: int
    warnings: list[str]


class LibraryIndexing:
    """The part of a library that takes media in."""

    settings: Settings
    directory: Path
    ledger: Ledger
    models: LibraryModels
    warnings: list[str]
    caption_llm: LLM | None
    speech_recogniser: SpeechRecogniser | None

    @property
    def connection(self) -> MilvusConnection:
        """The connection to Milvus; the library knows."""
        raise NotImplementedError

    def recorded(self, name: str) -> Model | None:
        """The model in use for ``visual`` or ``words``; None before the first index."""
        return self.models.recorded(name)

    def index(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
        news: Callable[[], bool] = lambda: False,
    ) -> IndexReport:
        """Bring the library up to date with some folders (its known ones without any).

        Once ``stop`` is set the run ends between two media (or frames of a film), with all that is
        done kept; the report's ``stopped_by`` says so, and the next run goes on. Once everything is
        found by what it shows, the run also ends as soon as there are ``news``, which are to be
        seen before texts are read, films heard and captions written.
        Raises UsageError for a wrong path, LibraryBusy while another process writes.
        """
        return self._index(self._roots(paths), progress, stop, news)

    def finish(
        self, progress: Progress | None = None, stop: threading.Event | None = None
    ) -> IndexReport:
        """Do what is pending without looking for changes in the folders."""
        return self._index([], progress, stop)

    def _index(
        self,
        roots: Sequence[Path],
        progress: Progress | None,
        stop: threading.Event | None,
        news: Callable[[], bool] = lambda: False,
    ) -> IndexReport:
        from mmrag_plugin.indexing import Indexer

        with self.ledger.writer("indexing"), self._patient_milvus(progress, stop) as milvus:
            with span("prepare"):
                wanted = self.models.wanted()
                parts = self._parts(wanted, milvus)
            first = self.recorded("visual") is None
            with self._seer_for(wanted, parts.seer, roots, stop) as seer:
                if first:
                    self._record(wanted)  # searchable from the first rows on
                report = Indexer(replace(parts, seer=seer), progress, stop, news).run(roots)
            if not isinstance(report.stopped_by, IndexStopped):  # else what replaces is half made
                self._switch(wanted, parts, milvus)
                parts.frames.suit_index()
                parts.words.suit_index()
        if not first and not any(
            stage.done for name, stage in report.stages.items() if name != "scan"
        ):
            self.models.warnings.clear()  # what was to be said of the models was said before
        report.warnings = [*self._taken_warnings(), *report.warnings]
        return report

    @contextmanager
    def _patient_milvus(
        self, progress: Progress | None, stop: threading.Event | None
    ) -> Iterator[MilvusConnection]:
        """The connection of a run: it waits for a server that goes away, and says so."""

        def waiting(text: str) -> None:
            if progress is not None:
                progress.waiting(text)
            if stop is not None and stop.is_set():
                raise IndexStopped("Stopped before the end.", "The next run goes on.")

        milvus = self.connection.patiently(waiting)
        try:
            yield milvus
        finally:
            if milvus is not self.connection:
                milvus.close()

    async def aindex(
        self,
        paths: Sequence[Path],
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> IndexReport:
        """Index without holding up the event loop; a task that is cancelled stops the run."""
        stop = stop or threading.Event()
        try:
            return await asyncio.to_thread(self.index, paths, progress, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    def plan(self, paths: Sequence[Path]) -> IndexPlan:
        """Say what indexing would do, how long it would take and what room it needs.

        Loads the models, and raises what ``index`` would about them and about the paths.
        """
        from mmrag_plugin.indexing import SidecarTree, owed_media
        from mmrag_plugin.scanning import scan
        from mmrag_plugin.signals.sidecars import FolderSidecars

        found = scan(
            self.ledger, self._roots(paths), SidecarTree(FolderSidecars).stamp_for, dry_run=True
        )
        wanted = self.models.wanted()
        rates = _DEFAULT_RATES | (self.ledger.fact("rates") or {})
        owed = owed_media(self.ledger, self._stamps(wanted), self.readers, found)
        pending: dict[Stage, int] = {
            stage: found.new_kinds.total() + len(media_ids)
            for stage, media_ids in owed.items()
            if stage != "speech" and (stage != "ocr" or self.settings.ocr != "off")
        }
        if self._recogniser is not None:  # whether new films have sound, nobody knows yet
            pending["speech"] = found.new_kinds["video"] + len(owed["speech"])
        if self.settings.ocr == "all":
            pending["ocr"] += self.ledger.passed_over("ocr")
        if self.settings.captions != "off":
            pending["caption"] = to_be_captioned(
                self.ledger, self.settings, wanted.visual, self._stamps(wanted), found
            )
        row_bytes = _ROW_BYTES + 8 * wanted.visual.dim
        return IndexPlan(
            found,
            pending,
            {stage: count * rates.get(stage, 0.0) for stage, count in pending.items()},
            pending["embed"] * row_bytes,
            self._taken_warnings(),
        )

    def _roots(self, paths: Sequence[Path]) -> list[Path]:
        from mmrag_plugin.scanning import about_left_out, not_left_out
        from mmrag_plugin.walking import resolve_root

        if paths:
            roots = list(dict.fromkeys(resolve_root(path) for path in paths))
            warnings = about_left_out(self.ledger, roots)
        else:
            known = self.ledger.roots()
            roots = [Path(root) for root in known if is_there(root)]
            away = [root for root in known if not is_there(root)]
            warnings = [f"{root} is not there now; what is known of it is kept." for root in away]
        roots, said = not_left_out(self.ledger, roots)
        if said and not roots:
            raise UsageError(" ".join(said), "mmrag hide --list says what is left out.")
        warnings += said
        if not roots:
            if warnings:
                raise UsageError(
                    " ".join(warnings),
                    "Mount its drive, or name its place: mmrag relocate OLD NEW",
                )
            raise UsageError("There is no folder to index.", "Name one: mmrag index FOLDER")
        home = self.directory.resolve()
        for root in roots:
            if root.is_relative_to(home):
                raise UsageError(
                    f"{root} lies in the library's own directory {home}.",
                    "Name the folders with the media.",
                )
        self.warnings += warnings
        named = set(roots)
        return [root for root in roots if named.isdisjoint(root.parents)]

    def _parts(self, wanted: Wanted, milvus: MilvusConnection) -> Parts:
        """Build what the indexing flow joins."""
        from mmrag_plugin.index_seeing_here import SeesHere
        from mmrag_plugin.index_speech import SpeechWork
        from mmrag_plugin.indexing import Parts
        from mmrag_plugin.milvus_store import open_frames, open_signals
        from mmrag_plugin.signals.facts_words import facts_signals
        from mmrag_plugin.signals.path_date import path_date
        from mmrag_plugin.signals.path_words import path_signals
        from mmrag_plugin.signals.place_words import place_name
        from mmrag_plugin.signals.sidecars import FolderSidecars

        require_current(self.ledger, self.settings)
        frames, words = wanted.recorded["visual"], wanted.recorded["words"]
        return Parts(
            ledger=self.ledger,
            frames=open_frames(milvus, frames.collection, frames.dim),
            words=open_signals(milvus, words.collection, words.dim or None),
            others=self.models.other_stores(milvus, (frames.collection, words.collection)),
            readers=self.readers,
            visual=wanted.visual,
            text=wanted.text,
            text_reader=self._text_reader,
            read_all_below=None if self.settings.ocr == "all" else self.settings.ocr_all_below,
            sidecars=FolderSidecars,
            path_signals=path_signals,
            path_date=path_date,
            facts_signals=facts_signals,
            place_name=place_name,
            stamps=self._stamps(wanted),
            captions=caption_work(self.settings, self.caption_llm),
            speech=SpeechWork(self._recogniser, self._decoder.sound),
            seer=SeesHere(
                self.readers,
                wanted.visual,
                self._text_reader,
                decoders=_decoders(),
            ),
        )

    @contextmanager
    def _seer_for(
        self, wanted: Wanted, here: Seer, roots: Sequence[Path], stop: threading.Event | None
    ) -> Iterator[Seer]:
        """Who looks at media in a run: this machine, or a Ray cluster where one is named."""
        if not self.settings.ray:
            yield here
            return
        from mmrag_plugin.on_ray.equipping import equipment_of
        from mmrag_plugin.on_ray.seer import SeesOnRay

        equipment = equipment_of(
            self.settings, self.models, self.readers, wanted.visual, self._text_reader
        )
        known = [*roots, *map(Path, self.ledger.roots())]
        places = [root for root in dict.fromkeys(known) if is_there(root)]
        with closing(SeesOnRay(self.settings.ray, equipment, here, places, stop)) as seer:
            yield seer
        self.warnings += seer.warnings

    def _stamps(self, wanted: Wanted) -> Stamps:
        from mmrag_plugin.index_run import Stamps

        reader = self._text_reader
        return Stamps(
            wanted.visual.stamp,
            wanted.text.stamp if wanted.text else "",
            reader.stamp if reader else "",
            self._selector().stamp,
            speech=self._recogniser.stamp if self._recogniser else "",
        )

    @cached_property
    def _recogniser(self) -> SpeechRecogniser | None:
        """Who writes down what is said: the one that was given, else as the settings say."""
        return recogniser_of(self.settings, self.speech_recogniser)

    @cached_property
    def _text_reader(self) -> TextReader | None:
        settings = self.settings
        if settings.ocr == "off":
            return None
        from mmrag_plugin.signals.ocr_choice import choose_reader

        chosen = choose_reader(
            settings.ocr_languages, settings.ocr_models, models_home=settings.models_home
        )
        self.warnings += chosen.warnings
        return chosen.reader

    def _switch(self, wanted: Wanted, parts: Parts, milvus: MilvusConnection) -> None:
        """Search what the run has built from now on, and drop what it replaces."""
        known = self.recorded("visual")
        if known is None or known.collection != wanted.recorded["visual"].collection:
            # what lies on a missing drive has no rows in the new collection until it is back
            for kind in parts.readers:
                stamp = parts.stamps.of("embed", kind)
                self.ledger.redo("embed", self.ledger.pending("embed", stamp, kind=kind))
        self._record(wanted)
        used = {model.collection for model in wanted.recorded.values()}
        for collection in milvus.call("list_collections"):
            if self.models.is_ours(collection) and collection not in used:
                milvus.call("drop_collection", collection)

    def _record(self, wanted: Wanted) -> None:
        made_by = {name: model.as_dict() for name, model in wanted.recorded.items()}
        with self.ledger.transaction():
            self.ledger.state(**made_by, keyframes=self._keyframes)
            self.models.learned.settle(wanted.recorded["visual"].setting)

    @property
    def _keyframes(self) -> str:
        """How keyframes are chosen: as the settings say, else as they were so far."""
        asked = self.settings.keyframes
        return str(self.ledger.fact("keyframes") or "iframes") if asked == "auto" else asked

    def _selector(self) -> KeyframeSelector:
        from mmrag_plugin.keyframes.iframes import IFrameSelector
        from mmrag_plugin.keyframes.scenes import SceneSelector
        from mmrag_plugin.keyframes.uniform import UniformSelector

        selectors: dict[str, Callable[[], KeyframeSelector]] = {
            "iframes": partial(IFrameSelector, refine=self.settings.shots == "exact"),
            "scenes": SceneSelector,
            "uniform": UniformSelector,
        }
        return selectors[self._keyframes]()

    @cached_property
    def readers(self) -> dict[Kind, MediaReader]:
        """The readers by kind of media."""
        from mmrag_plugin.readers.photo import PhotoReader
        from mmrag_plugin.readers.video import VideoReader

        decoder = self._decoder
        return {
            "image": PhotoReader(decoder=decoder),
            "video": VideoReader(self._selector(), decoder=decoder),
        }

    @cached_property
    def _decoder(self) -> Decoder:
        from mmrag_plugin.readers.workers import DecodesInWorkers

        return DecodesInWorkers()

    def _taken_warnings(self) -> list[str]:
        taken = list(dict.fromkeys([*self.models.warnings, *self.warnings]))
        self.models.warnings, self.warnings = [], []
        return taken


def _decoders() -> int:
    """How many files are decoded at once: as cores, and the memory that each may take, allow."""
    from mmrag_plugin.embeddings.devices import cores
    from mmrag_plugin.readers.worker_process import Limits

    of_machine_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return max(2, min(cores(), of_machine_bytes // Limits().memory_bytes, _MOST_DECODERS))
