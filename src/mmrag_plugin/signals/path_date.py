"""The date that a camera, a program or a person put into the name of a file."""

from __future__ import annotations

import re
from pathlib import PurePath

from mmrag_plugin.dates import iso_date

_DAY = r"((?:19|20)\d\d)[-_. ]?(0[1-9]|1[0-2])[-_. ]?(0[1-9]|[12]\d|3[01])"
_CLOCK = (
    r"(?:[-_ T.]| at )?([01]\d|2[0-3]|\d(?=[.:]))[-_.:h]?([0-5]\d)[-_.:m]?([0-5]\d)"
    r"(?:[-_.]?\d{1,6})?(?:[ \u202f]?([ap])m\b)?"
)
_DATED = re.compile(rf"(?<!\d){_DAY}(?:{_CLOCK})?(?!\d)", re.IGNORECASE | re.ASCII)


def path_date(path: PurePath) -> str | None:
    """Read ``IMG_20230115_101010.jpg`` or ``2019-05-20 Lisbon.jpg`` as ISO 8601, without an offset.

    Folders are left out: they tell when an album was made as often as when its photos were.
    """
    for match in _DATED.finditer(path.stem):
        year, month, day, hour, minute, second, half = match.groups()
        if half:
            hour = f"{int(hour) % 12 + 12 * (half in 'pP'):02}"
        clock = f" {hour}:{minute}:{second}" if hour else ""
        if date := iso_date(f"{year}-{month}-{day}{clock}"):
            return date
    return None
