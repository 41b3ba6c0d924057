"""What a search asks of models, whoever holds them: this process, or one that keeps them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image


class VisualModel(Protocol):
    """An encoder that puts pictures and texts into one space; see ``base.VisualEncoder``."""

    stamp: str
    setting: str
    model_name: str
    dim: int
    input_px: int
    compares_texts: bool
    max_tokens: int

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, dim], rows L2-normalised."""

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; a row of zeros where the model abstains."""

    @property
    def query_vector(self) -> Callable[[str], NDArray[np.float32]]:
        """Embeds one query, unless it was asked before: [dim], not to be changed."""

    def understands(self, text: str) -> bool:
        """Whether the model has anything to say about this query."""


class TextModel(Protocol):
    """An encoder of the dense text channel; see ``base.TextEncoder``."""

    stamp: str
    setting: str
    dim: int

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as documents: [n, dim], rows L2-normalised."""

    @property
    def query_vector(self) -> Callable[[str], NDArray[np.float32]]:
        """Embeds one query, unless it was asked before: [dim], not to be changed."""
