"""``captions.json`` or ``metadata.json``: the captions of a whole folder.

Read are ``{file: text | [text] | record}``, a list of records with a file field, such a list one
level down (``{"images": [...]}``), and COCO captions (https://cocodataset.org/#format-data).
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from mmrag_plugin.signals.annotations import annotations_of, file_of
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats import takeout
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, SidecarFormat, Statement

_NAMES = frozenset({"captions.json", "metadata.json", "annotations.json"})


class CaptionsJson(SidecarFormat):
    """A list of captions by file name."""

    name = "captions_json"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str] | None:
        """Take ``captions.json``, ``metadata.json`` and ``annotations.json``."""
        return None if sidecar_name.lower() in _NAMES else frozenset()

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the annotations of each file that is named, or those of an album of Takeout."""
        content = json.loads(decode_text(data))
        if isinstance(content, list):
            yield from _records(content)
        elif isinstance(content, dict) and takeout.is_album(content):
            for signal in takeout.album_signals(content):
                yield None, signal
        elif isinstance(content, dict):
            yield from _by_file(content)
        else:
            raise ValueError("it holds neither a list of records nor an object by file name")


def _records(records: list[object]) -> Iterator[Statement]:
    for record in records:
        if isinstance(record, dict) and (file := file_of(record)):
            for signal in annotations_of(record):
                yield file, signal


def _by_file(content: dict[str, object]) -> Iterator[Statement]:
    for name, value in content.items():
        if isinstance(value, dict):
            statements = [(name, signal) for signal in annotations_of(value)]
        else:
            statements = [(name, signal) for signal in annotations_of({"captions": value})]
        yield from statements
        if isinstance(value, list):
            yield from _records(value)
    yield from _coco(content.get("images"), content.get("annotations"))


def _coco(images: object, annotations: object) -> Iterator[Statement]:
    if not (isinstance(images, list) and isinstance(annotations, list)):
        return
    files = {
        str(image.get("id")): file
        for image in images
        if isinstance(image, dict) and (file := file_of(image))
    }
    for annotation in annotations:
        if isinstance(annotation, dict) and (file := files.get(str(annotation.get("image_id")))):
            for signal in annotations_of(annotation):
                yield file, signal
