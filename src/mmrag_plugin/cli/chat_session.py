"""One conversation on a terminal or a pipe: messages, commands, answers, and where it is kept."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.cli.console import OutputLost, errors, on_one_line, output, print_json, warn
from mmrag_plugin.cli.finding import lines_of, remember, start_viewer
from mmrag_plugin.cli.hits import print_hits
from mmrag_plugin.cli.streaming import streaming
from mmrag_plugin.conversation_files import checked_name, free_name
from mmrag_plugin.errors import MmragError, NotFound, UsageError
from mmrag_plugin.filters import Filters
from mmrag_plugin.planning.explaining import explained, plan_as_dict
from mmrag_plugin.results import SearchResult
from mmrag_plugin.settings import CONVERSATIONS_FOLDER
from mmrag_plugin.walking import is_there

if TYPE_CHECKING:
    from mmrag_plugin.chat_streams import ChatStream
    from mmrag_plugin.chatting import MediaChatEngine
    from mmrag_plugin.cli.thumbnails import Thumbnails
    from mmrag_plugin.conversation import Conversation, Turn
    from mmrag_plugin.library import MediaLibrary

PROMPT = "> "
HELP = """\
Ask in your own words, and go on from there: "and the one with the dog?", "older", "only videos",
"more like 2", "what does 3 say?", "start over". Commands:
  /sources      all sources of this conversation under their numbers
  /open N       open source N
  /more         the next hits of the last search
  /filters      what the last search was restricted to
  /new          begin a new conversation; this one is kept
  /save NAME    keep this one under a name
  /quit         end (or Ctrl-D); Ctrl-C stops an answer"""


class ChatSession:
    """Takes messages until they end.

    ``name`` is what the conversation is kept under, None for one that is kept under the time of its
    first answer.
    """

    def __init__(
        self,
        library: MediaLibrary,
        engine: MediaChatEngine,
        thumbnails: Thumbnails,
        *,
        name: str | None,
        json: bool,
    ) -> None:
        self._library = library
        self._engine = engine
        self._thumbnails = thumbnails
        self._folder = library.directory / CONVERSATIONS_FOLDER
        self._name = name
        self._json = json
        self._typed = sys.stdin is not None and sys.stdin.isatty()
        self._warned: set[str] = set()
        self._code = 0
        self._commands = {
            "/help": lambda _: self._say(HELP),
            "/sources": lambda _: self._show_sources(),
            "/open": self._open,
            "/more": lambda _: self._more(),
            "/filters": lambda _: self._show_filters(),
            "/new": lambda _: self._begin_anew(),
            "/save": self._save_as,
        }

    def run(self) -> int:
        """Talk. Returns the exit code: of piped messages, that of the first that failed."""
        self._greet()
        for message in self._typed_messages() if self._typed else self._piped_messages():
            command, _, argument = message.partition(" ")
            if command in ("/quit", "/exit"):
                break
            try:
                if command in self._commands:
                    self._commands[command](argument.strip())
                elif command.startswith("/") and "/" not in command[1:]:
                    raise UsageError(f"There is no command {command}.", "/help lists them.")
                else:
                    self._take(message)
            except OutputLost:
                raise
            except MmragError as error:
                self._fail(message, error)
            except KeyboardInterrupt:
                if not self._typed:
                    raise
                errors.print("\n(stopped; nothing of it is kept)", style="dim")
        return 0 if self._typed else self._code

    # ---- messages -----------------------------------------------------------------------------

    def _typed_messages(self) -> Iterator[str]:
        with suppress(ImportError):  # without it there is no history, and the rest works
            import readline

            for turn in self._engine.conversation.turns:
                readline.add_history(turn.message)
        while True:
            try:
                message = input(PROMPT).strip()
            except EOFError:
                output.print()
                return
            except KeyboardInterrupt:
                output.print()
                continue
            if message:
                yield message

    def _piped_messages(self) -> Iterator[str]:
        for line in lines_of(Path("-")):
            if message := line.decode(errors="backslashreplace").strip():
                yield message

    def _take(self, message: str) -> None:
        """Take a turn, and show and keep it."""
        stream = asyncio.run(self._streamed(message))
        conversation = self._engine.conversation
        if not conversation.turns:  # the message was to begin anew
            self._name = None
            self._show_turn_json(message, stream, None)
            return
        turn = conversation.turns[-1]
        self._show_turn_json(message, stream, turn)
        numbers = [*turn.shown, *(number for number in turn.cited if number not in turn.shown)]
        hits = [replace(conversation.sources[number - 1], rank=number) for number in numbers]
        if hits:
            remember(self._library, SearchResult(message, hits))
        if not self._json:
            if hits:
                output.print()
                labelled = [(f"[{hit.rank}]", hit) for hit in hits]
                self._thumbnails.show(output, labelled, self._library.picture_of)
                print_hits(output, hits, cited=True, numbers=numbers)
            self._warn(stream.metadata["warnings"])
        self._keep()

    async def _streamed(self, message: str) -> ChatStream:
        # on an event loop, since Ctrl-C can stop what waits there at once
        stream: ChatStream = await self._engine.astream_chat(message)
        if self._json:
            async for _ in stream.async_response_gen():
                pass
            return stream
        with streaming() as say:
            async for piece in stream.async_response_gen():
                say(piece)
        return stream

    def _show_turn_json(self, message: str, stream: ChatStream, turn: Turn | None) -> None:
        if not self._json:
            return
        sources = self._engine.conversation.sources
        shown = () if turn is None else dict.fromkeys((*turn.shown, *turn.cited))
        plan = None if turn is None else turn.plan
        print_json(
            {
                "message": message,
                "answer": stream.response,
                "sources": [{"number": n, **sources[n - 1].as_dict()} for n in shown],
                "cited": stream.metadata["cited"],
                "plan": plan_as_dict(plan) if plan else None,
                "model": stream.metadata["model"],
                "warnings": stream.metadata["warnings"],
            }
        )

    def _fail(self, message: str, error: MmragError) -> None:
        self._code = self._code or error.exit_code
        if self._json:
            print_json({"message": message, "error": error.as_dict()})
            return
        errors.print(on_one_line(error.message), style="red")
        if error.remedy:
            errors.print(on_one_line(error.remedy))

    # ---- commands -----------------------------------------------------------------------------

    def _show_sources(self) -> None:
        hits = [
            replace(hit, rank=number)
            for number, hit in enumerate(self._engine.conversation.sources, start=1)
        ]
        if self._json:
            print_json({"sources": [{"number": hit.rank, **hit.as_dict()} for hit in hits]})
        elif hits:
            print_hits(output, hits, cited=True)
        else:
            self._say("There is no source yet.")

    def _more(self) -> None:
        if self._engine.conversation.last_plan is None:
            raise UsageError("Nothing has been searched for yet.", "Ask for something first.")
        self._take("more")

    def _open(self, number: str) -> None:
        digits = number.strip("[]#")
        hit = None
        if digits.isascii() and digits.isdecimal() and len(digits) < 5:
            hit = self._engine.conversation.source(int(digits))
        if hit is None:
            raise UsageError(f"There is no source {number or 'without a number'}.", "See /sources.")
        paths = self._library.paths_now([hit.moment.media_id])
        path = paths.get(hit.moment.media_id, hit.path)
        if not is_there(path):
            raise NotFound(
                f"{path} is not there any more.",
                "Mount its drive, or run mmrag index, or mmrag relocate OLD NEW if it moved.",
            )
        start_viewer(path)
        self._say(on_one_line(path))

    def _show_filters(self) -> None:
        plan = self._engine.conversation.last_plan
        lines = [on_one_line(line) for line in explained(plan)] if plan else []
        given = self._engine.filters
        if given != Filters():
            set_ones = {key: value for key, value in vars(given).items() if value}
            lines.append(f"always: {', '.join(f'{k} {v}' for k, v in set_ones.items())}")
        self._say("\n".join(lines) or "Nothing has been searched for yet.")

    def _begin_anew(self) -> None:
        self._engine.reset()
        self._name = None
        self._say("A new conversation.")

    def _save_as(self, name: str) -> None:
        name = checked_name(name)
        path = self._folder / f"{name}.json"
        if name != self._name and path.exists():
            raise UsageError(f"There is a conversation {name!r} already.", "Take another name.")
        self._engine.save(path)
        if self._name not in (None, name):
            (self._folder / f"{self._name}.json").unlink(missing_ok=True)
        self._name = name
        self._say(f"Kept as {name}: mmrag chat --resume {shlex.quote(name)}")

    # ---- keeping ------------------------------------------------------------------------------

    def _keep(self) -> None:
        if self._name is None:
            self._name = free_name(self._folder, f"{datetime.now().astimezone():%Y-%m-%d %H.%M}")
        try:
            self._engine.save(self._folder / f"{self._name}.json")
        except MmragError as error:  # a full disk must not take the answer away
            self._warn([str(error)])

    def _greet(self) -> None:
        conversation = self._engine.conversation
        gone = _gone(conversation)
        if gone:
            self._warn(
                [f"{gone} of {len(conversation.sources)} sources are gone; they have words only."]
            )
        if not self._typed or self._json:
            return
        settings = self._library.settings
        begins = f"Going on with {self._name}" if self._name else "A new conversation"
        self._say(
            on_one_line(
                f"{begins}, library {settings.library}, model {settings.vlm}. /help, or ask."
            )
        )
        if conversation.turns:
            last = conversation.turns[-1]
            output.print(f"{PROMPT}{on_one_line(last.message)}", style="dim")
            output.print(last.answer, style="dim", soft_wrap=True)

    def _say(self, text: str) -> None:
        if self._json:
            print_json({"note": text})
        else:
            output.print(text, soft_wrap=True)

    def _warn(self, warnings: list[Any]) -> None:
        """Say what was not said before in this conversation."""
        new = [text for text in dict.fromkeys(map(str, warnings)) if text not in self._warned]
        self._warned.update(new)
        warn(new)


def _gone(conversation: Conversation) -> int:
    return sum(not is_there(hit.path) for hit in conversation.sources)
