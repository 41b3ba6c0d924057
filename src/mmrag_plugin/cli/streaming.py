"""Text that arrives piece by piece, as people can read it meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.cells import cell_len

from mmrag_plugin.cli.console import SafeConsole, output

_PARTS = re.compile(r"\n|[^\S\n]+|\S+")


@contextmanager
def streaming(console: SafeConsole = output) -> Iterator[Callable[[str], None]]:
    """Print what arrives at once, on a terminal broken into lines between its words.

    Into a pipe or a file it goes as it is. A stream that breaks off still ends its line.
    """
    lines = _Lines(console.width) if console.is_terminal else None
    begun = False

    def say(piece: str) -> None:
        nonlocal begun
        if text := piece if lines is None else lines.take(piece):
            console.print(text, end="", soft_wrap=True)
            begun = True

    try:
        yield say
    finally:
        if rest := lines.rest() if lines else "":
            console.print(rest, end="", soft_wrap=True)
        if begun or rest:
            console.print()


def print_stream(pieces: Iterable[str], console: SafeConsole = output) -> None:
    """Print a stream of text."""
    with streaming(console) as say:
        for piece in pieces:
            say(piece)


def wrapped(pieces: Iterable[str], width: int) -> Iterator[str]:
    """Break a stream into lines of at most ``width`` cells; each word comes when it is whole.

    A word that is longer than a line stays whole: it may be an address.
    """
    lines = _Lines(width)
    yield from map(lines.take, pieces)
    yield lines.rest()


class _Lines:
    """Breaks text that comes in pieces; what a word may still go on with is held back."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._column, self._gap, self._word = 0, "", ""

    def take(self, piece: str) -> str:
        """What can be shown after a piece."""
        ready = ""
        for part in _PARTS.findall(piece):
            if not part.isspace():
                self._word += part
                continue
            ready += self.rest()
            if part == "\n":
                self._column, self._gap = 0, ""
                ready += part
            else:
                self._gap += part
        return ready

    def rest(self) -> str:
        """The word that is held back, with what goes before it."""
        if not self._word:
            return ""
        cells = cell_len(self._gap) + cell_len(self._word)
        if self._column and self._column + cells > self._width:
            self._column, cells, self._gap = 0, cell_len(self._word), "\n"
        self._column += cells
        shown = self._gap + self._word
        self._gap = self._word = ""
        return shown
