"""What a search asks of models, whoever holds them; it is known without loading LlamaIndex."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from llama_index.core.base.embeddings.base import BaseEmbedding
    from numpy.typing import NDArray
    from PIL.Image import Image


class VisualModel(Protocol):
    """An encoder that puts pictures and texts into one space; see ``base.VisualEmbedding``."""

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


@dataclass(frozen=True)
class TextModel:
    """The dense text channel: any LlamaIndex embedding, with its stamp and dimension."""

    embedding: BaseEmbedding
    stamp: str
    dim: int
    setting: str  # what to choose this model by again
