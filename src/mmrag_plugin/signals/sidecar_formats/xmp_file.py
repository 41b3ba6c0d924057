"""``photo.xmp`` or ``photo.jpg.xmp``: what photo managers write beside a photo."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag_plugin.dates import dated
from mmrag_plugin.remarks import remark_signals
from mmrag_plugin.signals.annotations import annotations_of
from mmrag_plugin.signals.sidecar_formats.base import (
    MediaNames,
    Place,
    Said,
    SidecarFormat,
    Statement,
    without_ending,
)
from mmrag_plugin.xmp import parse_xmp


class XmpFile(SidecarFormat):
    """An XMP packet that is about the media of the same name."""

    name = "xmp"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.xmp`` with media NAME, with or without their suffix."""
        return media.named(without_ending(sidecar_name, ".xmp") or "")

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield title, description, keywords, people, places, date, rating and position."""
        facts = parse_xmp(data)
        record = {
            "title": facts.title,
            "description": facts.description,
            "keywords": list(facts.keywords),
            "people": list(facts.people),
            "places": list(facts.places),
        }
        said: list[Said] = [
            *annotations_of(record),
            *remark_signals(facts.creator, facts.rating or 0),
            *dated(facts.taken_at or facts.satellite_at, "sidecar"),
        ]
        if facts.latitude is not None and facts.longitude is not None:
            said.append(Place(facts.latitude, facts.longitude))
        yield from ((None, statement) for statement in said)
