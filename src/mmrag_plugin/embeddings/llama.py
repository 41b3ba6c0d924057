"""The models of mmrag as LlamaIndex's embeddings, for indices and pipelines of its own.

What LlamaIndex calls stands on our encoders; the async half runs in a worker thread, so that no
event loop waits.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.schema import ImageType
from pydantic import PrivateAttr

from mmrag_plugin.pictures import open_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder

_BATCH = 32  # texts or pictures that LlamaIndex hands over at once; encoders have their own


class _Texts(BaseEmbedding):
    """The half of an embedding that deals with texts."""

    _encoder: Any = PrivateAttr()

    def __init__(self, encoder: VisualEncoder | TextEncoder, **settings: Any) -> None:
        settings.setdefault("embed_batch_size", _BATCH)
        super().__init__(model_name=encoder.model_name, **settings)
        self._encoder = encoder

    @abstractmethod
    def _rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim]."""

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return cast(list[list[float]], self._rows(texts).tolist())

    def _get_query_embedding(self, query: str) -> list[float]:
        return cast(list[float], self._encoder.query_vector(query).tolist())

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return await asyncio.to_thread(self._get_text_embedding, text)

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


class TextEmbedding(_Texts):
    """A model of the dense text channel."""

    _encoder: TextEncoder = PrivateAttr()

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down for this class."""
        return "MmragTextEmbedding"

    def _rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder.embed(texts)


class VisualEmbedding(_Texts, MultiModalEmbedding):
    """A visual model, which puts pictures and texts into one space.

    Pictures are taken as paths, bytes or streams; MediaError names one that can't be read.
    """

    _encoder: VisualEncoder = PrivateAttr()

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down for this class."""
        return "MmragVisualEmbedding"

    def _rows(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder.embed_texts(texts)

    def _get_image_embedding(self, img_file_path: ImageType) -> list[float]:
        return self._get_image_embeddings([img_file_path])[0]

    def _get_image_embeddings(self, img_file_paths: list[ImageType]) -> list[list[float]]:
        at_least_px = 2 * self._encoder.input_px
        pictures = [open_picture(image, at_least_px=at_least_px) for image in img_file_paths]
        return cast(list[list[float]], self._encoder.embed_pictures(pictures).tolist())

    async def _aget_image_embedding(self, img_file_path: ImageType) -> list[float]:
        return await asyncio.to_thread(self._get_image_embedding, img_file_path)

    async def _aget_image_embeddings(self, img_file_paths: list[ImageType]) -> list[list[float]]:
        return await asyncio.to_thread(self._get_image_embeddings, img_file_paths)
