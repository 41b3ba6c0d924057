"""The seam of keyframe selection: a film in, the frames that stand for it out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from mmrag_plugin.media import Frame
from mmrag_plugin.motion_photos import FilmPart


class KeyframeSelector(ABC):
    """Chooses frames of a film, in order of time, each upright and with the span it stands for.

    The first frame's span begins at the film's first picture and the spans leave no gap;
    ``stamp`` names the method and its parameters.
    """

    name: ClassVar[str]

    @property
    @abstractmethod
    def stamp(self) -> str:
        """Name the method and every parameter that changes its choice."""

    @abstractmethod
    def select(self, source: Path | FilmPart) -> Iterator[Frame]:
        """Yield frames lazily. Raises MediaError when the file holds no readable film."""
