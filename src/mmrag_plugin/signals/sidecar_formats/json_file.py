"""``photo.json`` or ``photo.jpg.json``: titles, captions, keywords and people of one media.

Google Takeout names these files in ways of its own (see ``takeout``), yt-dlp ``film.info.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from mmrag_plugin.signals.annotations import annotations_of
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats import takeout
from mmrag_plugin.signals.sidecar_formats.base import (
    MediaNames,
    SidecarFormat,
    Statement,
    without_ending,
)


class JsonFile(SidecarFormat):
    """A record that is about the media of the same name."""

    name = "json"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.json`` with media NAME, also in the ways of Google Takeout and yt-dlp."""
        base = without_ending(sidecar_name, ".info.json", ".json")
        if not base:
            return frozenset()
        return media.named(base) or takeout.subjects_of(base, media)

    def borrowers(self, subjects: frozenset[str], media: MediaNames) -> frozenset[str]:
        """Find the media that have no file of their own in a Google Takeout."""
        return takeout.borrowers_of(subjects, media)

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield titles, captions, keywords and people as annotations; Takeout's date and place."""
        record = json.loads(decode_text(data))
        if not isinstance(record, dict):
            raise ValueError("it holds no JSON object with a title, caption, keywords or people")
        said = [*annotations_of(record), *takeout.facts_of(record, sidecar_name)]
        yield from ((None, statement) for statement in said)
