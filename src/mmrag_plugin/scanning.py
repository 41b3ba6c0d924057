"""The scan stage: compare folders with the ledger and note what was added, moved, changed or left.

Nothing is decoded. A file whose size and time are as the ledger knows them is not even opened;
others are hashed, so that a move is told from a new file and an edit from a touch.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISDIR, S_ISREG

from mmrag_plugin.errors import NotFound, UsageError
from mmrag_plugin.ledger import KnownPath, Ledger
from mmrag_plugin.media import Kind, kind_of

WHOLE_HASH_BYTES = 64 * 2**20  # larger files are told apart by size and samples first
_SAMPLE_BYTES = 2**20
_SAMPLES = 8
_BATCH = 200  # files entered in one transaction of the ledger

Entries = dict[str, tuple[int, int]]  # the files of one folder: name -> (size_bytes, mtime_ns)
# from a folder, its root and its files to what tells the sidecars of each of them apart
SidecarStamp = Callable[[Path, Path, Entries], Callable[[str], str]]


@dataclass(frozen=True)
class Problem:
    """A file that can't be taken in, why, and what to do."""

    path: str
    reason: str
    remedy: str


@dataclass
class ScanResult:
    """What a scan found; counts are media."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seen_files: int = 0
    new_bytes: int = 0  # what of it has to be read, for an estimate
    new_kinds: dict[Kind, int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    path: str
    kind: Kind
    size_bytes: int
    mtime_ns: int
    sidecar_stamp: str


def list_folder(folder: Path, root: Path) -> Entries:
    """The plain files of one folder, links out of ``root`` left out. Raises OSError."""
    entries: Entries = {}
    with os.scandir(folder) as listing:
        for entry in listing:
            try:
                if entry.is_symlink() and not _leads_into(Path(entry.path), root):
                    continue
                status = entry.stat()
            except OSError:
                continue  # a dangling link
            if S_ISREG(status.st_mode):
                entries[entry.name] = (status.st_size, status.st_mtime_ns)
    return entries


def resolve_root(path: Path) -> Path:
    """The real path of a folder or file to index. Raises NotFound or UsageError."""
    expanded = path.expanduser()
    if not expanded.exists():
        raise NotFound(f"{path} does not exist.", "Check the path, or mount the drive.")
    if not expanded.is_dir() and kind_of(expanded) is None:
        raise UsageError(
            f"{path} is neither a folder nor a picture or film.", "Name a folder with media."
        )
    return expanded.resolve()


def scan(
    ledger: Ledger,
    roots: Sequence[Path],
    sidecar_stamp: SidecarStamp,
    *,
    dry_run: bool = False,
    seen: Callable[[int], None] = lambda files: None,
) -> ScanResult:
    """Bring the ledger's paths under some resolved roots up to date.

    Media without any path left are reported in ``removed`` and stay in the ledger until their rows
    are gone from Milvus too. With ``dry_run`` nothing is written. ``seen`` hears of every batch.
    """
    result = ScanResult()
    known: dict[str, KnownPath] = {}
    found: dict[str, _Found] = {}
    home: dict[str, str] = {}
    for root in roots:
        before = ledger.known_paths(str(root))
        here = {file.path: file for file in _walk(root, sidecar_stamp, result)}
        if before and not here and root.is_dir():
            result.warnings.append(
                f"{root} holds no media now, but {len(before)} are known from it; they are kept. "
                f"If they are really gone: mmrag forget {root}"
            )
            continue
        known |= before
        found |= here
        home |= dict.fromkeys(here, str(root))
        seen(len(found))
    result.seen_files = len(found)
    # what can't be read today is not gone: neither the file nor what lies in the folder
    unreadable = [Path(problem.path) for problem in result.problems]
    gone = {
        path
        for path in set(known) - set(found)
        if not any(Path(path).is_relative_to(place) for place in unreadable)
    }
    _Comparison(ledger, known, gone, home, result, dry_run).run(found)
    return result


class _Comparison:
    """One scan's verdicts, file by file; ``gone`` paths may turn out to be the origin of moves."""

    def __init__(
        self,
        ledger: Ledger,
        known: Mapping[str, KnownPath],
        gone: set[str],
        home: Mapping[str, str],
        result: ScanResult,
        dry_run: bool,
    ) -> None:
        self.ledger, self.known, self.gone = ledger, known, gone
        self.home, self.result, self.dry_run = home, result, dry_run
        self.new_hashes: set[str] = set()  # in a dry run nothing is entered: count twins once

    def run(self, found: Mapping[str, _Found]) -> None:
        changed = [file for path, file in found.items() if not self._is_as_known(file)]
        for start in range(0, len(changed), _BATCH):
            batch = changed[start : start + _BATCH]
            hashed = [(file, self._hash(file)) for file in batch]
            with self.ledger.transaction():
                for file, content_hash in hashed:
                    if content_hash:
                        self._enter(file, content_hash)
        orphans = {self.known[path].media_id for path in self.gone}
        if self.dry_run:
            self.result.removed = sorted(orphans)
            return
        with self.ledger.transaction():
            self.ledger.drop_paths(sorted(self.gone))
            self.result.removed = self.ledger.pathless()

    def _is_as_known(self, file: _Found) -> bool:
        known = self.known.get(file.path)
        return known is not None and (
            (known.size_bytes, known.mtime_ns, known.sidecar_stamp)
            == (file.size_bytes, file.mtime_ns, file.sidecar_stamp)
        )

    def _hash(self, file: _Found) -> str:
        known = self.known.get(file.path)
        if known and (known.size_bytes, known.mtime_ns) == (file.size_bytes, file.mtime_ns):
            return known.content_hash  # only a sidecar changed
        try:
            return content_hash_of(Path(file.path), file.size_bytes)
        except OSError as error:
            self.result.problems.append(_unreadable(file.path, error))
            return ""

    def _enter(self, file: _Found, content_hash: str) -> None:
        known = self.known.get(file.path)
        if known is not None:
            media_id = known.media_id
            if content_hash != known.content_hash and self._has_copies(media_id):
                media_id = self._identify(file, content_hash)  # one copy went its own way
            elif content_hash != known.content_hash:
                self.result.updated += 1
                self._count_work(file)
                if not self.dry_run:
                    self.ledger.content_changed(media_id, content_hash)
            elif file.sidecar_stamp != known.sidecar_stamp:
                self.result.updated += 1
                if not self.dry_run:
                    self.ledger.redo("read", [media_id])
        else:
            media_id = self._identify(file, content_hash)
        if not self.dry_run:
            self.ledger.put_path(
                KnownPath(
                    file.path,
                    media_id,
                    file.size_bytes,
                    file.mtime_ns,
                    file.sidecar_stamp,
                    content_hash,
                ),
                self.home[file.path],
            )

    def _identify(self, file: _Found, content_hash: str) -> str:
        twins = self.ledger.media_with_hash(content_hash)
        for media_id, twin_paths in twins.items():
            left = [path for path in twin_paths if path in self.gone or not Path(path).exists()]
            if left:  # the same content left one place and appeared in another: a move
                self.gone.discard(left[0])
                self.result.moved += 1
                if not self.dry_run:
                    self.ledger.drop_paths([left[0]])
                    self.ledger.redo("read", [media_id])  # its folder and file name are words too
                return media_id
        if twins:  # one more copy of a media that is there already
            return next(iter(twins))
        if content_hash not in self.new_hashes:
            self.new_hashes.add(content_hash)
            self.result.added += 1
            self._count_work(file)
        return "" if self.dry_run else self.ledger.mint(content_hash, file.kind)

    def _has_copies(self, media_id: str) -> bool:
        return len(self.ledger.paths_of([media_id]).get(media_id, ())) > 1

    def _count_work(self, file: _Found) -> None:
        self.result.new_bytes += file.size_bytes
        self.result.new_kinds[file.kind] = self.result.new_kinds.get(file.kind, 0) + 1


