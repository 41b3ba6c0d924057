"""The conversations of the page: one chat engine each, told piece by piece as JSON lines."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MmragError, UsageError
from mmrag_plugin.gallery import contents
from mmrag_plugin.settings import CONVERSATIONS_FOLDER

if TYPE_CHECKING:
    from mmrag_plugin.chatting import MediaChatEngine
    from mmrag_plugin.library import MediaLibrary
    from mmrag_plugin.media import Hit

MAX_TALKS = 8  # at once; the one that rested longest goes, and is kept on disk
MAX_CHARS = 4_000  # of a message

_log = logging.getLogger("mmrag.gallery")


@dataclass
class Talk:
    """A conversation at work; ``name`` is what it is kept under, None before its first answer."""

    engine: MediaChatEngine
    name: str | None = None


class Talks:
    """Takes messages of the page's conversations; answers are kept as `mmrag chat` keeps them."""

    def __init__(self, library: MediaLibrary) -> None:
        self._library = library
        self._talks: OrderedDict[str, Talk] = OrderedDict()
        self._folder: Path = library.directory / CONVERSATIONS_FOLDER

    async def answer(
        self, talk_id: str, message: str, about: Hit | None = None
    ) -> AsyncIterator[str]:
        """Take a turn; yields JSON lines: ``piece``s of text, then ``end``, or ``error``."""
        try:
            if not message.strip() or len(message) > MAX_CHARS:
                raise UsageError(
                    f"A message has 1 to {MAX_CHARS} characters.", "Say it in fewer words."
                )
            talk = await asyncio.to_thread(self._talk, talk_id)
            if about is not None:
                message = f"{message.strip()} (about [{talk.engine.point_at(about)}])"
            stream = await talk.engine.astream_chat(message)
            pieces = stream.async_response_gen()
            try:
                async for piece in pieces:
                    yield _line(type="piece", text=piece)
            finally:
                await pieces.aclose()  # whoever stops listening takes the turn back
            told = await asyncio.to_thread(self._told, talk, stream.metadata)
            yield _line(type="end", answer=stream.response, **told)
        except MmragError as error:
            yield _line(type="error", error=error.as_dict())
        except Exception:
            _log.exception("A conversation of the gallery broke.")
            error_dict = {
                "kind": "error",
                "message": "Something unexpected happened.",
                "remedy": "The terminal in which mmrag browse runs says more.",
            }
            yield _line(type="error", error=error_dict)

    def _talk(self, talk_id: str) -> Talk:
        if talk_id not in self._talks:
            self._talks[talk_id] = Talk(self._library.as_chat_engine())
            while len(self._talks) > MAX_TALKS:
                self._talks.popitem(last=False)
        self._talks.move_to_end(talk_id)
        return self._talks[talk_id]

    def _told(self, talk: Talk, metadata: dict[str, Any]) -> dict[str, Any]:
        """What stands beside an answer: its sources under their numbers, and notes."""
        conversation = talk.engine.conversation
        turn = conversation.turns[-1] if conversation.turns else None
        numbers = [] if turn is None else list(dict.fromkeys((*turn.cited, *turn.shown)))
        shown = contents.hits(self._library, [conversation.sources[n - 1] for n in numbers])
        self._keep(talk)
        return {
            "sources": [
                {"number": number, **hit} for number, hit in zip(numbers, shown, strict=True)
            ],
            "cited": list(metadata["cited"]),
            "model": metadata["model"],
            "warnings": list(metadata["warnings"]),
        }

    def _keep(self, talk: Talk) -> None:
        from mmrag_plugin.conversation_files import free_name

        if not talk.engine.conversation.turns:
            talk.name = None
            return
        if talk.name is None:
            talk.name = free_name(self._folder, f"{datetime.now().astimezone():%Y-%m-%d %H.%M}")
        with suppress(MmragError):  # a full disk must not take the answer away
            talk.engine.save(self._folder / f"{talk.name}.json")


def _line(**told: Any) -> str:
    return json.dumps(told) + "\n"
