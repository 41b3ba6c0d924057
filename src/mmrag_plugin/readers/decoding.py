"""Decode media: the work of the readers that takes long, and that hostile files make go wrong.

It needs nothing of LlamaIndex, so a process that does nothing else starts quickly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Frame, Kind, MediaFacts
from mmrag_plugin.motion_photos import motion_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.film_sound import Sound
    from mmrag_plugin.keyframes.base import KeyframeSelector
    from mmrag_plugin.model_input import ModelInput


MAX_MOTION_FRAMES = 12  # of a photo that moves for some seconds


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
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames, those of a film that ``selector`` chooses, upright RGB.

        Of a photo that moves the photo comes first, without a time; the pages of a TIFF have none.

        With ``at_least_px`` a large frame comes scaled down, its short side no smaller than that.
        With ``model_takes`` it is made ready for a model after that, and says what it showed.
        """

    @abstractmethod
    def picture(
        self, kind: Kind, path: Path, at_s: float | None = None, *, at_least_px: int | None = None
    ) -> Image:
        """The picture of a photo, or of a film (or the moving part of a photo) at a time.

        Upright RGB, scaled down as of ``frames``. A film without a time shows its beginning.
        """

    @abstractmethod
    def sound(self, path: Path, *, from_s: float = 0.0, language: str = "") -> Iterator[Sound]:
        """Yield the sound of a film from a time on, in pieces; nothing where it has none."""


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
            facts = picture_facts(image)
        return replace(facts, duration_s=_motion_s(path))

    def frames(
        self,
        kind: Kind,
        path: Path,
        *,
        at_least_px: int | None = None,
        selector: KeyframeSelector | None = None,
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames lazily."""
        if model_takes is None:
            return self._frames(kind, path, at_least_px, selector)
        frames = self._frames(kind, path, at_least_px, selector, finely=True)
        return _made_ready(frames, model_takes)

    def _frames(
        self,
        kind: Kind,
        path: Path,
        at_least_px: int | None,
        selector: KeyframeSelector | None,
        *,
        finely: bool = False,
    ) -> Iterator[Frame]:
        from mmrag_plugin.pictures import further_pages, open_picture, reduced

        if kind == "image":
            yield Frame(0, open_picture(path, at_least_px=at_least_px, finely=finely))
            for number, page in enumerate(further_pages(path, at_least_px=at_least_px), start=1):
                yield Frame(number, page)
            frames = _moving_frames(path)
        else:
            assert selector is not None
            frames = selector.select(path)
        for frame in frames:
            small = frame.picture if at_least_px is None else reduced(frame.picture, at_least_px)
            yield replace(frame, picture=small)

    def picture(
        self, kind: Kind, path: Path, at_s: float | None = None, *, at_least_px: int | None = None
    ) -> Image:
        """Decode one picture."""
        from mmrag_plugin.film_frames import frame_at
        from mmrag_plugin.pictures import open_picture, reduced

        if kind == "image":
            motion = None if at_s is None else motion_of(path)
            if motion is None or at_s is None:
                return open_picture(path, at_least_px=at_least_px)
            picture = frame_at(motion, at_s)
        else:
            picture = frame_at(path, at_s or 0.0)
        return picture if at_least_px is None else reduced(picture, at_least_px)

    def sound(self, path: Path, *, from_s: float = 0.0, language: str = "") -> Iterator[Sound]:
        """Yield the sound lazily."""
        from mmrag_plugin.film_sound import sound_of

        return sound_of(path, from_s=from_s, language=language)


def _made_ready(frames: Iterable[Frame], model_takes: ModelInput) -> Iterator[Frame]:
    """Make frames ready for a model, with what is to be known of their pixels."""
    from mmrag_plugin.looks import PixelsHash, sample_of

    pixels = PixelsHash()
    for frame in frames:
        pixels.add(frame.picture)
        yield replace(
            frame,
            picture=model_takes.fitted(frame.picture),
            pixels=pixels.value,
            sample=sample_of(frame.picture) if frame.time_s is None else None,
        )


def _motion_s(photo: Path) -> float | None:
    """How long the moving part of a photo is; None where there is none that can be played."""
    from mmrag_plugin.films import open_film

    motion = motion_of(photo)
    if motion is None:
        return None
    try:
        with open_film(motion) as film:
            return film.duration_s
    except MediaError:  # the photo is not worse for it
        return None


def _moving_frames(photo: Path) -> Iterator[Frame]:
    """Frames of the moving part of a photo, with their times in it, numbered behind the photo."""
    from mmrag_plugin.keyframes.iframes import IFrameSelector

    motion = motion_of(photo)
    if motion is not None:
        with suppress(MediaError):  # the photo is not worse for it
            for frame in islice(IFrameSelector().select(motion), MAX_MOTION_FRAMES):
                yield replace(frame, index=frame.index + 1)


HERE = DecodesHere()
