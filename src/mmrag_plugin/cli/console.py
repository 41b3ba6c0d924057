"""Where output goes: results to stdout, progress, warnings and errors to stderr."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from mmrag_plugin.errors import StorageError

# What a terminal obeys, and what ends a line for one program or another
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROLS_IN_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a text has lines and tabs
_CONTROLS_IN_JSON = re.compile(r"[\x7f-\x9f\u2028\u2029]")  # JSON escapes the others itself


class OutputLost(StorageError):
    """Results can't be written where they should go."""


class SafeConsole(Console):
    r"""Shows what comes out of names, media and models, and obeys none of it.

    Control characters are spelled out, wherever they stand: ``\x1b``. Brackets and colons are no
    markup.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with control characters spelled out in all that is no control of our own."""
        for segment in super().render(renderable, options):
            if segment.control or not _CONTROLS_IN_TEXT.search(segment.text):
                yield segment
            else:
                yield Segment(_CONTROLS_IN_TEXT.sub(_spelled, segment.text), segment.style)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print. Raises OutputLost where stdout can't be written; stderr is done without."""
        try:
            with _writing(self.file):
                super().print(*objects, **options)
        except OutputLost:
            self.quiet = True
            if not self.stderr:
                raise

    def on_broken_pipe(self) -> None:
        """End without complaint: whoever reads the results has had enough of them."""
        self.quiet = True
        if not self.stderr:
            _discard(self.file)
            raise SystemExit(0)


output = SafeConsole()
errors = SafeConsole(stderr=True)


def on_one_line(name: object) -> str:
    """A name, or a sentence with names in it, that a line break inside can't split."""
    return _CONTROLS.sub(_spelled, str(name))


def print_json(value: Any, *, to: IO[str] | None = None) -> None:
    """Print one JSON object on one line; escaped where stdout can't show all of its characters."""
    to = to or sys.stdout
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode(getattr(to, "encoding", None) or "utf-8")
    except UnicodeError:
        text = json.dumps(value)
    text = _CONTROLS_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    with _writing(to):
        print(text, flush=True, file=to)


def warn(warnings: list[str]) -> None:
    """Say what a person should know besides the result."""
    for warning in warnings:
        errors.print(f"note: {on_one_line(warning)}", style="yellow")


def milvus_words(found: dict[str, Any]) -> str:
    """Say which Milvus is in use and what it can't do."""
    where = "embedded" if found["embedded"] else f"at {found['address']}"
    off = ", ".join(found["turned_off"])
    return f"{found['version']}, {where}" + (f"; turned off: {off}" if off else "")


def kept_words(found: dict[str, Any]) -> str:
    """Say what the process that keeps models loaded holds, and for how long."""
    names = ", ".join(found["models"]) or "nothing yet"
    size = f", {found['memory_bytes'] >> 20} MB" if found["memory_bytes"] else ""
    return f"{names}{size}, process {found['pid']}, which leaves in {found['leaves_in_s']} s"


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


@contextmanager
def _writing(stream: IO[str]) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _discard(stream)
        raise SystemExit(0) from None
    except OSError as error:
        _discard(stream)
        raise OutputLost(
            f"The output can't be written: {error.strerror or error}.",
            "Free some space, or send it elsewhere.",
        ) from None


def _discard(stream: IO[str]) -> None:
    """Let what is still to be written go nowhere: Python would complain of it at its end."""
    with suppress(OSError, ValueError):  # not every stream is a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