def content_hash_of(path: Path, size_bytes: int) -> str:
    """A hash of a file's content: all of it, or for large files its size and sampled blocks."""
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb", buffering=0) as file:
        if size_bytes <= WHOLE_HASH_BYTES:
            while block := file.read(_SAMPLE_BYTES):
                digest.update(block)
        else:
            digest.update(str(size_bytes).encode())
            for number in range(_SAMPLES):
                file.seek((size_bytes - _SAMPLE_BYTES) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    return digest.hexdigest()


def _walk(root: Path, sidecar_stamp: SidecarStamp, result: ScanResult) -> Iterator[_Found]:
    if not root.is_dir():
        yield from _files(root.parent, root.parent, result, sidecar_stamp, only=root.name)
        return
    status = root.stat()
    stack, visited = [root], {(status.st_dev, status.st_ino)}
    while stack:
        folder = stack.pop()
        yield from _files(folder, root, result, sidecar_stamp)
        stack.extend(_subfolders(folder, root, visited, result))


def _subfolders(
    folder: Path, root: Path, visited: set[tuple[int, int]], result: ScanResult
) -> list[Path]:
    inside: list[Path] = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.startswith(".") or not entry.is_dir():
                    continue
                path = Path(entry.path)
                if entry.is_symlink() and not _leads_into(path, root):
                    result.warnings.append(
                        f"{path} is a link out of {root} and was not followed. "
                        "Index its target itself if it belongs to the library."
                    )
                    continue
                status = entry.stat()
                if S_ISDIR(status.st_mode) and (status.st_dev, status.st_ino) not in visited:
                    visited.add((status.st_dev, status.st_ino))
                    inside.append(path)
    except OSError as error:
        result.problems.append(_unreadable(str(folder), error))
    return sorted(inside, reverse=True)


def _files(
    folder: Path,
    root: Path,
    result: ScanResult,
    sidecar_stamp: SidecarStamp,
    only: str | None = None,
) -> Iterator[_Found]:
    try:
        entries = list_folder(folder, root)
    except OSError:
        return  # _subfolders reports it
    stamp_for = sidecar_stamp(folder, root, entries)
    for name in sorted(entries) if only is None else [only]:
        kind = kind_of(name)
        if kind is None or name.startswith("."):
            continue
        size_bytes, mtime_ns = entries[name]
        path = str(folder / name)
        if not _is_encodable(path):
            result.problems.append(
                Problem(repr(path), "Its name is no valid text.", "Rename the file.")
            )
        elif size_bytes == 0:
            result.problems.append(
                Problem(path, "The file is empty.", "Restore it from a backup or remove it.")
            )
        else:
            yield _Found(path, kind, size_bytes, mtime_ns, stamp_for(name))


def _leads_into(link: Path, root: Path) -> bool:
    return link.resolve().is_relative_to(root)


def _is_encodable(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _unreadable(path: str, error: OSError) -> Problem:
    remedy = (
        "Give yourself read permission."
        if isinstance(error, PermissionError)
        else "Check the drive, then run mmrag index again."
    )
    return Problem(path, f"It can't be read: {error.strerror or error}.", remedy)
