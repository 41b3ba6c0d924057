"""What mmrag logs: one hierarchy of loggers, ``mmrag``, for people or as JSON lines.

A message is a fixed sentence; what differs goes into ``extra``, as ids and numbers. Names of files,
questions and texts out of media are not logged. Nothing goes to stdout, which belongs to results
and to MCP. Programs that use mmrag as a library set up logging as they like; ``set_up`` is for our
own.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin import tracing
from mmrag_plugin.errors import StorageError

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
FILE_BYTES, FILES = 5_000_000, 3

# Whose end is news; all other spans are told at the level of debug
_NEWS = frozenset({"index", "question", "answer", "turn", "tool", "warm", "rerank"})
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What a terminal obeys, and what ends a line
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

_log = logging.getLogger("mmrag")


def set_up(
    level: str = "warning",
    form: str = "text",
    file: Path | None = None,
    *,
    program: str = "mmrag",
    others: bool = False,
) -> None:
    """Log to stderr from a level on, and to a file if one is given; again replaces what was so.

    ``others`` logs warnings of other libraries in the same way. Raises StorageError for a file that
    can't be written.
    """
    number = logging.getLevelName(level.upper())
    formatter: logging.Formatter = JsonLines() if form == "json" else PlainLines(program)
    handlers: list[logging.Handler] = [_Stderr()]
    if file is not None:
        handlers.append(_file(file))
    root = logging.getLogger()
    for log in (_log, root):
        for handler in list(log.handlers):
            if isinstance(handler, _Stderr | _RotatingFile):
                log.removeHandler(handler)
                handler.close()
    for handler in handlers:
        handler.setFormatter(formatter)
        _log.addHandler(handler)
    _log.setLevel(number)
    if others:
        handler = _Stderr()
        handler.setFormatter(formatter)
        handler.addFilter(lambda record: record.name.partition(".")[0] != _log.name)
        root.addHandler(handler)
    if number <= logging.INFO:
        tracing.listen(_SPANS)
    else:
        tracing.stop_listening(_SPANS)


def from_environment(verbose: int = 0) -> tuple[str, str]:
    """Level and form as the environment has them; what is no level is for the settings to refuse.

    ``verbose`` is how often ``-v`` was given: news, and with two of them everything.
    """
    level = os.environ.get("MMRAG_LOG", "").lower()
    form = os.environ.get("MMRAG_LOG_FORMAT", "").lower()
    if verbose:
        level = "info" if verbose == 1 else "debug"
    return level if level in LEVELS else "warning", form if form in FORMATS else "text"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, event, what it is about, and its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            "process": record.process,
            **_fields(record),
            **_trace(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            told["error"] = record.exc_info[0].__name__
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=True, default=str)


class PlainLines(logging.Formatter):
    """One line for people, with nothing in it that drives a terminal."""

    def __init__(self, program: str) -> None:
        super().__init__(f"{program}: %(levelname)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record down."""
        text = super().format(record)
        if fields := _fields(record):
            said = ", ".join(f"{name}={value}" for name, value in fields.items())
            first, line_break, rest = text.partition("\n")
            text = f"{first} ({said}){line_break}{rest}"
        lines = text.split("\n") if record.exc_info else [text]  # a traceback has lines
        return "\n".join(_CONTROLS.sub(_spelled, line) for line in lines)


if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[Any]
else:  # Python 3.10 has no subscript for it
    _StreamHandler = logging.StreamHandler


class _Stderr(_StreamHandler):
    """Writes to what is stderr at the moment: progress bars put themselves in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do without a terminal that has gone."""


class _RotatingFile(logging.handlers.RotatingFileHandler):
    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do without a disk that is full."""


class SpanLog:
    """Logs spans when they end: what is news as such, the rest for whoever looks for faults."""

    def begin(self, span: tracing.Span) -> None:
        """Tell that a run of indexing begins; all else is told when it ends."""
        if span.name == "index":
            _log.getChild("index").info("index began")

    def enter(self, span: tracing.Span) -> None:
        """Nothing is logged of it."""

    def leave(self, span: tracing.Span) -> None:
        """Nothing is logged of it."""

    def end(self, span: tracing.Span) -> None:
        """Tell what ended, how long it took, and what it says of itself."""
        first, _, rest = span.name.partition(".")
        is_news = span.name in _NEWS or (first == "index" and "." not in rest)
        level = logging.INFO if is_news else logging.DEBUG
        log = _log.getChild(first)
        if not log.isEnabledFor(level):
            return
        fields: dict[str, Any] = dict(_safe(span.attributes))
        if first == "index" and rest:
            fields["stage"] = rest
        fields["duration_s"] = round(span.duration_s, 4)
        if span.error is not None:
            fields["error"] = getattr(span.error, "kind", type(span.error).__name__)
            if tracing.tells_content():
                fields["reason"] = str(span.error)
        log.log(level, "%s ended", span.name, extra=fields)


_SPANS = SpanLog()


def _file(path: Path) -> _RotatingFile:
    try:
        handler = _RotatingFile(path, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8")
        with suppress(OSError):
            path.chmod(0o600)
    except OSError as error:
        raise StorageError(
            f"The log {path} can't be written: {error.strerror or error}.",
            "Mend MMRAG_LOG_FILE, or leave it out.",
        ) from None
    return handler


def _safe(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Fields whose names a record does not have for itself."""
    for name, value in fields.items():
        yield (f"{name}_" if name in _STANDARD else name), value


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """What we said with a message; other libraries put names of their own into every record."""
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and not name.startswith("_")
    }


def _trace() -> dict[str, str]:
    """The trace that the line belongs to, where OpenTelemetry knows of one."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": format(context.trace_id, "032x"),
        "span_id": format(context.span_id, "016x"),
    }


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
