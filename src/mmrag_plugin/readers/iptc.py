"""The IPTC-IIM records of a picture (IIM 4.2), which agencies and older programs write."""

from __future__ import annotations

import re
from typing import Any

from mmrag_plugin.dates import iso_date
from mmrag_plugin.xmp import clean_text

_CHARSET = (1, 90)
_TITLE, _KEYWORDS, _DATE, _TIME, _BY_LINE = (2, 5), (2, 25), (2, 55), (2, 60), (2, 80)
_HEADLINE, _CAPTION = (2, 105), (2, 120)
_PLACES = ((2, 92), (2, 90), (2, 95), (2, 101))  # sub-location, city, province, country
_MAX_VALUES = 1_000
# ISO 2022 escapes that programs write to say which charset follows; without one it is guessed.
_CHARSETS = {b"\x1b%G": "utf-8", b"\x1b.A": "latin-1", b"\x1b-A": "latin-1"}


class IptcRecords:
    """What an opened picture holds of IPTC, its texts decoded; broken records hold nothing."""

    def __init__(self, image: Any) -> None:
        from PIL.IptcImagePlugin import getiptcinfo

        try:
            self._records = getiptcinfo(image) or {}
        except Exception:
            self._records = {}
        declared = self._raw(_CHARSET)
        self._charset = _CHARSETS.get(declared[0].strip(), "") if declared else ""
        self.titles = [*self._texts(_TITLE), *self._texts(_HEADLINE)]
        self.captions = self._texts(_CAPTION)
        self.keywords = [
            word for text in self._texts(_KEYWORDS) for word in re.split(r"[;,]", text)
        ]
        self.places = [text for tag in _PLACES for text in self._texts(tag)]
        self.creator = next(iter(self._texts(_BY_LINE)), "")

    @property
    def taken_at(self) -> str | None:
        """The date of creation as ISO 8601.

        The offset is dropped: most programs write +0000 or their own, not the camera's.
        """
        date = next(iter(self._texts(_DATE)), "")
        time = next(iter(self._texts(_TIME)), "")
        return iso_date(date + time[:6]) or iso_date(date)

    def _raw(self, tag: tuple[int, int]) -> list[bytes]:
        values = self._records.get(tag, [])
        listed = values if isinstance(values, list) else [values]
        return [value for value in listed[:_MAX_VALUES] if isinstance(value, bytes)]

    def _texts(self, tag: tuple[int, int]) -> list[str]:
        return [self._decoded(value.split(b"\x00")[0]) for value in self._raw(tag)]

    def _decoded(self, value: bytes) -> str:
        if self._charset:
            return clean_text(value.decode(self._charset, errors="replace"))
        try:
            return clean_text(value.decode("utf-8"))
        except UnicodeDecodeError:
            return clean_text(value.decode("cp1252", errors="replace"))
