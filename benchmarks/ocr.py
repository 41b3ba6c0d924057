"""How much of the text in pictures is read, what that costs, and what a quick look would miss.

First made pictures of every kind (``benchmarks/_written.py``): the share of the words that were
read, and of those read in order. Then folders of real pictures, enlarged to what a phone takes: how
many of them a large library would not read, and which share of the words found in all of them
stands in those. Seconds are of the processor, all its cores together: they depend little on what
else the machine does.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from benchmarks._written import KINDS, written
from benchmarks.retrieval import SHARED
from mmrag_plugin.errors import MediaError
from mmrag_plugin.index_text import GLANCE_AT_LEAST_PX, READ_AT_LEAST_PX
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.signals.ocr import TextReader
from mmrag_plugin.signals.ocr_choice import choose_reader

PHONE_SIDE_PX = 4000
SETS = ("tricky/albums_text", "tricky/albums_nature", "coco_train/images", "flickr8k_dev")

_Value = TypeVar("_Value")


@dataclass
class Read:
    """What was read of the pictures of one kind."""

    words: int = 0
    found: int = 0
    in_order: int = 0
    wrong: int = 0
    likely: int = 0
    pictures: int = 0
    cpu_s: list[float] = field(default_factory=list)
    wall_s: list[float] = field(default_factory=list)

    def add(self, wanted: list[str], got: list[str]) -> None:
        """Count the words of one more picture."""
        found = (Counter(wanted) & Counter(got)).total()
        matcher = SequenceMatcher(None, wanted, got, autojunk=False)
        self.words += len(wanted)
        self.found += found
        self.in_order += sum(match.size for match in matcher.get_matching_blocks())
        self.wrong += len(got) - found


@dataclass
class Glanced:
    """What a quick look finds in a folder, and what it misses."""

    pictures: int = 0
    with_text: int = 0
    skipped: int = 0
    words: int = 0
    words_lost: int = 0
    read_all_s: float = 0.0
    glance_s: float = 0.0
    read_likely_s: float = 0.0


def main() -> None:
    """Read made and real pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=1, help="Pictures of each kind.")
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), help="Only these kinds.")
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="Folders under --data.")
    parser.add_argument("--data", type=Path, default=SHARED / "data")
    parser.add_argument("--limit", type=int, default=30, help="Pictures of each folder.")
    parser.add_argument("--languages", default="", help="As MMRAG_OCR_LANGUAGES.")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    reader = choose_reader(options.languages, threads=options.threads).reader
    reader.read(next(written(1, ["German"])).picture)  # which loads the models
    kinds = dict(_of_kinds(reader, options.each, options.kinds))
    sets = {
        name: _of_set(reader, options.data / name, options.limit)
        for name in options.sets
        if (options.data / name).is_dir()
    }
    if options.json:
        rows = {"kinds": kinds, "sets": sets}
        print(json.dumps({n: {k: asdict(v) for k, v in r.items()} for n, r in rows.items()}))
        return
    console = Console()
    console.print(_kinds_table(kinds))
    console.print(_sets_table(sets))


def _of_kinds(
    reader: TextReader, each: int, kinds: Sequence[str] | None
) -> Iterator[tuple[str, Read]]:
    for name in kinds or KINDS:
        read = Read()
        for one in written(each, [name]):
            file = io.BytesIO()
            one.picture.save(file, "JPEG", quality=90)
            picture = open_picture(file.getvalue(), at_least_px=READ_AT_LEAST_PX)
            text, cpu_s, wall_s = _timed(lambda picture=picture: reader.read(picture))
            small = open_picture(file.getvalue(), at_least_px=GLANCE_AT_LEAST_PX)
            read.add(_words(one.text), _words(text))
            read.likely += reader.may_hold_text(small)
            read.pictures += 1
            read.cpu_s.append(cpu_s)
            read.wall_s.append(wall_s)
        yield name, read


def _of_set(reader: TextReader, folder: Path, limit: int) -> Glanced:
    paths = sorted(path for path in folder.rglob("*.jp*g") if path.suffix != ".json")
    found = Glanced()
    for path in paths[:: max(len(paths) // limit, 1)][:limit]:
        try:
            data = _as_taken_by_a_phone(path)
        except MediaError:
            continue
        likely, glance_s, _ = _timed(
            lambda data=data: reader.may_hold_text(
                open_picture(data, at_least_px=GLANCE_AT_LEAST_PX)
            )
        )
        text, read_s, _ = _timed(
            lambda data=data: reader.read(open_picture(data, at_least_px=READ_AT_LEAST_PX))
        )
        words = len(_words(text))
        found.pictures += 1
        found.with_text += words > 0
        found.skipped += not likely
        found.words += words
        found.words_lost += 0 if likely else words
        found.read_all_s += read_s
        found.glance_s += glance_s
        found.read_likely_s += read_s if likely else 0
    return found


def _as_taken_by_a_phone(path: Path) -> bytes:
    """A picture as a JPEG of 12 megapixels: small ones are not glanced at, which saves nothing."""
    picture = open_picture(path)
    scale = max(PHONE_SIDE_PX / max(picture.size), 1.0)
    size = round(picture.width * scale), round(picture.height * scale)
    file = io.BytesIO()
    picture.resize(size).save(file, "JPEG", quality=90)
    return file.getvalue()


def _timed(work: Callable[[], _Value]) -> tuple[_Value, float, float]:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    value = work()
    return value, time.process_time() - cpu_s, time.perf_counter() - wall_s


def _words(text: str) -> list[str]:
    return re.findall(r"[\w.%:]+", text.lower())


def _kinds_table(kinds: dict[str, Read]) -> Table:
    table = Table(title="text read in made pictures")
    for column in (
        "",
        "words",
        "read %",
        "in order %",
        "wrong",
        "likely",
        "p50 s",
        "p95 s",
        "max s",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, read in kinds.items():
        of = 100 / max(read.words, 1)
        table.add_row(
            name,
            str(read.words),
            f"{read.found * of:.1f}",
            f"{read.in_order * of:.1f}",
            str(read.wrong),
            f"{read.likely}/{read.pictures}",
            *(f"{seconds:.1f}" for seconds in _spread(read.cpu_s)),
        )
    return table


def _spread(seconds: list[float]) -> tuple[float, float, float]:
    ordered = sorted(seconds)
    return statistics.median(ordered), ordered[round(0.95 * (len(ordered) - 1))], ordered[-1]


def _sets_table(sets: dict[str, Glanced]) -> Table:
    table = Table(title="a quick look first, in real pictures")
    for column in (
        "",
        "pictures",
        "with text",
        "skipped %",
        "words",
        "words lost %",
        "read all s",
        "with a quick look s",
    ):
        table.add_column(column, justify="right" if column else "left")
    for name, found in sets.items():
        table.add_row(
            name,
            str(found.pictures),
            str(found.with_text),
            f"{100 * found.skipped / max(found.pictures, 1):.0f}",
            str(found.words),
            f"{100 * found.words_lost / max(found.words, 1):.1f}",
            f"{found.read_all_s:.0f}",
            f"{found.glance_s + found.read_likely_s:.0f}",
        )
    return table


if __name__ == "__main__":
    main()
