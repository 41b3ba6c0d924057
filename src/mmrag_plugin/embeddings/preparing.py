"""What goes into a model, and what comes out of it, brought into shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from mmrag_plugin.errors import ModelError
from mmrag_plugin.pictures import reduced

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
