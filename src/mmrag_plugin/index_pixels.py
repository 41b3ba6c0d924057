"""The stages that look at pixels: frames are decoded, embedded, and text is read off them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from llama_index.core.schema import ImageNode

from mmrag_plugin.errors import IndexStopped, MmragError
from mmrag_plugin.index_run import COMMIT_S, Run, metadata_of, replace_rows
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.looks import LOOK_STAMP, PixelsHash, look_of
from mmrag_plugin.media import Frame, Kind, Signal
from mmrag_plugin.metadata import FRAME, frame_row_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.signals.ocr import TextReader

OCR_AT_LEAST_PX = 1400  # small print on a photo of a page stays readable
OCR_MAX_FRAMES = 60  # of one film, spread over all of it
_EMBED_BATCH = 32  # pictures in one call of the model
_OCR_BATCH = 8
_COMMIT_FRAMES = 512  # frames between two flushes

_Group = list[tuple[MediaRow, Callable[[], Iterable[Frame]]]]


class PixelStages:
    """Embeds frames and reads text off them in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._looks: dict[str, str] = {}  # of photos that are not committed yet
        self._seen: dict[str, PixelsHash] = {}  # of media that are not committed yet

    def embed(self) -> None:
        """Embed the frames of media that have no vectors of this model yet."""
        pending = self.run.pending("embed", after="read")
        with self.run.timed("embed", sum(map(len, pending.values()))):
            for kind, media_ids in pending.items():
                began, nodes, finished = time.monotonic(), list[ImageNode](), dict[str, int]()
                at_least_px = 2 * self.run.parts.visual.input_px
                for group in self._groups(kind, media_ids, at_least_px, _EMBED_BATCH):
                    try:
                        self.run.between_media()
                        embedded = self._embed_group(group)
                    except IndexStopped:
                        self._commit_frames(kind, nodes, finished)
                        raise
                    for media_id, made in embedded.items():
                        nodes += made
                        finished[media_id] = len(made)
                    self.run.enter_failures()
                    if len(nodes) >= _COMMIT_FRAMES or time.monotonic() - began > COMMIT_S:
                        self._commit_frames(kind, nodes, finished)
                        began, nodes, finished = time.monotonic(), [], {}
                    self.run.progress.advance("embed", len(group))
                self._commit_frames(kind, nodes, finished)

    def _embed_group(self, group: _Group) -> dict[str, list[ImageNode]]:
        """Embed the pictures of a group in one call, or a film in batches of its frames."""
        visual, made = self.run.parts.visual, dict[str, list[ImageNode]]()
        pictures: list[tuple[MediaRow, Frame]] = []
        for media, frames in group:
            with self.run.failing("embed", media):
                seen = self._seen[media.media_id] = PixelsHash()
                if media.kind == "image":
                    shown = list(frames())
                    if shown:
                        self._looks[media.media_id] = look_of(shown[0].picture)
                    for frame in shown:
                        seen.add(frame.picture)
                    pictures += [(media, frame) for frame in shown]
                    made[media.media_id] = []
                    continue
                nodes: list[ImageNode] = []
                for batch in batches(frames(), _EMBED_BATCH):
                    self.run.between_media()
                    vectors = visual.embed_pictures([frame.picture for frame in batch])
                    for frame in batch:
                        seen.add(frame.picture)
                    nodes += map(_frame_node, [media] * len(batch), batch, vectors)
                made[media.media_id] = nodes
        try:
            self._embed_pictures(pictures, made)
        except MmragError:
            raise
        except Exception:  # one of them breaks the model: which?
            for media, frame in pictures:
                with self.run.failing("embed", media):
                    nodes = made.pop(media.media_id)
                    self._embed_pictures([(media, frame)], {media.media_id: nodes})
                    made[media.media_id] = nodes
        return made

    def _embed_pictures(
        self, pictures: Sequence[tuple[MediaRow, Frame]], made: Mapping[str, list[ImageNode]]
    ) -> None:
        for batch in batches(pictures, _EMBED_BATCH):  # photos that move have several
            visual = self.run.parts.visual
            vectors = visual.embed_pictures([frame.picture for _, frame in batch])
            for (media, frame), vector in zip(batch, vectors, strict=True):
                made[media.media_id].append(_frame_node(media, frame, vector))

    def _commit_frames(
        self, kind: Kind, nodes: Sequence[ImageNode], finished: Mapping[str, int]
    ) -> None:
        if not finished:
            return
        store, media_ids = self.run.parts.frames, sorted(finished)
        outdated = self.run.ledger.touched("embed", media_ids)
        self.run.ledger.forget_set_aside(media_ids)  # before it is true no more
        self.run.ledger.begin("embed", media_ids)
        replace_rows(store, outdated, nodes)
        store.flush()
        looks, self._looks = self._looks, {}
        seen, self._seen = self._seen, {}
        self.run.ledger.put_pixels({m: seen[m].value for m in media_ids})
        self.run.ledger.put_looks(LOOK_STAMP, {m: looks[m] for m in media_ids if m in looks})
        self.run.ledger.done("embed", self.run.parts.stamps.of("embed", kind), finished)
        self.run.report.stages["embed"].done += len(finished)

    def ocr(self) -> None:
        """Read the text in the frames of media where nobody has looked for any yet."""
        reader = self.run.parts.text_reader
        if reader is None:
            return
        pending = self.run.pending("ocr", after="embed")
        with self.run.timed("ocr", sum(map(len, pending.values()))):
            for kind, media_ids in pending.items():
                for group in self._groups(kind, media_ids, OCR_AT_LEAST_PX, _OCR_BATCH):
                    read: dict[str, list[Signal]] = {}
                    self.run.between_media()
                    for media, frames in group:
                        with self.run.failing("ocr", media):
                            made = self.run.ledger.made("embed", media.media_id)
                            every = max(math.ceil(made / OCR_MAX_FRAMES), 1)
                            spread: Iterable[Frame] = islice(frames(), 0, None, every)
                            if kind == "image":  # what moves in a photo is read in the photo
                                spread = (frame for frame in frames() if frame.time_s is None)
                            read[media.media_id] = _read_text(reader, spread)
                        self.run.progress.advance("ocr", 1)
                    self.run.enter_failures()
                    self.run.ledger.put_signals("ocr", self.run.parts.stamps.of("ocr", kind), read)
                    self.run.report.stages["ocr"].done += len(read)

    def _groups(
        self, kind: Kind, media_ids: Sequence[str], at_least_px: int, size: int
    ) -> Iterator[_Group]:
        """Pictures in groups, decoded while the group before is dealt with; films one by one.

        A film is decoded frame by frame, when it is asked for: it is too large to hold.
        """

        def frames_of(media: MediaRow) -> Iterator[Frame]:
            reader = self.run.parts.readers[media.kind]
            return reader.frames(Path(media.path), at_least_px=at_least_px)

        def decoded(media: MediaRow) -> list[Frame]:
            return list(frames_of(media))

        if kind == "video":
            for media in self.run.rows(media_ids):
                yield [(media, partial(frames_of, media))]
            return
        with ThreadPoolExecutor(2, thread_name_prefix="mmrag-decode") as pool:
            ahead: _Group = []
            for batch in batches(media_ids, size):
                group = ahead
                ahead = [
                    (media, pool.submit(decoded, media).result) for media in self.run.rows(batch)
                ]
                if group:
                    yield group
            if ahead:
                yield ahead


def _frame_node(media: MediaRow, frame: Frame, vector: NDArray[np.float32]) -> ImageNode:
    return ImageNode(
        id_=frame_row_id(media.media_id, frame.index),
        metadata=metadata_of(media, "embed", FRAME, frame.time_s, frame.end_s, frame.shot),
        embedding=vector.tolist(),
    )


def _read_text(reader: TextReader, frames: Iterable[Frame]) -> list[Signal]:
    """Read text off frames; what stays on the screen over several frames is one signal."""
    signals: list[Signal] = []
    before: Frame | None = None
    for frame in frames:
        text = reader.read(frame.picture).strip()
        last = signals[-1] if signals else None
        if text and last and before and (last.text, last.end_s) == (text, before.end_s):
            signals[-1] = Signal("ocr", text, last.start_s, frame.end_s)
        elif text:
            signals.append(Signal("ocr", text, frame.time_s, frame.end_s))
        before = frame
    return signals
