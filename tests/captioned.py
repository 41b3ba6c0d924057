"""Captions in tests: an Ollama double that captions by the pixels, and what was asked of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import PIL.Image

from media_made import opened
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import Signal
from mmrag_plugin.vlm.fake import main_colour, say_what_is_seen
from ollama_double import Model, OllamaDouble

Asked = dict[str, Any]


class Captioning(OllamaDouble):
    """Captions what it sees as "a red wall", and says whether a caption names the right colour.

    ``instead`` may answer for some pictures: by text, or by raising Refused; None: as ever.
    """

    def __init__(self, *models: str) -> None:
        super().__init__({name: Model() for name in models or ("eye",)})
        self.instead: Callable[[Asked, str], str | None] = lambda body, colour: None
        self.says = self._says

    def _says(self, body: Asked, pictures: list[PIL.Image.Image]) -> str:
        wanted = (body.get("format") or {}).get("properties", {})
        colour = main_colour(pictures[0]) if pictures else ""
        if wanted.keys() & {"caption", "is_true"} and (other := self.instead(body, colour)):
            return other
        if "caption" in wanted:
            return caption_json(f"a {colour} wall")
        if "is_true" in wanted:
            named = re.search(rf"\b{colour}\b", texts_of(body)) is not None
            return json.dumps({"is_true": named, "wrong": "" if named else f"it is {colour}"})
        return say_what_is_seen(pictures)

    def asked(self, what: str = "caption") -> list[Asked]:
        """The requests for captions, or for ``is_true``."""
        return [c for c in self.chats if what in (c.get("format") or {}).get("properties", {})]


def caption_json(caption: str, **more: Any) -> str:
    return json.dumps(
        {
            "caption": caption,
            "objects": ["wall"],
            "setting": "indoors",
            "text_seen": "",
            "people_count": 0,
            **more,
        }
    )


def texts_of(body: Asked) -> str:
    return "\n".join(message.get("content") or "" for message in body["messages"])


def captioning(home: Path, ollama: OllamaDouble, which: str = "new", **flags: Any) -> Any:
    """Open a library that captions with the double."""
    return opened(home, captions=which, vlm="eye", ollama_host=ollama.url, **flags)


def captions_in(library: MediaLibrary) -> dict[str, list[Signal]]:
    """The captions of each file, by its name."""
    rows = library.ledger.media_rows()
    return {
        Path(rows[media_id].path).name: [signal for stage, signal in found if stage == "caption"]
        for media_id, found in library.ledger.signals_of(list(rows)).items()
    }


def texts_in(library: MediaLibrary) -> dict[str, list[str]]:
    """The words of the captions of each file, by its name."""
    return {name: [s.text for s in found] for name, found in captions_in(library).items() if found}


def sentences(found: Sequence[Signal]) -> list[str]:
    return [signal.text.splitlines()[0] for signal in found]
