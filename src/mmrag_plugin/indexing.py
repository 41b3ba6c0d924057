"""The indexing flow: scan, then read, embed and OCR whatever is pending, in resumable steps.

Every step writes to Milvus first, under ids derived from media and stage, flushes, and then writes
the ledger's line. A run that is killed anywhere is finished by the next one, with the same result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llama_index.core.schema import ImageNode, TextNode

from mmrag_plugin.bm25 import BM25_VERSION
from mmrag_plugin.errors import MediaError, MmragError
from mmrag_plugin.index_report import IndexReport, Progress, StageReport
from mmrag_plugin.ledger import Ledger, MediaRow
from mmrag_plugin.media import Frame, Kind, MediaFacts, Signal, Stage
from mmrag_plugin.metadata import FRAME, METADATA_VERSION, frame_row_id, row_metadata
from mmrag_plugin.scanning import ScanResult, scan
from mmrag_plugin.terms import TERMS_VERSION
from mmrag_plugin.walking import Entries, Problem, list_folder
from mmrag_plugin.words import WORDS_VERSION, word_rows

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.embeddings.base import TextModel, VisualEmbedding
    from mmrag_plugin.milvus_store import MediaVectorStore
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.signals.ocr import TextReader
    from mmrag_plugin.signals.sidecars import FolderSidecars

__all__ = ["IndexReport", "Indexer", "Parts", "Progress", "SidecarTree", "StageReport"]

READ_STAMP = "read-1"
OCR_AT_LEAST_PX = 1400  # small print on a photo of a page stays readable
OCR_MAX_FRAMES = 60  # of one film
_READ_BATCH = 64
_WORDS_BATCH = 256
_EMBED_BATCH = 32  # pictures in one call of the model
_OCR_BATCH = 8
_COMMIT_FRAMES = 512  # frames between two flushes
_COMMIT_S = 10.0  # no more work than this is lost by a kill

_T = TypeVar("_T")
_Group = list[tuple[MediaRow, Future[list[Frame] | Iterator[Frame]]]]


@dataclass(frozen=True)
class Parts:
    """Everything that the flow joins, built by the library."""

    ledger: Ledger
    frames: MediaVectorStore
    words: MediaVectorStore
    readers: Mapping[Kind, MediaReader]
    visual: VisualEmbedding
    text: TextModel | None
    text_reader: TextReader | None
    sidecars: type[FolderSidecars]
    path_signals: Callable[[Path], list[Signal]]
    facts_signals: Callable[[MediaFacts], list[Signal]]
    keyframes_stamp: str

    @property
    def embed_stamp(self) -> str:
        """Frames made under another stamp are made again."""
        return f"{METADATA_VERSION}|{self.visual.stamp}|{self.keyframes_stamp}"

    @property
    def words_stamp(self) -> str:
        """Rows of words made under another stamp are made again."""
        versions = f"{METADATA_VERSION}.{WORDS_VERSION}.{TERMS_VERSION}.{BM25_VERSION}"
        return f"{versions}|{self.text.stamp if self.text else ''}"

    @property
    def ocr_stamp(self) -> str:
        """Text read under another stamp is read again."""
        return f"{self.text_reader.stamp if self.text_reader else ''}|{self.keyframes_stamp}"


class SidecarTree:
    """The sidecars of folders, each knowing those above it up to the root; listed once a run."""

    def __init__(self, sidecars: type[FolderSidecars]) -> None:
        self._sidecars = sidecars
        self._folders: dict[Path, FolderSidecars] = {}

    def stamp_for(self, folder: Path, root: Path, entries: Entries) -> Callable[[str], str]:
        """How the scan finds out that a sidecar changed."""
        return self.of(folder, root, entries).stamp_for

    def of(self, folder: Path, root: Path, entries: Entries | None = None) -> FolderSidecars:
        """The sidecars of one folder under a root. Raises MediaError if it can't be listed."""
        if folder not in self._folders:
            above = self.of(folder.parent, root) if root in folder.parents else None
            try:
                entries = list_folder(folder, root) if entries is None else entries
            except OSError as error:
                raise MediaError(f"{folder} can't be listed ({error.strerror}).") from error
            self._folders[folder] = self._sidecars(folder, entries, above)
        return self._folders[folder]

    def problems(self) -> list[MediaError]:
        """Sidecars that could not be read."""
        return [error for sidecars in self._folders.values() for error in sidecars.problems()]


