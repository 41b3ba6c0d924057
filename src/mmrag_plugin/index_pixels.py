"""The stage that looks at pixels: frames are decoded and embedded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from llama_index.core.schema import ImageNode

from mmrag_plugin.encoding import encoded_pictures
from mmrag_plugin.errors import IndexStopped, MmragError
from mmrag_plugin.index_run import COMMIT_S, Run, metadata_of, replace_rows
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.looks import LOOK_STAMP, PixelsHash, look_of
from mmrag_plugin.media import Frame, Kind
from mmrag_plugin.metadata import FRAME, frame_row_id
from mmrag_plugin.tracing import carried

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_EMBED_BATCH = 32  # pictures in one call of the model
_COMMIT_FRAMES = 512  # frames between two flushes

Group = list[tuple[MediaRow, Callable[[], Iterable[Frame]]]]


class PixelStages:
    """Embeds frames in one run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._looks: dict[str, str] = {}  # of photos that are not committed yet
        self._ahead: dict[str, list[str]] = {}  # rows of films that are not done yet
        self._seen: dict[str, PixelsHash] = {}  # of media that are not committed yet

    def embed(self) -> None:
        """Embed the frames of media that have no vectors of this model yet."""
        pending = self.run.pending("embed", after="read")
        with self.run.timed("embed", sum(map(len, pending.values()))):
            for kind, media_ids in pending.items():
                began, nodes, finished = time.monotonic(), list[ImageNode](), dict[str, int]()
                at_least_px = 2 * self.run.parts.visual.input_px
                for group in frames_in_groups(self.run, kind, media_ids, at_least_px, _EMBED_BATCH):
                    try:
                        self.run.between_media()
                        embedded = self._embed_group(group)
                    except IndexStopped:
                        self._commit_frames(kind, nodes, finished)
                        raise
                    for media_id, made in embedded.items():
                        nodes += made
                        finished[media_id] = len(made) + len(self._ahead.get(media_id, ()))
                    self.run.enter_failures()
                    if len(nodes) >= _COMMIT_FRAMES or time.monotonic() - began > COMMIT_S:
                        self._commit_frames(kind, nodes, finished)
                        began, nodes, finished = time.monotonic(), [], {}
                    self.run.progress.advance("embed", len(group))
                self._commit_frames(kind, nodes, finished)

    def _embed_group(self, group: Group) -> dict[str, list[ImageNode]]:
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
                    vectors = encoded_pictures(visual, [frame.picture for frame in batch])
                    for frame in batch:
                        seen.add(frame.picture)
                    nodes += map(_frame_node, [media] * len(batch), batch, vectors)
                    if len(nodes) >= _COMMIT_FRAMES:
                        self._write_ahead(media, nodes)
                        nodes = []
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
            vectors = encoded_pictures(visual, [frame.picture for _, frame in batch])
            for (media, frame), vector in zip(batch, vectors, strict=True):
                made[media.media_id].append(_frame_node(media, frame, vector))

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
        ahead = [row_id for m in media_ids for row_id in self._ahead.pop(m, ())]
        replace_rows(store, outdated, nodes, kept=ahead)
        store.flush()
        looks, self._looks = self._looks, {}
        seen, self._seen = self._seen, {}
        self.run.ledger.put_pixels({m: seen[m].value for m in media_ids})
        self.run.ledger.put_looks(LOOK_STAMP, {m: looks[m] for m in media_ids if m in looks})
        self.run.ledger.done("embed", self.run.parts.stamps.of("embed", kind), finished)
        self.run.report.stages["embed"].done += len(finished)


def frames_in_groups(
    run: Run, kind: Kind, media_ids: Sequence[str], at_least_px: int, size: int
) -> Iterator[Group]:
    """Pictures in groups, decoded while the group before is dealt with; films one by one.

    A film is decoded frame by frame, when it is asked for: it is too large to hold.
    """

    def frames_of(media: MediaRow) -> Iterator[Frame]:
        return run.parts.readers[media.kind].frames(Path(media.path), at_least_px=at_least_px)

    def decoded(media: MediaRow) -> list[Frame]:
        return list(frames_of(media))

    if kind == "video":
        for media in run.rows(media_ids):
            yield [(media, partial(frames_of, media))]
        return
    with ThreadPoolExecutor(2, thread_name_prefix="mmrag-decode") as pool:
        ahead: Group = []
        for batch in batches(media_ids, size):
            group = ahead
            ahead = [
                (media, pool.submit(carried(decoded), media).result) for media in run.rows(batch)
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
