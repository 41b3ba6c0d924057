"""The seam of sidecar files: a file beside the media in, annotations and subtitles out."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from mmrag_plugin.dates import Dated
from mmrag_plugin.media import Signal


@dataclass(frozen=True)
class Place:
    """Where a media was taken, in degrees."""

    latitude: float
    longitude: float


Said = Signal | Dated | Place
Statement = tuple[str | None, Said]  # about which file, as written; None: the subjects


class MediaNames:
    """The names of the media in one folder, to be found by full name, stem or beginning."""

    def __init__(self, names: Iterable[str]) -> None:
        self.all = frozenset(names)

    @cached_property
    def _sorted(self) -> list[str]:  # as the next, only where a folder holds more than media
        return sorted(self.all)

    @cached_property
    def _by_key(self) -> dict[str, tuple[str, ...]]:
        by_key: dict[str, tuple[str, ...]] = {}
        for name in self.all:
            whole = folded(name)
            stem = whole[: whole.rfind(".")]  # media have a suffix
            by_key[whole] = (*by_key.get(whole, ()), name)
            by_key[stem] = (*by_key.get(stem, ()), name)
        return by_key

    def named(self, base: str) -> frozenset[str]:
        """Find the media whose name or stem is ``base``: as written, else whatever the case."""
        alike = self._by_key.get(folded(base), ())
        as_written = (name for name in alike if base in (name, name[: name.rfind(".")]))
        return frozenset(as_written) or frozenset(alike)

    def beginning_with(self, beginning: str) -> frozenset[str]:
        """Find the media whose names begin so."""
        names, at, found = self._sorted, bisect_left(self._sorted, beginning), []
        while at < len(names) and names[at].startswith(beginning):
            found.append(names[at])
            at += 1
        return frozenset(found)


class SidecarFormat(ABC):
    """One kind of file that speaks about media: about one of a like name, or about a folder."""

    name: ClassVar[str]

    @abstractmethod
    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str] | None:
        """Say by its name alone which media a file may speak about.

        None means any media of its folder and of the folders below; an empty set means none, that
        is, a file of another kind.
        """

    def borrowers(self, subjects: frozenset[str], media: MediaNames) -> frozenset[str]:
        """Say which media a file speaks about as well, if nothing of the format is their own."""
        return frozenset()

    @abstractmethod
    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield signals, dates and places with the file that each is about, as written.

        None means the subjects: of a list all media of its folder, but not of those below. Raises
        ValueError with the reason, at the first or after the last line that can be read.
        """


def folded(name: str) -> str:
    """Fold what differs between file systems: case, and composed or decomposed letters."""
    if name.isascii():  # as most are
        return name.lower()
    return unicodedata.normalize("NFC", name).casefold()


def without_ending(name: str, *endings: str) -> str | None:
    """Cut the first of the endings that a file's name has; None when it has none of them."""
    lowered = name.lower()
    return next((name[: -len(end)] for end in endings if lowered.endswith(end)), None)
