"""What one run of indexing works with: the parts that it joins, and steps that its stages share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.bm25 import BM25_VERSION
from mmrag_plugin.colours import COLOURS_VERSION
from mmrag_plugin.content_hash import content_hash_of
from mmrag_plugin.errors import IndexStopped, MediaError, MissingExtra, MmragError, unexpected
from mmrag_plugin.index_report import IndexReport, Progress, StageReport
from mmrag_plugin.ledger import Ledger, MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import FilmShot, Kind, MediaFacts, Signal, Stage
from mmrag_plugin.metadata import METADATA_VERSION, RowFilter, row_metadata
from mmrag_plugin.places import PlaceName
from mmrag_plugin.terms import TERMS_VERSION
from mmrag_plugin.tracing import span
from mmrag_plugin.walking import is_there, unreadable
from mmrag_plugin.words import WORDS_VERSION

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

    from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
    from mmrag_plugin.index_captions import CaptionWork
    from mmrag_plugin.index_seeing import Seer
    from mmrag_plugin.index_speech import SpeechWork
    from mmrag_plugin.milvus_store import MediaVectorStore
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.signals.ocr import TextReader
    from mmrag_plugin.signals.sidecars import FolderSidecars

READ_STAMP = "read-4"
SHOTS_VERSION = 2  # how a film's frames become shots
ANNOTATED_EVERY_S = 1.0
COMMIT_S = 10.0  # no more work than this is lost by a kill
_ROWS_AT_ONCE = 64  # of media that are looked up in the ledger


def words_stamp(text_stamp: str) -> str:
    """The stamp of rows of words with vectors of a text model; of none: ``""``."""
    return f"{METADATA_VERSION}.{WORDS_VERSION}.{TERMS_VERSION}.{BM25_VERSION}|{text_stamp}"


@dataclass(frozen=True)
class Stamps:
    """How each stage does its work; what was done otherwise is done again."""

    visual: str
    text: str
    ocr: str
    keyframes: str
    caption: str = ""
    speech: str = ""

    def of(self, stage: Stage, kind: Kind) -> str:
        """The stamp of a stage on a kind of media."""
        if stage == "read":
            return READ_STAMP
        if stage == "speech":
            return self.speech
        if stage == "caption":
            shots = f"|shots-{SHOTS_VERSION}|{self.keyframes}" if kind == "video" else ""
            return f"{self.caption}{shots}"
        seen_as = f"|{self.keyframes}" if kind == "video" else f"|colours-{COLOURS_VERSION}"
        made_by = f"{METADATA_VERSION}|{self.visual}" if stage == "embed" else self.ocr
        return f"{made_by}{seen_as}"

    @property
    def words(self) -> str:
        """Rows of words made under another stamp are made again."""
        return words_stamp(self.text)


@dataclass(frozen=True)
class Parts:
    """Everything that the flow joins, built by the library."""

    ledger: Ledger
    frames: MediaVectorStore
    words: MediaVectorStore
    others: Sequence[MediaVectorStore]  # of other models: what is removed goes from them too
    readers: Mapping[Kind, MediaReader]
    visual: VisualEncoder
    text: TextEncoder | None
    text_reader: TextReader | None
    read_all_below: int | None  # pictures of a library in which all are read for text; None: always
    sidecars: type[FolderSidecars]
    path_signals: Callable[[Path], list[Signal]]
    path_date: Callable[[Path], str | None]
    facts_signals: Callable[[MediaFacts], list[Signal]]
    place_name: Callable[[float, float], PlaceName]
    stamps: Stamps
    captions: CaptionWork
    speech: SpeechWork
    seer: Seer  # looks at media for the stages


def remove_media(
    ledger: Ledger, stores: Iterable[MediaVectorStore], media_ids: Sequence[str]
) -> None:
    """Take media out of Milvus, and then out of the ledger."""
    if media_ids:
        _delete_rows(stores, media_ids)
        ledger.drop_media(media_ids)


def replace_rows(
    store: MediaVectorStore,
    media_ids: Iterable[str],
    nodes: Sequence[BaseNode],
    terms: Sequence[Sequence[str]] | None = None,
    *,
    kept: Iterable[str] = (),
) -> None:
    """Put rows in the place of all that some media have, but for those that are ``kept``.

    A search in between finds the new rows, perhaps beside old ones, and never none: rows keep
    their ids, so the new ones are written first, and what is left over is deleted after that.
    """
    written = {*kept, *(store.add(nodes, terms=terms) if nodes else ())}
    known = store.row_ids(RowFilter(media_ids=frozenset(media_ids)))
    store.delete_nodes([row_id for row_id, _ in known if row_id not in written])


def _delete_rows(stores: Iterable[MediaVectorStore], media_ids: Sequence[str]) -> None:
    for store in stores:
        store.delete_media(media_ids)
        store.flush()


class GaveWay(IndexStopped):
    """Reading text, listening and captions wait: something new is to be seen first."""


class Run:
    """One run over one library; the caller holds the writer's lease."""

    def __init__(
        self,
        parts: Parts,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self.parts = parts
        self.stop = stop
        self.on_annotated: Callable[[], None] = lambda: None
        self.gives_way: Callable[[], bool] = lambda: False
        self._looked_s = time.monotonic()
        self.ledger = parts.ledger
        self.progress = progress or Progress()
        self.report = IndexReport()
        self.absent: set[str] = set()
        self.unreadable: set[str] = set()
        self._failures: list[tuple[Stage, str, str, str, str]] = []

    def check_stop(self) -> None:
        """Raise IndexStopped if somebody wants the run to end."""
        if self.stop is not None and self.stop.is_set():
            raise IndexStopped("Stopped before the end.", "The next run goes on; nothing is lost.")

    def between_media(self) -> None:
        """Between two media: end if that is wanted, and bring in what was annotated meanwhile.

        A person who annotates while a long run holds the lease finds their words a moment later.
        """
        self.check_stop()
        if self.gives_way():
            raise GaveWay("Something new came in between.", "The next run goes on.")
        if time.monotonic() - self._looked_s > ANNOTATED_EVERY_S:
            self.on_annotated()
            self._looked_s = time.monotonic()

    def pending(self, stage: Stage, *, after: Stage | None = None) -> dict[Kind, list[str]]:
        """What a stage has still to do; pictures come first, films take longer."""
        kinds: tuple[Kind, ...] = ("image", "video")
        stamp = self.parts.stamps.of
        return {
            kind: self.ledger.pending(stage, stamp(stage, kind), kind=kind, after=after)
            for kind in kinds
        }

    def rows(self, media_ids: Sequence[str]) -> Iterator[MediaRow]:
        """Media at a path where they can be read; what lies on a missing drive is left pending."""
        for batch in batches(media_ids, _ROWS_AT_ONCE):
            rows = self.ledger.media_rows(batch)
            for media_id in batch:
                row = rows.get(media_id)
                if row is not None and not is_there(row.path):
                    copies = self.ledger.paths_of([media_id])[media_id]
                    path = next((path for path in copies if is_there(path)), None)
                    row = None if path is None else replace(row, path=path)
                if row is not None:
                    yield row
                else:
                    self.absent.add(media_id)

    @contextmanager
    def failing(self, stage: Stage, media: MediaRow) -> Iterator[None]:
        """One bad file never stops a run and never vanishes from its report.

        What can't be decoded has failed until it changes. What can't be read, for want of a right
        or of a sound drive, may be readable tomorrow: it stays pending, with all its rows.
        """
        try:
            yield
        except MediaError as error:
            self._fail(stage, media, error.message, error.remedy)
        except MissingExtra as error:  # under no stamp: it is tried again when it may be there
            self._fail(stage, media, error.message, error.remedy, stamp="")
        except MmragError:
            raise
        except Exception as error:  # a decoder that breaks on hostile bytes breaks on one file
            broken = unexpected(media.path, error)
            self._fail(stage, media, broken.message, broken.remedy)

    def _fail(
        self, stage: Stage, media: MediaRow, reason: str, remedy: str, stamp: str | None = None
    ) -> None:
        try:
            content_hash_of(Path(media.path))
        except FileNotFoundError:
            self.absent.add(media.media_id)
        except OSError as error:
            self.unreadable.add(media.media_id)
            self.report.failed.append(unreadable(media.path, error))
        else:
            if stamp is None:
                stamp = self.parts.stamps.of(stage, media.kind)
            self._failures.append((stage, stamp, media.media_id, reason, remedy))

    def drop_failures(self) -> None:
        """Take what failed, and is not entered yet, for passing."""
        self._failures = []

    def enter_failures(self) -> None:
        """Enter what failed, once the rows of an earlier, readable content are gone."""
        failures, self._failures = self._failures, []
        if not failures:
            return
        lost = [media_id for stage, _, media_id, _, _ in failures if stage in ("read", "embed")]
        unread = [media_id for stage, _, media_id, _, _ in failures if stage == "read"]
        self.ledger.forget_set_aside(lost)
        if seen := self.ledger.touched("embed", lost):
            self.ledger.begin("embed", sorted(seen))
            _delete_rows((self.parts.frames, *self.parts.others), sorted(seen))
        if named := self.ledger.projected_before(unread):
            self.ledger.begin_words(named)
            _delete_rows((self.parts.words, *self.parts.others), sorted(named))
            self.ledger.put_words("", {media_id: (0, frozenset()) for media_id in named})
        for failure in failures:
            self.ledger.failed(*failure)

    @contextmanager
    def timed(self, stage: Stage, total: int = 0, part: str = "") -> Iterator[None]:
        """Report how long the block takes, and to the progress that a stage begins and ends.

        ``part`` names its span, where it is only a part of the stage.
        """
        report = self.report.stages.setdefault(stage, StageReport())
        began, before = time.monotonic(), report.done
        self.progress.begin(stage, total)
        with span(f"index.{part or stage}") as now:
            try:
                yield
            finally:
                report.seconds += time.monotonic() - began
                self.progress.end(stage)
                now.set(media=report.done - before)


def metadata_of(
    media: MediaRow,
    stage: Stage,
    source: str,
    start_s: float | None,
    end_s: float | None,
    shot: FilmShot | None = None,
) -> dict[str, str | int]:
    """The metadata of a row in Milvus about a media, or about a part of it."""
    return row_metadata(
        media_id=media.media_id,
        kind=media.kind,
        stage=stage,
        source=source,
        start_s=start_s,
        end_s=end_s,
        taken_at=media.taken_at,
        camera=media.camera,
        shot=shot,
    )
