"""Find the annotated photos of a library that look most like a picture, to learn its names from.

A person's own words ("Rex", "Oma's garden") are in no model. A photo that looks much the same and
has such words may show the same dog or garden; a model that sees both can tell.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError
from mmrag_plugin.metadata import RowFilter, frame_row_id
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.terms import terms_of
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from mmrag_plugin.ledger import Ledger
    from mmrag_plugin.media import Signal
    from mmrag_plugin.milvus_store import MediaVectorStore

MOST = 3
# Of n unrelated photos the nearest lies about sqrt(2 ln n) deviations above the middle; what is
# nearer than that is near. Tried on COCO training photos and every second photo of personal210
# (`python -m benchmarks personal_captions --near`): the nearest annotated photo has 30 and 61 % of
# the picture's own words where it is near, and 15 and 21 % where it is not.
NEAR = 1.0
SAME_WORDS = 0.8  # of all words of two annotations: they teach the same
BACKGROUND_MEDIA = 256
BACKGROUND_AT_LEAST = 16  # in fewer photos nobody can tell what is near
WORDS_CHARS = 300
LONG_SIDE_PX = 384
_LOOKED_AT = 4 * MOST


@dataclass(frozen=True)
class Neighbour:
    """An annotated photo that looks much like a picture, and the words that the person gave it."""

    media_id: str
    words: str
    path: str


class Neighbours:
    """Finds neighbours in one library whose vectors stand in the store."""

    def __init__(self, ledger: Ledger, frames: MediaVectorStore) -> None:
        self._ledger, self._frames = ledger, frames

    @cached_property
    def annotated(self) -> frozenset[str]:
        """The photos that somebody put words to."""
        return self._ledger.photos_annotated()

    @cached_property
    def _hidden(self) -> frozenset[str]:
        """What assistants don't get to see, nor the words of it in the captions of what they do."""
        return self._ledger.hidden_media_ids()

    def near(self, media_id: str, frame: int = 0) -> list[Neighbour]:
        """The annotated photos nearest to a frame of a media, nearest first, at most MOST.

        None that is not near enough, and none whose words another one has already.
        """
        found = [other for other, is_near in self.nearest(media_id, frame) if is_near]
        media = self._ledger.media_rows(found)
        known = self._ledger.signals_of(found)
        paths = self._ledger.paths_of(found)
        chosen: list[Neighbour] = []
        for other in found:
            words = _words(signal for _, signal in known.get(other, ()))
            path = next(filter(is_there, paths.get(other, ())), None)
            if other not in media or path is None or not words:
                continue
            if not any(_same(words, before.words) for before in chosen):
                chosen.append(Neighbour(other, words, path))
        return chosen[:MOST]

    def nearest(self, media_id: str, frame: int = 0) -> list[tuple[str, bool]]:
        """The nearest annotated photos, whether or not they are near, nearest first."""
        others = self.annotated - {media_id}
        if media_id not in self._hidden:
            others -= self._hidden
        row_id = frame_row_id(media_id, frame)
        vector = self._frames.vectors([row_id]).get(row_id)
        if vector is None or not others:
            return []
        least = self._least(vector, len(others))
        where = RowFilter(kind="image", media_ids=others)
        rows = self._frames.search_dense(vector, _LOOKED_AT, where)
        return [(row.media_id, row.score >= least) for row in rows]

    def _least(self, vector: NDArray[np.float32], count: int) -> float:
        """From which similarity on one of so many photos is near."""
        if len(self._background) < BACKGROUND_AT_LEAST:
            return math.inf
        import numpy as np

        scores = self._background @ vector
        middle = float(np.median(scores))  # many photos of the same thing must not raise the bar
        deviation = 1.4826 * float(np.median(np.abs(scores - middle)))  # as of a normal sample
        return middle + NEAR * math.sqrt(2 * math.log(max(count, 8))) * deviation

    @cached_property
    def _background(self) -> NDArray[np.float32]:
        """A vector of each of some media, to know how alike any two are."""
        import numpy as np

        made = self._ledger.stage_made("embed", BACKGROUND_MEDIA)
        row_ids = [frame_row_id(media_id, frames // 2) for media_id, frames in made.items()]
        return np.array(list(self._frames.vectors(row_ids).values()), dtype=np.float32)


def shown(neighbours: Iterable[Neighbour]) -> list[tuple[Image, str]]:
    """Open the neighbours' pictures, small, with their words; what can't be opened is left out."""
    opened: list[tuple[Image, str]] = []
    for neighbour in neighbours:
        try:
            picture = open_picture(Path(neighbour.path), at_least_px=LONG_SIDE_PX)
        except MediaError:
            continue  # indexing reports it; here it is one example less
        picture.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX))
        opened.append((picture, neighbour.words))
    return opened


def fingerprint(neighbours: Sequence[Neighbour]) -> str:
    """Name a choice of neighbours and their words; empty for none."""
    if not neighbours:
        return ""
    told = "\n\n".join(f"{one.media_id}\n{one.words}" for one in neighbours)
    return hashlib.blake2b(told.encode(errors="replace"), digest_size=6).hexdigest()


def _words(signals: Iterable[Signal]) -> str:
    texts = dict.fromkeys(signal.text for signal in signals if signal.source == "annotation")
    words = "\n".join(texts)[:WORDS_CHARS].strip()
    return words if terms_of(words) else ""


def _same(one: str, other: str) -> bool:
    these, those = set(terms_of(one)), set(terms_of(other))
    return len(these & those) >= SAME_WORDS * len(these | those)
