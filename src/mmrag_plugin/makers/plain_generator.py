"""A generator without a model, for tests and trials: a plain colour that depends on the words."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mmrag_plugin.makers.base import Told
from mmrag_plugin.makers.generating import Idea, PictureGenerator

if TYPE_CHECKING:
    from PIL.Image import Image

_SIZE = (64, 48)
_STEPS = 4


class PlainGenerator(PictureGenerator):
    """Paints one colour for the same words and seed, over the pictures that it should be like."""

    name = "plain"

    def generate(self, idea: Idea, tell: Told) -> Image:
        """Paint the picture."""
        import PIL.Image

        digest = hashlib.sha256(f"{idea.prompt} {idea.seed}".encode()).digest()
        colour = digest[0], digest[1], digest[2]
        size = idea.size or (idea.like[0].size if idea.like else _SIZE)
        picture = PIL.Image.new("RGB", size, colour)
        for like in idea.like:
            picture = PIL.Image.blend(like.convert("RGB").resize(size), picture, idea.strength)
        steps = idea.steps or _STEPS
        for step in range(steps):
            tell((step + 1) / steps)
        return picture
