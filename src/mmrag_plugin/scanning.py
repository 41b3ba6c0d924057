"""The scan stage: compare folders with the ledger and note what was added, moved, changed or left.

Nothing is decoded. A file whose size and time are as the ledger knows them is not even opened;
others are hashed, so that a move is told from a new file and an edit from a touch, and their
first bytes say whether they are pictures or films.
"""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from mmrag_plugin.content_hash import content_hash_of, is_sampled
from mmrag_plugin.errors import UsageError
from mmrag_plugin.ledger import KnownPath, Ledger, Seen
from mmrag_plugin.ledger_database import batches
from mmrag_plugin.media import Kind
from mmrag_plugin.pairing import without_parts
from mmrag_plugin.scan_contents import Content, content_of, contents_ahead
from mmrag_plugin.walking import (
    FoundFile,
    News,
    SidecarStamp,
    is_empty,
    is_text,
    is_there,
    may_be_source_code,
    pick,
    unreadable,
    walk,
)

_BATCH = 200  # files entered in one transaction of the ledger


@dataclass
class ScanResult(News):
    """What a scan found; counts are media."""

    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: list[str] = field(default_factory=list)
    read_again: set[str] = field(default_factory=set)  # known media, for other words about them
    seen_files: int = 0
    new_bytes: int = 0  # what of it has to be read, for an estimate
    new_kinds: Counter[Kind] = field(default_factory=Counter)


def scan(
    ledger: Ledger,
    roots: Sequence[Path],
    sidecar_stamp: SidecarStamp,
    *,
    dry_run: bool = False,
    seen: Callable[[int], None] = lambda files: None,
    between: Callable[[], None] = lambda: None,
) -> ScanResult:
    """Bring the ledger's paths under some resolved folders, roots or parts of them, up to date.

    Media without any path left are reported in ``removed`` and stay in the ledger until their rows
    are gone from Milvus too. With ``dry_run`` nothing is written. ``seen`` hears of every batch;
    ``between`` is called between files and may end the scan by raising.
    """
    result = ScanResult()
    known: dict[str, Seen] = {}
    files = _Files(seen)
    emptied: dict[str, Path] = {}
    left_out = set(ledger.left_out()) - set(map(str, roots))
    left_out |= ledger.places_left_out()
    names: dict[Path, list[str]] = {}  # of roots that are single files, by folder
    for root in roots:
        if not _is_folder(root):
            names.setdefault(root.parent, []).append(root.name)
            continue
        before = ledger.seen_paths(str(root))
        whole = Path(ledger.root_over(str(root)) or root)
        seen_files, ignored = len(files.found), result.ignored.total()
        for folder in walk(root, whole, sidecar_stamp, result, left_out):
            between()
            files.compare(folder, before, str(whole))
        if before and len(files.found) == seen_files and result.ignored.total() == ignored:
            if not any(problem.path == str(root) for problem in result.problems):
                emptied |= dict.fromkeys(before, root)
            continue
        known |= before
    for place, picked in names.items():
        paths = ledger.known_files(str(place / name) for name in picked)
        before = {path: file.seen for path, file in paths.items()}
        known |= before
        over = ledger.root_over(str(place))
        found = pick(place, picked, Path(over or place), sidecar_stamp, result)
        files.compare(found, before, over)
    result.seen_files = len(files.found)
    # what can't be read today is not gone: neither the file nor what lies in the folder
    unread = {problem.path for problem in result.problems}
    gone = {
        path
        for path in known.keys() - files.found
        if path not in unread and unread.isdisjoint(map(str, Path(path).parents))
    }
    mounts = set[str](ledger.fact("mounts") or ())
    unplugged = _in_emptied_folders(gone) | _on_lost_drives(gone, mounts)
    gone -= unplugged.keys()
    unplugged |= emptied
    moved = _Comparison(ledger, files, gone, result, dry_run, between).run()
    if not dry_run and mounts != (now := _mounts_now(mounts, result.mounts)):
        ledger.state(mounts=sorted(now))
    missed = Counter(folder for path, folder in unplugged.items() if path not in moved)
    result.warnings += [_emptied(folder, count) for folder, count in sorted(missed.items())]
    return result


