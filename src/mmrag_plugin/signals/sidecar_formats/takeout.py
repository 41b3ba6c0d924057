"""What Google Takeout writes beside media: how it names these files, and what stands in them.

``photo.jpg.json``, since 2024 ``photo.jpg.supplemental-metadata.json``. The name before ``.json``
is cut to 46 characters, wherever that falls; the counter of a double stands behind it
(``photo.jpg(1).json`` belongs to ``photo(1).jpg``). A picture edited in Google Photos, and the film
of a Live Photo, have no file of their own; they go by that of the picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from mmrag_plugin.dates import dated, epoch_date
from mmrag_plugin.media import Signal, kind_of
from mmrag_plugin.places import degrees, position
from mmrag_plugin.signals.path_words import path_signals
from mmrag_plugin.signals.plain_text import plain_text
from mmrag_plugin.signals.sidecar_formats.base import MediaNames, Place, Said, folded

_TAIL = "supplemental-metadata"
_CUT_CHARS = 46  # what is left of a name before ".json"
_CUT_BYTES = range(44, 52)  # of a name beyond ASCII; which of both is counted differs
_LONG_NAME_CHARS = 47  # of media; from here on their names are cut as well
_COUNTER = re.compile(r"\(\d{1,4}\)$")
# The word that Google Photos puts behind the name of an edited picture, in the account's language.
_EDITED = tuple(
    folded(word)
    for word in (
        "edited bearbeitet modifié edité editado editada modificato bewerkt edytowane redigerad "
        "redigert redigeret muokattu upraveno upravené szerkesztett editat düzenlendi "
        "изменено отредактировано змінено επεξεργασμένο 編集済み 已修改 已編輯 编辑 수정됨 diedit "
        "ha-editado effects smile"
    ).split()
)
_FLAGS = {
    "favorited": "favorite",
    "archived": "archived",
    "trashed": "trashed",
    "inLockedFolder": "locked folder",
}
# Years are folders too and have a file like an album's: "Photos from 2019".
_YEAR = re.compile(
    r"(photos from|photos de|fotos von|fotos aus|fotos de|fotos del|foto del|foto's uit|"
    r"fotografias de|zdjęcia z|foton från|фото за)\s+\d{4}",
    re.IGNORECASE,
)
_ALBUM_FIELDS = ("access", "date", "geoData", "albumData", "enrichments")


def subjects_of(base: str, media: MediaNames) -> frozenset[str]:
    """Find the media of a Takeout file by the file's name without ``.json``."""
    counter = match[0] if (match := _COUNTER.search(base)) else ""
    uncounted = base.removesuffix(counter)
    head, dot, tail = uncounted.rpartition(".")
    name = head if dot and _TAIL.startswith(tail.lower()) else uncounted
    if counter:
        path = PurePath(name)
        found = media.named(f"{path.stem}{counter}{path.suffix}")
    else:
        found = media.named(name)
    if found:
        return found
    cut = _is_cut(uncounted)
    if not cut and "." not in name:  # the most other files in a folder: nothing to look for
        return frozenset()
    return frozenset(
        candidate
        for candidate in media.beginning_with(name)
        if _counter_of(candidate) == counter
        and not _is_edited(candidate)
        and (cut or name.startswith(_stem(candidate).removesuffix(counter) + "."))
    )


def borrowers_of(subjects: frozenset[str], media: MediaNames) -> frozenset[str]:
    """The edited twins of media, their other halves, and doubles whose names were cut."""
    found: set[str] = set()
    for subject in subjects:
        own_stem = _stem(subject)
        counter = _counter_of(subject)
        root = own_stem.removesuffix(counter)
        for candidate in media.beginning_with(root) - subjects:
            stem = _stem(candidate)
            other_half = stem == own_stem and kind_of(candidate) != kind_of(subject)
            edited = _counter_of(candidate) == counter and _edit_of(candidate) == root
            double = (
                not counter
                and len(candidate) >= _LONG_NAME_CHARS
                and stem == root + _counter_of(candidate)
            )
            if other_half or edited or double:
                found.add(candidate)
    return frozenset(found)


def is_takeout(record: Mapping[str, object]) -> bool:
    """Whether a record is Takeout's about one media."""
    return isinstance(record.get("photoTakenTime"), dict)


def facts_of(record: Mapping[str, object], sidecar_name: str) -> Iterator[Said]:
    """Yield date, place and flags of a record, and the words of a file name that was cut.

    ``creationTime`` is when a picture came into Google Photos, and says nothing.
    """
    taken = record.get("photoTakenTime")
    if isinstance(taken, dict):
        yield from dated(epoch_date(taken.get("timestamp")), "takeout")
    for name in ("geoData", "geoDataExif"):  # the former may have been corrected by hand
        if place := _place(record.get(name)):
            yield place
            break
    for name, word in _FLAGS.items():
        if record.get(name) is True:
            yield Signal("exif", word)
    title = record.get("title")
    if isinstance(title, str) and kind_of(title) and _says_more(title, sidecar_name):
        yield from path_signals(PurePath(title.replace("\x00", "").replace("\\", "/")).name)


def _says_more(title: str, sidecar_name: str) -> bool:
    return not sidecar_name.startswith(PurePath(title).stem)


def is_album(content: Mapping[str, object]) -> bool:
    """Whether a file is Takeout's about a folder, that is, an album or a year."""
    return (
        isinstance(_album(content).get("title"), str)
        and any(name in content for name in _ALBUM_FIELDS)
        and not is_takeout(content)
    )


def album_signals(content: Mapping[str, object]) -> Iterator[Signal]:
    """Yield title, description and place of an album."""
    album = _album(content)
    title = plain_text(str(album.get("title")))
    if title and not _YEAR.fullmatch(title):
        yield Signal("annotation", f"Album: {' '.join(title.split())}")
    for name in ("description", "location"):
        value = album.get(name)
        if isinstance(value, str) and (text := plain_text(value)):
            yield Signal("annotation", text)


def _album(content: Mapping[str, object]) -> Mapping[str, object]:
    nested = content.get("albumData")  # until 2020
    return nested if isinstance(nested, dict) else content


def _place(value: object) -> Place | None:
    if not isinstance(value, dict):
        return None
    latitude, longitude = position(
        degrees(value.get("latitude"), 90), degrees(value.get("longitude"), 180)
    )
    return None if latitude is None or longitude is None else Place(latitude, longitude)


def _is_cut(base: str) -> bool:
    return len(base) == _CUT_CHARS or (not base.isascii() and len(base.encode()) in _CUT_BYTES)


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122  (of every file in an export)


def _counter_of(name: str) -> str:
    match = _COUNTER.search(_stem(name))
    return match[0] if match else ""


def _is_edited(name: str) -> bool:
    return bool(_edit_of(name))


def _edit_of(name: str) -> str:
    """The name, without suffix and counter, of the picture that another was made from; or ""."""
    stem = _stem(name).removesuffix(_counter_of(name))
    root, dash, word = stem.rpartition("-")
    if dash and folded(root).endswith("-ha"):  # es: IMG_1-ha-editado
        root, word = root[:-3], "ha-" + word
    word = folded(word)
    whole = word in _EDITED
    cut = (
        len(name) >= _LONG_NAME_CHARS
        and len(word) > 1
        and any(edit.startswith(word) for edit in _EDITED)
    )
    return root if dash and (whole or cut) else ""
