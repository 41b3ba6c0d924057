"""Small films of moments, made once and kept beside the library, within a bound."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.library_media import LibraryMedia
from mmrag_plugin.makers.workshop_process import Limits
from mmrag_plugin.timecode import format_span, format_time

if TYPE_CHECKING:
    from mmrag_plugin.kept_files import KeptFiles
    from mmrag_plugin.ledger import MediaRow
    from mmrag_plugin.motion_photos import FilmPart

_VERSION = 1  # of what a preview is like
_LEAST_BYTES = 10_000
_MP4 = b"ftyp"
_making = threading.BoundedSemaphore(2)  # each takes all processors that it gets; others wait
_PREVIEW_LIMITS = Limits(stall_s=30.0, in_all_s=120.0, memory_bytes=2 * 2**30)


@dataclass(frozen=True)
class Preview:
    """A small MP4 of a moment: H.264 and AAC, for browsers. ``note`` says what was left out."""

    data: bytes
    start_s: float
    end_s: float
    note: str = ""


class LibraryPreviews(LibraryMedia):
    """The part of a library that shows what moves."""

    def preview(
        self,
        media_id: str,
        start_s: float | None = None,
        end_s: float | None = None,
        *,
        max_bytes: int = 4_000_000,
        stopped: Callable[[], bool] | None = None,
    ) -> bytes:
        """A small MP4 of a moment, for browsers and assistants; ``preview_of`` says more."""
        asked = self.preview_of(media_id, start_s, end_s, max_bytes=max_bytes, stopped=stopped)
        return asked.data

    def preview_of(
        self,
        media_id: str,
        start_s: float | None = None,
        end_s: float | None = None,
        *,
        max_bytes: int = 4_000_000,
        stopped: Callable[[], bool] | None = None,
    ) -> Preview:
        """A small MP4 of a moment of a film, or of a photo that moves; of all of it without times.

        A long moment is shortened, which ``Preview.note`` says. It is made in a process of its own,
        within limits, and kept on disk. ``stopped`` is asked often, also while it waits for others,
        and ends it. Raises NotFound for what is gone, UsageError for a photo or times that are
        none, MediaError for what can't be decoded, Stopped.
        """
        from mmrag_plugin.kept_files import content_of
        from mmrag_plugin.makers.preview import LONGEST_S, PreviewJob
        from mmrag_plugin.makers.workshop import run_whole

        row = self.ledger.media_rows([media_id]).get(media_id)
        if row is None:
            raise NotFound(f"There is no media {media_id!r}.", "Search for it first.")
        if max_bytes < _LEAST_BYTES:
            raise UsageError(
                f"{max_bytes} bytes are too few for a film.", f"Give at least {_LEAST_BYTES:,}."
            )
        source, path = self._moving(row)
        begin_s, until_s = span_within(row, start_s, end_s)
        shortened_s = min(until_s, begin_s + LONGEST_S)
        note = ""
        if shortened_s < until_s:
            asked, shown = format_span(begin_s, until_s), format_span(begin_s, shortened_s)
            note = f"Of {asked} only {shown} is shown: a preview is at most {LONGEST_S:g} s long."

        def make() -> bytes:
            with tempfile.TemporaryDirectory(prefix="mmrag-") as folder:
                target = Path(folder) / "preview.mp4"
                job = PreviewJob(source, begin_s, shortened_s, target, max_bytes)
                with _turn(stopped):
                    run_whole(job, path, limits=_PREVIEW_LIMITS, stopped=stopped)
                return target.read_bytes()

        known = self.ledger.known_files([str(path)]).get(str(path))
        span = f"{begin_s:.3f} {shortened_s:.3f} {max_bytes}"
        data = self._previews.get(f"{_VERSION} {span} {content_of(path, known)}", make)
        return Preview(data, begin_s, shortened_s, note)

    @cached_property
    def _previews(self) -> KeptFiles:
        from mmrag_plugin.kept_files import PREVIEWS, KeptFiles

        return KeptFiles(self.directory / PREVIEWS, ".mp4", lambda data: data[4:8] == _MP4)

    def _moving(self, row: MediaRow) -> _Source:
        """What moves in a media, and the file that it is in. Raises UsageError for a photo."""
        from mmrag_plugin.motion_photos import motion_of

        path = self._path_there(row)
        if row.kind == "video":
            return _Source(path.absolute(), path)
        motion = motion_of(path.absolute())
        if motion is None:
            raise UsageError(
                f"{path.name} is a photo: nothing in it moves.",
                "Name a film, or a photo that moves.",
            )
        return _Source(motion, path)


@contextmanager
def _turn(stopped: Callable[[], bool] | None) -> Iterator[None]:
    """Be one of the few that are made at once. Raises Stopped."""
    from mmrag_plugin.makers.workshop import LOOK_S, heed

    while not _making.acquire(timeout=LOOK_S):
        heed(stopped)
    try:
        yield
    finally:
        _making.release()


class _Source(NamedTuple):
    """What is decoded, and the file that it is about."""

    source: Path | FilmPart
    path: Path


def span_within(row: MediaRow, start_s: float | None, end_s: float | None) -> tuple[float, float]:
    """The part of a media that two times mean: from its start, up to its end where none is given.

    Raises UsageError for times that are none or lie behind its end.
    """
    for time_s in (start_s, end_s):
        if time_s is not None and not (math.isfinite(time_s) and time_s >= 0):
            raise UsageError(f"{time_s} is not a time.", "Give seconds, such as 83.5.")
    begin_s = start_s or 0.0
    until_s = math.inf if end_s is None else end_s
    if row.duration_s:
        if begin_s >= row.duration_s:
            raise UsageError(
                f"{format_time(begin_s)} is after the end of this video.",
                f"It is {format_time(row.duration_s)} long.",
            )
        until_s = min(until_s, row.duration_s)
    if not math.isfinite(until_s):
        until_s = begin_s + 60.0  # nobody knows how long it is
    if until_s <= begin_s:
        raise UsageError(
            f"The part {begin_s:g}-{until_s:g} s has no length.", "Let it end after it begins."
        )
    return begin_s, until_s