def about_left_out(ledger: Ledger, named: Sequence[Path]) -> list[str]:
    """Say what stays out of folders that a person named, because it was forgotten.

    Raises UsageError for a part of what is left out: it comes back as a whole or not at all.
    """
    warnings = []
    names = set(named)
    for place in map(Path, ledger.left_out()):
        for path in named:
            if place in path.parents:
                raise UsageError(
                    f"{path} lies in {place}, which was taken out of the library.",
                    f"Take that in again: mmrag index {place}",
                )
        if place not in names and not names.isdisjoint(place.parents):
            warnings.append(
                f"{place} stays out, for it was taken out of the library. "
                f"To take it in again: mmrag index {place}"
            )
    return warnings


def not_left_out(ledger: Ledger, roots: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """The roots without those that a rule leaves out, and what to say of these."""
    places = set(map(Path, ledger.places_left_out()))
    left_out = [root for root in roots if not places.isdisjoint((root, *root.parents))]
    warnings = [
        f"{root} is left out of the index. To take it in again: mmrag show {root}"
        for root in left_out
    ]
    return [root for root in roots if root not in left_out], warnings


class _Files:
    """The files that were found, compared folder by folder with how they were seen last."""

    def __init__(self, seen: Callable[[int], None]) -> None:
        self.found = set[str]()
        self.changed: dict[str, FoundFile] = {}  # and new ones; by path
        self.home: dict[str, str] = {}  # the roots of those
        self._tell = seen

    def compare(
        self, found: Iterable[FoundFile], before: Mapping[str, Seen], root: str | None
    ) -> None:
        """Take the files of one folder in; without a root each is one of its own."""
        here = without_parts(_media(found, before), before)
        for path, file in here.items():
            if before.get(path) != file.seen:
                self.changed[path], self.home[path] = file, root or path
        self.found.update(here)
        if here:
            self._tell(len(here))


def _is_folder(root: Path) -> bool:
    return is_there(root) and root.is_dir()


def _media(files: Iterable[FoundFile], before: Mapping[str, Seen]) -> dict[str, FoundFile]:
    """What was found by path, without programs that are named like films."""
    found = {file.path: file for file in files}
    named_so = [path for path, file in found.items() if file.kind == "video"]
    for path in filter(may_be_source_code, named_so):
        size_bytes, mtime_ns, _ = before.get(path, (-1, -1, ""))
        if not _is_untouched(found[path], size_bytes, mtime_ns) and is_text(path):
            del found[path]
    return found


def _is_untouched(file: FoundFile, size_bytes: int, mtime_ns: int) -> bool:
    return (size_bytes, mtime_ns) == (file.size_bytes, file.mtime_ns)


def _emptied(folder: Path, count: int) -> str:
    return (
        f"{folder} holds no media now, but {count} are known from it; they are kept. "
        f"If they are really gone: mmrag forget {folder}"
    )


def _in_emptied_folders(gone: Iterable[str]) -> dict[str, Path]:
    """Paths that lay in folders where nothing at all is left, each with its folder."""
    emptied: dict[Path, bool] = {}
    found: dict[str, Path] = {}
    for path in gone:
        folder = next(folder for folder in Path(path).parents if is_there(folder))
        if folder not in emptied:
            emptied[folder] = is_empty(folder)
        if emptied[folder]:
            found[path] = folder
    return found


def _on_lost_drives(gone: Iterable[str], mounts: Iterable[str]) -> dict[str, Path]:
    """Paths that lay on drives whose folders went with them, each with that folder."""
    lost = [Path(mount) for mount in mounts if not is_there(mount)]
    return {path: mount for mount in lost for path in gone if Path(path).is_relative_to(mount)}


def _mounts_now(before: Iterable[str], found: set[str]) -> set[str]:
    """The folders that drives are mounted on, or were when they were there last."""
    return found.union(mount for mount in before if not is_there(mount) or os.path.ismount(mount))


class _Comparison:
    """One scan's verdicts, file by file.

    Identity follows content: a file with the content of a media is that media, moved when one of
    the media's paths has lost this content and a copy otherwise. Only a known file with content
    that is new, and whose old content appears nowhere else, was edited in place.
    """

    def __init__(
        self,
        ledger: Ledger,
        files: _Files,
        gone: set[str],
        result: ScanResult,
        dry_run: bool,
        between: Callable[[], None],
    ) -> None:
        self.ledger, self.result, self.dry_run = ledger, result, dry_run
        self.found, self.changed, self.home = files.found, files.changed, files.home
        self.gone, self.between = gone, between
        self.known = ledger.known_files(self.changed) if self.changed else {}  # before the scan
        self.changed_by_size: dict[int, list[FoundFile]] = {}
        self.hashes: dict[str, str] = {}
        self.kinds: dict[str, Kind] = {}  # as the content says; by path
        self.sampled: dict[str, list[str]] = {}  # by hash, the large files that have it
        self.new_hashes: set[str] = set()  # in a dry run nothing is entered: count twins once
        self.counted: set[tuple[str, str]] = set()
        self.moved: set[str] = set()  # paths that media have left

    def run(self) -> set[str]:
        """Enter what was found; returns the paths that media have left for others."""
        for file in self.changed.values():
            self.changed_by_size.setdefault(file.size_bytes, []).append(file)
        with closing(self._hashed()) as hashed:
            for batch in batches(hashed, _BATCH):  # before the transaction, so that it is short
                with nullcontext() if self.dry_run else self.ledger.transaction():
                    for file in filter(self._hash, batch):
                        self._enter(self._by_content(file), self._hash(file))
        if self.dry_run:
            gone = self.ledger.known_files(self.gone).values()
            lost = sorted({known.media_id for known in gone})
            left = self.ledger.paths_of(lost)
            self.result.removed = [m for m in lost if self.gone.issuperset(left.get(m, ()))]
            return self.moved
        with self.ledger.transaction():
            touched = self.ledger.known_files(self.gone).values() if self.gone else ()
            losing = {known.media_id for known in touched}
            self.ledger.drop_paths(sorted(self.gone))
            self.result.removed = self.ledger.pathless()
            self.result.read_again |= losing.difference(self.result.removed)
        return self.moved

    def _hashed(self) -> Generator[FoundFile, None, None]:
        """The files that changed, each once its hash is known; several are read at a time."""
        changed = self.changed.values()
        with closing(contents_ahead(changed, lambda file: not self._known_content(file))) as read:
            for file, content in read:
                self.between()
                self._hash(file, content)
                yield file

    def _known_content(self, file: FoundFile) -> str:
        """The hash of a file of which only a sidecar changed; else empty."""
        known = self.known.get(file.path)
        untouched = known and _is_untouched(file, known.size_bytes, known.mtime_ns)
        return known.content_hash if known and untouched else ""

    def _hash(self, file: FoundFile, content: Content | None = None) -> str:
        """The content's hash; empty for a file that can't be read, which is reported once."""
        if file.path not in self.hashes:
            self.hashes[file.path] = known = self._known_content(file)
            if not known:
                try:
                    content = (content or content_of(file.path)).whole()
                    self.hashes[file.path] = self._hash_of_content(file, content)
                except OSError as error:
                    self.result.problems.append(unreadable(file.path, error))
        return self.hashes[file.path]

    def _by_content(self, file: FoundFile) -> FoundFile:
        """The file with the kind that its content has, whatever it is called."""
        return file._replace(kind=self.kinds.get(file.path, file.kind))

    def _hash_of_content(self, file: FoundFile, content: Content) -> str:
        content_hash = content.content_hash
        if content.kind:
            self.kinds[file.path] = content.kind
            file = file._replace(kind=content.kind)
        if is_sampled(file.size_bytes):
            alike = list(self.sampled.get(content_hash, ()))
            for paths in self.ledger.media_with_hash(content_hash, file.kind).values():
                alike += [path for path in paths if path != file.path and is_there(path)]
            if alike and not any(filecmp.cmp(path, file.path, shallow=False) for path in alike):
                return content_hash_of(Path(file.path), whole=True)  # alike in samples only
            self.sampled.setdefault(content_hash, []).append(file.path)
        return content_hash

    def _enter(self, file: FoundFile, content_hash: str) -> None:
        known = self.known.get(file.path)
        if known is None or content_hash != known.content_hash:
            media_id = self._identify(file, content_hash, known)
            if known is not None and known.media_id != media_id:
                self._look_again(known.media_id)  # it may have other paths
        else:
            media_id = known.media_id
            if file.sidecar_stamp != known.sidecar_stamp:
                self._count("updated", media_id)
                self._look_again(media_id)
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

    def _identify(self, file: FoundFile, content_hash: str, known: KnownPath | None) -> str:
        twins = self.ledger.media_with_hash(content_hash, file.kind)
        for media_id, twin_paths in twins.items():
            left = [path for path in twin_paths if self._has_lost(path, content_hash)]
            if left or not twin_paths:
                self._count("moved", media_id)
                self._look_again(media_id)
                if left and left[0] not in self.found:
                    self.gone.discard(left[0])
                    self.moved.add(left[0])
                    if not self.dry_run:
                        self.ledger.drop_paths(left[:1])
                return media_id
        if twins:  # one more copy of a media that is there already
            media_id = known.media_id if known and known.media_id in twins else next(iter(twins))
            self._look_again(media_id)
            return media_id
        if known is not None and self._was_edited(file, content_hash, known):
            self._count("updated", known.media_id)
            self._count_work(file)
            if not self.dry_run:
                self.ledger.content_changed(known.media_id, content_hash, file.kind)
            return known.media_id
        if content_hash not in self.new_hashes:
            self.new_hashes.add(content_hash)
            self.result.added += 1
            self._count_work(file)
        if self.dry_run:
            return ""
        media_id = self.ledger.mint(content_hash, file.kind)
        if known is not None and self._was_a_copy(file, known):
            self.ledger.hide_copy(media_id, known.media_id, file.path)
        return media_id

    def _has_lost(self, path: str, content_hash: str) -> bool:
        """Whether the file at a known path is gone or holds something else by now."""
        if path in self.changed:
            return self._hash(self.changed[path]) not in ("", content_hash)
        return path in self.gone or (path not in self.found and not os.path.lexists(path))

    def _was_edited(self, file: FoundFile, content_hash: str, known: KnownPath) -> bool:
        """Whether new content is an edit: the old was not renamed away, nor lives on in a copy."""
        for other in self.changed_by_size.get(known.size_bytes, ()):
            if other.path != file.path and self._hash(other) == known.content_hash:
                return False
        copies = set(self.ledger.paths_of([known.media_id]).get(known.media_id, ()))
        return file.path in copies and all(
            path in self.changed and self._hash(self.changed[path]) == content_hash
            for path in copies - self.gone
        )

    def _was_a_copy(self, file: FoundFile, known: KnownPath) -> bool:
        """Whether the media that a file had before had another file then, too."""
        copies = self.ledger.paths_of([known.media_id]).get(known.media_id, ())
        return any(
            self.known[path].media_id == known.media_id
            if path in self.known
            else path not in self.changed
            for path in copies
            if path != file.path
        )

    def _look_again(self, media_id: str) -> None:
        self.result.read_again.add(media_id)
        if not self.dry_run:
            self.ledger.look_again([media_id])

    def _count(self, what: str, media_id: str) -> None:
        if (what, media_id) not in self.counted:
            self.counted.add((what, media_id))
            setattr(self.result, what, getattr(self.result, what) + 1)

    def _count_work(self, file: FoundFile) -> None:
        self.result.new_bytes += file.size_bytes
        self.result.new_kinds[file.kind] += 1
