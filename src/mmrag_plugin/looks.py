"""How a picture looks, in a few bytes: two that look the same have much the same.

A perceptual hash of 64 bits (pHash, https://www.hackerfactor.com/blog/index.php?/archives/432) for
the shapes, and the mean colours of its four quarters, since the hash of a plain red picture is that
of a plain blue one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash

from mmrag_plugin.pictures import reduced

if TYPE_CHECKING:
    from PIL.Image import Image

LOOK_STAMP = "phash-1"  # another one is computed anew
HASH_BYTES = 8
COLOUR_BYTES = 2 * 2 * 3
SEEN_PX = 64  # the short side that is enough to compute it from
_SHAPES = (32, 32)  # what phash scales a picture to
PLAIN = 4.0  # of 255: the deviation of brightness below which there are no shapes to compare


class PixelsHash:
    """A hash of RGB pictures: what is written into a file beside its pixels changes nothing.

    It is compared with that of the same file earlier, and names nothing: it may be a quick one.
    """

    def __init__(self) -> None:
        self._digest = xxhash.xxh3_128()

    def add(self, picture: Image) -> None:
        """Take one more picture in; their order counts."""
        self._digest.update(f"{picture.width}x{picture.height}".encode())
        self._digest.update(picture.tobytes())

    @property
    def value(self) -> str:
        """The hash of all so far, as hexadecimal digits."""
        return self._digest.hexdigest()


def sample_of(picture: Image) -> bytes:
    """All that the look of an RGB picture is made of: the colours of its quarters, and its shapes.

    Empty for a picture without shapes (the inside of a pocket): all of them look alike.
    """
    from PIL.Image import Resampling
    from PIL.ImageStat import Stat

    picture = reduced(picture, 2 * SEEN_PX)
    grey = picture.convert("L")
    if Stat(grey.resize((32, 32), Resampling.BOX)).stddev[0] < PLAIN:
        return b""
    shapes = grey.resize(_SHAPES, Resampling.LANCZOS)
    return picture.resize((2, 2), Resampling.BOX).tobytes() + shapes.tobytes()


def look_from(sample: bytes) -> str:
    """The look that a sample gives, as hexadecimal digits: its hash, then its colours."""
    from imagehash import phash
    from PIL.Image import frombytes

    if not sample:
        return ""
    shapes = frombytes("L", _SHAPES, sample[COLOUR_BYTES:])
    return f"{phash(shapes)}{sample[:COLOUR_BYTES].hex()}"


def look_of(picture: Image) -> str:
    """The look of an RGB picture."""
    return look_from(sample_of(picture))
