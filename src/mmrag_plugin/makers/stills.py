"""The picture of a piece: a photo, or the frame of a film in the middle of the piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmrag_plugin.film_frames import frame_at
from mmrag_plugin.makers.base import Piece
from mmrag_plugin.makers.film_parts import source_of
from mmrag_plugin.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image


def still_of(piece: Piece, at_least_px: int) -> Image:
    """The upright RGB picture that stands for a piece; a large photo comes scaled down.

    Raises MediaError for what can't be decoded, MissingExtra for what needs another decoder.
    """
    if piece.kind == "image" and piece.start_s is None:
        return open_picture(piece.path, at_least_px=at_least_px)
    start_s = piece.start_s or 0.0
    at_s = start_s if piece.end_s is None else (start_s + piece.end_s) / 2
    return frame_at(source_of(piece), at_s)


def inside(picture: Image, size: tuple[int, int]) -> Image:
    """A picture scaled to fit into a size, its shape kept; a small one at most to twice its own."""
    import PIL.Image

    factor = min(size[0] / picture.width, size[1] / picture.height, 2.0)
    fitted = max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    return picture.resize(fitted, PIL.Image.Resampling.LANCZOS)
