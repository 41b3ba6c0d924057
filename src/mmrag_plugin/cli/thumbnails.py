"""Small pictures of sources in a terminal that shows pictures: kitty, iTerm2, WezTerm, sixel.

All thumbnails of an answer go out as one picture: terminals place a single one reliably, and it
fits any width.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Hit

if TYPE_CHECKING:
    from PIL.Image import Image

CELLS_WIDE, CELLS_HIGH = 18, 7  # of one thumbnail with the gap beside it
CELL_PX = 10, 20  # about; the strip is drawn over whole cells whatever their size
MAX_SHOWN = 12

PictureOf = Callable[[Hit], "Image | None"]


class Thumbnails:
    """Shows thumbnails, or nothing where the terminal can't or nobody wants them.

    ``wanted`` None means where the terminal shows pictures by itself; True also draws them with
    half blocks in one that has colours only. Nothing is shown, and the terminal is not asked,
    where output is piped, in CI, with NO_COLOR and with TERM=dumb.
    """

    def __init__(self, wanted: bool | None) -> None:
        self._renderable = _renderable(wanted)

    def show(
        self, console: Console, sources: Sequence[tuple[str, Hit]], picture_of: PictureOf
    ) -> None:
        """Show the pictures of labelled hits side by side; what can't be opened is left out."""
        if self._renderable is None:
            return
        labelled: list[tuple[str, Image]] = []
        for label, hit in sources[:MAX_SHOWN]:
            try:
                picture = picture_of(hit)
            except MediaError:
                continue
            if picture is not None:
                labelled.append((label, picture))
        a_row = max(1, console.width // CELLS_WIDE)
        for begin in range(0, len(labelled), a_row):
            row = labelled[begin : begin + a_row]
            console.print(Text("".join(label.ljust(CELLS_WIDE) for label, _ in row).rstrip()))
            strip = _side_by_side([picture for _, picture in row])
            width = min(len(row) * CELLS_WIDE, console.width)
            console.print(self._renderable(strip, width=width, height=CELLS_HIGH))


def _renderable(wanted: bool | None) -> Any:
    """What draws a picture in this terminal; None where nothing should."""
    streams = (sys.stdin, sys.stdout, sys.__stdin__, sys.__stdout__)
    if wanted is False or not all(stream is not None and stream.isatty() for stream in streams):
        return None
    plain = os.environ.get("TERM", "dumb") == "dumb"
    if plain or os.environ.get("NO_COLOR") or os.environ.get("CI"):
        return None
    logging.getLogger("textual_image").addHandler(logging.NullHandler())
    from textual_image import renderable  # asks the terminal when it is imported

    _forget_late_answers()
    if renderable.Image in (renderable.TGPImage, renderable.SixelImage):
        return renderable.Image
    return renderable.HalfcellImage if wanted else None


def _forget_late_answers() -> None:
    """Drop what a slow terminal answers after all: it would look typed."""
    try:
        import termios
    except ImportError:  # no POSIX terminal
        return
    assert sys.__stdin__ is not None
    termios.tcflush(sys.__stdin__.fileno(), termios.TCIFLUSH)


def _side_by_side(pictures: Sequence[Image]) -> Image:
    """One picture of several, each cut to the shape of its place."""
    from PIL import Image, ImageOps

    wide, high = CELLS_WIDE * CELL_PX[0], CELLS_HIGH * CELL_PX[1]
    strip = Image.new("RGBA", (wide * len(pictures), high))
    for place, picture in enumerate(pictures):
        strip.paste(ImageOps.fit(picture, (wide - CELL_PX[0], high)), (place * wide, 0))
    return strip
