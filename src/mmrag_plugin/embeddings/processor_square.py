"""What transformers' image processors do to a picture, as a square that can be made elsewhere.

A processor converts every picture to floating point at its full size and back. Where it does no
more than to scale, cut and normalise, the square is made by Pillow alone, in the process that
decoded the picture, and a batch of squares is normalised at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmrag_plugin.model_input import Square

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_CLOSE = 0.05  # of what is normalised: less than three of 255 steps
_BRIGHTEST = 255


def square_of(processor: Any) -> Square | None:
    """Describe what a processor does; None where it does something else.

    What its attributes say is tried on two pictures, so that a processor that only looks like one
    of these is left to do its work itself.
    """
    try:
        square = _described(processor)
        return square if square is not None and _agrees(processor, square) else None
    except (AttributeError, TypeError, ValueError):  # another kind, another version
        return None


def normalised_squares(pictures: Sequence[Image], square: Square) -> torch.Tensor:
    """Turn pictures into what the picture half takes: [n, 3, size_px, size_px], float32."""
    import numpy as np
    import torch

    stacked = np.stack([np.asarray(square.fitted(picture)) for picture in pictures])
    pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().float()
    mean = torch.tensor(square.mean).view(1, 3, 1, 1)
    std = torch.tensor(square.std).view(1, 3, 1, 1)
    return pixels.mul_(1 / (_BRIGHTEST * std)).sub_(mean / std)


def _described(processor: Any) -> Square | None:
    from PIL.Image import Resampling

    size, cut = processor.size, processor.crop_size if processor.do_center_crop else None
    short_px = size.shortest_edge or size.height
    size_px = cut.height if cut else size.height
    plain = (
        processor.do_resize
        and processor.do_rescale
        and processor.do_normalize
        and not processor.do_pad
        and abs(processor.rescale_factor * _BRIGHTEST - 1) < 1e-6
        # a picture that has been made ready has to stay as it is
        and (cut is None or cut.height == cut.width == size.shortest_edge)
        and (cut is not None or (size.height == size.width and not size.shortest_edge))
        and not (size.longest_edge or size.max_height or size.max_width)
    )
    if not plain or not size_px or not short_px:
        return None
    return Square(
        size_px,
        tuple(map(float, processor.image_mean)),
        tuple(map(float, processor.image_std)),
        Resampling(processor.resample).name.lower(),
        "shortest" if cut else "squash",
        short_px,
        middle_rounds_down=True,
    )


def _agrees(processor: Any, square: Square) -> bool:
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for size in ((2 * square.size_px + 1, square.size_px + 7), (square.size_px, 300)):
        picture = Image.fromarray(coarse).resize(size)
        theirs = processor(images=[picture], return_tensors="pt")["pixel_values"]
        ours = normalised_squares([picture], square)
        if theirs.shape != ours.shape or float((theirs - ours).abs().max()) > _CLOSE:
            return False
    return True
