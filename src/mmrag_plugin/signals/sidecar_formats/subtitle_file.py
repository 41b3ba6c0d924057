"""``film.srt``, ``film.vtt`` or ``film.en.srt``: what is said in a film, and when."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mmrag_plugin.media import kind_of
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats.base import (
    MediaNames,
    SidecarFormat,
    Statement,
    without_ending,
)
from mmrag_plugin.signals.subtitles import parse_subtitles

# A language (BCP 47) or what players and downloaders add to it: film.pt-BR.srt, film.en.sdh.srt
_TAG = re.compile(r"\.(?:[a-z]{2,3}(?:-[a-z0-9]{2,8}){0,2}|forced|default|orig)$", re.I)


class SubtitleFile(SidecarFormat):
    """Subtitles of the film of the same name."""

    name = "subtitles"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str]:
        """Match ``NAME.srt`` and ``NAME.LANGUAGE.srt`` with films, never with photos."""
        base = without_ending(sidecar_name, ".srt", ".vtt") or ""
        for _ in range(3):
            if films := {name for name in media.named(base) if kind_of(name) == "video"}:
                return frozenset(films)
            base = _TAG.sub("", base)
        return frozenset()

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield one signal per cue, with its times."""
        text = decode_text(data)
        cues = parse_subtitles(text)
        if not cues and not text.lstrip("\ufeff").startswith("WEBVTT") and text.strip():
            raise ValueError("it holds no line with times such as 00:00:01,000 --> 00:00:04,000")
        for cue in cues:
            yield None, cue
