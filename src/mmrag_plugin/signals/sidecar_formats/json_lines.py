"""``metadata.jsonl``: one record a line, as in the image folders of Hugging Face data sets."""

from __future__ import annotations

import json
from collections.abc import Iterator

from mmrag_plugin.signals.annotations import annotations_of, file_of
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, SidecarFormat, Statement


class JsonLines(SidecarFormat):
    """Records with a ``file_name`` each; a broken line does not take the others with it."""

    name = "json_lines"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str] | None:
        """Take every ``*.jsonl``."""
        return None if sidecar_name.lower().endswith(".jsonl") else frozenset()

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the annotations of each line, then raise for the first line that is broken."""
        broken = ""
        for number, line in enumerate(decode_text(data).split("\n"), 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                broken = broken or f"line {number} is not JSON ({error})"
                continue
            if isinstance(record, dict) and (file := file_of(record)):
                for signal in annotations_of(record):
                    yield file, signal
        if broken:
            raise ValueError(broken)
