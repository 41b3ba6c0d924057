"""Walk through folders: which media files lie in them, with sizes and times.

Nothing is opened here; whether a ``.ts`` is a film or TypeScript, ``is_text`` says of one file.
"""

from __future__ import annotations

import codecs
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

from mmrag_plugin.errors import NoSuchPath, UsageError
from mmrag_plugin.ignoring import (
    IGNORE_FILE,
    NO_MEDIA,
    SYSTEM,
    IgnoreRules,
    is_system_folder,
    rules_above,
    without_ignored,
)
from mmrag_plugin.media import Kind, kind_of

_MAYBE_SOURCE_CODE = (".ts", ".mts")
LIBRARY_MARKER = "mmrag-library.json"  # tells a library from any other directory
Entries = dict[str, tuple[int, int]]  # the files of one folder: name -> (size_bytes, mtime_ns)


@dataclass(frozen=True)
class Problem:
    """A file that can't be taken in, why, and what to do."""

    path: str
    reason: str
    remedy: str


class FoundFile(NamedTuple):
    """A media file as it lies on disk."""

    path: str
    kind: Kind
    size_bytes: int
    mtime_ns: int
    sidecar_stamp: str

    @property
    def seen(self) -> tuple[int, int, str]:
        """What tells that it is as the ledger saw it last."""
        return self.size_bytes, self.mtime_ns, self.sidecar_stamp


