"""Annotations as files: JSON lines or CSV, one annotation a line, out of a library and into one.

    {"media_id": "1f3c...", "content_hash": "...", "path": "/photos/a.jpg", "kind": "tag",
     "text": "beach", "start_s": null, "end_s": null}

Files of others may say ``caption``, ``tags`` and ``people`` instead of kind and text, and name the
media by ``path`` or ``file`` alone. A CSV has the same names in its first line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from mmrag_plugin.annotating import checked
from mmrag_plugin.errors import NotFound, StorageError, UsageError
from mmrag_plugin.ledger_annotations import Annotation, KeptAnnotation
from mmrag_plugin.walking import expand, real_path

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger, MediaRow

FIELDS = ("media_id", "content_hash", "path", "kind", "text", "start_s", "end_s")
MAX_FILE_BYTES = 256 * 2**20
_PATHS = ("path", "file", "file_name", "filename", "image")


def written(kept: Iterable[KeptAnnotation], *, as_csv: bool) -> str:
    """Annotations as the text of a file."""
    records = [
        {
            "media_id": item.media_id,
            "content_hash": item.content_hash,
            "path": item.path,
            **vars(item.annotation),
        }
        for item in kept
    ]
    if not as_csv:
        return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, FIELDS)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue()


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of a file with a name for each; a line that is none is one that says so.

    Raises UsageError for what is neither JSON lines nor CSV, StorageError for what can't be read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than any annotations.", "Split it.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise StorageError(f"{path} can't be read: {error.strerror or error}.") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no text in UTF-8.", "Save it as UTF-8.") from None
    if path.suffix.lower() == ".csv":
        try:
            for number, row in enumerate(csv.DictReader(io.StringIO(text, newline="")), 2):
                yield f"line {number}", {key: value for key, value in row.items() if key}
        except csv.Error as error:
            raise UsageError(f"{path} is no CSV: {error}.") from None
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            yield f"line {number}", record if isinstance(record, dict) else {}


def media_of(ledger: Ledger, record: dict[str, Any]) -> str:
    """The id of the media that a record is about. Raises NotFound."""
    content_hash, media_id = _word(record, "content_hash"), _word(record, "media_id")
    if content_hash:
        same = [
            id for kind in ("image", "video") for id in ledger.media_with_hash(content_hash, kind)
        ]
        if media_id in same or len(same) == 1:
            return media_id if media_id in same else same[0]
    if media_id and ledger.media_rows([media_id]):
        return media_id
    name = next(filter(None, (_word(record, field) for field in _PATHS)), "")
    for path in (name, str(expand(name).absolute()), real_path(expand(name))) if name else ():
        known = ledger.known_files([path])
        if known:
            return known[path].media_id
    same = sorted(ledger.media_ids_called(PurePath(name).name)) if name else []
    if len(same) == 1:
        return same[0]
    what = name or media_id or "it"
    raise NotFound(
        f"{len(same)} media are called {PurePath(name).name!r}."
        if same
        else f"No media of this library is {what[:200]!r}."
    )


def annotations_in(row: MediaRow, record: dict[str, Any]) -> list[Annotation]:
    """The annotations that a record holds. Raises UsageError for one that is none."""
    start_s, end_s = _time(record, "start_s"), _time(record, "end_s")
    kind, text = _word(record, "kind"), _word(record, "text")
    if kind and kind not in ("caption", "tag", "person"):
        raise UsageError(
            f"{kind[:40]!r} is no kind of annotation.", "Write caption, tag or person."
        )
    captions = [text] if text and kind in ("", "caption") else []
    items = checked(
        row,
        [*captions, *_words(record, "caption", "captions")],
        [*([text] if kind == "tag" else []), *_words(record, "tag", "tags", "keywords")],
        [*([text] if kind == "person" else []), *_words(record, "people", "person", "persons")],
        start_s,
        end_s,
    )
    if not items:
        raise UsageError("It says nothing about a media.", f"Write {', '.join(FIELDS)}.")
    return items


def _word(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    return value.strip() if isinstance(value, str) else ""


def _words(record: dict[str, Any], *names: str) -> list[str]:
    found: list[str] = []
    for name in names:
        value = record.get(name)
        items = value if isinstance(value, list) else [value]
        found += [item.strip() for item in items if isinstance(item, str) and item.strip()]
    return found


def _time(record: dict[str, Any], name: str) -> float | None:
    value = record.get(name)
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is no number of seconds: {str(value)[:40]!r}.") from None
