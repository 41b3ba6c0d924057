"""A picture that was pasted into the assistant, as base64: bounded, and decoded within limits."""

from __future__ import annotations

import base64
import binascii
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 3_000_000  # as base64 4 MB, and a message over HTTP may have 4 MiB
MAX_CHARS = MAX_BYTES * 4 // 3 + 200  # with the beginning of a data URI
_LOOKED_AT_PX = 512  # short side; models see less
_STEP_S = 20.0
_MEMORY_BYTES = 2**30
_DATA_URI = re.compile(r"data:image/[a-z0-9.+-]{1,40};base64,", re.IGNORECASE)
_REMEDY = (
    "Pass the bytes of a JPEG, PNG, WebP, GIF or HEIC of usual size as base64, or as "
    "data:image/jpeg;base64,...; addresses and paths are not opened."
)
_URL_SAFE = str.maketrans("-_", "+/")


def bytes_of(pasted: str) -> bytes:
    """The bytes of a picture in base64, plain or as a data URI. Raises UsageError."""
    text = pasted.strip()
    if len(text) > MAX_CHARS:
        raise UsageError(
            f"The picture is larger than {MAX_BYTES // 10**6} MB.",
            "Scale it down first; 1024 pixels on the long side are plenty.",
        )
    if match := _DATA_URI.match(text):
        text = text[match.end() :]
    try:
        text = "".join(text.split()).translate(_URL_SAFE).rstrip("=")
        raw = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        raw = b""
    if not raw:
        raise UsageError(
            "The picture is not base64.",
            _REMEDY,
        )
    if len(raw) > MAX_BYTES:
        raise UsageError(
            f"The picture is larger than {MAX_BYTES // 10**6} MB.",
            "Scale it down first; 1024 pixels on the long side are plenty.",
        )
    return raw


def picture_of(raw: bytes) -> Image:
    """Decode a picture in a process of its own, which a bomb can't harm. Raises UsageError."""
    from mmrag_plugin.readers.worker_process import Limits
    from mmrag_plugin.readers.workers import DecodesInWorkers

    decoder = DecodesInWorkers(Limits(step_s=_STEP_S, memory_bytes=_MEMORY_BYTES))
    with tempfile.TemporaryDirectory(prefix="mmrag-") as folder:  # for this user's eyes only
        path = Path(folder) / "picture"
        path.write_bytes(raw)
        try:
            return decoder.picture("image", path, at_least_px=_LOOKED_AT_PX)
        except MediaError as error:
            said = error.message.replace(str(path), "The picture")
            raise UsageError(said, _REMEDY) from None
