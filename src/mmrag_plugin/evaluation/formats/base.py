"""The seam of the formats: what a file holds, and how its queries are told apart from bad input."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from mmrag_plugin.errors import UsageError

MAX_QUERY_CHARS = 2000
MAX_NAME_CHARS = 4096
MAX_TIME_S = 10**7  # four months: longer than any film


@dataclass(frozen=True)
class Wanted:
    """What answers a query: a media, or a span of one in seconds; ``grade`` is how well, from 1 up.

    ``media`` is a media id, a path, a file's name, or that name without its suffix.
    """

    media: str
    start_s: float | None = None
    end_s: float | None = None
    grade: int = 1


@dataclass(frozen=True)
class Query:
    """A question with what answers it; where ``wanted`` is empty nothing does."""

    text: str
    wanted: tuple[Wanted, ...]


@dataclass(frozen=True)
class Content:
    """What stands in a file, read in each of the ways that the formats need."""

    name: str
    text: str

    @cached_property
    def value(self) -> Any:
        """The file as one JSON value; None where it is none."""
        return _loaded(self.text)

    @cached_property
    def lines(self) -> list[tuple[int, str]]:
        """The lines that are not empty, with their numbers."""
        return [(at, line) for at, line in enumerate(self.text.split("\n"), 1) if line.strip()]

    @cached_property
    def first(self) -> Any:
        """The first line as a JSON value; None where it is none."""
        return _loaded(self.lines[0][1]) if self.lines else None

    def records(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The objects of JSON lines, each with a name for messages. Raises UsageError."""
        for at, line in self.lines:
            yield f"line {at}", mapping(_loaded(line), f"line {at}")

    def table(self) -> Iterator[tuple[str, dict[str, str]]]:
        """The rows of a CSV by its first line, each with a name for messages. Raises UsageError."""
        try:
            for row in (reader := csv.DictReader(io.StringIO(self.text, newline=""))):
                cells = {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
                yield f"line {reader.line_num}", cells
        except csv.Error as error:
            raise bad("the table", f"is no CSV: {error}") from None

    @property
    def header(self) -> list[str]:
        """The cells of the first line, as those of a CSV."""
        if not self.lines:
            return []
        try:
            return next(csv.reader([self.lines[0][1].strip()]), [])
        except csv.Error:
            return []


class SetFormat(ABC):
    """One format. ``split`` names a part of a data set, where the format has such."""

    name: ClassVar[str]

    @abstractmethod
    def recognises(self, content: Content) -> bool:
        """Whether a file looks like this format; its errors are found in reading."""

    @abstractmethod
    def queries(self, content: Content, split: str | None = None) -> Iterator[Query]:
        """The queries in the order of the file. Raises UsageError for what is no such file."""


def bad(where: str, what: str) -> UsageError:
    """The error for an entry that makes no sense."""
    return UsageError(f"The set of queries is not sound: {where} {what}.", "Mend it there.")


def refuse_split(split: str | None) -> None:
    """Of a format without splits none can be named. Raises UsageError."""
    if split is not None:
        raise bad("it", f"has no splits, so no {split!r} either")


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A JSON object. Raises UsageError."""
    if not isinstance(value, dict):
        raise bad(where, "is no JSON object")
    return value


def entries(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    """The entries of a JSON list, each with a name for messages. Raises UsageError."""
    if not isinstance(value, list):
        raise bad(where, "is no list")
    return ((f"{where}, entry {number}", entry) for number, entry in enumerate(value, 1))


def words(record: Mapping[str, Any], key: str, where: str) -> str:
    """A text to ask with, on one line; empty where it is. Raises UsageError for what is no text."""
    value = record.get(key)
    if not isinstance(value, str):
        raise bad(where, f"has no text {key!r}")
    if len(value) > MAX_QUERY_CHARS:
        raise bad(where, f"has a {key!r} of more than {MAX_QUERY_CHARS} characters")
    return _sound(" ".join(value.split()))


def media_name(value: Any, where: str) -> str:
    """The name of a media; numbers are names too. Raises UsageError."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_CHARS:
        raise bad(where, "names no media")
    return _sound(value.strip())


def span(start: Any, end: Any, where: str) -> tuple[float, float]:
    """A span in seconds. Raises UsageError for one that is none."""
    times = [
        float(time)
        for time in (start, end)
        if isinstance(time, (int, float)) and not isinstance(time, bool) and abs(time) < MAX_TIME_S
    ]
    if len(times) < 2 or not all(map(math.isfinite, times)) or not 0 <= times[0] < times[1]:
        raise bad(where, f"has no span of time: {str(start)[:20]} to {str(end)[:20]}")
    return times[0], times[1]


def _sound(text: str) -> str:
    """A text without half characters, on which encoders fail."""
    return text.encode("utf-8", "replace").decode()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
