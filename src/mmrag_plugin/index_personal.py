"""Personal captions: which of the person's own photos a picture is captioned beside.

A caption that was made with examples says so in its stamp, with a name for that choice of examples:
the same picture beside the same examples is not asked about again. A media's stamp only says that
examples are used and how many annotated photos there were, to the next power of two. So new
annotations make no caption outdated one by one; once their number has doubled, ``--captions all``
looks at every picture again, and asks about those that have other examples now. The same happens
when annotated photos are hidden or shown: what is hidden is no example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.index_run import Run
from mmrag_plugin.neighbours import (
    Neighbour,
    Neighbours,
    examples_in,
    fingerprint,
    rules_on_examples,
)

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import VisualEmbedding
    from mmrag_plugin.index_shots import Picture
    from mmrag_plugin.ledger import Ledger

PERSONAL_VERSION = 1  # part of the stamp: raise it when examples are chosen or told otherwise
_MARK = "/personal-"


class Personal:
    """Chooses examples in one run; none where they are not wanted, or can't be told."""

    def __init__(self, run: Run, *, wanted: bool) -> None:
        self._ledger = run.ledger
        usable = wanted and knows_things(run.parts.visual)
        self._neighbours = Neighbours(run.ledger, run.parts.frames) if usable else None

    def media_stamp(self, stamp: str) -> str:
        """The stamp of media whose pictures are captioned under a stamp, beside examples or not."""
        return stamp_beside_examples(stamp, self._ledger) if self._neighbours else stamp

    def examples_of(self, picture: Picture) -> list[Neighbour]:
        """The annotated photos that a picture, or the middle of a shot, is captioned beside."""
        if self._neighbours is None:
            return []
        shown = picture.span.shown
        return self._neighbours.near(picture.media.media_id, shown[len(shown) // 2])


def knows_things(visual: VisualEmbedding) -> bool:
    """Whether a model can tell that two photos show the same; one of colours alone can't."""
    return visual.compares_texts


def stamp_beside_examples(stamp: str, ledger: Ledger) -> str:
    """The stamp of media whose pictures are captioned beside the examples of a library."""
    return media_stamp(stamp, len(examples_in(ledger)), rules_on_examples(ledger))


def media_stamp(stamp: str, annotated: int, hidden: str = "") -> str:
    """The stamp of captions where so many photos are annotated, and others hidden by such rules."""
    if not annotated:
        return stamp
    by_rules = f"-{hidden}" if hidden else ""
    return f"{stamp}{_MARK}{PERSONAL_VERSION}-{annotated.bit_length()}{by_rules}"


def picture_stamp(stamp: str, examples: Sequence[Neighbour]) -> str:
    """The stamp of one caption that is made beside these examples."""
    return f"{stamp}{_MARK}{PERSONAL_VERSION}:{fingerprint(examples)}" if examples else stamp


def without_examples(stamp: str) -> str:
    """The stamp of a caption as if it were made without examples."""
    return stamp.partition(_MARK)[0]
