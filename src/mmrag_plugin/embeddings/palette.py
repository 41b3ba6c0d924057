"""Search by colour as a LlamaIndex embedding; what it computes stands in ``basic_colours``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mmrag_plugin.embeddings.base import VisualEmbedding
from mmrag_plugin.embeddings.basic_colours import SAMPLE, TERMS, WORDS, Palette, to_lab
from mmrag_plugin.model_input import ModelInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["TERMS", "WORDS", "PaletteEmbedding", "to_lab"]

_PALETTE = Palette()


class PaletteEmbedding(VisualEmbedding):
    """Colours and their places as an embedding: no weights, no download, the same everywhere.

    It has nothing to say about a query without a colour word (or dark, or bright): ``understands``
    is False and the row is zeros. Its vectors say nothing about texts among themselves.
    """

    model_name: str = _PALETTE.model_name
    stamp: str = _PALETTE.stamp
    dim: int = _PALETTE.dim
    input_px: int = _PALETTE.input_px
    compares_texts: bool = _PALETTE.compares_texts
    max_tokens: int = _PALETTE.max_tokens

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down for this class."""
        return "PaletteEmbedding"

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, 238], rows L2-normalised."""
        return _PALETTE.embed_pictures(pictures)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, 238], rows L2-normalised; zeros for a text without a colour word."""
        return _PALETTE.embed_texts(texts)

    @property
    def takes(self) -> ModelInput:
        """The sample of the picture that is looked at."""
        return SAMPLE

    def understands(self, text: str) -> bool:
        """Whether the query names a colour, or dark, or bright."""
        return _PALETTE.understands(text)
