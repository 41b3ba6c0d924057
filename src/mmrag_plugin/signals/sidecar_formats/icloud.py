"""The tables of an iCloud export: ``Photo Details.csv`` beside photos, ``Albums/*.csv``.

An export comes in parts, ``iCloud Photos Part 1 of 3``, and an album may stand in another part than
its photos.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mmrag_plugin.dates import dated, iso_date
from mmrag_plugin.media import Signal
from mmrag_plugin.signals.annotations import field_name
from mmrag_plugin.signals.sidecar_formats.base import Said

DATE_FIELD = "originalcreationdate"
LABELS = {"Albums": "Album", "Shared Albums": "Album", "Memories": "Memory"}  # of folders
_DETAILS = re.compile(r"photo details(-\d{1,4})?\.csv", re.IGNORECASE)
_PART = re.compile(r"(.* Part )\d{1,3}( of )(\d{1,3})", re.ASCII)
_MAX_PARTS = 100
_MONTHS = (
    "january february march april may june july august september october november december"
).split()
# Friday October 06,2023 12:11 PM GMT
_DATE = re.compile(
    r"(?:\w+,? )?(\w+) (\d{1,2}), ?(\d{4}) (\d{1,2}):(\d{2})(?::(\d{2}))?[ \u202f]?([AP])M GMT",
    re.ASCII | re.IGNORECASE,
)
_FLAGS = {"favorite": "favorite", "hidden": "hidden", "deleted": "trashed"}


def album_folders(folder: Path, names: Iterable[str]) -> list[Path]:
    """Where the albums of a folder of photos may be listed; nowhere outside an export."""
    if not any(_DETAILS.fullmatch(name) for name in names):
        return []
    export = folder.parent
    places = [export]
    if part := _PART.fullmatch(export.name):
        parts = range(1, min(int(part[3]), _MAX_PARTS) + 1)
        places = [export.with_name(f"{part[1]}{number}{part[2]}{part[3]}") for number in parts]
    return [place / name for place in places for name in LABELS]


def facts_of(record: Mapping[str, object]) -> Iterator[Said]:
    """Yield the date and the flags of one line of ``Photo Details.csv``."""
    fields = {field_name(name): value for name, value in record.items()}
    written = fields.get(DATE_FIELD)
    if not isinstance(written, str):
        return
    yield from dated(_iso(written), "icloud")
    for name, word in _FLAGS.items():
        if str(fields.get(name)).strip().lower() == "yes":
            yield Signal("exif", word)


def _iso(written: str) -> str | None:
    match = _DATE.fullmatch(written.strip())
    if not match or match[1].lower() not in _MONTHS or not 1 <= int(match[4]) <= 12:
        return None
    month, hour = _MONTHS.index(match[1].lower()) + 1, int(match[4]) % 12
    hour += 12 * (match[7] in "pP")
    return iso_date(
        f"{match[3]}-{month:02}-{match[2]} {hour:02}:{match[5]}:{match[6] or '00'}", "+00:00"
    )
