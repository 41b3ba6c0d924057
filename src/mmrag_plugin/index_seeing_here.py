"""Media looked at on this machine: decoding, the model and who writes it down work side by side.

Pictures are decoded by as many processes as there are cores, a bounded number ahead; what they
give is gathered into batches, which the model embeds in a thread of its own while the stage writes.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.allocation import memory_kept
from mmrag_plugin.encoding import encoded_pictures
from mmrag_plugin.errors import MmragError
from mmrag_plugin.index_ahead import ahead, each_ahead
from mmrag_plugin.index_seeing import (
    FoundText,
    ReadMedia,
    SeenFrame,
    SeenMedia,
    Seer,
    TextWanted,
)
from mmrag_plugin.index_text import FindsText
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.looks import look_from
from mmrag_plugin.media import Frame, Kind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.signals.ocr import TextReader

EMBED_BATCH = 32  # frames in one call of the model
_DECODED_AHEAD = 2 * EMBED_BATCH  # photos


@dataclass
class _Decoded:
    """The frames of a media, or of a piece of a film, on their way to the model."""

    media: MediaRow
    frames: Sequence[Frame] = ()
    look: str | None = None
    pixels: str = ""
    ends: bool = True
    error: Exception | None = None
    vectors: list[NDArray[np.float32]] = field(default_factory=list)

    def seen(self) -> SeenMedia:
        """What the stage gets of it: no pixels."""
        frames = tuple(
            SeenFrame(frame.index, vector, frame.time_s, frame.end_s, frame.shot)
            for frame, vector in zip(self.frames, self.vectors, strict=True)
        )
        ends = self.ends or self.error is not None
        return SeenMedia(self.media, frames, self.look, self.pixels, ends, self.error)


class SeesHere(Seer):
    """Looks at media with the readers and models of this process."""

    def __init__(
        self,
        readers: Mapping[Kind, MediaReader],
        visual: VisualEncoder,
        text_reader: TextReader | None,
        *,
        decoders: int = 2,
    ) -> None:
        self._readers, self._visual, self._text_reader = readers, visual, text_reader
        self._decoders = decoders

    def read(self, media: Iterable[MediaRow]) -> Generator[ReadMedia, None, None]:
        """Collect what files say about themselves, several files at a time."""
        return each_ahead(self._read, media, threads=self._decoders, waiting=4 * self._decoders)

    def _read(self, media: MediaRow) -> Generator[ReadMedia, None, None]:
        try:
            facts = self._readers[media.kind].facts(Path(media.path))
        except Exception as error:
            yield ReadMedia(media, error=error)
        else:
            yield ReadMedia(media, facts)

    def see(self, media: Iterable[MediaRow]) -> Generator[SeenMedia, None, None]:
        """Decode and embed, in the order of the media."""
        with memory_kept:
            yield from ahead(self._embedded(media), _DECODED_AHEAD)

    def _embedded(self, media: Iterable[MediaRow]) -> Generator[SeenMedia, None, None]:
        decoded = each_ahead(self._decoded, media, threads=self._decoders, waiting=_DECODED_AHEAD)
        with closing(decoded):
            gathered, broken = list[_Decoded](), set[str]()
            for piece in decoded:
                if piece.media.media_id in broken:
                    continue
                gathered.append(piece)
                count = sum(len(one.frames) for one in gathered)
                if count >= EMBED_BATCH or piece.media.kind == "video":
                    self._embed(gathered)
                    broken.update(one.media.media_id for one in gathered if one.error)
                    yield from map(_Decoded.seen, gathered)
                    gathered = []
            self._embed(gathered)
            yield from map(_Decoded.seen, gathered)

    def _decoded(self, media: MediaRow) -> Generator[_Decoded, None, None]:
        """The photo, or a film in pieces."""
        try:
            frames = self._readers[media.kind].frames(
                Path(media.path),
                at_least_px=self._visual.decoded_px,
                model_takes=self._visual.takes,
            )
            if media.kind == "image":
                shown = list(frames)
                yield _Decoded(media, shown, look_from(shown[0].sample or b""), shown[-1].pixels)
                return
            pixels = ""
            for batch in batches(frames, EMBED_BATCH):
                pixels = batch[-1].pixels
                yield _Decoded(media, batch, ends=False)
            yield _Decoded(media, pixels=pixels)
        except Exception as error:
            yield _Decoded(media, error=error)

    def _embed(self, gathered: Sequence[_Decoded]) -> None:
        try:
            self._put_vectors(gathered)
        except MmragError:
            raise
        except Exception as error:
            if len(gathered) > 1:  # one of them breaks the model: which?
                for piece in gathered:
                    self._embed([piece])
            else:
                gathered[0].frames, gathered[0].vectors, gathered[0].error = (), [], error

    def _put_vectors(self, gathered: Sequence[_Decoded]) -> None:
        of_frames = [(piece, frame) for piece in gathered for frame in piece.frames]
        for piece in gathered:
            piece.vectors = []
        for batch in batches(of_frames, EMBED_BATCH):  # photos that move have several frames
            vectors = encoded_pictures(self._visual, [frame.picture for _, frame in batch])
            for (piece, _), vector in zip(batch, vectors, strict=True):
                piece.vectors.append(vector)

    def read_text(self, wanted: Iterable[TextWanted]) -> Generator[FoundText, None, None]:
        """Read the text in pictures and films, one after the other."""
        assert self._text_reader is not None
        return FindsText(self._readers, self._text_reader).find(wanted)
