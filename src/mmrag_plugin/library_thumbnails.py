"""Small pictures of media, made once and kept beside the library, within a bound."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.readers.worker_process import Limits
from mmrag_plugin.readers.workers import DecodesInWorkers

if TYPE_CHECKING:
    from mmrag_plugin.ledger import KnownPath
    from mmrag_plugin.media import Kind

SIDES_PX = range(16, 2049)  # what the long side may be
KEPT_BYTES = 256 * 2**20  # on disk, for each library
KEPT_S = 60 * 86_400.0  # after which one that nobody looks at goes: its photo may be gone, too
FOLDER = "thumbnails"
_AT_ONCE = 4  # so many are decoded at the same time; others wait
_SWEEP_EVERY = 64  # new ones between two looks at how much is kept
_VERSION = 1  # of what a thumbnail looks like
_LIMITS = Limits(step_s=30.0, film_s=30.0, film_s_for_each_mb=0.0)
_JPEG_BEGIN, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class Thumbnails:
    """Makes JPEGs without metadata of media; several threads and processes may ask at once.

    A thumbnail is kept under the hash of the content that it shows, so an edited file gets another
    one and a renamed one keeps its own. A disk that is full costs time only.
    """

    def __init__(self, folder: Path, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.folder, self._kept_bytes = folder, kept_bytes
        self._decoder = DecodesInWorkers(_LIMITS)
        self._decoding = threading.BoundedSemaphore(_AT_ONCE)
        self._made = 0

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
        shown = f"{_VERSION} {kind} {when} {long_side_px} {_content_of(path, known)}"
        return self._kept(hashlib.sha256(shown.encode()).hexdigest()[:40], make)

    def _kept(self, name: str, make: Callable[[], bytes]) -> bytes:
        place = self.folder / name[:2] / f"{name[2:]}.jpg"
        with contextlib.suppress(OSError):
            jpeg = place.read_bytes()
            if jpeg.startswith(_JPEG_BEGIN) and jpeg.endswith(_JPEG_END):
                os.utime(place)  # what was looked at last goes last
                return jpeg
        jpeg = make()
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = place.with_suffix(f".{secrets.token_hex(4)}.part")
            beside.write_bytes(jpeg)
            beside.replace(place)
            if self._made % _SWEEP_EVERY == 0:
                self._sweep()
            self._made += 1
        return jpeg

    def _sweep(self) -> None:
        """Remove those that nobody looked at for long, until the rest is within the bound."""
        now_s = time.time()
        kept: list[tuple[float, int, str]] = []
        for path in self.folder.glob("*/*"):
            with contextlib.suppress(OSError):
                status = path.stat()
                kept.append((status.st_mtime, status.st_size, str(path)))
        surplus = sum(size for _, size, _ in kept) - self._kept_bytes
        for looked_at_s, size, name in sorted(kept):
            if surplus <= 0 and now_s - looked_at_s < KEPT_S:
                return
            with contextlib.suppress(OSError):
                Path(name).unlink()
            surplus -= size


def _content_of(path: Path, known: KnownPath | None) -> str:
    """Name the content of a file: by its hash, and by its time too where it was edited since."""
    try:
        status = path.stat()
    except OSError:
        return secrets.token_hex(8)  # decoding says what is wrong
    if known is None:
        return f"{path} {status.st_size} {status.st_mtime_ns}"
    edited = (known.size_bytes, known.mtime_ns) != (status.st_size, status.st_mtime_ns)
    return known.content_hash + (f" {status.st_size} {status.st_mtime_ns}" if edited else "")
