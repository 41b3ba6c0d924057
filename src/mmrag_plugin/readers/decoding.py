"""Decode media: the work of the readers that takes long, and that hostile files make go wrong.

It needs nothing of LlamaIndex, so a process that does nothing else starts quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.media import Frame, Kind, MediaFacts

if TYPE_CHECKING:
    from mmrag_plugin.keyframes.base import KeyframeSelector


class Decoder(ABC):
    """Reads facts and frames of media; which process does it, is a matter of the implementation."""

    @abstractmethod
    def facts(self, kind: Kind, path: Path) -> MediaFacts:
        """Collect what a file says about itself. Raises MediaError or MissingExtra."""

    @abstractmethod
    def frames(
        self,
        kind: Kind,
        path: Path,
        *,
        at_least_px: int | None = None,
        selector: KeyframeSelector | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames, those of a film that ``selector`` chooses, upright RGB.

        With ``at_least_px`` a large frame comes scaled down, its short side no smaller than that.
        """


class DecodesHere(Decoder):
    """Decodes in this process: at once, and without any limit on time."""

    def facts(self, kind: Kind, path: Path) -> MediaFacts:
        """Collect what a file says about itself."""
        if kind == "video":
            from mmrag_plugin.readers.film_facts import film_facts

            return film_facts(path)
        from mmrag_plugin.pictures import identified_picture
        from mmrag_plugin.readers.exif import picture_facts

        with identified_picture(path) as image:
            return picture_facts(image)

    def frames(
        self,
        kind: Kind,
        path: Path,
        *,
        at_least_px: int | None = None,
        selector: KeyframeSelector | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames lazily."""
        from mmrag_plugin.pictures import open_picture, reduced

        if kind == "image":
            yield Frame(0, open_picture(path, at_least_px=at_least_px))
            return
        assert selector is not None
        for frame in selector.select(path):
            small = frame.picture if at_least_px is None else reduced(frame.picture, at_least_px)
            yield replace(frame, picture=small)


HERE = DecodesHere()
