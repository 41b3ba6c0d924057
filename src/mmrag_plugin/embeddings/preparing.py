"""Texts that go into a model, and vectors that come out of it, brought into shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mmrag_plugin.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
