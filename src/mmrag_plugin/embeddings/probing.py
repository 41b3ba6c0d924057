"""What models are tried out with: a few pictures and texts that come with mmrag."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from mmrag_plugin.pictures import open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

PICTURES = (
    "Desert road/IMG_4410.jpg",
    "Farm weekend/Biscuit.jpg",
    "Lisbon trip/IMG_2031.jpg",
)
TEXTS = (
    "a photo of a dog on the beach",
    "red",
    "a receipt from a hotel in Lisbon",
    "two people in yellow jackets walk up a snowy mountain while a third takes their picture",
)


def probe_pictures(side_px: int) -> list[Image]:
    """Some of the demo's photos, and noise, as squares of ``side_px``."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(noise)]
    for name in PICTURES:
        with as_file(files("mmrag_plugin") / "demo_media" / name) as path:
            pictures.append(open_picture(path, at_least_px=side_px))
    return [picture.resize((side_px, side_px)) for picture in pictures]
