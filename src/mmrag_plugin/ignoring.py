"""What is left out of a walk: by ``.mmragignore``, by ``.nomedia``, and what only systems read."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec, RegexPattern

IGNORE_FILE = ".mmragignore"
NO_MEDIA = ".nomedia"  # Android's: nothing in this folder or below it is for galleries
SYSTEM = "system folders"
MAX_IGNORE_FILE_BYTES = 1_000_000
_SYSTEM_FOLDERS = frozenset(
    "$recycle.bin|@eadir|#recycle|#snapshot|@recycle|lost+found|recycler|"
    "system volume information|__macosx".split("|")
)
# Of a photo program's own folder, only where it keeps originals: the rest are its previews.
_BUNDLES = re.compile(r"\.(photoslibrary|aplibrary|photolibrary)$", re.IGNORECASE)
_ORIGINALS = frozenset(("originals", "masters"))
_IN_FOLDER = "ps_d"  # pathspec's group for the slash behind a folder that a pattern fits
_PREVIEWS = re.compile(r"\.lrdata$", re.IGNORECASE)


@dataclass(frozen=True)
class IgnoreRules:
    """The rules of the ``.mmragignore`` files from the root down to one folder.

    As with git, a rule counts from its file's folder down, the last rule that fits decides, and
    deeper files win over those above (https://git-scm.com/docs/gitignore).
    """

    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()  # with the folder that each stands in

    def leave_out(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether a path below the innermost folder is ignored, the folders above it being not."""
        for folder, spec in reversed(self.specs):
            below = path[len(folder) :] + "/" * is_folder
            for pattern in reversed(spec.patterns):
                if _fits(pattern, below):
                    return bool(pattern.include)
        return False

    def with_those_of(
        self, folder: Path, names: Collection[str], warnings: list[str]
    ) -> IgnoreRules:
        """These rules and those in a folder's own file, if there is one. Raises OSError.

        A line that is no pattern is passed by, with a warning.
        """
        if IGNORE_FILE not in names:
            return self
        from pathspec import GitIgnoreSpec
        from pathspec.patterns.gitignore.base import GitIgnorePatternError

        path = folder / IGNORE_FILE
        with path.open("rb") as file:
            text = file.read(MAX_IGNORE_FILE_BYTES).decode(errors="replace")
        lines = []
        for number, line in enumerate(text.splitlines(), start=1):
            try:
                GitIgnoreSpec.from_lines([line])
            except GitIgnorePatternError:
                warnings.append(f"Line {number} of {path} is no pattern and was passed by.")
            else:
                lines.append(line)
        spec = GitIgnoreSpec.from_lines(lines)
        return IgnoreRules((*self.specs, (os.path.join(folder, ""), spec)))  # noqa: PTH118


def _fits(pattern: RegexPattern, path: str) -> bool:
    """Whether a pattern fits a path itself; pathspec's also fit all that lies in what they fit."""
    return pattern.regex is not None and any(  # a comment has none
        found.groupdict().get(_IN_FOLDER) is None or found.end(_IN_FOLDER) == len(path)
        for found in pattern.regex.finditer(path)
    )


def rules_above(folder: Path, root: Path, warnings: list[str]) -> IgnoreRules | None:
    """The rules that hold in a folder below its root; None when they leave it out itself.

    The folder's own file is not among them. Raises OSError.
    """
    rules = IgnoreRules()
    place = root
    for name in folder.relative_to(root).parts:
        names = [path.name for path in place.iterdir()]
        if NO_MEDIA in names:
            return None
        rules = rules.with_those_of(place, names, warnings)
        place /= name
        if rules.leave_out(str(place), is_folder=True) or is_system_folder(place):
            return None
    return rules


def is_system_folder(folder: Path) -> bool:
    """Whether only a system or a program reads a folder: bins, previews, snapshots."""
    name = folder.name.lower()
    if name in _SYSTEM_FOLDERS or _PREVIEWS.search(name):
        return True
    return bool(_BUNDLES.search(folder.parent.name)) and name not in _ORIGINALS


def in_words(ignored: Counter[str]) -> str:
    """Say how much was left out: "3 files and 1 folder by .mmragignore"."""
    parts = []
    for reason in (IGNORE_FILE, NO_MEDIA, SYSTEM):
        counts = [
            f"{number} {what}{'s' * (number != 1)}"
            for what in ("file", "folder")
            if (number := ignored[f"{what}:{reason}"])
        ]
        if counts:
            whose = "of the system's" if reason == SYSTEM else f"by {reason}"
            parts.append(f"{' and '.join(counts)} {whose}")
    return ", ".join(parts)


def without_ignored(
    folder: Path, names: Collection[str], rules: IgnoreRules, ignored: Counter[str]
) -> Collection[str]:
    """The names of files in a folder that no rule leaves out; the others are counted."""
    if not rules.specs:
        return names
    beginning = os.path.join(folder, "")  # noqa: PTH118  (a Path for each file takes long)
    kept = [name for name in names if not rules.leave_out(beginning + name)]
    ignored[f"file:{IGNORE_FILE}"] += len(names) - len(kept)
    return kept
