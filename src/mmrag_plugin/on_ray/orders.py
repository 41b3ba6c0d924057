"""What goes between a run of indexing and the workers on the nodes: plain data, pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmrag_plugin.index_seeing import FoundText, ReadMedia, SeenMedia, TextWanted
from mmrag_plugin.ledger import MediaRow

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.dtypes import Dtype
    from mmrag_plugin.media import Kind
    from mmrag_plugin.readers.base import MediaReader

Work = Literal["read", "see", "read_text"]  # the methods of a Seer
Wanted = MediaRow | TextWanted
Found = ReadMedia | SeenMedia | FoundText


def media_of(wanted: Wanted) -> MediaRow:
    """The media that something is wanted of."""
    return wanted.media if isinstance(wanted, TextWanted) else wanted


@dataclass(frozen=True)
class LearnedModel:
    """A visual model that a library trained: the model it came from, and what it learned."""

    base: str
    base_stamp: str
    content: bytes
    digest: str


@dataclass(frozen=True)
class Equipment:
    """What a worker builds itself of, on whatever node it is, and what must come out.

    The stamps are those of the library's own models: with others its results would not match.
    """

    readers: Mapping[Kind, MediaReader]
    models_home: Path
    visual: str | LearnedModel
    visual_stamp: str
    dtype: Dtype = "auto"  # each node decides what is quick there
    device: str = "auto"
    ocr_languages: str = ""
    ocr_models: str = ""
    ocr_stamp: str = ""  # empty: nothing is read in pictures


@dataclass(frozen=True)
class Task:
    """One media to look at, with size and time (seconds) of its file, as the run sees it."""

    wanted: Wanted
    size_bytes: int
    changed_s: float


@dataclass(frozen=True)
class Answer:
    """A piece of what was found out about a media, counted from 0; ``ends`` marks the last.

    Without ``found`` the ``node`` could not look at it: ``unseen`` says why. Where there is doubt
    that it saw the same file as the run, ``content_hash`` is that of what it saw.
    """

    media_id: str
    number: int
    found: Found | None = None
    ends: bool = True
    unseen: str = ""
    content_hash: str = ""
    node: str = ""


@dataclass(frozen=True)
class Refused:
    """A worker that can't work at all, say for want of the model: this ends the run."""

    error: Exception
