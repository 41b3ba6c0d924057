"""Sets of queries: read from files of several formats, and found again in a library."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from mmrag_plugin.errors import NotFound, StorageError, UsageError
from mmrag_plugin.evaluation.formats.base import Content, Query, SetFormat, Wanted
from mmrag_plugin.evaluation.formats.captions import Captions
from mmrag_plugin.evaluation.formats.coco import Coco
from mmrag_plugin.evaluation.formats.didemo import DiDeMo
from mmrag_plugin.evaluation.formats.karpathy import Karpathy
from mmrag_plugin.evaluation.formats.msrvtt import MsrVtt
from mmrag_plugin.evaluation.formats.own import OwnLines
from mmrag_plugin.evaluation.formats.qvhighlights import QvHighlights

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

__all__ = ["FORMATS", "Asked", "AskedSet", "Query", "QuerySet", "Span", "Wanted", "read_set"]

OWN = "own"  # what stands for the format of a set of a library's own annotations
MAX_FILE_BYTES = 512 * 2**20
_SHOWN = 3  # names of unknown media in a note
# In the order of asking: what looks like the first is not taken for one of the others.
FORMATS: tuple[SetFormat, ...] = (
    QvHighlights(),
    OwnLines(),
    Karpathy(),
    Coco(),
    MsrVtt(),
    DiDeMo(),
    Captions(),
)

Span = tuple[float, float]  # seconds


@dataclass(frozen=True)
class QuerySet:
    """Queries as a file tells them, each text once; ``notes`` say what was made of the rest."""

    name: str
    format: str
    queries: tuple[Query, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A query whose media were found in a library.

    ``relevant`` maps a media id to its grade, ``spans`` to the spans of it that answer the query,
    where only some do. A query that nothing answers has neither.
    """

    id: str
    text: str
    relevant: Mapping[str, int]
    spans: Mapping[str, tuple[Span, ...]]


@dataclass(frozen=True)
class AskedSet:
    """The queries of a set that a library can be asked, and what should be known about the rest."""

    name: str
    format: str
    queries: tuple[Asked, ...]
    notes: tuple[str, ...] = ()

    @property
    def answered(self) -> tuple[Asked, ...]:
        """The queries that something in the library answers."""
        return tuple(query for query in self.queries if query.relevant)

    @property
    def digest(self) -> str:
        """What is equal for the same queries with as many answers, in any order and library."""
        lines = sorted(
            f"{query.id} {len(query.relevant)} {sorted(query.spans.values())}"
            for query in self.queries
        )
        return hashlib.blake2b("\n".join(lines).encode(), digest_size=8).hexdigest()

    def some(self, count: int | None, seed: int = 0) -> AskedSet:
        """So many of the queries, drawn by a seed; all of them for None."""
        if count is None or count >= len(self.queries):
            return self
        chosen = set(random.Random(seed).sample(range(len(self.queries)), count))  # noqa: S311
        kept = tuple(query for number, query in enumerate(self.queries) if number in chosen)
        note = f"{count} of {len(self.queries)} queries were drawn (seed {seed})."
        return replace(self, queries=kept, notes=(*self.notes, note))

    def split(self, share: float = 0.5, seed: int = 0) -> tuple[AskedSet, AskedSet]:
        """Part the set in two, by media: no media answers queries of both.

        Queries that share media stay together; those without an answer are drawn one by one. The
        first part gets about ``share`` of the queries. Raises UsageError where all hang together.
        """
        groups = _hanging_together(self.queries)
        random.Random(seed).shuffle(groups)  # noqa: S311
        first, rest = list[Asked](), list[Asked]()
        for group in groups:
            wanted = share * len(self.queries)
            (first if len(first) + len(group) / 2 <= wanted else rest).extend(group)
        if not first or not rest:
            raise UsageError(
                "The queries can't be parted: all of them are answered by the same media.",
                "Take queries about more media.",
            )
        return replace(self, queries=tuple(first)), replace(self, queries=tuple(rest))


