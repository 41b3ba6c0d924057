"""Films."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import Document

from mmrag_plugin.film_frames import frame_at
from mmrag_plugin.media import Frame, MediaFacts
from mmrag_plugin.readers.base import MediaReader, caption, image_document
from mmrag_plugin.readers.decoding import HERE, Decoder

if TYPE_CHECKING:
    from mmrag_plugin.keyframes.base import KeyframeSelector
    from mmrag_plugin.model_input import ModelInput

__all__ = ["VideoReader", "frame_at"]


class VideoReader(MediaReader):
    """Reads films: the frames that a selector chooses, one document each.

    ``selector`` is ``IFrameSelector()`` unless given; ``decoder`` does the work that takes long.
    """

    kind = "video"

    def __init__(
        self, selector: KeyframeSelector | None = None, *, decoder: Decoder = HERE
    ) -> None:
        if selector is None:
            from mmrag_plugin.keyframes.iframes import IFrameSelector

            selector = IFrameSelector()
        self.selector = selector
        self.decoder = decoder

    def facts(self, path: Path) -> MediaFacts:
        """Collect size, length, date, camera, place, titles and embedded subtitles.

        Raises MediaError where there is nothing to see, such as in a sound file with a cover.
        """
        return self.decoder.facts("video", path)

    def frames(
        self,
        path: Path,
        *,
        at_least_px: int | None = None,
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the selector's frames; with ``at_least_px`` large ones come scaled down."""
        return self.decoder.frames(
            "video",
            path,
            at_least_px=at_least_px,
            selector=self.selector,
            model_takes=model_takes,
        )

    def _documents(
        self, path: Path, facts: MediaFacts, metadata: dict[str, Any], *, keep_path: bool
    ) -> Iterator[Document]:
        for frame in self.frames(path):
            assert frame.time_s is not None
            assert frame.end_s is not None
            times = {"time_s": round(frame.time_s, 3), "end_s": round(frame.end_s, 3)}
            text = caption(facts.signals, frame.time_s, frame.end_s)
            yield image_document(metadata | times, text, frame=frame)
