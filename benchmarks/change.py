"""What a changed library costs to bring up to date: python -m benchmarks change [FILES].

Generated pictures are indexed, then again with nothing changed, then again after 1 % of them were
edited, rated, described, moved, deleted or added. The scan is timed beside a bare walk-and-stat of
the same tree, round by round.
"""

from __future__ import annotations

import os
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from media_made import end_owners, opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmrag_plugin.library import MediaLibrary

A_FOLDER = 50
ROUNDS = 9
CHANGES = ("edit", "rate", "describe", "move", "delete", "add")


def main() -> None:
    """Print what each run did and took, and how the scan compares with a bare walk."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with TemporaryDirectory() as directory:
        base = Path(directory).resolve()
        folder = base / "photos"
        for n in range(number):
            write(place_of(folder, n), n)
        try:
            with opened(base / "home") as library:
                run(library, folder, f"first, {number:,} files")
                run(library, folder, "nothing changed")
                changed = change(folder, number)
                said = ", ".join(f"{count} {what}" for what, count in changed.items())
                run(library, folder, f"1 % changed ({said})")
                run(library, folder, "nothing changed")
                compare_scan(library, folder)
        finally:
            end_owners(base / "home")


def place_of(folder: Path, n: int) -> Path:
    """Where the n-th picture lies: so many in a folder, twenty years."""
    return folder / f"{2000 + n // A_FOLDER % 20}" / f"trip {n // A_FOLDER}" / f"IMG_{n:06}.jpg"


def write(path: Path, n: int, comment: bytes = b"") -> None:
    """Write a small picture that no other is like; a comment changes its bytes alone."""
    chance = random.Random(n)  # noqa: S311
    picture = PIL.Image.frombytes("RGB", (4, 3), chance.randbytes(36)).resize((64, 48))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=85, comment=comment)


def change(folder: Path, number: int) -> Counter[str]:
    """Change one of a hundred pictures, each kind of change in turn."""
    done: Counter[str] = Counter()
    for turn, n in enumerate(random.Random(1).sample(range(number), number // 100)):  # noqa: S311
        path, what = place_of(folder, n), CHANGES[turn % len(CHANGES)]
        done[what] += 1
        if what == "edit":
            write(path, number + n)
        elif what == "rate":
            write(path, n, b"five stars")
        elif what == "describe":
            path.with_suffix(".txt").write_text(f"the thing with number {n}")
        elif what == "move":
            path.rename(folder / "2000" / f"moved {n}.jpg")
        elif what == "delete":
            path.unlink()
        else:
            write(path.with_name(f"added {n}.jpg"), 2 * number + n)
    return done


def run(library: MediaLibrary, folder: Path, what: str) -> None:
    """Index, and say how often files were opened, decoded and embedded, and how long it took."""
    with counted(library) as calls:
        began, busy = time.perf_counter(), time.process_time()
        report = library.index([folder])
        wall_s, busy_s = time.perf_counter() - began, time.process_time() - busy
    print(f"{what}: {wall_s:.2f} s, of which this process was busy {busy_s:.2f} s")
    print(
        f"  added {report.added}, updated {report.updated}, moved {report.moved}, "
        f"removed {report.removed}, failed {len(report.failed)}"
    )
    print(
        f"  hashed {calls['hash']}, facts read of {calls['facts']}, decoded {calls['frames']}, "
        f"embedded {calls['embed']}"
    )
    stages = ", ".join(f"{name} {found.seconds:.2f} s" for name, found in report.stages.items())
    print(f"  {stages}", flush=True)


@contextmanager
def counted(library: MediaLibrary) -> Iterator[Counter[str]]:
    """Count the calls that are dear."""
    from mmrag_plugin import scan_contents
    from mmrag_plugin.embeddings.palette import Palette

    calls: Counter[str] = Counter()
    reader = library.readers["image"]
    places: list[tuple[Any, str, str, Callable[[Any], int]]] = [
        (scan_contents, "content_hash_of", "hash", lambda path: 1),
        (type(reader), "facts", "facts", lambda path: 1),
        (type(reader), "frames", "frames", lambda path: 1),
        (Palette, "embed_pictures", "embed", len),
    ]
    before = [(owner, name, vars(owner)[name]) for owner, name, _, _ in places]
    for owner, name, what, size in places:
        setattr(owner, name, counting(vars(owner)[name], calls, what, size))
    try:
        yield calls
    finally:
        for owner, name, original in before:
            setattr(owner, name, original)


def counting(
    original: Callable[..., Any], calls: Counter[str], what: str, size: Callable[[Any], int]
) -> Callable[..., Any]:
    """A function that counts what it is asked for; the last positional argument is that."""
    one_at_a_time = threading.Lock()

    def asked(*args: Any, **kwargs: Any) -> Any:
        with one_at_a_time:
            calls[what] += size(args[-1])
        return original(*args, **kwargs)

    return asked


def compare_scan(library: MediaLibrary, folder: Path) -> None:
    """Time the scan beside a bare walk, in turns; busy time, for others may use the machine."""
    from mmrag_plugin.indexing import SidecarTree
    from mmrag_plugin.scanning import scan
    from mmrag_plugin.signals.sidecars import FolderSidecars

    def scanned() -> None:
        scan(library.ledger, [folder], SidecarTree(FolderSidecars).stamp_for)

    ways = {
        "os.scandir and stat": lambda: bare_walk(str(folder)),
        "os.walk and os.stat": lambda: plain_walk(folder),
        "scan": scanned,
    }
    wall: dict[str, list[float]] = {name: [] for name in ways}
    busy: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began, began_busy = time.perf_counter(), time.process_time()
            way()
            wall[name].append(time.perf_counter() - began)
            busy[name].append(time.process_time() - began_busy)
    print(f"scan beside a bare walk, median of {ROUNDS} rounds in turns:")
    for name in ways:
        ratios = [
            statistics.median(
                one / other for one, other in zip(took["scan"], took[name], strict=True)
            )
            for took in (busy, wall)
        ]
        print(
            f"  {name:>20}: busy {1000 * statistics.median(busy[name]):6.1f} ms, "
            f"wall {1000 * statistics.median(wall[name]):6.1f} ms; the scan takes "
            f"{ratios[0]:.2f} times as long (wall {ratios[1]:.2f})"
        )


def bare_walk(place: str) -> int:
    """Stat every file below a folder in the cheapest way there is; says how many."""
    files = 0
    with os.scandir(place) as listing:
        for entry in listing:
            if entry.is_dir(follow_symlinks=False):
                files += bare_walk(entry.path)
            else:
                entry.stat()
                files += 1
    return files


def plain_walk(folder: Path) -> int:
    """Stat every file below a folder as most programs would; says how many."""
    files = 0
    for place, _, names in os.walk(folder):
        for name in names:
            os.stat(os.path.join(place, name))  # noqa: PTH116, PTH118
            files += 1
    return files


if __name__ == "__main__":
    main()
