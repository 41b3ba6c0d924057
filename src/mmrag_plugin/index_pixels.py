"""The stage that embeds frames: a seer looks at them, and this writes what it saw."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing

from llama_index.core.schema import ImageNode

from mmrag_plugin.errors import IndexStopped
from mmrag_plugin.index_run import COMMIT_S, Run, metadata_of, replace_rows
from mmrag_plugin.index_seeing import SeenFrame, SeenMedia
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.looks import LOOK_STAMP
from mmrag_plugin.media import Kind
from mmrag_plugin.metadata import FRAME, frame_row_id

_COMMIT_FRAMES = 512  # frames between two flushes


class PixelStages:
    """Embeds frames in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._looks: dict[str, str] = {}  # of photos that are not committed yet
        self._pixels: dict[str, str] = {}  # hashes, of media that are not committed yet
        self._unfinished: dict[str, list[ImageNode]] = {}  # of films that are not done yet
        self._ahead: dict[str, list[str]] = {}  # rows of those that are written already

    def embed(self) -> None:
        """Have media embedded that have no vectors of this model yet, and write what comes."""
        pending = self.run.pending("embed", after="read")
        with self.run.timed("embed", sum(map(len, pending.values()))):
            for kind, media_ids in pending.items():
                self.run.check_stop()
                with closing(self.run.parts.seer.see(self.run.rows(media_ids))) as seen:
                    self._take_in(kind, seen)

    def _take_in(self, kind: Kind, seen: Iterable[SeenMedia]) -> None:
        began, nodes, finished = time.monotonic(), list[ImageNode](), dict[str, int]()
        try:
            for found in seen:
                media_id = found.media.media_id
                with self.run.failing("embed", found.media):
                    if self._take(found):
                        made = self._unfinished.pop(media_id)
                        nodes += made
                        finished[media_id] = len(made) + len(self._ahead.get(media_id, ()))
                self.run.enter_failures()
                if len(nodes) >= _COMMIT_FRAMES or time.monotonic() - began > COMMIT_S:
                    self._commit_frames(kind, nodes, finished)
                    began, nodes, finished = time.monotonic(), [], {}
                if found.ends:
                    self.run.progress.advance("embed", 1)
                self.run.between_media()
        except IndexStopped:
            self._commit_frames(kind, nodes, finished)
            raise
        self._commit_frames(kind, nodes, finished)

    def _take(self, found: SeenMedia) -> bool:
        """Take in what was seen of a media; returns whether that was all of it."""
        media = found.media
        nodes = self._unfinished.setdefault(media.media_id, [])
        if found.error is not None:
            del self._unfinished[media.media_id]
            self._ahead.pop(media.media_id, None)
            raise found.error
        nodes += [_frame_node(media, frame) for frame in found.frames]
        if found.ends:
            self._pixels[media.media_id] = found.pixels
            if found.look is not None:
                self._looks[media.media_id] = found.look
        elif len(nodes) >= _COMMIT_FRAMES:
            self._write_ahead(media, nodes)
            nodes.clear()
        return found.ends

    def _write_ahead(self, media: MediaRow, nodes: Sequence[ImageNode]) -> None:
        """Write rows of a long film before it is done, so that they need not be held."""
        self.run.ledger.forget_set_aside([media.media_id])
        self.run.ledger.begin("embed", [media.media_id])
        written = self.run.parts.frames.add(nodes)
        self._ahead.setdefault(media.media_id, []).extend(written)

    def _commit_frames(
        self, kind: Kind, nodes: Sequence[ImageNode], finished: Mapping[str, int]
    ) -> None:
        if not finished:
            return
        store, media_ids = self.run.parts.frames, sorted(finished)
        outdated = self.run.ledger.touched("embed", media_ids)
        self.run.ledger.forget_set_aside(media_ids)  # before it is true no more
        self.run.ledger.begin("embed", media_ids)
        ahead = [row_id for m in media_ids for row_id in self._ahead.get(m, ())]
        replace_rows(store, outdated, nodes, kept=ahead)
        store.flush()
        self.run.ledger.put_pixels(self._pixels)
        self.run.ledger.put_looks(LOOK_STAMP, self._looks)
        self.run.ledger.done("embed", self.run.parts.stamps.of("embed", kind), finished)
        # only now: a run that is stopped in here does this once more
        self._looks, self._pixels = {}, {}
        for media_id in media_ids:
            self._ahead.pop(media_id, None)
        self.run.report.stages["embed"].done += len(finished)


def _frame_node(media: MediaRow, frame: SeenFrame) -> ImageNode:
    return ImageNode(
        id_=frame_row_id(media.media_id, frame.index),
        metadata=metadata_of(media, "embed", FRAME, frame.time_s, frame.end_s, frame.shot),
        embedding=frame.vector.tolist(),
    )
