"""``Albums/*.csv`` and ``Memories/*.csv`` of an iCloud export: the files of one album each."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import PurePath

from mmrag_plugin.media import Signal
from mmrag_plugin.signals.annotations import field_name
from mmrag_plugin.signals.plain_text import decode_text, plain_text
from mmrag_plugin.signals.sidecar_formats.base import Statement
from mmrag_plugin.signals.sidecar_formats.csv_file import CsvFile
from mmrag_plugin.signals.sidecar_formats.icloud import LABELS


class IcloudAlbum(CsvFile):
    """A table with a column of files alone, named like the album; other tables as ever."""

    name = "icloud_album"

    def __init__(self, label: str) -> None:
        self._label = label

    def parse(self, sidecar_name: str, data: bytes) -> Iterator[Statement]:
        """Yield the album's title for each file that is named."""
        lines = csv.reader(io.StringIO(decode_text(data).lstrip("\ufeff"), newline=""))
        title = plain_text(PurePath(sidecar_name).stem)
        try:
            header = [field_name(column) for column in next(lines, [])]
            if header != ["imgname"] or not title:
                yield from super().parse(sidecar_name, data)
                return
            for line in lines:
                if line and line[0].strip():
                    yield line[0].strip(), Signal("annotation", f"{self._label}: {title}")
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from None


FOLDER_FORMATS = {folder: IcloudAlbum(label) for folder, label in LABELS.items()}
