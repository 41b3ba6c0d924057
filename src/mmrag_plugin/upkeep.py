"""Look after a library: status, verify and repair, forget, relocate, back up."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmrag_plugin.errors import NoSuchPath, NotFound, StorageError, UsageError
from mmrag_plugin.library import LEDGER_FILE, MediaLibrary
from mmrag_plugin.settings import CONFIG_FILE
from mmrag_plugin.walking import LIBRARY_MARKER, expand, real_path


@dataclass
class Difference:
    """Where Milvus and the ledger disagree about a collection, in media ids."""

    collection: str
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)


def forget(library: MediaLibrary, target: Path) -> int:
    """Take a file or a folder out of the library; the files stay. Says how many media went."""
    from mmrag_plugin.indexing import remove_media

    path = str(expand(target).absolute())
    with library.ledger.writer("forgetting"):
        known = library.ledger.known_paths(path) or library.ledger.known_paths(real_path(path))
        if not known:
            raise NotFound(
                f"Nothing at {target} belongs to library {library.settings.library!r}.",
                "mmrag status lists its folders.",
            )
        library.ledger.drop_paths(sorted(known))
        gone = library.ledger.pathless()
        remove_media(library.ledger, library.stores().values(), gone)
        library.ledger.drop_roots([path, real_path(path)])
    return len(gone)


def relocate(library: MediaLibrary, old: str, new: Path) -> int:
    """Tell the library that a folder lies elsewhere now; nothing is read again."""
    place = expand(new).resolve()
    if not place.is_dir():
        raise NoSuchPath(f"{new} is not a folder.", "Name the folder's new place.")
    with library.ledger.writer("relocating"):
        moved = library.ledger.relocate(str(expand(old).absolute()), str(place))
    if not moved:
        raise NotFound(
            f"No path of library {library.settings.library!r} lies under {old}.",
            "mmrag status lists its folders.",
        )
    return moved


def backup(library: MediaLibrary, target: Path) -> int:
    """Copy ledger, configuration and vectors into a new directory; says how many bytes.

    It is a library itself: put it under MMRAG_HOME to use it.
    """
    if target.exists():
        raise UsageError(f"{target} exists already.", "Name a new directory.")
    if library.settings.ledger_url:
        raise UsageError("The ledger of this library is in PostgreSQL.", "Back it up with pg_dump.")
    with library.ledger.writer("backing up"):
        for name in ("visual", "words"):
            model = library.recorded(name)
            if model is not None:
                library.connection.call("flush", model.collection)
        library.connection.close()
        with _storage_errors(target):
            target.mkdir(parents=True, mode=0o700)
            for name in (LIBRARY_MARKER, CONFIG_FILE):
                if (library.directory / name).is_file():
                    shutil.copy2(library.directory / name, target / name)
            source = sqlite3.connect(library.directory / LEDGER_FILE)
            copy = sqlite3.connect(target / LEDGER_FILE)
            with closing(source), closing(copy):
                source.backup(copy)
                with copy:
                    copy.execute("DELETE FROM lease")  # ours, which the copy is not under
            if not library.settings.milvus_uri:
                _copy_vectors(library, target)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


def _copy_vectors(library: MediaLibrary, target: Path) -> None:
    from mmrag_plugin.milvus_owner import MILVUS_DIRECTORY, paused

    vectors = library.directory / MILVUS_DIRECTORY
    with paused(library.directory):
        if vectors.is_dir():  # else nothing was indexed yet
            shutil.copytree(vectors, target / MILVUS_DIRECTORY)


@contextmanager
def _storage_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"{target} can't be written: {getattr(error, 'strerror', None) or error}.",
            "Free some space or name another place.",
        ) from error


def status(library: MediaLibrary) -> dict[str, Any]:
    """Counts, models, folders and the Milvus in use; the JSON of ``mmrag status``."""
    counts = library.ledger.counts()
    visual, words = library.recorded("visual"), library.recorded("words")
    first, last = library.ledger.dates()
    failures = library.ledger.failures()
    return {
        "library": library.settings.library,
        "directory": str(library.directory),
        "roots": library.ledger.roots(),
        "media": counts["kinds"],
        "stages": counts["stages"],
        "signals": counts["signals"],
        "rows": counts["rows"],
        "taken_at": {"first": first, "last": last},
        "models": {
            "visual": visual.setting if visual else None,
            "text": words.setting if words else None,
            "vlm": library.settings.vlm,
        },
        "milvus": library.connection.describe(),
        "writer": library.ledger.lease_holder(),
        "failed": len(failures),
        "failures": [vars(failure) for failure in failures],
    }


def verify(library: MediaLibrary) -> list[Difference]:
    """Compare Milvus with the ledger, media by media, in both collections."""
    expected = {"visual": library.ledger.stage_made("embed"), "words": library.ledger.words_rows()}
    differences: list[Difference] = []
    for name, store in library.stores().items():
        found: dict[str, int] = {}
        for _, media_id in store.row_ids():
            found[media_id] = found.get(media_id, 0) + 1
        known = expected[name]
        difference = Difference(store.collection_name)
        for media_id in sorted(found.keys() | known.keys()):
            rows, owed = found.get(media_id, 0), known.get(media_id, 0)
            if rows < owed:
                difference.missing.append(media_id)
            elif rows > owed:
                difference.surplus.append(media_id)
        differences.append(difference)
    return differences


def repair(library: MediaLibrary) -> list[Difference]:
    """Mend what ``verify`` finds: rows of nobody go, missing ones are made again.

    What lies on a drive that is missing now is made again once it is back.
    """
    with library.ledger.writer("repairing"):
        differences = verify(library)
        for (name, store), difference in zip(library.stores().items(), differences, strict=True):
            broken = difference.missing + difference.surplus
            if name == "visual":
                library.ledger.redo("embed", broken)
            else:
                library.ledger.begin_words(broken)
            if difference.surplus:
                store.delete_media(difference.surplus)
                store.flush()
    if any(difference.missing or difference.surplus for difference in differences):
        library.finish()
    return differences
