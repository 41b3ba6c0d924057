"""Look after a library: status, verify and repair, forget, relocate, back up."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from mmrag_plugin.errors import LibraryBusy, NoSuchPath, NotFound, StorageError, UsageError
from mmrag_plugin.ledger import Failure, Ledger, sqlite_url
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.library_models import LibraryModels
from mmrag_plugin.library_place import LEDGER_FILE
from mmrag_plugin.settings import (
    CONFIG_FILE,
    CONVERSATIONS_FOLDER,
    LEARNED_FOLDER,
    MADE_FOLDER,
)
from mmrag_plugin.walking import LIBRARY_MARKER, expand, is_there, real_path


@dataclass
class Difference:
    """Where Milvus and the ledger disagree about a collection, in media ids."""

    collection: str
    missing: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)


def forget(library: MediaLibrary, target: Path) -> int:
    """Take a file or a folder out of the library; the files stay. Says how many media went.

    What lies there inside a folder of the library is left out by scans until it is named again.
    """
    ledger = library.ledger
    with ledger.writer("forgetting"):
        for place in _spellings(target):
            known = ledger.known_paths(place)
            if known or any(Path(root).is_relative_to(place) for root in ledger.roots()):
                break
        else:
            if gone := ledger.pathless():  # of a forgetting that was broken off
                _forget_media(library, gone)
                return len(gone)
            raise NotFound(
                f"Nothing at {target} belongs to library {library.settings.library!r}.",
                "mmrag status lists its folders.",
            )
        with ledger.transaction():
            ledger.drop_roots(place)
            ledger.drop_paths(sorted(known))
            ledger.drop_lone_bad_sidecars()
            if ledger.root_over(place) and _holds_something(Path(place)):
                ledger.leave_out(place)
        gone = ledger.pathless()
        _forget_media(library, gone)
    return len(gone)


def _forget_media(library: MediaLibrary, gone: list[str]) -> None:
    """Drop media, and what models saw and heard in them, which a mere scan would keep."""
    from mmrag_plugin.index_run import remove_media
    from mmrag_plugin.kept_files import FOLDERS

    for folder in FOLDERS:  # what is in them is named by contents, not by media
        shutil.rmtree(library.directory / folder, ignore_errors=True)
    library.ledger.forget_captions(gone)
    library.ledger.forget_heard(gone)
    remove_media(library.ledger, library.models.other_stores(library.connection), gone)


def leave_out(library: MediaLibrary, target: str) -> int:
    """Take a folder, a media, a tag or a person out of the index, until it is shown again.

    Says how many media went. Raises NotFound, and LibraryBusy while another process writes.
    """
    ledger = library.ledger
    library.hide(target, leave_out=True)
    with ledger.writer("leaving out"):
        gone = ledger.leave_out_by_rules()
        _forget_media(library, gone)
    return len(gone)


def is_left_out(library: MediaLibrary, target: Path) -> bool:
    """Whether scans leave a file or folder out because it was forgotten."""
    return not set(_spellings(target)).isdisjoint(library.ledger.left_out())


def _spellings(target: Path) -> list[str]:
    """A path as it was named, and what is behind links."""
    path = str(expand(target).absolute())
    return list(dict.fromkeys([path, real_path(path)]))


def _holds_something(place: Path) -> bool:
    """Whether anything at a place could come back with the next scan."""
    try:
        return is_there(place) and (not place.is_dir() or any(place.iterdir()))
    except OSError:  # it may not be looked into now
        return True


def relocate(library: MediaLibrary, old: str, new: Path) -> tuple[int, int]:
    """Tell the library that a folder lies elsewhere now; nothing is read again.

    Says how many files are known at the new place now, and how many of them are there. Raises
    UsageError when none is, or when the folder has not moved at all.
    """
    place, left = expand(new).resolve(), str(expand(old).absolute())
    if not (is_there(place) and place.is_dir()):
        raise NoSuchPath(f"{new} is not a folder.", "Name the folder's new place.")
    if str(place) == left:
        raise UsageError(f"{old} is where it was.", "Name the old place, then the new one.")
    with library.ledger.writer("relocating"):
        known = list(library.ledger.known_paths(left))
        if not known:
            raise NotFound(
                f"No path of library {library.settings.library!r} lies under {old}.",
                "mmrag status lists its folders.",
            )
        there = sum(is_there(place / Path(path).relative_to(left)) for path in known)
        if not there:
            raise UsageError(
                f"None of the {len(known)} files that are known under {old} is in {new}.",
                "Name the folder that took its place; what is in another one: mmrag index FOLDER",
            )
        return library.ledger.relocate(left, str(place)), there


def backup(library: MediaLibrary, target: Path) -> int:
    """Copy a library with its conversations and made files into a new directory; says its bytes.

    It is a library itself: put it under MMRAG_HOME to use it. Vectors on a Milvus server stay the
    original's alone; the copy gets an id of its own and makes them again when it is indexed.
    """
    if is_there(target):
        raise UsageError(f"{target} exists already.", "Name a new directory.")
    if library.settings.ledger_url:
        raise UsageError("The ledger of this library is in PostgreSQL.", "Back it up with pg_dump.")
    with library.ledger.writer("backing up"), _whole_or_not_at_all(target) as part:
        for name in ("visual", "words"):
            model = library.recorded(name)
            if model is not None and library.connection.embedded:
                library.connection.call("flush", model.collection)
        library.connection.close()
        _copy_ledger(library, part)
        if not library.settings.milvus_uri:
            _copy_vectors(library, part)
        for name in (MADE_FOLDER, CONVERSATIONS_FOLDER, LEARNED_FOLDER):
            if (library.directory / name).is_dir():  # without what is being written now
                shutil.copytree(
                    library.directory / name,
                    part / name,
                    symlinks=True,
                    ignore=shutil.ignore_patterns(".*"),
                )
        for name in (CONFIG_FILE, LIBRARY_MARKER):  # which makes it a library, last
            if (library.directory / name).is_file():
                shutil.copy2(library.directory / name, part / name)
    return sum(path.stat().st_size for path in target.rglob("*") if path.is_file())


@contextmanager
def _whole_or_not_at_all(target: Path) -> Iterator[Path]:
    """A directory to be filled, for our eyes only, that gets its name once it is whole."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(mkdtemp(prefix=f".{target.name}-", suffix=".part", dir=target.parent))
        try:
            yield part
            part.rename(target)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"{target} can't be written: {getattr(error, 'strerror', None) or error}.",
            "Free some space or name another place.",
        ) from error


