"""The library's config.toml written to: single keys, with all else that a person wrote in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from mmrag_plugin.errors import StorageError, UsageError


def write_settings(path: Path, changes: Mapping[str, str | None]) -> set[str]:
    """Set keys of a file, or take out those that are to be None; says which of these were there.

    The file is replaced at once, or not at all. Raises UsageError for a file that is no TOML,
    StorageError where it can't be written.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        known: Any = tomlkit.parse(path.read_text() if path.exists() else "")
        gone = {key for key, value in changes.items() if value is None and key in known}
        for key in gone:
            del known[key]
        known.update({key: value for key, value in changes.items() if value is not None})
        text = tomlkit.dumps(known)
        with NamedTemporaryFile("w", dir=path.parent, prefix=".", delete=False) as part:
            part.write(text)  # for our eyes only, as such files are made
            part.flush()
            os.fsync(part.fileno())
        Path(part.name).replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} can't be written: {error.strerror}.", "Check its permissions and free space."
        ) from error
    except TOMLKitError as error:
        raise UsageError(f"{path} can't be read: {error}.", "Mend it or remove it.") from None
    return gone
