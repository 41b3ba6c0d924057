"""Photos, screenshots and other pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llama_index.core.schema import Document

from mmrag_plugin.media import Frame, MediaFacts
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.readers.base import MediaReader, caption, image_document
from mmrag_plugin.readers.decoding import HERE, Decoder

if TYPE_CHECKING:
    from mmrag_plugin.model_input import ModelInput

# What other programs decode and models accept; pictures in other formats are handed on as JPEG
_COMMON_SUFFIXES = frozenset(".jpg .jpeg .jpe .png .webp .gif".split())
_SMALL_PX = 64


class PhotoReader(MediaReader):
    """Reads pictures: one frame and one document each, of an animation the first frame.

    ``decoder`` does the work that takes long.
    """

    kind = "image"

    def __init__(self, *, decoder: Decoder = HERE) -> None:
        self.decoder = decoder

    def facts(self, path: Path) -> MediaFacts:
        """Collect size, date, camera, place and annotations without decoding the pixels."""
        return self.decoder.facts("image", path)

    def frames(
        self,
        path: Path,
        *,
        at_least_px: int | None = None,
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the picture, and of one that moves some frames with their times in its film.

        With ``at_least_px`` a large one comes scaled down.
        """
        return self.decoder.frames("image", path, at_least_px=at_least_px, model_takes=model_takes)

    def _documents(
        self, path: Path, facts: MediaFacts, metadata: dict[str, Any], *, keep_path: bool
    ) -> Iterator[Document]:
        text = caption(facts.signals, None, None)
        if keep_path and path.suffix.lower() in _COMMON_SUFFIXES:
            open_picture(
                path, at_least_px=_SMALL_PX
            )  # a broken picture fails here, not in an index
            yield image_document(metadata, text, path=path)
        else:
            yield image_document(metadata, text, frame=Frame(0, open_picture(path)))