def _copy_ledger(library: MediaLibrary, part: Path) -> None:
    source = sqlite3.connect(library.directory / LEDGER_FILE)
    copy = sqlite3.connect(part / LEDGER_FILE)
    with closing(source), closing(copy):
        source.backup(copy)
        with copy:
            copy.execute("DELETE FROM lease")  # ours, which the copy is not under
    if library.settings.milvus_uri:
        ledger = Ledger(sqlite_url(part / LEDGER_FILE))
        LibraryModels(library.settings, ledger).make_anew()
        ledger.close()


def _copy_vectors(library: MediaLibrary, part: Path) -> None:
    from mmrag_plugin.milvus_owner import MILVUS_DIRECTORY, paused

    vectors = library.directory / MILVUS_DIRECTORY
    with paused(library.directory):
        if vectors.is_dir():  # else nothing was indexed yet
            shutil.copytree(vectors, part / MILVUS_DIRECTORY)


def status(library: MediaLibrary) -> dict[str, Any]:
    """Counts, models, folders and the Milvus in use; the JSON of ``mmrag status``."""
    from mmrag_plugin.model_keeper import kept

    counts = library.ledger.counts()
    visual, words = library.recorded("visual"), library.recorded("words")
    first, last = library.ledger.dates()
    failures = library.ledger.failures() + [
        Failure(bad.path, "read", bad.reason, bad.remedy) for bad in library.ledger.bad_sidecars()
    ]
    return {
        "library": library.settings.library,
        "directory": str(library.directory),
        "roots": library.ledger.roots(),
        "left_out": library.ledger.left_out(),
        "hidden": {
            "media": len(library.ledger.hidden_media_ids()),
            "rules": [
                {"kind": rule.kind, "name": rule.name, "level": rule.level, "media": count}
                for rule, count in library.hidden()
            ],
        },
        "media": counts["kinds"],
        "stages": counts["stages"],
        "signals": counts["signals"],
        "captions": library.ledger.caption_counts(),
        "not_read_for_text": library.ledger.passed_over("ocr"),
        "rows": counts["rows"],
        "taken_at": {"first": first, "last": last, "by": counts["dates"]},
        "models": {
            "visual": visual.setting if visual else None,
            "text": words.setting if words else None,
            "vlm": library.settings.vlm,
            "learned": library.learned_in_use,
            "run": {
                name: library.models.runs_with(kept)
                for name, kept in (("visual", "visual"), ("text", "words"))
            },
        },
        "kept_models": kept(library.settings.home),
        "tuned": tuned.as_dict() if (tuned := library.tuned()) else None,
        "milvus": library.connection.describe(),
        "ledger": library.ledger.address,
        "writer": library.ledger.lease_holder(),
        "failed": len(failures),
        "failures": [vars(failure) for failure in failures],
    }


def verify(library: MediaLibrary) -> list[Difference]:
    """Compare Milvus with the ledger, media by media, in both collections.

    Raises LibraryBusy while somebody writes, for then the two differ all the time.
    """
    _require_quiet(library)
    differences = _differences(library)
    _require_quiet(library)
    return differences


def _require_quiet(library: MediaLibrary) -> None:
    if writer := library.ledger.lease_holder():
        raise LibraryBusy(
            f"Milvus and the ledger can't be compared now: the library is being written to by "
            f"{writer}.",
            "Wait until it is done.",
        )


def _differences(library: MediaLibrary) -> list[Difference]:
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
        differences = _differences(library)
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
