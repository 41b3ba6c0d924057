"""The seam: a maker turns pieces of media into one new file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Kind
from mmrag_plugin.timecode import format_time

Tell = Callable[[float], None]  # how much of the work is done, from 0 to 1
COMMENT_CHARS = 4_000  # of what is written into a file about its pieces


@dataclass(frozen=True)
class Piece:
    """A part of a media that goes into what is made: a photo, or ``start_s``..``end_s`` of a film.

    ``start_s`` of a photo that moves says that its moving part is meant. ``caption`` is written
    under the piece where a maker writes captions. Both texts come out of media: never trust them.
    """

    path: Path
    kind: Kind
    media_id: str = ""
    start_s: float | None = None
    end_s: float | None = None
    caption: str = ""
    taken_at: str | None = None
    location: tuple[float, float] | None = None  # latitude and longitude in degrees

    @property
    def name(self) -> str:
        """What the piece is called in the file that it goes into: no folder, a time if it has."""
        if self.start_s is None:
            return self.path.name
        ends = "" if self.end_s is None else f"-{_exact(self.end_s)}"
        return f"{self.path.name} {_exact(self.start_s)}{ends}"

    def as_dict(self) -> dict[str, Any]:
        """What is said of a piece in JSON."""
        return {
            "media_id": self.media_id,
            "path": str(self.path),
            "start_s": self.start_s,
            "end_s": self.end_s,
        }


@dataclass(frozen=True)
class Problem:
    """A piece that was left out, or does not look as it should, and why."""

    path: str
    reason: str
    remedy: str = ""

    @classmethod
    def of(cls, piece: Piece, error: MediaError) -> Problem:
        """The problem with a piece that can't be read."""
        return cls(str(piece.path), error.message, error.remedy)


@dataclass(frozen=True)
class Made:
    """What was made: where it lies, how large and long it is, and of what.

    ``how`` says how a film was cut: ``copied`` bit by bit, or ``encoded`` anew. ``duration_s`` is
    None for pictures that don't move.
    """

    what: str
    path: Path
    size_bytes: int
    width_px: int
    height_px: int
    duration_s: float | None = None
    how: str = "encoded"
    pieces: tuple[Piece, ...] = ()
    failed: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The shape that ``--json`` prints."""
        return {
            "what": self.what,
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "width_px": self.width_px,
            "height_px": self.height_px,
            "duration_s": None if self.duration_s is None else round(self.duration_s, 3),
            "how": self.how,
            "pieces": [piece.as_dict() for piece in self.pieces],
            "failed": [asdict(problem) for problem in self.failed],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Wish:
    """What a maker is asked for: the pieces in order, where to write, and how.

    ``target`` is a new file that the maker may write at once: it gets its name when it is whole.
    ``left_out`` are places in ``pieces`` that broke a decoder before and why.
    """

    pieces: tuple[Piece, ...]
    target: Path
    title: str = ""
    with_location: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    left_out: dict[int, Problem] = field(default_factory=dict)


class Maker(ABC):
    """Makes one kind of thing."""

    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of files that it can write; the first is the default
    captions: ClassVar[bool] = False  # whether it shows ``Piece.caption``

    @abstractmethod
    def make(self, wish: Wish, tell: Tell, begin: Callable[[int], None]) -> Made:
        """Write the file; the path in what is returned is ``wish.target``.

        ``tell`` is called often, ``begin`` with the place of each piece before it is opened: a
        decoder that crashes or never ends is known by it. A piece that can't be read is left out
        and reported, where there are others. Raises MediaError where none is left.
        """


def comment_on(what: str, pieces: tuple[Piece, ...]) -> str:
    """What is written into a file about how it came to be: names of files and times, no folders."""
    text = f"Made by mmrag: {what} of " + "; ".join(piece.name for piece in pieces)
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= COMMENT_CHARS else f"{text[: COMMENT_CHARS - 1]}…"


def nothing_left(problems: tuple[Problem, ...]) -> MediaError:
    """The error where no piece could be read: that of the first."""
    if not problems:
        return MediaError("There is nothing to make anything of.", "Name at least one media.")
    first = problems[0]
    more = f" And {len(problems) - 1} more could not be read." if len(problems) > 1 else ""
    return MediaError(f"{first.reason}{more}", first.remedy, path=first.path)


def _exact(time_s: float) -> str:
    """A time to the millisecond: ``0:05.250``."""
    whole_ms = round(time_s * 1000)
    return f"{format_time(whole_ms // 1000)}.{whole_ms % 1000:03}"
