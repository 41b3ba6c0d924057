"""``captions.csv`` and other tables with a column of files and a column of words.

Reads what spreadsheets, ``exiftool -csv`` and data sets write: commas, semicolons, tabs or bars;
UTF-8 with or without a byte order mark, UTF-16, Windows-1252.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from mmrag_plugin.signals.annotations import (
    FILE_FIELDS,
    WORD_FIELDS,
    annotations_of,
    field_name,
    file_of,
)
from mmrag_plugin.signals.plain_text import decode_text
from mmrag_plugin.signals.sidecar_formats import icloud
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, SidecarFormat, Statement

# Under these names a table is meant for us; others, such as album lists, may be about anything.
_OWN_NAMES = frozenset({"captions.csv", "metadata.csv"})


class CsvFile(SidecarFormat):
    """A table with a header."""

    name = "csv"

    def subjects(self, sidecar_name: str, media: MediaNames) -> frozenset[str] | None:
        """Take every ``*.csv``."""
        return None if sidecar_name.lower().endswith(".csv") else frozenset()

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the annotations of each row, and the dates of an iCloud export."""
        text = decode_text(data).lstrip()
        header_line = text.partition("\n")[0]
        delimiter = max(",;\t|", key=header_line.count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
        try:
            header = next(rows, [])
            columns = {field_name(column) for column in header}
            telling = WORD_FIELDS | {icloud.DATE_FIELD}
            if not (columns & FILE_FIELDS and columns & telling):
                if header and sidecar_name.lower() in _OWN_NAMES:
                    raise ValueError(
                        f"its first line ({header_line.strip()[:80]!r}) names no column of files "
                        "(file, file_name, image) or none of words (caption, title, keywords)"
                    )
                return
            for row in rows:
                record = dict(zip(header, row, strict=False))
                if file := file_of(record):
                    for said in (*annotations_of(record), *icloud.facts_of(record)):
                        yield file, said
        except csv.Error as error:
            raise ValueError(f"line {rows.line_num}: {error}") from None
