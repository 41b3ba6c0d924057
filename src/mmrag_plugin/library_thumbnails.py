"""Small pictures of media, made once and kept beside the library, within a bound."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.kept_files import KEPT_BYTES, KeptFiles, content_of
from mmrag_plugin.readers.worker_process import Limits
from mmrag_plugin.readers.workers import DecodesInWorkers

if TYPE_CHECKING:
    from mmrag_plugin.ledger import KnownPath
    from mmrag_plugin.media import Kind

SIDES_PX = range(16, 2049)  # what the long side may be
_AT_ONCE = 4  # so many are decoded at the same time; others wait
_VERSION = 1  # of what a thumbnail looks like
_LIMITS = Limits(step_s=30.0, film_s=30.0, film_s_for_each_mb=0.0)
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class Thumbnails:
    """Makes JPEGs without metadata of media; several threads and processes may ask at once.

    A thumbnail is kept under the hash of the content that it shows, so an edited file gets another
    one and a renamed one keeps its own. A disk that is full costs time only.
    """

    def __init__(self, folder: Path, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept = KeptFiles(folder, ".jpg", _is_whole, kept_bytes=kept_bytes)
        self._decoder = DecodesInWorkers(_LIMITS)
        self._decoding = threading.BoundedSemaphore(_AT_ONCE)

    def of(
        self, kind: Kind, path: Path, known: KnownPath | None, at_s: float | None, long_side_px: int
    ) -> bytes:
        """The thumbnail of a file, of a film at a time; ``known`` is the ledger's line about it.

        Raises UsageError for a size or time that is none, MediaError for what can't be decoded.
        """
        if long_side_px not in SIDES_PX:
            raise UsageError(
                f"A long side of {long_side_px} pixels is not possible.",
                f"Give {SIDES_PX[0]} to {SIDES_PX[-1]}.",
            )
        if at_s is not None and not math.isfinite(at_s):
            raise UsageError(f"{at_s} is not a time.", "Give seconds, such as 83.5.")

        def make() -> bytes:
            from mmrag_plugin.pictures import to_jpeg

            with self._decoding:
                picture = self._decoder.picture(kind, path, at_s, at_least_px=long_side_px)
            return to_jpeg(picture, long_side_px=long_side_px)

        when = "" if at_s is None else f"{max(at_s, 0.0):.3f}"
        shown = f"{_VERSION} {kind} {when} {long_side_px} {content_of(path, known)}"
        return self._kept.get(shown, make)


def _is_whole(jpeg: bytes) -> bool:
    return jpeg.startswith(_JPEG_BEGIN) and jpeg.endswith(_JPEG_END)
