"""The seam: a maker turns pieces of media into one new file."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mmrag_plugin.errors import MediaError, MmragError
from mmrag_plugin.media import Kind
from mmrag_plugin.timecode import format_time
from mmrag_plugin.untrusted import escape_media_text

COMMENT_CHARS = 4_000  # of what is written into a file about its pieces


class Stopped(MmragError):
    """What was to be made is not wanted any more."""

    kind = "stopped"
    exit_code = 130


@dataclass
class Broken(Exception):
    """The process that made something ended over it: why, and over which piece if it is known."""

    reason: str
    place: int | None


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
    ``left_out`` are places in ``pieces`` that broke a decoder before, and why. A piece of a
    film is shown ``each_s`` seconds at most, a photo so long. ``encode`` has a film encoded anew
    where a copy would do.
    """

    pieces: tuple[Piece, ...]
    target: Path
    title: str = ""
    with_location: bool = False
    long_side_px: int | None = None
    each_s: float | None = None
    fade_s: float = 0.6
    captions: bool = True
    encode: bool = False
    left_out: dict[int, Problem] = field(default_factory=dict)


class Told(Protocol):
    """Whom a maker tells how far it is."""

    def __call__(self, done: float) -> None:
        """Hear what share is done, from 0 to 1."""

    def begin(self, place: int) -> None:
        """Hear the place of the piece that is opened next."""


class Maker(ABC):
    """Makes one kind of thing."""

    what: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]  # of files that it can write; the first is the default

    @abstractmethod
    def make(self, wish: Wish, tell: Told) -> Made:
        """Write the file; the path in what is returned is ``wish.target``.

        ``tell`` is called often, and ``tell.begin`` before a piece is opened: a decoder that
        crashes or never ends is known by it. A piece that can't be read is left out and reported,
        where there are others. Raises MediaError where none is left.
        """


@dataclass(frozen=True)
class MakeJob:
    """A maker and its wish, on their way to another process."""

    maker: Maker
    wish: Wish

    def run(self, tell: Told) -> Made:
        """Have it made; what was broken off is no file."""
        try:
            return self.maker.make(self.wish, tell)
        except BaseException:
            with contextlib.suppress(OSError):
                self.wish.target.unlink(missing_ok=True)
            raise


def each_of(wish: Wish, tell: Told, failed: list[Problem]) -> Iterator[tuple[int, Piece]]:
    """The pieces of a wish with their places; what broke a decoder before goes to ``failed``."""
    for place, piece in enumerate(wish.pieces):
        if place in wish.left_out:
            failed.append(wish.left_out[place])
            continue
        tell.begin(place)
        yield place, piece


def comment_on(what: str, pieces: tuple[Piece, ...]) -> str:
    """What is written into a file about how it came to be: names of files and times, no folders."""
    text = f"Made by mmrag: {what} of " + "; ".join(piece.name for piece in pieces)
    return one_line(text, COMMENT_CHARS)


def one_line(text: str, most_chars: int = 500) -> str:
    """A text out of media without line breaks and hidden characters, bounded."""
    return " ".join(escape_media_text(text, most_chars).split())


def tags_of(wish: Wish, what: str, pieces: tuple[Piece, ...]) -> dict[str, str]:
    """What is written into a film: what it is made of; of one piece, date and place if asked."""
    tags = {"comment": comment_on(what, pieces)}
    if wish.title:
        tags["title"] = one_line(wish.title, 200)
    if wish.with_location and len(pieces) == 1:
        if pieces[0].taken_at:
            tags["creation_time"] = pieces[0].taken_at
        if pieces[0].location:
            tags["location"] = "{:+08.4f}{:+09.4f}/".format(*pieces[0].location)
    return tags


def nothing_left(problems: list[Problem]) -> MediaError:
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
