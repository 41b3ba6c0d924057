"""Text in media, read on this machine: what is worth reading, and what stays on a screen."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.index_ahead import each_ahead
from mmrag_plugin.index_seeing import FoundText, TextWanted
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Frame, Kind, Signal
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.signals.ocr import TextReader

READ_AT_LEAST_PX = 2400  # a photo of 12 megapixels comes as it is, with its smallest letters
GLANCE_AT_LEAST_PX = 640
_READ_AHEAD = 2  # large pictures
_GLANCED_AHEAD = 8
_GLANCED_AT = 64  # pictures of which those worth reading are read
_SEEN = (160, 90)  # at which two frames are compared
_SAME = 16  # of 255: no pixel differs by more in two frames that show the same


@dataclass(frozen=True)
class _Opened:
    """A media to be looked at, with its frames; of photos without those that move."""

    want: TextWanted
    frames: Iterable[Frame] = ()
    error: Exception | None = None

    def found(self, look: Callable[[TextWanted, Iterable[Frame]], FoundText]) -> FoundText:
        """What ``look`` finds, or the error that comes in between."""
        if self.error is not None:
            return FoundText(self.want.media, error=self.error)
        try:
            return look(self.want, self.frames)
        except Exception as error:
            return FoundText(self.want.media, error=error)


class FindsText:
    """Reads the text in media with the readers of this process, a few pictures decoded ahead."""

    def __init__(self, readers: Mapping[Kind, MediaReader], reader: TextReader) -> None:
        self._readers, self._reader = readers, reader

    def find(self, wanted: Iterable[TextWanted]) -> Generator[FoundText, None, None]:
        """Read all; of each handful, the pictures that are passed over come first."""
        for batch in batches(wanted, _GLANCED_AT):
            pictures = [want for want in batch if want.media.kind == "image"]
            worth = [want for want in pictures if not want.glances]
            glanced = self._opened([want for want in pictures if want.glances], glances=True)
            with closing(glanced):
                for opened in glanced:
                    found = opened.found(self._glance)
                    if found.passed_over or found.error:
                        yield found
                    else:
                        worth.append(opened.want)
            with closing(self._opened(worth)) as reading:
                for opened in reading:
                    yield opened.found(self._read)
            for want in batch:
                if want.media.kind == "video":
                    yield next(iter(self._open(want, READ_AT_LEAST_PX))).found(self._read)

    def _opened(
        self, wanted: Sequence[TextWanted], *, glances: bool = False
    ) -> Generator[_Opened, None, None]:
        at_least_px = GLANCE_AT_LEAST_PX if glances else READ_AT_LEAST_PX
        waiting = _GLANCED_AHEAD if glances else _READ_AHEAD
        return each_ahead(
            partial(self._open, at_least_px=at_least_px), wanted, threads=2, waiting=waiting
        )

    def _open(self, want: TextWanted, at_least_px: int) -> Generator[_Opened, None, None]:
        media = want.media
        try:
            frames = self._readers[media.kind].frames(Path(media.path), at_least_px=at_least_px)
            if media.kind == "video":  # too large to hold
                yield _Opened(want, islice(frames, 0, None, want.every))
                return
            # what moves in a photo is read in the photo
            still = [frame for frame in frames if frame.time_s is None]
        except Exception as error:
            yield _Opened(want, error=error)
        else:
            yield _Opened(want, still)

    def _glance(self, want: TextWanted, frames: Iterable[Frame]) -> FoundText:
        with span("ocr.glance"):
            worth = any(self._reader.may_hold_text(frame.picture) for frame in frames)
        return FoundText(want.media, passed_over=not worth)

    def _read(self, want: TextWanted, frames: Iterable[Frame]) -> FoundText:
        signals = read_text(self._reader, frames, glances=want.glances)
        return FoundText(want.media, tuple(signals))


def read_text(
    reader: TextReader, frames: Iterable[Frame], *, glances: bool = False
) -> list[Signal]:
    """Read text off frames; what stays on the screen over several frames is one signal.

    A frame that shows what the one read before shows is not read again. With ``glances`` frames are
    only read where a quick look finds something like writing.
    """
    signals: list[Signal] = []
    before: Frame | None = None
    read: Image | None = None
    text = ""
    for frame in frames:
        seen = None if frame.time_s is None else frame.picture.convert("L").resize(_SEEN)
        if read is None or seen is None or not _is_same(read, seen):
            read = seen
            worth = not glances or frame.time_s is None or reader.may_hold_text(frame.picture)
            text = ""
            if worth:
                with span("ocr.read"):
                    text = reader.read(frame.picture).strip()
        last = signals[-1] if signals else None
        stays = last and before and last.end_s == before.end_s
        if text and last and stays and _letters(last.text) == _letters(text):
            signals[-1] = Signal("ocr", last.text, last.start_s, frame.end_s)
        elif text:
            signals.append(Signal("ocr", text, frame.time_s, frame.end_s))
        before = frame
    return signals


def _is_same(one: Image, other: Image) -> bool:
    from PIL.ImageChops import difference

    brightest: tuple[int, int] = difference(one, other).getextrema()  # type: ignore[assignment]
    return brightest[1] <= _SAME


def _letters(text: str) -> str:
    """A text without spaces and signs, which a reader sees now and then."""
    return "".join(char for char in text if char.isalnum()).casefold()
