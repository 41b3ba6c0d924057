"""COCO's captions: ``captions_val2017.json`` with its lists of images and annotations."""

from __future__ import annotations

from collections.abc import Iterator

from mmrag_plugin.evaluation.formats.base import (
    Content,
    Query,
    SetFormat,
    Wanted,
    bad,
    entries,
    mapping,
    media_name,
    refuse_split,
    words,
)


class Coco(SetFormat):
    """``images`` with ``id`` and ``file_name``; ``annotations`` with ``image_id``, ``caption``."""

    name = "coco"

    def recognises(self, content: Content) -> bool:
        """Whether it has both lists."""
        return isinstance(content.value, dict) and {"images", "annotations"} <= content.value.keys()

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query for each caption."""
        refuse_split(split)
        value = mapping(content.value, "the file")
        names: dict[str, str] = {}
        for where, entry in entries(value.get("images"), "images"):
            image = mapping(entry, where)
            names[media_name(image.get("id"), where)] = media_name(image.get("file_name"), where)
        for where, entry in entries(value.get("annotations"), "annotations"):
            record = mapping(entry, where)
            image_id = media_name(record.get("image_id"), where)
            if image_id not in names:
                raise bad(
                    where, f"is about an image {image_id[:40]!r} that is not among the images"
                )
            yield Query(words(record, "caption", where), (Wanted(names[image_id]),))
