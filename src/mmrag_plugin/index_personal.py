"""Personal captions: which of the person's own photos a picture is captioned beside.

A caption that was made with examples says so in its stamp, with a name for that choice of examples:
the same picture beside the same examples is not asked about again. A media's stamp only says that
examples are used and how many annotated photos there were, to the next power of two. So new
annotations make no caption outdated one by one; once their number has doubled, ``--captions all``
looks at every picture again, and asks about those that have other examples now.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.index_run import Run
from mmrag_plugin.ledger_captions import BESIDE
from mmrag_plugin.neighbours import Neighbour, Neighbours, fingerprint

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.index_shots import Picture

PERSONAL_VERSION = 1  # part of the stamp: raise it when examples are chosen or told otherwise


class Personal:
    """Chooses examples in one run; none where they are not wanted, or can't be told."""

    def __init__(self, run: Run, *, wanted: bool) -> None:
        usable = wanted and knows_things(run.parts.visual)
        self._neighbours = Neighbours(run.ledger, run.parts.frames) if usable else None

    def media_stamp(self, stamp: str) -> str:
        """The stamp of media whose pictures are captioned under a stamp, beside examples or not."""
        return media_stamp(stamp, len(self._neighbours.annotated) if self._neighbours else 0)

    def examples_of(self, picture: Picture) -> list[Neighbour]:
        """The annotated photos that a picture, or the middle of a shot, is captioned beside."""
        if self._neighbours is None:
            return []
        shown = picture.span.shown
        return self._neighbours.near(picture.media.media_id, shown[len(shown) // 2])


def knows_things(visual: VisualEncoder) -> bool:
    """Whether a model can tell that two photos show the same; one of colours alone can't."""
    return visual.compares_texts


def media_stamp(stamp: str, annotated: int) -> str:
    """The stamp of captions that are made where so many photos are annotated."""
    return f"{stamp}{BESIDE}{PERSONAL_VERSION}-{annotated.bit_length()}" if annotated else stamp


def picture_stamp(stamp: str, examples: Sequence[Neighbour]) -> str:
    """The stamp of one caption that is made beside these examples."""
    return f"{stamp}{BESIDE}{PERSONAL_VERSION}:{fingerprint(examples)}" if examples else stamp


def beside(examples: Sequence[Neighbour]) -> dict[str, list[str]]:
    """What is kept with a caption about the examples that it was made beside."""
    return {"beside": [one.media_id for one in examples]}


def without_examples(stamp: str) -> str:
    """The stamp of a caption as if it were made without examples."""
    return stamp.partition(BESIDE)[0]
