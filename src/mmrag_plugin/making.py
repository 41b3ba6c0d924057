"""From found moments to a file: pieces, a name that is free, a file that is whole or not there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmrag_plugin.errors import MediaError, StorageError, UsageError
from mmrag_plugin.makers.base import Broken, Made, MakeJob, Maker, Piece, Problem, Wish

Run = Callable[[MakeJob], Made]  # has a job done elsewhere; raises Broken

LEAST_S = 2.0  # of a moment that is shown: one frame is none
_MOST_CRASHES = 5
_MOST_NAMES = 1_000
_NAME_CHARS = 60
_APART_S = 0.25  # parts of a film that lie closer are one


@dataclass(frozen=True)
class Place:
    """Where a new file goes: a name that was given, or one of its own in a folder.

    An existing file is only replaced with ``force``.
    """

    folder: Path
    output: Path | None = None
    force: bool = False


def make(maker: Maker, wish: Wish, place: Place, name: str, run: Run) -> Made:
    """Have a maker make a file; nobody sees it under its name before it is whole.

    ``wish.target`` is left open: it is chosen here, from ``place`` and ``name``. A piece over which
    the maker's process ends is left out, where there are others. Raises UsageError for a place that
    is none, MediaError where nothing can be read, StorageError where nothing can be written.
    """
    target = _target(maker, wish, place, name)
    part = target.with_name(f".{target.stem[:40]}.{secrets.token_hex(4)}.part{target.suffix}")
    try:
        made = _made(maker, replace(wish, target=part), run)
        target = _published(part, target, place)
    except OSError as error:
        raise StorageError(
            f"{target} can't be written: {error.strerror or error}.",
            "Check its folder's permissions and free space, or name another place.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return replace(made, path=target)


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Pieces with the parts of one film that overlap made one, at the place of the first.

    A part that is but a frame becomes a moment.
    """
    kept: list[Piece] = []
    for piece in map(_longer, pieces):
        one = piece
        place = len(kept)
        for number in reversed(range(len(kept))):
            if kept[number].path == one.path and _touch(kept[number], one):
                one, place = _together(kept.pop(number), one), number
        kept.insert(place, one)
    return kept


def _together(one: Piece, other: Piece) -> Piece:
    ends = one.end_s, other.end_s
    end_s = None if ends[0] is None or ends[1] is None else max(ends[0], ends[1])
    if one.start_s is None or other.start_s is None:
        return one
    return replace(one, start_s=min(one.start_s, other.start_s), end_s=end_s)


def spread(piece: Piece, count: int, length_s: float) -> list[Piece]:
    """Moments spread over a film, or a part of it: what a sheet shows of it."""
    start_s = piece.start_s or 0.0
    end_s = length_s if piece.end_s is None else piece.end_s
    step_s = (end_s - start_s) / count
    times = [round(start_s + (number + 0.5) * step_s, 3) for number in range(count)]
    return [replace(piece, start_s=time_s, end_s=None) for time_s in times]


def file_name(words: str, what: str) -> str:
    """A name for a file, from what it shows: letters, digits and dashes, ``red-cars-supercut``."""
    plain = unicodedata.normalize("NFC", words).lower()
    plain = re.sub(r"[^\w]+", "-", plain)[:_NAME_CHARS].strip("-_")
    if what == "gif":  # its suffix says so
        return plain or what
    return f"{plain}-{what}" if plain else what


def _made(maker: Maker, wish: Wish, run: Run) -> Made:
    while True:
        try:
            return run(MakeJob(maker, wish))
        except Broken as broken:
            with contextlib.suppress(OSError):
                wish.target.unlink(missing_ok=True)
            place = broken.place
            alone = len(wish.pieces) - len(wish.left_out) <= 1
            if place is None or alone or len(wish.left_out) >= _MOST_CRASHES:
                path = str(wish.pieces[place or 0].path) if wish.pieces else "It"
                raise MediaError(
                    f"{path} {broken.reason}.",
                    "Save it anew with another program if something should be made of it.",
                    path=path,
                ) from None
            path = str(wish.pieces[place].path)
            problem = Problem(path, f"{path} {broken.reason}.", "Save it with another program.")
            wish = replace(wish, left_out={**wish.left_out, place: problem})


def _target(maker: Maker, wish: Wish, place: Place, name: str) -> Path:
    """Where the file will be. Raises UsageError for what is no place for it."""
    if place.output is None:
        if not place.folder.is_dir():
            raise UsageError(f"There is no folder {place.folder}.", "Make it, or name another.")
        suffix = maker.suffixes[0]
        names = (f"{name}{'' if n == 1 else f'-{n}'}{suffix}" for n in range(1, _MOST_NAMES))
        for free in names:
            if not os.path.lexists(place.folder / free):
                return place.folder / free
        raise UsageError(f"{place.folder} is full of files like {name}{suffix}.", "Name one.")
    target = place.output
    if target.suffix.lower() not in maker.suffixes:
        raise UsageError(
            f"A {maker.what} can't be written as {target.suffix or target.name}.",
            f"Name a file that ends in {', '.join(maker.suffixes)}.",
        )
    if not target.parent.is_dir():
        raise UsageError(
            f"{target} can't be written: there is no folder {target.parent}.",
            "Make the folder, or name another place.",
        )
    if os.path.lexists(target):
        if not place.force:
            raise UsageError(f"{target} exists already.", "Name a new file, or add --force.")
        if target.is_dir():
            raise UsageError(f"{target} is a folder.", "Name a file.")
        for piece in wish.pieces:
            with contextlib.suppress(OSError):
                if target.samefile(piece.path):
                    raise UsageError(
                        f"{target} is one of the media that it would be made of.",
                        "Name a new file.",
                    )
    return target


def _published(part: Path, target: Path, place: Place) -> Path:
    """Give a whole file its name; one that somebody else took meanwhile stays theirs."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if place.force:
        part.replace(target)
        return target
    stem = target.stem
    for number in range(2, _MOST_NAMES):
        try:
            _name_once(part, target)
            return target
        except FileExistsError:
            if place.output is not None:
                raise UsageError(
                    f"{target} exists already: it came while this was made.", "Name a new file."
                ) from None
            target = target.with_name(f"{stem}-{number}{target.suffix}")
    raise UsageError(f"{target.parent} is full of files like {stem}.", "Name one.")


def _name_once(part: Path, target: Path) -> None:
    """Rename, but never over another file. Raises FileExistsError."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # a file system without links: take the name first
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        part.replace(target)
    else:
        part.unlink()


def _longer(piece: Piece) -> Piece:
    if piece.start_s is None or piece.end_s is None or piece.end_s - piece.start_s >= LEAST_S:
        return piece
    middle_s = (piece.start_s + piece.end_s) / 2
    start_s = max(middle_s - LEAST_S / 2, 0.0)
    return replace(piece, start_s=start_s, end_s=start_s + LEAST_S)


def _touch(one: Piece, other: Piece) -> bool:
    if one.start_s is None or other.start_s is None:
        return one.start_s is other.start_s
    ends = [float("inf") if piece.end_s is None else piece.end_s for piece in (one, other)]
    return one.start_s <= ends[1] + _APART_S and other.start_s <= ends[0] + _APART_S


def names_of(pieces: Sequence[Piece]) -> str:
    """Words for the name of what is made of pieces that were named, not searched for."""
    return pieces[0].path.stem if pieces else ""
