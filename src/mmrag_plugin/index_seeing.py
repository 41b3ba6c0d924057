"""The seam of indexing: what is computed of media, away from the ledger and from Milvus.

A ``Seer`` takes lines of the ledger about media that can be read, and gives back what their files
say (the stage ``read``), what their frames look like to the model (``embed``) and what is written
in them (``ocr``). Who does it, here or on many machines, is a matter of the implementation; the
stages only write what comes, and keep the order of writing. So all that goes in and comes out is
plain data that can be pickled, and an implementation

- takes media lazily and is never further ahead than a bound: a library may hold a million;
- gives one answer for each media, in any order, but for a film, which comes in pieces in their
  order, so that neither side holds a long one (``SeenMedia.ends`` marks the last);
- turns what one file breaks into that media's ``error``, and goes on; only what ends the whole run
  (a model that is damaged, Ctrl-C) is raised;
- ends what it has begun when its iterator is closed, which is how a run is stopped.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.media import FilmShot, MediaFacts, Signal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ReadMedia:
    """What a file says about itself, or why it can't be read."""

    media: MediaRow
    facts: MediaFacts | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class SeenFrame:
    """A frame without its pixels: ``vector`` is [dim], float32, L2-normalised."""

    index: int
    vector: NDArray[np.float32]
    time_s: float | None = None
    end_s: float | None = None
    shot: FilmShot | None = None


@dataclass(frozen=True)
class SeenMedia:
    """What was seen of a media, or of a film since its piece before.

    ``pixels`` is the hash of all its frames (``looks.PixelsHash``); a piece that is not the last
    has none. ``look`` is how a photo looks (``looks.look_of``), None for films. A media with an
    ``error`` ends with it, and all pieces before are void.
    """

    media: MediaRow
    frames: tuple[SeenFrame, ...] = ()
    look: str | None = None
    pixels: str = ""
    ends: bool = True
    error: Exception | None = None


@dataclass(frozen=True)
class TextWanted:
    """A media whose text is wanted.

    With ``glances`` only pictures and frames are read in which a quick look finds something like
    writing. Of the frames of a film each ``every``-th is looked at.
    """

    media: MediaRow
    glances: bool = False
    every: int = 1


@dataclass(frozen=True)
class FoundText:
    """What is written in a media; ``passed_over`` is a picture that was not worth reading."""

    media: MediaRow
    signals: tuple[Signal, ...] = ()
    passed_over: bool = False
    error: Exception | None = None


class Seer(ABC):
    """Looks at media; see the module for what it has to keep."""

    @abstractmethod
    def read(self, media: Iterable[MediaRow]) -> Generator[ReadMedia, None, None]:
        """Collect what files say about themselves, by the reader of their kind."""

    @abstractmethod
    def see(self, media: Iterable[MediaRow]) -> Generator[SeenMedia, None, None]:
        """Decode frames and embed them with the library's visual model.

        The short side of what is decoded is at least the model's ``decoded_px``, and what the model
        is given of it is what its ``takes`` makes of it: the same vectors, whoever does it.
        """

    @abstractmethod
    def read_text(self, wanted: Iterable[TextWanted]) -> Generator[FoundText, None, None]:
        """Read the text in pictures and films with the library's text reader."""
