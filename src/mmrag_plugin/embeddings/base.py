"""The seams of the embed stage: pictures and texts in, L2-normalised float32 vectors out."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, cast

from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType

from mmrag_plugin.embeddings.asked_before import AskedBefore
from mmrag_plugin.embeddings.preparing import encodable, normalised
from mmrag_plugin.embeddings.seam import TextModel
from mmrag_plugin.model_input import ModelInput
from mmrag_plugin.pictures import open_picture

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


__all__ = ["TextModel", "VisualEmbedding", "encodable", "normalised"]


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

    @property
    def takes(self) -> ModelInput:
        """How this model takes pictures: those that were made ready before embed alike, faster."""
        return ModelInput()

    @property
    def decoded_px(self) -> int:
        """The short side that a picture should have at least when it is decoded for this model."""
        return self.takes.least_px(self.input_px)

    @cached_property
    def query_vector(self) -> AskedBefore:
        """Embeds one query: [dim]; the last ones are remembered."""
        return AskedBefore(lambda query: self.embed_texts([query])[0].copy())

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
        return cast(list[float], self.query_vector(query).tolist())

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)
