"""``photo.txt`` or ``photo.jpg.txt``: the caption of one photo or film."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag_plugin.media import Signal
from mmrag_plugin.signals.plain_text import decode_text, plain_text
from mmrag_plugin.signals.sidecar_formats.base import (
    MediaNames,
    SidecarFormat,
    Statement,
    without_ending,
)


class TextFile(SidecarFormat):
    """A text that is about the media of the same name."""

    name = "text"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.txt`` with media NAME, with or without their suffix."""
        return media.named(without_ending(sidecar_name, ".txt") or "")

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the whole text as one annotation."""
        if text := plain_text(decode_text(data)):
            yield None, Signal("annotation", text)