def remove_media(
    ledger: Ledger, stores: Iterable[MediaVectorStore], media_ids: Sequence[str]
) -> None:
    """Take media out of Milvus, and then out of the ledger."""
    if media_ids:
        for store in stores:
            store.delete_media(media_ids)
            store.flush()
        ledger.drop_media(media_ids)


class Indexer:
    """One run of the flow over one library; the caller holds the writer's lease."""

    def __init__(self, parts: Parts, progress: Progress | None = None) -> None:
        self.parts = parts
        self.ledger = parts.ledger
        self.progress = progress or Progress()
        self.report = IndexReport()
        self._sidecars = SidecarTree(parts.sidecars)
        self._absent: set[str] = set()
        self._failures: list[tuple[Stage, str, str, str, str]] = []

    def run(self, roots: Sequence[Path]) -> IndexReport:
        """Scan resolved folders, then finish whatever is pending in the whole library."""
        report = self.report
        for root in roots:
            self.ledger.add_root(str(root))
        with self._timed("scan"):
            found = scan(
                self.ledger,
                roots,
                self._sidecars.stamp_for,
                seen=lambda files: self.progress.advance("scan", files),
            )
        self._take_over(found)
        left = self.ledger.failures()
        remove_media(self.ledger, (self.parts.frames, self.parts.words), found.removed)
        self._read()
        self._project_words()
        self._embed()
        self._ocr()
        for failure in self.ledger.failures():
            problem = Problem(failure.path, failure.reason, failure.remedy)
            report.failed.append(problem)
            if failure in left:
                report.failed_before.append(problem)
        stamps: dict[Stage, str] = {"read": READ_STAMP, "embed": self.parts.embed_stamp}
        for stage, stamp in stamps.items():
            report.stages[stage].pending = len(
                self._absent & set(self.ledger.pending(stage, stamp))
            )
        if self._absent:
            report.warnings.append(
                f"{len(self._absent)} media are not where they were (is a drive missing?) and wait "
                "for the next run."
            )
        total = sum(self.ledger.counts()["kinds"].values())
        report.unchanged = max(total - report.added - report.updated - report.moved, 0)
        self._remember_rates()
        return report

    # ---- stages ------------------------------------------------------------------------------

    def _take_over(self, found: ScanResult) -> None:
        report = self.report
        report.added, report.updated = found.added, found.updated
        report.moved, report.removed = found.moved, len(found.removed)
        report.failed += found.problems
        report.warnings += found.warnings
        report.stages["scan"].done = found.seen_files

    def _read(self) -> None:
        pending = self.ledger.pending("read", READ_STAMP)
        with self._timed("read", len(pending)):
            for batch in _batched(pending, _READ_BATCH):
                read: dict[str, tuple[MediaFacts, list[Signal]]] = {}
                places = self.ledger.places_of(batch)
                for media in self._rows(batch):
                    with self._failing("read", READ_STAMP, media):
                        read[media.media_id] = self._read_one(media, places[media.media_id])
                self._enter_failures()
                self.ledger.put_read(READ_STAMP, read)
                self.report.stages["read"].done += len(read)
                self.progress.advance("read", len(batch))
        self.report.failed += [
            Problem(error.path, error.message, error.remedy) for error in self._sidecars.problems()
        ]

    def _read_one(
        self, media: MediaRow, places: Sequence[tuple[str, str]]
    ) -> tuple[MediaFacts, list[Signal]]:
        """Read one media; what stands beside each of its copies and in their names counts."""
        facts = self.parts.readers[media.kind].facts(Path(media.path))
        signals, named = list(facts.signals), list[Signal]()
        for path, root in ((Path(path), Path(root)) for path, root in places):
            above = root if root != path else path.parent
            if path.exists():
                signals += self._sidecars.of(path.parent, above).signals_for(path.name)
            named += self.parts.path_signals(path.relative_to(above))
        signals += named + self.parts.facts_signals(facts)
        return facts, [signal for signal in dict.fromkeys(signals) if signal.text.strip()]

    def _project_words(self) -> None:
        """Bring the rows of words in Milvus up to what the ledger knows."""
        parts = self.parts
        pending = self.ledger.unprojected(parts.words_stamp)
        with self._timed("read"):  # each media was counted when it was read
            for batch in _batched(pending, _WORDS_BATCH):
                outdated = self.ledger.projected_before(batch)
                self.ledger.begin_words(batch)
                if outdated:
                    parts.words.delete_media(outdated)
                written = self._write_words(batch)
                parts.words.flush()
                self.ledger.put_words(parts.words_stamp, written)

    def _write_words(self, media_ids: Sequence[str]) -> dict[str, tuple[int, frozenset[str]]]:
        parts = self.parts
        media = self.ledger.media_rows(media_ids)
        signals = self.ledger.signals_of(media_ids)
        nodes: list[TextNode] = []
        terms: list[Sequence[str]] = []
        written: dict[str, tuple[int, frozenset[str]]] = {}
        for media_id in media_ids:
            words = [signal for _, signal in signals[media_id]]
            rows = word_rows(media_id, words, dense=parts.text is not None)
            written[media_id] = len(rows), frozenset(term for row in rows for term in row.terms)
            for row in rows:
                metadata = _metadata(media[media_id], "read", row.source, row.start_s, row.end_s)
                nodes.append(TextNode(id_=row.row_id, text=row.text, metadata=metadata))
                terms.append(row.terms)
        if parts.text is not None and nodes:
            texts = [node.text for node in nodes]
            vectors = parts.text.embedding.get_text_embedding_batch(texts)
            for node, vector in zip(nodes, vectors, strict=True):
                node.embedding = vector
        if nodes:
            parts.words.add(nodes, terms=terms)
        return written

    def _embed(self) -> None:
        parts = self.parts
        pending = self.ledger.pending("embed", parts.embed_stamp, after="read")
        with self._timed("embed", len(pending)):
            began, nodes, finished = time.monotonic(), list[ImageNode](), dict[str, int]()
            for group in self._decoded(pending, 2 * parts.visual.input_px, _EMBED_BATCH):
                for media_id, made in self._embed_group(group).items():
                    nodes += made
                    finished[media_id] = len(made)
                self._enter_failures()
                if len(nodes) >= _COMMIT_FRAMES or time.monotonic() - began > _COMMIT_S:
                    self._commit_frames(nodes, finished)
                    began, nodes, finished = time.monotonic(), [], {}
                self.progress.advance("embed", len(group))
            self._commit_frames(nodes, finished)

    def _embed_group(self, group: _Group) -> dict[str, list[ImageNode]]:
        """Embed the pictures of a group in one call, and its films in batches of their frames."""
        visual, made = self.parts.visual, dict[str, list[ImageNode]]()
        pictures: list[tuple[MediaRow, Frame]] = []
        for media, decoding in group:
            with self._failing("embed", self.parts.embed_stamp, media):
                frames = decoding.result()
                if isinstance(frames, list):
                    pictures += [(media, frame) for frame in frames]
                    made[media.media_id] = []
                    continue
                nodes: list[ImageNode] = []
                for batch in _batched(frames, _EMBED_BATCH):
                    vectors = visual.embed_pictures([frame.picture for frame in batch])
                    nodes += map(_frame_node, [media] * len(batch), batch, vectors)
                made[media.media_id] = nodes
        if pictures:
            vectors = visual.embed_pictures([frame.picture for _, frame in pictures])
            for (media, frame), vector in zip(pictures, vectors, strict=True):
                made[media.media_id].append(_frame_node(media, frame, vector))
        return made

    def _commit_frames(self, nodes: Sequence[ImageNode], finished: Mapping[str, int]) -> None:
        if not finished:
            return
        store, media_ids = self.parts.frames, sorted(finished)
        outdated = self.ledger.touched("embed", media_ids)
        self.ledger.begin("embed", media_ids)
        if outdated:
            store.delete_media(outdated)
        store.add(nodes)
        store.flush()
        self.ledger.done("embed", self.parts.embed_stamp, finished)
        self.report.stages["embed"].done += len(finished)

    def _ocr(self) -> None:
        reader = self.parts.text_reader
        if reader is None:
            return
        stamp = self.parts.ocr_stamp
        pending = self.ledger.pending("ocr", stamp, after="embed")
        with self._timed("ocr", len(pending)):
            for group in self._decoded(pending, OCR_AT_LEAST_PX, _OCR_BATCH):
                read: dict[str, list[Signal]] = {}
                for media, decoding in group:
                    with self._failing("ocr", stamp, media):
                        read[media.media_id] = _read_text(reader, decoding.result())
                    self.progress.advance("ocr", 1)
                self._enter_failures()
                self.ledger.put_signals("ocr", stamp, read)
                self.report.stages["ocr"].done += len(read)
        self._project_words()

    # ---- steps that stages share -------------------------------------------------------------

    def _rows(self, media_ids: Sequence[str]) -> Iterator[MediaRow]:
        """Media at a path where they can be read; what lies on a missing drive is left pending."""
        rows = self.ledger.media_rows(media_ids)
        for media_id in media_ids:
            row = rows.get(media_id)
            if row is not None and not Path(row.path).exists():
                copies = self.ledger.paths_of([media_id])[media_id]
                path = next((path for path in copies if Path(path).exists()), None)
                row = None if path is None else replace(row, path=path)
            if row is not None:
                yield row
            else:
                self._absent.add(media_id)

    def _decoded(self, media_ids: Sequence[str], at_least_px: int, size: int) -> Iterator[_Group]:
        """Media in groups, while the pictures of the next group are being decoded.

        Pictures come decoded, films as iterators: a film is too large to hold.
        """

        def frames_of(media: MediaRow) -> list[Frame] | Iterator[Frame]:
            frames = self.parts.readers[media.kind].frames(
                Path(media.path), at_least_px=at_least_px
            )
            return list(frames) if media.kind == "image" else frames

        with ThreadPoolExecutor(2, thread_name_prefix="mmrag-decode") as pool:
            ahead: _Group = []
            for batch in _batched(media_ids, size):
                group = ahead
                ahead = [(media, pool.submit(frames_of, media)) for media in self._rows(batch)]
                if group:
                    yield group
            if ahead:
                yield ahead

    @contextmanager
    def _failing(self, stage: Stage, stamp: str, media: MediaRow) -> Iterator[None]:
        """One bad file never stops a run and never vanishes from its report."""
        try:
            yield
        except MediaError as error:
            self._failures.append((stage, stamp, media.media_id, error.message, error.remedy))
        except MmragError:
            raise
        except Exception as error:  # a decoder that breaks on hostile bytes breaks on one file
            reason = f"{media.path} can't be processed ({type(error).__name__}: {error})."
            remedy = "Open it in another program; report it if it looks fine there."
            self._failures.append((stage, stamp, media.media_id, reason, remedy))

    def _enter_failures(self) -> None:
        """Enter what failed, once the rows of an earlier, readable content are gone."""
        failures, self._failures = self._failures, []
        lost = [media_id for stage, _, media_id, _, _ in failures if stage in ("read", "embed")]
        unread = [media_id for stage, _, media_id, _, _ in failures if stage == "read"]
        if seen := self.ledger.touched("embed", lost):
            self.ledger.begin("embed", sorted(seen))
            self.parts.frames.delete_media(seen)
            self.parts.frames.flush()
        if named := self.ledger.projected_before(unread):
            self.ledger.begin_words(named)
            self.parts.words.delete_media(named)
            self.parts.words.flush()
            self.ledger.put_words("", {media_id: (0, frozenset()) for media_id in named})
        for failure in failures:
            self.ledger.failed(*failure)

    @contextmanager
    def _timed(self, stage: Stage, total: int = 0) -> Iterator[None]:
        report = self.report.stages.setdefault(stage, StageReport())
        began = time.monotonic()
        self.progress.begin(stage, total)
        try:
            yield
        finally:
            report.seconds += time.monotonic() - began
            self.progress.end(stage)

    def _remember_rates(self) -> None:
        """Keep what a media of this library costs, for the estimates of ``--dry-run``."""
        rates = dict(self.ledger.fact("rates") or {})
        for stage, report in self.report.stages.items():
            if report.done and stage != "scan":
                rates[stage] = report.seconds / report.done
        self.ledger.state(rates=rates)


