"""What of a media is captioned: a photo, or the shots of a film, told apart by what they show."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.metadata import NO_SHOT, frame_row_id

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.media import Frame

SAME_SHOT = 0.85  # cosine of a frame with the first of its shot while the picture is the same
MAX_SHOTS = 24  # of one film, spread over all of it
FRAMES_A_SHOT = 3
LONG_SIDE_PX = 1024  # of what a VLM is shown, and what is told apart


@dataclass(frozen=True)
class Span:
    """Neighbouring frames of a film, by their numbers, the last included."""

    first: int
    last: int

    @property
    def shown(self) -> tuple[int, ...]:
        """The frames that stand for the shot, up to FRAMES_A_SHOT, spread over it."""
        frames = self.last - self.first + 1
        count = min(frames, FRAMES_A_SHOT)
        return tuple(self.first + int((n + 0.5) * frames / count) for n in range(count))


@dataclass(frozen=True)
class Picture:
    """A photo (its time is None), or a shot of a film: the ``number``-th of its media."""

    media: MediaRow
    number: int
    span: Span
    frames: tuple[tuple[float | None, Image], ...]
    start_s: float | None
    end_s: float | None

    @property
    def picture_hash(self) -> str:
        """A hash of the pixels: what is written into a file beside them changes nothing."""
        digest = hashlib.blake2b(digest_size=16)
        for _, picture in self.frames:
            digest.update(f"{picture.width}x{picture.height}".encode())
            digest.update(picture.tobytes())
        return digest.hexdigest()


def pictures_of(run: Run, media: MediaRow) -> Iterator[Picture]:
    """Decode what is to be captioned of a media, one shot after the other.

    Raises MediaError for a file that can't be decoded.
    """
    path, reader = Path(media.path), run.parts.readers[media.kind]
    frames = reader.frames(path, at_least_px=LONG_SIDE_PX)
    if media.kind == "image":
        photo = next(frame for frame in frames if frame.time_s is None)  # of one that moves, too
        picture = ((None, _small(photo.picture)),)
        yield Picture(media, 0, Span(photo.index, photo.index), picture, None, None)
        return
    import numpy as np

    made = run.ledger.made("embed", media.media_id)
    row_ids = [frame_row_id(media.media_id, number) for number in range(made)]
    nodes = {node.node_id: node for node in run.parts.frames.get_nodes(row_ids)}
    known = [nodes[row_id] for row_id in row_ids if row_id in nodes]
    shots = shots_of(
        [np.asarray(node.embedding, np.float32) for node in known],
        [node.metadata.get("shot", NO_SHOT) for node in known],
    )
    yield from _filled(media, shots, frames)


def _filled(media: MediaRow, shots: Sequence[Span], frames: Iterator[Frame]) -> Iterator[Picture]:
    number, shown, start_s = 0, list[tuple[float | None, "Image"]](), None
    for frame in frames:
        if number == len(shots):
            return
        span = shots[number]
        if frame.index == span.first:
            start_s = frame.time_s
        if frame.index in span.shown:
            shown.append((frame.time_s, _small(frame.picture)))
        if frame.index == span.last:
            yield Picture(media, number, span, tuple(shown), start_s, frame.end_s)
            number, shown = number + 1, []


def _small(picture: Image) -> Image:
    picture = picture.copy()
    picture.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX))
    return picture


def shots_of(vectors: Sequence[NDArray[np.float32]], numbers: Sequence[int]) -> list[Span]:
    """Join the frames of a film into shots, by their vectors and the numbers of their shots.

    A shot in which the picture becomes another is several. At most MAX_SHOTS, spread evenly: those
    between are left out.
    """
    spans: list[Span] = []
    for number, vector in enumerate(vectors):
        first = spans[-1].first if spans else 0
        if spans and numbers[first] == numbers[number] and vectors[first] @ vector >= SAME_SHOT:
            spans[-1] = Span(spans[-1].first, number)
        else:
            spans.append(Span(number, number))
    if len(spans) <= MAX_SHOTS:
        return spans
    step = len(spans) / MAX_SHOTS
    return [spans[int((number + 0.5) * step)] for number in range(MAX_SHOTS)]
