"""``metadata.json`` of an album's folder in a Google Takeout, in the account's language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats import takeout
from mmrag_plugin.signals.sidecar_formats.base import (
    MediaNames,
    SidecarFormat,
    Statement,
    folded,
)

# The English name is that of a list of captions too: captions_json looks at what it holds.
_NAMES = "|".join(
    folded(name)
    for name in (
        "métadonnées metadaten metadatos metadati metadados metagegevens metadane metadata "
        "metatiedot metaadatok metaveriler meta-veriler метаданные метадані μεταδεδομένα "
        "メタデータ 메타데이터 元数据 中繼資料 詮釋資料"
    ).split()
)
_ALBUM_NAME = re.compile(rf"(?:{_NAMES})(?:\(\d{{1,4}}\))?\.json")


class TakeoutAlbum(SidecarFormat):
    """Title and description of the folder that it lies in."""

    name = "takeout_album"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str] | None:
        """Take ``metadata.json`` in the languages of Google Photos, also with a counter."""
        return None if _ALBUM_NAME.fullmatch(folded(sidecar_name)) else frozenset()

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the album's words for all media of the folder; nothing of other content."""
        content = json.loads(decode_text(data))
        if isinstance(content, dict) and takeout.is_album(content):
            for signal in takeout.album_signals(content):
                yield None, signal