def _metadata(
    media: MediaRow, stage: Stage, source: str, start_s: float | None, end_s: float | None
) -> dict[str, str | int]:
    return row_metadata(
        media_id=media.media_id,
        kind=media.kind,
        stage=stage,
        source=source,
        start_s=start_s,
        end_s=end_s,
        taken_at=media.taken_at,
        camera=media.camera,
    )


def _frame_node(media: MediaRow, frame: Frame, vector: NDArray[np.float32]) -> ImageNode:
    return ImageNode(
        id_=frame_row_id(media.media_id, frame.index),
        metadata=_metadata(media, "embed", FRAME, frame.time_s, frame.end_s),
        embedding=vector.tolist(),
    )


def _read_text(reader: TextReader, frames: Iterable[Frame]) -> list[Signal]:
    """Read text off frames; what stays on the screen over several frames is one signal."""
    signals: list[Signal] = []
    for frame in islice(frames, OCR_MAX_FRAMES):
        text = reader.read(frame.picture).strip()
        if not text:
            continue
        last = signals[-1] if signals else None
        if last is not None and last.text == text and last.end_s == frame.time_s:
            signals[-1] = Signal("ocr", text, last.start_s, frame.end_s)
        else:
            signals.append(Signal("ocr", text, frame.time_s, frame.end_s))
    return signals


def _batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
