"""The seams of the embed stage: pictures and texts in, L2-normalised float32 vectors out.

A search loads what is here, so it does without LlamaIndex; ``llama`` gives LlamaIndex these models.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from mmrag_plugin.embeddings.asked_before import AskedBefore
from mmrag_plugin.model_input import ModelInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class _Encoder(ABC):
    """A model on this machine, or at its Ollama, which makes vectors."""

    model_name: str = ""
    setting: str = ""  # what to choose this model by again
    stamp: str = ""  # names weights and preprocessing: other stamp, other vectors
    dim: int = 0
    max_tokens: int = 0  # of a text; what is longer is cut off

    @property
    def runs_with(self) -> str:
        """The number format and the device that it is calculated with; empty where it has none."""
        return ""

    @cached_property
    def query_vector(self) -> AskedBefore:
        """Embeds one query: [dim]; the last ones are remembered."""
        return AskedBefore(lambda query: self._query_rows(query)[0].copy())

    @abstractmethod
    def _query_rows(self, query: str) -> NDArray[np.float32]:
        """Embed one query: [1, dim]."""


class VisualEncoder(_Encoder):
    """An encoder that puts pictures and texts into one space."""

    input_px: int = 224  # the side of the square that the model sees
    compares_texts: bool = True  # whether text-to-text similarity in this space means anything
    max_tokens: int = 77

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

    def understands(self, text: str) -> bool:
        """Whether the model has anything to say about this query (``palette`` may abstain)."""
        return bool(text.strip())

    def _query_rows(self, query: str) -> NDArray[np.float32]:
        return self.embed_texts([query])


class TextEncoder(_Encoder):
    """An encoder of texts, for the dense text channel."""

    max_tokens: int = 256

    @abstractmethod
    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Embed texts as documents or as queries: [n, dim], rows L2-normalised."""

    def _query_rows(self, query: str) -> NDArray[np.float32]:
        return self.embed([query], query=True)
