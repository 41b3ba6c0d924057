"""Make text from files fit to be stored and shown: no control characters, bounded, one charset."""

from __future__ import annotations

import codecs

MAX_SIGNAL_CHARS = 10_000  # a book beside a photo is no caption; columns in Milvus are bounded

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_text(data: bytes) -> str:
    """Decode by byte order mark, else as UTF-8, else as Windows-1252, which older editors write.

    Raises ValueError when the bytes are no text at all.
    """
    encoding = next((name for bom, name in _BOMS if data.startswith(bom)), "")
    if encoding:
        text = data.decode(encoding, "replace")
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text:
        raise ValueError("it holds binary data, not text")
    return text


def plain_text(text: str) -> str:
    """Drop control characters and half characters, tidy white space, keep lines, cut to bounds."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    tidy = "\n".join(line for line in lines if line)
    printable = "".join(char for char in tidy if char.isprintable() or char == "\n")
    return printable[:MAX_SIGNAL_CHARS].strip()
