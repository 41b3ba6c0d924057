"""Files that are one media with another: the film of a Live Photo, the RAW beside its JPEG.

They are no media of their own while the photo is there. The film counts in the photo's stamp, so
that the photo is read again when it comes, goes or changes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from mmrag_plugin.ledger import Seen
from mmrag_plugin.media import RAW_SUFFIXES
from mmrag_plugin.motion_photos import FILM_SUFFIXES, STILL_SUFFIXES, is_live_film
from mmrag_plugin.walking import FoundFile

_SUFFIXES = RAW_SUFFIXES.union(FILM_SUFFIXES)
_UNKNOWN: Seen = (-1, -1, "")
_STILLS = (*STILL_SUFFIXES, *(suffix.upper() for suffix in STILL_SUFFIXES))


def without_parts(
    files: Mapping[str, FoundFile], known: Mapping[str, Seen]
) -> dict[str, FoundFile]:
    """Leave out files that are parts of photos among them.

    What was decided of unchanged files before holds; others are looked into.
    """
    kept = dict(files)
    for path, file in files.items():
        suffix = path[path.rfind(".") :].lower()  # a scan asks of every file
        if suffix not in _SUFFIXES:
            continue
        stem = path[: -len(suffix)]
        photo = next((files[stem + still] for still in _STILLS if stem + still in files), None)
        if photo is None:
            continue
        if suffix in RAW_SUFFIXES:
            del kept[path]
        elif _is_part(file, photo, known):
            del kept[path]
            kept[photo.path] = photo._replace(sidecar_stamp=_with(photo.sidecar_stamp, file))
    return kept


def _is_part(film: FoundFile, photo: FoundFile, known: Mapping[str, Seen]) -> bool:
    _, _, stamp = known.get(photo.path, _UNKNOWN)
    size_bytes, mtime_ns, _ = known.get(film.path, _UNKNOWN)
    if stamp == _with(photo.sidecar_stamp, film):
        return True
    untouched = (size_bytes, mtime_ns) == (film.size_bytes, film.mtime_ns)
    apart = photo.path in known and stamp == photo.sidecar_stamp and untouched
    return not apart and is_live_film(film.path)


def _with(stamp: str, film: FoundFile) -> str:
    """The stamp of a photo with its film; a film's path does not count, or a move would."""
    said = f"{stamp}|{film.size_bytes}|{film.mtime_ns}"
    return hashlib.blake2b(said.encode(), digest_size=16).hexdigest()
