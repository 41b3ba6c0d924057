"""MSR-VTT: sentences about whole clips, as its JSON or as the table of the 1k-A test part.

The JSON has ``videos`` (``video_id``, ``split``) and ``sentences`` (``video_id``, ``caption``), the
table ``key,vid_key,video_id,sentence``. Clips are files called ``video7010.mp4`` or so.
"""

from __future__ import annotations

from collections.abc import Iterator

from mmrag_plugin.evaluation.formats.base import (
    Content,
    Query,
    SetFormat,
    Wanted,
    entries,
    mapping,
    media_name,
    refuse_split,
    words,
)


class MsrVtt(SetFormat):
    """Sentences, each with its ``video_id``."""

    name = "msrvtt"

    def recognises(self, content: Content) -> bool:
        """Whether it has sentences about videos, or a table of them."""
        value = content.value
        return _is_table(content) or (
            isinstance(value, dict) and {"videos", "sentences"} <= {*value}
        )

    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """A query for each sentence, of a split where one is named."""
        if _is_table(content):
            refuse_split(split)
            for where, row in content.table():
                video = Wanted(media_name(row.get("video_id"), where))
                yield Query(words(row, "sentence", where), (video,))
            return
        value = mapping(content.value, "the file")
        chosen = set[str]()
        for where, entry in entries(value.get("videos"), "videos"):
            video_facts = mapping(entry, where)
            if split is None or video_facts.get("split") == split:
                chosen.add(media_name(video_facts.get("video_id"), where))
        for where, entry in entries(value.get("sentences"), "sentences"):
            record = mapping(entry, where)
            name = media_name(record.get("video_id"), where)
            if name in chosen:
                yield Query(words(record, "caption", where), (Wanted(name),))


def _is_table(content: Content) -> bool:
    return {"video_id", "sentence"} <= {cell.strip() for cell in content.header}
