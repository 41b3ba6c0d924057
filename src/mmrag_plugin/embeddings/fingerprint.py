"""Name a model by its content, cheaply: the same files under another name are the same model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

_WHOLE_BYTES = 8 << 20  # a smaller file is hashed whole
_BLOCK_BYTES = 16 << 10
_BLOCKS = 256
_EDGE_BYTES = 4 << 10  # of each tensor of a safetensors file, at both ends


def fingerprint(configs: Iterable[Path], weights: Iterable[Path]) -> str:
    """Hash configs whole and weights by size and samples: 16 hex digits, a few milliseconds.

    A safetensors file is sampled in each of its tensors, so that a model of which only the last
    layer was trained on gets another fingerprint; other files in evenly spaced blocks and at both
    ends (the end of a PyTorch archive lists the CRC of each tensor). Only content counts, neither
    folder names nor dates.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(configs, key=lambda path: path.name):
        content = path.read_bytes()
        digest.update(f"{path.name}:{len(content)}\n".encode())
        digest.update(content)
    for path in sorted(weights, key=lambda path: (path.parent.name, path.name)):
        size_bytes = path.stat().st_size
        digest.update(f"{path.name}:{size_bytes}\n".encode())
        with path.open("rb") as file:
            for start, length in _samples(path, size_bytes):
                file.seek(start)
                digest.update(file.read(length))
    return digest.hexdigest()


def _samples(path: Path, size_bytes: int) -> list[tuple[int, int]]:
    """Spans ``(start, length)`` in bytes that stand for the file."""
    if size_bytes <= _WHOLE_BYTES:
        return [(0, size_bytes)]
    if path.suffix == ".safetensors":
        spans = _tensor_edges(path, size_bytes)
        if spans:
            return spans
    last = size_bytes - _BLOCK_BYTES
    return [(last * block // (_BLOCKS - 1), _BLOCK_BYTES) for block in range(_BLOCKS)]


def _tensor_edges(path: Path, size_bytes: int) -> list[tuple[int, int]]:
    """Both ends of each tensor, by the header of the safetensors format; [] if it is malformed."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
        if not 0 < header_bytes < min(size_bytes, 100 << 20):
            return []
        try:
            header = json.loads(file.read(header_bytes))
            bounds = sorted(
                tuple(entry["data_offsets"])
                for name, entry in header.items()
                if name != "__metadata__"
            )
            base = 8 + header_bytes
            spans = [(0, base)]
            for start, end in bounds:
                spans.append((base + start, min(_EDGE_BYTES, end - start)))
                spans.append((base + max(start, end - _EDGE_BYTES), min(_EDGE_BYTES, end - start)))
        except (ValueError, KeyError, TypeError, AttributeError):
            return []
    return spans
