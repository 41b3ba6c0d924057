"""Small files that were made once, kept beside a library within a bound."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmrag_plugin.ledger import KnownPath

KEPT_BYTES = 256 * 2**20  # on disk, for each library and kind
KEPT_S = 60 * 86_400.0  # after which one that nobody looks at goes: its source may be gone, too
THUMBNAILS, PREVIEWS = "thumbnails", "previews"
FOLDERS = (THUMBNAILS, PREVIEWS)
_SWEEP_EVERY = 64  # new ones between two looks at how much is kept


class KeptFiles:
    """Keeps what is made under what it was made of; several threads and processes may ask.

    ``whole`` says of kept bytes whether they are all there. A disk that is full costs time only.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        whole: Callable[[bytes], bool],
        *,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self.folder = folder
        self._suffix, self._whole, self._kept_bytes = suffix, whole, kept_bytes
        self._made = 0

    def get(self, made_of: str, make: Callable[[], bytes]) -> bytes:
        """What was made of that before, or what ``make`` makes now."""
        name = hashlib.sha256(made_of.encode(errors="surrogateescape")).hexdigest()[:40]
        place = self.folder / name[:2] / f"{name[2:]}{self._suffix}"
        with contextlib.suppress(OSError):
            content = place.read_bytes()
            if self._whole(content):
                os.utime(place)  # what was looked at last goes last
                return content
        content = make()
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            beside = place.with_suffix(f".{secrets.token_hex(4)}.part")
            beside.write_bytes(content)
            beside.replace(place)
            if self._made % _SWEEP_EVERY == 0:
                self._sweep()
            self._made += 1
        return content

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


def content_of(path: Path, known: KnownPath | None) -> str:
    """Name the content of a file: by its hash, and by its time too where it was edited since."""
    try:
        status = path.stat()
    except OSError:
        return secrets.token_hex(8)  # decoding says what is wrong
    if known is None:
        return f"{path} {status.st_size} {status.st_mtime_ns}"
    edited = (known.size_bytes, known.mtime_ns) != (status.st_size, status.st_mtime_ns)
    return known.content_hash + (f" {status.st_size} {status.st_mtime_ns}" if edited else "")
