"""The nouns of mmrag: media, frames, signals, moments and hits, as plain frozen data."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from mmrag_plugin.dates import Dated, DateSource, most_trusted

if TYPE_CHECKING:
    from PIL.Image import Image

Kind = Literal["image", "video"]
Stage = Literal["scan", "read", "embed", "ocr", "caption", "speech"]
Channel = Literal["visual", "text", "bm25"]
Confidence = Literal["strong", "weak", "none"]
SignalSource = Literal["annotation", "path", "exif", "ocr", "caption", "subtitle", "speech"]

_Said = TypeVar("_Said", bound=Hashable)

CHANNELS: tuple[Channel, ...] = get_args(Channel)
SIGNAL_SOURCES: tuple[SignalSource, ...] = get_args(SignalSource)

RAW_SUFFIXES = frozenset(
    """
    .3fr .arw .cr2 .cr3 .dcr .dng .erf .fff .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .rw2
    .rwl .sr2 .srf .srw .x3f
    """.split()
)
IMAGE_SUFFIXES = RAW_SUFFIXES | frozenset(
    """
    .jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .heic .heif .hif .heics .heifs
    .avif .avifs .jxl .jp2 .j2k .j2c .jpc .jpf .jpx .mpo .ppm .pgm .pbm .pnm
    """.split()
)
VIDEO_SUFFIXES = frozenset(
    """
    .mp4 .m4v .mov .qt .mkv .webm .avi .divx .mpg .mpeg .mpe .m2v .vob .ts .mts .m2ts .3gp .3g2 .wmv
    .asf .flv .f4v .ogv .ogm .mxf .dv
    """.split()
)


_KINDS: dict[str, Kind] = {
    **dict.fromkeys(VIDEO_SUFFIXES, "video"),
    **dict.fromkeys(IMAGE_SUFFIXES, "image"),
}


def kind_of(path: PurePath | str) -> Kind | None:
    """Say by the suffix whether a file is an image or a video; None for anything else."""
    name = os.fspath(path)
    dot = name.rfind(".")  # a scan asks of every file: splitext takes four times as long
    kind = _KINDS.get(name[dot:].lower())
    if kind and name[dot - 1 : dot] in ("", ".", os.sep):  # a file that is called like a suffix
        return _KINDS.get(os.path.splitext(name)[1].lower())  # noqa: PTH122
    return kind


@dataclass(frozen=True)
class FilmShot:
    """The ``number``-th shot of a film, ``start_s``..``end_s``: what one camera shows unbroken."""

    number: int
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Frame:
    """Something with pixels and a time: an image, or a video keyframe.

    ``picture`` is upright RGB. ``time_s`` is None for images; ``end_s`` is where the next keyframe
    begins (or the film ends), so a frame stands for the span ``time_s``..``end_s``. ``shot`` is the
    shot that the frame is of; None for images, and where nobody looked for shots.

    A frame that was made ready for a model has lost most of its pixels. So it says what was found
    out about them before: ``pixels`` is the hash of this frame and those before it
    (``looks.PixelsHash``), ``sample`` what the look of a photo is made of (``looks.sample_of``).
    """

    index: int
    picture: Image
    time_s: float | None = None
    end_s: float | None = None
    shot: FilmShot | None = None
    pixels: str = ""
    sample: bytes | None = None


@dataclass(frozen=True)
class Signal:
    """A piece of text about a media, or about the span ``start_s``..``end_s`` of it.

    ``doubtful`` is a caption that was checked and contradicted; it counts less. ``tags`` are those
    that an annotation lists; None where nobody said what of it are tags. They are not stored with
    it: the ledger enters them as marks.
    """

    source: SignalSource
    text: str
    start_s: float | None = None
    end_s: float | None = None
    doubtful: bool = False
    tags: tuple[str, ...] | None = field(default=None, compare=False)

    @property
    def marked_text(self) -> str:
        """The text as it is shown to people and models: a doubtful one says so."""
        return f"(doubtful) {self.text}" if self.doubtful else self.text


def each_once(said: Iterable[_Said]) -> list[_Said]:
    """Each thing that is said once; of equal signals the one that lists tags stays."""
    found: dict[_Said, _Said] = {}
    for one in said:
        if one not in found or (isinstance(one, Signal) and one.tags is not None):
            found[one] = one
    return list(found.values())


@dataclass(frozen=True)
class MediaFacts:
    """What a file says about itself without looking at its pixels.

    ``taken_at`` is ISO 8601; without an offset it is local to the camera. It is the most trusted of
    ``dates``. ``duration_s`` is None for images. ``latitude`` and ``longitude`` are degrees.
    """

    width_px: int = 0
    height_px: int = 0
    duration_s: float | None = None
    taken_at: str | None = None
    dates: tuple[Dated, ...] = ()
    camera: str = ""
    latitude: float | None = None
    longitude: float | None = None
    signals: tuple[Signal, ...] = ()
    has_sound: bool = False

    @property
    def dated_by(self) -> DateSource | None:
        """Who gave ``taken_at``."""
        taken = most_trusted(self.dates)
        return taken.source if taken else None


@dataclass(frozen=True)
class Moment:
    """The unit of a result: a whole image, or ``start_s``..``end_s`` of a video."""

    media_id: str
    kind: Kind
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Hit:
    """A moment that was found: its score, its rank and why it matched.

    ``why`` maps a channel to the moment's rank in it (1 is best); ``reason`` says it in words;
    ``text`` is the piece of text that matched, which comes out of media and is never to be trusted.
    ``at_s`` is the time of the frame that stands for the moment, None for images. ``alike`` are the
    media that were found too and look much the same: twins, and photos of one burst. ``hidden`` is
    what the person hides from assistants.
    """

    rank: int
    moment: Moment
    path: str
    score: float
    confidence: Confidence
    why: dict[Channel, int] = field(default_factory=dict)
    reason: str = ""
    text: str | None = None
    taken_at: str | None = None
    at_s: float | None = None
    alike: tuple[str, ...] = ()
    hidden: bool = False

    def as_dict(self) -> dict[str, object]:
        """The JSON contract of a hit; ``hidden`` is there where it is so."""
        return {
            "rank": self.rank,
            "media_id": self.moment.media_id,
            "path": self.path,
            "kind": self.moment.kind,
            "start_s": self.moment.start_s,
            "end_s": self.moment.end_s,
            "score": round(self.score, 6),
            "confidence": self.confidence,
            "why": dict(self.why),
            "reason": self.reason,
            "text": self.text,
            "taken_at": self.taken_at,
            **({"alike": list(self.alike)} if self.alike else {}),
            **({"hidden": True} if self.hidden else {}),
        }
