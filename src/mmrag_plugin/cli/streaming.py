"""Text that arrives piece by piece, as people can read it meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.cells import cell_len

from mmrag_plugin.cli.console import SafeConsole, output

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")


def print_stream(pieces: Iterable[str], console: SafeConsole = output) -> None:
    """Print what arrives at once, on a terminal broken into lines between its words.

    Into a pipe or a file it goes as it is. A stream that breaks off still ends its line.
    """
    width = console.width if console.is_terminal else None
    begun = False
    try:
        for text in pieces if width is None else wrapped(pieces, width):
            console.print(text, end="", soft_wrap=True)
            begun = True
    finally:
        if begun:
            console.print()


def wrapped(pieces: Iterable[str], width: int) -> Iterator[str]:
    """Break a stream into lines of at most ``width`` cells; each word comes when it is whole.

    A word that is longer than a line stays whole: it may be an address.
    """
    column, gap, word = 0, "", ""
    for part in _parts(pieces):
        if not part.isspace():
            word += part
            continue
        if word:
            cells = cell_len(gap) + cell_len(word)
            if column and column + cells > width:
                column, cells, gap = 0, cell_len(word), "\n"
            column += cells
            yield gap + word
            gap, word = "", ""
        if part == "\n":
            column, gap = 0, ""
            yield part
        else:
            gap += part
    if word:
        yield ("\n" if column and column + cell_len(gap + word) > width else gap) + word


def _parts(pieces: Iterable[str]) -> Iterator[str]:
    """Words, or pieces of them, and what stands between them."""
    for piece in pieces:
        yield from _PARTS.findall(piece)