def read_set(path: Path, format: str | None = None, split: str | None = None) -> QuerySet:
    """Read a file with queries; its format is told by what stands in it, unless it is named.

    Raises UsageError for a file that is none or has no queries, StorageError for one that can't be
    read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than any set of queries.", "Split it.")
        content = Content(path.name, path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8.", "Save it as UTF-8.") from None
    chosen = _format_of(content, format)
    return queries_once(path.name, chosen.name, chosen.queries(content, split))


def queries_once(name: str, format: str, queries: Iterable[Query]) -> QuerySet:
    """Make a set of queries: each text once, with all that answers it. Raises UsageError."""
    wanted: dict[str, dict[Wanted, None]] = {}
    texts: dict[str, str] = {}
    empty = same = 0
    for query in queries:
        folded = query.text.casefold().rstrip(" .")
        if not folded:
            empty += 1
            continue
        same += folded in texts
        texts.setdefault(folded, query.text)
        wanted.setdefault(folded, {}).update(dict.fromkeys(query.wanted))
    if not texts:
        raise UsageError(f"{name} has no queries in it.", "Name a file that has some.")
    notes = []
    if empty:
        notes.append(f"{empty} empty queries were left out.")
    if same:
        notes.append(f"{same} queries say the same as others: what answers one answers all.")
    found = (Query(texts[folded], tuple(wanted[folded])) for folded in texts)
    return QuerySet(name, format, tuple(found), tuple(notes))


def asked_of(ledger: Ledger, queries: QuerySet) -> AskedSet:
    """Find the media of a set in a library.

    A query whose media are all unknown is left out and counted: what isn't there can't be found.
    Raises NotFound where that holds of every query.
    """
    names = _Names(ledger)
    asked: list[Asked] = []
    unknown: dict[str, None] = {}
    lost = 0
    for query in queries.queries:
        relevant: dict[str, int] = {}
        spans: dict[str, tuple[Span, ...]] = {}
        for item in query.wanted:
            media_id = names.media_of(item.media)
            if media_id is None:
                unknown[item.media] = None
                continue
            relevant[media_id] = max(item.grade, relevant.get(media_id, 0))
            if item.start_s is not None and item.end_s is not None:
                spans[media_id] = (*spans.get(media_id, ()), (item.start_s, item.end_s))
        if relevant or not query.wanted:
            asked.append(Asked(query_id(query.text), query.text, relevant, spans))
        else:
            lost += 1
    notes = [*queries.notes, *_notes(asked, list(unknown), lost, len(names))]
    if not any(query.relevant for query in asked) and unknown:
        raise NotFound(
            f"Nothing that {queries.name} asks for is in this library: {_some(list(unknown))}.",
            "Index the folder with its media first, or name the set of this library.",
        )
    return AskedSet(queries.name, queries.format, tuple(asked), tuple(notes))


def query_id(text: str) -> str:
    """The id of a query, which is the same in every run: made of its text."""
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _notes(asked: Sequence[Asked], unknown: Sequence[str], lost: int, media: int) -> list[str]:
    notes = []
    if unknown:
        notes.append(
            f"{len(unknown)} media of the set are not in the library ({_some(unknown)}); "
            f"{lost} queries about nothing else were left out."
        )
    all_right = sum(len(query.relevant) == media for query in asked)
    if all_right and media > 1:
        notes.append(f"{all_right} queries are answered by every media: no search can miss them.")
    return notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:_SHOWN]) + ", …" * (len(names) > _SHOWN)


class _Names:
    """Finds media by what sets call them; a name that several media have is none."""

    def __init__(self, ledger: Ledger) -> None:
        self._ids = list(ledger.media_rows())
        self._by_name: dict[str, set[str]] = {}
        self._paths = ledger.paths_of(self._ids)
        for media_id, paths in self._paths.items():
            for path in map(PurePath, paths):
                for name in (str(path), path.name, path.stem):
                    self._by_name.setdefault(name, set()).add(media_id)
        self._known = set(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def media_of(self, name: str) -> str | None:
        if name in self._known:
            return name
        found = self._by_name.get(name) or self._by_name.get(PurePath(name).name, set())
        if len(found) > 1:  # a name in several folders: the path may tell
            end = f"/{name.lstrip('/')}"
            found = {
                media_id
                for media_id in found
                if any(path.endswith(end) for path in self._paths[media_id])
            }
        return next(iter(found)) if len(found) == 1 else None


def _format_of(content: Content, named: str | None) -> SetFormat:
    known = ", ".join(format.name for format in FORMATS)
    if named is not None:
        for format in FORMATS:
            if format.name == named:
                return format
        raise UsageError(f"There is no format {named!r}.", f"Choose among {known}.")
    for format in FORMATS:
        if format.recognises(content):
            return format
    raise UsageError(
        f"{content.name} is in no known format.", f"Known are {known}: docs/quality.md."
    )


def _hanging_together(queries: Sequence[Asked]) -> list[list[Asked]]:
    """Queries in groups that share no media, in the order of their first query."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    for query in queries:
        own = root(f"query {query.id}")
        for media_id in query.relevant:
            parent[root(media_id)] = own
            own = root(own)
    groups: dict[str, list[Asked]] = {}
    for query in queries:
        groups.setdefault(root(f"query {query.id}"), []).append(query)
    return list(groups.values())