@dataclass
class News:
    """What people should hear of."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)  # media files and folders, by reason
    mounts: set[str] = field(default_factory=set)  # folders inside roots that hold other drives


# From a folder, its root and its files to what tells the sidecars of each of them apart.
SidecarStamp = Callable[[Path, Path, Entries, News], Callable[[str], str]]


def list_folder(folder: Path, root: Path) -> Entries:
    """The plain files of one folder, links out of ``root`` left out. Raises OSError."""
    return _look_into(folder, root, [])[0]


def expand(path: Path | str) -> Path:
    """Put a home directory in the place of ``~``; a name that is nobody's stays as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def real_path(path: Path | str) -> str:
    """The path behind links; what can be no path at all stays as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a NUL inside
        return str(path)


def is_there(path: Path | str) -> bool:
    """Whether something lies at a path; what can't be asked about counts as not there.

    ``Path.exists`` raises on a folder that may not be entered and on a name that is too long.
    """
    return os.path.exists(path)  # noqa: PTH110


def is_empty(folder: Path) -> bool:
    """Whether nothing at all lies in a folder, as far as anybody may look.

    So does a folder look on which a drive is mounted at other times.
    """
    try:
        return not any(folder.iterdir())
    except OSError:
        return True


def resolve_root(path: Path) -> Path:
    """The real path of a folder or file to index. Raises NoSuchPath or UsageError."""
    expanded = expand(path)
    if not is_there(expanded):
        raise NoSuchPath(f"{path} does not exist.", "Check the path, or mount the drive.")
    if not is_encodable(real_path(expanded)):
        raise UsageError(f"The name {_printable(str(path))} is no valid text.", "Rename it.")
    if not expanded.is_dir() and kind_of(expanded) is None:
        raise UsageError(
            f"{path} is neither a folder nor a picture or film.", "Name a folder with media."
        )
    return expanded.resolve()


def walk(
    start: Path,
    root: Path,
    sidecar_stamp: SidecarStamp,
    news: News,
    left_out: Collection[str] = (),
) -> Iterator[list[FoundFile]]:
    """The media files under a folder, which is ``root`` or lies in it, folder by folder.

    Both are resolved. What people should hear of goes to ``news``. Files and folders that are
    ``left_out`` are passed by, and links to such folders or into them too.
    """
    visited: set[tuple[int, int]] = set()
    behind_links = {Path(real_path(path)) for path in left_out}
    rules = _rules_at(start, root, news)
    if rules is None:
        return
    device = _device_of(root)
    folders, linked = [(start, rules)], list[tuple[Path, IgnoreRules]]()
    while folders or linked:
        # links come last: what lies inside the root is known by its own path, not by a link's
        is_link = not folders
        folder, rules = folders.pop() if folders else linked.pop()
        try:
            status = folder.stat()
            if is_link and (status.st_dev, status.st_ino) in visited:
                continue
            visited.add((status.st_dev, status.st_ino))
            if status.st_dev != device and os.path.ismount(folder):
                news.mounts.add(str(folder))
            entries, inside = _look_into(folder, root, news.problems)
            rules = rules.with_those_of(folder, entries, news.warnings)
        except OSError as error:
            news.problems.append(unreadable(str(folder), error))
            continue
        if LIBRARY_MARKER in entries:
            continue  # what mmrag keeps is not the person's media
        if NO_MEDIA in entries:
            news.ignored[f"folder:{NO_MEDIA}"] += 1
            continue
        stamp_for = sidecar_stamp(folder, root, entries, news)
        kinds = _media_kinds(entries)
        if rules.specs:
            kept = without_ignored(folder, kinds, rules, news.ignored)
            kinds = {name: kinds[name] for name in kept}
        files = _files(folder, entries, kinds, stamp_for, news)
        yield [file for file in files if file.path not in left_out] if left_out else list(files)
        for path in inside:
            if str(path) in left_out or _is_ignored(path, rules, news):
                continue
            if not path.is_symlink():
                folders.append((path, rules))
            elif _may_follow(path, start, root, news) and not any(
                _leads_into(path, place) for place in behind_links
            ):
                linked.append((path, rules))


def _device_of(folder: Path) -> int:
    try:
        return folder.stat().st_dev
    except OSError:  # the walk says so
        return -1


def _may_follow(link: Path, start: Path, root: Path, news: News) -> bool:
    """Whether a link leads into the walk; says so of one that leads out of the root."""
    if not _leads_into(link, root):
        news.warnings.append(
            f"{_printable(str(link))} is a link out of {root} and was not followed. "
            "Index its target itself if it belongs to the library."
        )
    return _leads_into(link, start)


def _is_ignored(folder: Path, rules: IgnoreRules, news: News) -> bool:
    if is_system_folder(folder):
        news.ignored[f"folder:{SYSTEM}"] += 1
    elif rules.specs and rules.leave_out(str(folder), is_folder=True):
        news.ignored[f"folder:{IGNORE_FILE}"] += 1
    else:
        return False
    return True


def _rules_at(start: Path, root: Path, news: News) -> IgnoreRules | None:
    """The rules from the root down to where a walk begins; None when it has nothing to see."""
    try:
        rules = rules_above(start, root, news.warnings)
    except OSError as error:
        news.problems.append(unreadable(str(start), error))
        return None
    if rules is None:
        news.ignored[f"folder:{IGNORE_FILE}"] += 1
    return rules


def _look_into(folder: Path, root: Path, problems: list[Problem]) -> tuple[Entries, list[Path]]:
    """The plain files and the visible folders in a folder, last name first. Raises OSError."""
    files: Entries = {}
    folders: list[Path] = []
    with os.scandir(folder) as listing:
        for entry in listing:
            try:
                if entry.is_file(follow_symlinks=False):  # most are: ask nothing else of them
                    status = entry.stat()
                    files[entry.name] = (status.st_size, status.st_mtime_ns)
                elif entry.is_dir():
                    if not entry.name.startswith("."):
                        folders.append(Path(entry.path))
                elif not entry.is_symlink() or _leads_into(Path(entry.path), root):
                    status = entry.stat()
                    if S_ISREG(status.st_mode):
                        files[entry.name] = (status.st_size, status.st_mtime_ns)
            except OSError as error:
                if not entry.is_symlink() and not isinstance(error, FileNotFoundError):
                    problems.append(unreadable(entry.path, error))  # else: it leads nowhere
    return files, sorted(folders, reverse=True)


def pick(
    folder: Path, names: Collection[str], root: Path, sidecar_stamp: SidecarStamp, news: News
) -> Iterator[FoundFile]:
    """The media files of some names in a folder, which is ``root`` or lies in it."""
    try:
        entries = list_folder(folder, root)
    except OSError as error:
        news.problems += (unreadable(str(folder / name), error) for name in names)
        return
    news.problems += (
        Problem(
            str(folder / name),
            "It is no plain file, or can't be read.",
            "Name a folder or a file.",
        )
        for name in names
        if name not in entries
    )
    stamp_for = sidecar_stamp(folder, root, entries, news)
    kinds = _media_kinds(entries.keys() & set(names))
    yield from _files(folder, entries, kinds, stamp_for, news)


def _media_kinds(names: Iterable[str]) -> dict[str, Kind]:
    """The media among the names of files, with what their suffixes say they are."""
    return {name: kind for name in names if (kind := kind_of(name)) and name[0] != "."}


def _files(
    folder: Path,
    entries: Entries,
    kinds: Mapping[str, Kind],
    stamp_for: Callable[[str], str],
    news: News,
) -> Iterator[FoundFile]:
    beginning = os.path.join(folder, "")  # noqa: PTH118  (a Path for each file takes long)
    for name in sorted(kinds):
        size_bytes, mtime_ns = entries[name]
        path = beginning + name
        if not is_encodable(path):
            news.problems.append(misnamed(path))
        elif size_bytes:
            yield FoundFile(path, kinds[name], size_bytes, mtime_ns, stamp_for(name))
        elif not may_be_source_code(name):
            news.problems.append(
                Problem(path, "The file is empty.", "Restore it from a backup or remove it.")
            )


def may_be_source_code(path: str) -> bool:
    """Whether a file may be a program, going by its name."""
    return path.lower().endswith(_MAYBE_SOURCE_CODE)


def is_text(path: str) -> bool:
    """Whether a file begins as text does; a broadcast stream never does, even a damaged one."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024)
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except (OSError, UnicodeDecodeError):
        return False  # what can't be read is told when it is hashed
    return b"\0" not in head


def _leads_into(link: Path, root: Path) -> bool:
    # Path.resolve raises RuntimeError on a link to itself before Python 3.13
    return Path(real_path(link)).is_relative_to(root)


def is_encodable(path: str) -> bool:
    """Whether a name is text: file systems allow any bytes, databases and JSON don't."""
    if path.isascii():  # which is known of a string without looking
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(path: str) -> str:
    return path.encode(errors="backslashreplace").decode()


def misnamed(path: str) -> Problem:
    """Say that a file's name is no text, and what to do."""
    return Problem(_printable(path), "Its name is no valid text.", "Rename the file.")


def unreadable(path: str, error: OSError) -> Problem:
    """Say that a file or folder can't be read, and what to do."""
    remedy = (
        "Give yourself read permission."
        if isinstance(error, PermissionError)
        else "Check the drive, then run mmrag index again."
    )
    return Problem(_printable(path), f"It can't be read: {error.strerror or error}.", remedy)
