"""The seams of the embed stage: pictures and texts in, L2-normalised float32 vectors out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType

from mmrag_plugin.errors import ModelError
from mmrag_plugin.pictures import open_picture, reduced

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


MAX_ASPECT = 32  # beyond that a picture is a line: scaling its short side up would fill the memory


def bounded(picture: Image, at_least_px: int) -> Image:
    """Scale a much too large picture down, its short side still ``at_least_px`` or more.

    Model preprocessors copy every pixel several times before they scale; a picture that is already
    twice the model's input looks the same to it. A picture longer than 32 times its breadth is cut
    to its middle.
    """
    short_px, long_px = sorted(picture.size)
    if long_px > MAX_ASPECT * short_px:
        keep_px = MAX_ASPECT * short_px
        left = (picture.width - min(picture.width, keep_px)) // 2
        top = (picture.height - min(picture.height, keep_px)) // 2
        box = (left, top, left + min(picture.width, keep_px), top + min(picture.height, keep_px))
        picture = picture.crop(box)
    return reduced(picture, at_least_px)


def normalised(rows: NDArray[np.float32], *, by: str) -> NDArray[np.float32]:
    """L2-normalise each row, zeros stay zeros. Raises ModelError when a number is not finite."""
    import numpy as np

    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if not np.isfinite(rows).all():
        raise ModelError(
            f"The model {by} gave a vector that is not finite.",
            "Its files may be damaged: fetch it again, or choose another model.",
        )
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return cast("NDArray[np.float32]", (rows / np.maximum(lengths, 1e-12)).astype(np.float32))


def encodable(text: str) -> str:
    """Replace what is no Unicode text (halves of surrogate pairs, as odd file names hold them)."""
    return text.encode("utf-8", "replace").decode("utf-8")


class VisualEmbedding(MultiModalEmbedding):
    """An encoder that puts pictures and texts into one space.

    Subclasses implement ``embed_pictures`` and ``embed_texts``; everything that LlamaIndex calls is
    built on these two, the async half in a worker thread so that no event loop waits.
    """

    stamp: str = (
        ""  # names the model, its weights and its preprocessing: other stamp, other vectors
    )
    setting: str = ""  # what to choose this model by again
    dim: int = 0
    input_px: int = 224  # the side of the square that the model sees
    compares_texts: bool = True  # whether text-to-text similarity in this space means anything
    max_tokens: int = 77

    @property
    def runs_with(self) -> str:
        """The number format and the device that it is calculated with; empty where it has none."""
        return ""

    @abstractmethod
    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, dim], rows L2-normalised."""

    @abstractmethod
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; a row of zeros where the model abstains."""

    def understands(self, text: str) -> bool:
        """Whether the model has anything to say about this query (``palette`` may abstain)."""
        return bool(text.strip())

    def _get_image_embedding(self, img_file_path: ImageType) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[list[float]]:
        pictures = [open_picture(image, at_least_px=2 * self.input_px) for image in img_file_paths]
        return cast(list[list[float]], self.embed_pictures(pictures).tolist())

    async def _aget_image_embedding(self, img_file_path: ImageType) -> list[float]:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return cast(list[list[float]], self.embed_texts(texts).tolist())

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


@dataclass(frozen=True)
class TextModel:
    """The dense text channel: any LlamaIndex embedding, with its stamp and dimension."""

    embedding: BaseEmbedding
    stamp: str
    dim: int
    setting: str  # what to choose this model by again
