"""Files that are one media with another: the film of a Live Photo, the RAW beside its JPEG.

They are no media of their own while the photo is there. The film counts in the photo's stamp, so
that the photo is read again when it comes, goes or changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from os.path import splitext

from mmrag_plugin.ledger import KnownPath
from mmrag_plugin.media import RAW_SUFFIXES
from mmrag_plugin.motion_photos import FILM_SUFFIXES, STILL_SUFFIXES, is_live_film
from mmrag_plugin.walking import FoundFile

_STILLS = (*STILL_SUFFIXES, *(suffix.upper() for suffix in STILL_SUFFIXES))


def without_parts(
    files: Mapping[str, FoundFile], known: Mapping[str, KnownPath]
) -> dict[str, FoundFile]:
    """Leave out files that are parts of photos among them.

    What was decided of unchanged files before holds; others are looked into.
    """
    kept = dict(files)
    for path, file in files.items():
        stem, suffix = splitext(path)  # noqa: PTH122  (a scan asks of every file)
        suffix = suffix.lower()
        if suffix not in FILM_SUFFIXES and suffix not in RAW_SUFFIXES:
            continue
        photo = next((files[stem + still] for still in _STILLS if stem + still in files), None)
        if photo is None:
            continue
        if suffix in RAW_SUFFIXES:
            del kept[path]
        elif _is_part(file, photo, known):
            del kept[path]
            kept[photo.path] = replace(photo, sidecar_stamp=_with(photo.sidecar_stamp, file))
    return kept


def _is_part(film: FoundFile, photo: FoundFile, known: Mapping[str, KnownPath]) -> bool:
    before, own = known.get(photo.path), known.get(film.path)
    if before and before.sidecar_stamp == _with(photo.sidecar_stamp, film):
        return True
    apart = (
        before
        and own
        and before.sidecar_stamp == photo.sidecar_stamp
        and (own.size_bytes, own.mtime_ns) == (film.size_bytes, film.mtime_ns)
    )
    return not apart and is_live_film(film.path)


def _with(stamp: str, film: FoundFile) -> str:
    """The stamp of a photo with its film; a film's path does not count, or a move would."""
    said = f"{stamp}|{film.size_bytes}|{film.mtime_ns}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
