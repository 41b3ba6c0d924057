"""``photo.xmp`` or ``photo.jpg.xmp``: what photo managers write beside a photo."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from mmrag_plugin.media import Signal
from mmrag_plugin.signals.annotations import annotations_of
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, SidecarFormat, without_ending
from mmrag_plugin.xmp import parse_xmp

_facts_of = lru_cache(maxsize=1)(parse_xmp)  # words and date are asked for one after the other


class XmpFile(SidecarFormat):
    """An XMP packet that is about the media of the same name."""

    name = "xmp"
    dated = True

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.xmp`` with media NAME, with or without their suffix."""
        return media.named(without_ending(sidecar_name, ".xmp") or "")

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[tuple[str | None, Signal]]:
        """Yield title, description, keywords, people and places as annotations."""
        facts = _facts_of(data)
        record = {
            "title": facts.title,
            "description": facts.description,
            "keywords": list(facts.keywords),
            "people": list(facts.people),
            "places": list(facts.places),
        }
        for signal in annotations_of(record):
            yield None, signal

    def taken_at(self, data: bytes) -> str | None:
        """The date that photo managers write where the photo itself has none, or a wrong one."""
        return _facts_of(data).taken_at
