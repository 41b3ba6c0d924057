"""``photo.json`` or ``photo.jpg.json``: titles, captions, keywords and people of one media.

Google Takeout names these files ``photo.jpg.json`` or ``photo.jpg.supplemental-metadata.json``,
cuts long names, and puts the counter of a double after the suffix (``photo.jpg(1).json`` belongs
to ``photo(1).jpg``). yt-dlp writes ``film.info.json``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePath

from mmrag_plugin.media import Signal
from mmrag_plugin.signals.annotations import annotations_of
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, SidecarFormat, without_ending

_TAKEOUT_TAIL = "supplemental-metadata"
_TAKEOUT_CUT_CHARS = 46  # what is left of a name before ".json"
_COUNTER = re.compile(r"\(\d{1,4}\)$")


class JsonFile(SidecarFormat):
    """A record that is about the media of the same name."""

    name = "json"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.json`` with media NAME, also in the ways of Google Takeout and yt-dlp."""
        base = without_ending(sidecar_name, ".info.json", ".json")
        if not base:
            return frozenset()
        return media.named(base) or self._takeout_subjects(base, media)

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[tuple[str | None, Signal]]:
        """Yield titles, captions, descriptions, keywords and people as annotations."""
        record = json.loads(decode_text(data))
        if not isinstance(record, dict):
            raise ValueError("it holds no JSON object with a title, caption, keywords or people")
        for signal in annotations_of(record):
            yield None, signal

    @staticmethod
    def _takeout_subjects(base: str, media: MediaNames) -> frozenset[str]:
        counter = match[0] if (match := _COUNTER.search(base)) else ""
        name = base.removesuffix(counter)
        head, dot, tail = name.rpartition(".")
        if dot and _TAKEOUT_TAIL.startswith(tail):
            name = head
        if counter:
            path = PurePath(name)
            return media.named(f"{path.stem}{counter}{path.suffix}")
        found = media.named(name)
        if not found and len(base) == _TAKEOUT_CUT_CHARS:
            found = media.beginning_with(name)
        return found
