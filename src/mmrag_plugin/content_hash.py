"""Tell files apart by their content, whatever they are called."""

from __future__ import annotations

import hashlib
from pathlib import Path

WHOLE_HASH_BYTES = 64 * 2**20  # larger files are told apart by their size and samples
_BLOCK_BYTES = 2**20
_READ_BYTES = 2**18  # at once, into the same memory: a processor's cache holds it
_SAMPLES = 8


def is_sampled(size_bytes: int) -> bool:
    """Whether a file is so large that its hash does not read all of it."""
    return size_bytes > WHOLE_HASH_BYTES


def content_hash_of(path: Path, *, whole: bool = False) -> str:
    """Hash all of a file's bytes, or of a large one its size and blocks spread over it.

    ``whole`` reads a large file to its end as well. Raises OSError.
    """
    digest = hashlib.blake2b(digest_size=20)
    size_bytes = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        if whole or not is_sampled(size_bytes):
            block = memoryview(bytearray(_READ_BYTES))
            while read_bytes := file.readinto(block):
                digest.update(block[:read_bytes])
        else:
            digest.update(str(size_bytes).encode())
            for number in range(_SAMPLES):
                file.seek((size_bytes - _BLOCK_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_BLOCK_BYTES))
    return digest.hexdigest()
