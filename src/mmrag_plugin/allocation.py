"""Keep memory that is needed again at once, where the C library would hand it back each time.

Every picture, and every layer of a model, takes megabytes for a moment. glibc gives them back to
the kernel, which clears the same pages anew for the next one: of photos of twelve megapixels that
took a tenth of all processor time. Other C libraries are left as they are.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_OWN_MAPPING_BYTES = 2**25  # the most that glibc takes; larger blocks go back when they are freed
_KEPT_BYTES = 2**28  # free at the end of a heap before any of it goes back
_USUAL_BYTES = 2 * _OWN_MAPPING_BYTES  # as glibc itself sets it by the largest block freed


class _Kept:
    """Keeps freed memory until the last of those who want that are done; then gives it back."""

    def __init__(self) -> None:
        self._lock, self._wanted = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._wanted += 1
            if self._wanted == 1:
                keep_memory()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._wanted -= 1
            if self._wanted == 0:
                _set(_USUAL_BYTES)
                if (trim := _of_glibc("malloc_trim")) is not None:
                    trim(ctypes.c_size_t(0))


memory_kept = _Kept()


def keep_memory() -> None:
    """Keep freed memory from now on: for a process that does one kind of work until it ends."""
    _set(_KEPT_BYTES)


def _set(kept_bytes: int) -> None:
    if (mallopt := _of_glibc("mallopt")) is not None:
        mallopt(_MMAP_THRESHOLD, _OWN_MAPPING_BYTES)
        mallopt(_TRIM_THRESHOLD, kept_bytes)


def _of_glibc(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None)
    return getattr(library, name) if hasattr(library, "gnu_get_libc_version") else None
