"""Where a library lies: what tells its directory from any other, and whether it is whole."""

from __future__ import annotations

import json
from pathlib import Path

from mmrag_plugin.errors import NotALibrary, NotFound, StorageError, UsageError
from mmrag_plugin.ledger import Ledger, sqlite_url
from mmrag_plugin.milvus_owner import MILVUS_DIRECTORY
from mmrag_plugin.settings import CONFIG_FILE, Settings
from mmrag_plugin.walking import LIBRARY_MARKER, is_there

LEDGER_FILE = "ledger.sqlite3"
FORMAT = 1
_IN_MEMORY = "sqlite://"


def names(settings: Settings) -> list[str]:
    """The libraries that are there."""
    home = settings.home
    return sorted(marker.parent.name for marker in home.glob(f"*/{LIBRARY_MARKER}"))


def ledger_url(settings: Settings, *, create: bool, dry_run: bool) -> str:
    """Find the library that the settings name, or make it, and say where its ledger is.

    With ``dry_run`` a library that is not there has an empty ledger in memory, and nothing is made.
    Errors are those of ``MediaLibrary.open``.
    """
    directory, marker = settings.directory, settings.directory / LIBRARY_MARKER
    ledger = directory / LEDGER_FILE
    try:
        if not marker.is_file() or not marker.stat().st_size:  # empty: it was broken off
            if not ledger.is_file():
                _check_place(directory, settings.library)
                if dry_run:
                    return _IN_MEMORY
                if not create:
                    raise _not_there(settings)
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            marker.write_text(json.dumps({"format": FORMAT}) + "\n")
        _check_format(marker)
        if settings.ledger_url:
            return settings.ledger_url
        if not ledger.is_file() and any(directory.glob(f"{MILVUS_DIRECTORY}/collections/*")):
            raise StorageError(
                f"The ledger {ledger} is gone, and with it what the vectors beside it are about.",
                f"Bring it back from a backup; or remove {directory} and index again.",
            )
        return sqlite_url(ledger)
    except OSError as error:
        raise StorageError(
            f"{directory} can't be used: {error.strerror}.",
            "Check its permissions and free space, or set MMRAG_HOME to another place.",
        ) from error


def claim(ledger: Ledger, library: str) -> None:
    """Make a ledger on a database server this library's; machines that share it share the name.

    Raises UsageError where it is another library's: they would be one, with several Milvus.
    """
    if ledger.fact("library") is None:
        ledger.state(library=library)
    owner = ledger.fact("library")
    if owner != library:
        raise UsageError(
            f"The ledger at MMRAG_LEDGER_URL is that of library {owner!r}, not of {library!r}.",
            "Name a database of its own for each library, in the library's config.toml.",
        )


def _not_there(settings: Settings) -> NotFound:
    others = ", ".join(names(settings))
    return NotFound(
        f"There is no library {settings.library!r} in {settings.home} yet.",
        f"Make it with: mmrag index FOLDER{settings.flags}"
        + (f"; or name one that is there: {others}" if others else ""),
    )


def _check_place(directory: Path, name: str) -> None:
    """Raise NotALibrary for a directory with more in it than a library has before it is made."""
    ours = (LIBRARY_MARKER, CONFIG_FILE)
    if is_there(directory) and (
        not directory.is_dir() or any(path.name not in ours for path in directory.iterdir())
    ):
        raise NotALibrary(
            f"{directory} is not a library of mmrag.",
            f"Choose another name than {name!r} or another MMRAG_HOME.",
        )


def _check_format(marker: Path) -> None:
    try:
        found = json.loads(marker.read_text()).get("format")
    except (ValueError, AttributeError):
        found = None
    if found != FORMAT:
        raise NotALibrary(
            f"{marker} names format {found}, this program knows {FORMAT}.", "Upgrade mmrag."
        )
