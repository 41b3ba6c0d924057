"""Karpathy's splits of Flickr8k, Flickr30k and COCO: ``dataset_flickr8k.json``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmrag_plugin.evaluation.formats.base import (
    Content,
    Query,
    SetFormat,
    Wanted,
    bad,
    entries,
    mapping,
    media_name,
    words,
)

DEFAULT_SPLIT = "test"  # the part on which figures are published


class Karpathy(SetFormat):
    """``images`` with ``filename``, ``split`` and ``sentences``, each with ``raw``."""

    name = "karpathy"

    def recognises(self, content: Content) -> bool:
        """Whether the first image has sentences."""
        images = content.value.get("images") if isinstance(content.value, dict) else None
        first = images[0] if isinstance(images, list) and images else None
        return isinstance(first, dict) and "sentences" in first

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query for each sentence of a split: of the test part, or of all where there is none."""
        listed = entries(mapping(content.value, "the file").get("images"), "images")
        images = [(where, mapping(entry, where)) for where, entry in listed]
        splits = {str(image.get("split")) for _, image in images}
        if split is not None and split not in splits:
            raise bad("it", f"has no split {split!r}, but {', '.join(sorted(splits))[:200]}")
        if split is None and DEFAULT_SPLIT in splits:
            split = DEFAULT_SPLIT
        for where, image in images:
            if split is None or image.get("split") == split:
                yield from _of_image(where, image)


def _of_image(where: str, image: dict[str, Any]) -> Iterator[Query]:
    name = media_name(image.get("filename"), where)
    for at, entry in entries(image.get("sentences"), f"{where}, sentences"):
        yield Query(words(mapping(entry, at), "raw", at), (Wanted(name),))
