"""The seam of planners: a question, the day it is asked on and the library's names give a plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from mmrag_plugin.plan import Plan
from mmrag_plugin.terms import terms_of


class KnownNames(Protocol):
    """What a library can tell by name; names are compared without case, accents and endings."""

    @property
    def reads_text(self) -> bool:
        """Whether text was read in any picture."""

    def is_name(self, words: str, *, folders: bool = True) -> bool:
        """Whether media are marked with this name: a place, a person; or lie in its folder."""

    def camera(self, words: str) -> str | None:
        """The words, if they are part of a camera's name."""

    def folder(self, words: str) -> str | None:
        """The folder of this name, as it is written."""

    def only_folder(self, words: str) -> str | None:
        """The folder of this name, if nothing outside it is marked with the name."""

    def all(self) -> Sequence[str]:
        """Some of the names, most used first; text out of media."""


class QuestionPlanner(Protocol):
    """Makes a plan of a question. Planners know no clock: the day is passed in."""

    def plan(self, question: str, *, today: date, known: KnownNames) -> Plan:
        """Say what a question asks for; any text asks for something.

        Raises UsageError for what is written as a filter and is none.
        """


@dataclass(frozen=True)
class GivenNames:
    """Names that are known beforehand."""

    names: tuple[str, ...] = ()
    cameras: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    reads_text: bool = True

    def is_name(self, words: str, *, folders: bool = True) -> bool:
        """Whether this is one of the names."""
        names = (*self.names, *self.folders) if folders else self.names
        return _folded(words) in {_folded(name) for name in names} - {()}

    def camera(self, words: str) -> str | None:
        """The words, if they are part of a camera's name."""
        return words if in_a_camera(words, self.cameras) else None

    def folder(self, words: str) -> str | None:
        """The folder of this name."""
        return next((name for name in self.folders if _folded(name) == _folded(words)), None)

    def only_folder(self, words: str) -> str | None:
        """The folder of this name, if it is no name of anything else."""
        return None if self.is_name(words, folders=False) else self.folder(words)

    def all(self) -> Sequence[str]:
        """All of the names."""
        return (*self.names, *self.cameras, *self.folders)


def in_a_camera(words: str, cameras: Iterable[str]) -> bool:
    """Whether some words are whole words of a camera's name."""
    asked = set(words.casefold().split())
    return bool(asked) and any(asked <= set(name.casefold().split()) for name in cameras)


def _folded(words: str) -> tuple[str, ...]:
    return tuple(terms_of(words))
