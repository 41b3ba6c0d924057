"""A real, messy folder that changes while every run over it is killed ends as a new library would.

``pytest -s -n0 -m slow tests/test_killed_library.py`` prints where each run was killed; with
``MMRAG_KILLS`` and ``MMRAG_SEED`` other numbers of kills and other moments can be tried.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import sqlalchemy as sa

from media_made import end_owners, opened
from mmrag_plugin.ledger_tables import groups, marks, media, paths, signals, stages
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.media import kind_of
from mmrag_plugin.upkeep import verify
from test_killed_runs import COMMAND, entered, kill

KILLS = int(os.environ.get("MMRAG_KILLS", "25"))
SEED = int(os.environ.get("MMRAG_SEED", "7"))
A_ROUND = 6  # changes between two runs
CHANGES = "move move edit rate rate describe retell rename_folder delete add copy".split()
SAID = "said by me about"
RATING = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="%d"/></rdf:RDF></x:xmpmeta>'
)


class Life:
    """What people do to a folder: each change is drawn by chance, and made."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder, self.chance = folder, chance
        self.done: Counter[str] = Counter()
        self.moving = set[Path]()  # annotated media that may be moved, where they lie now
        self.changing = set[Path]()  # annotated media that may be edited in place
        self.number = 0

    def go_on(self) -> None:
        """Make the changes of one round."""
        for _ in range(A_ROUND):
            change = getattr(self, self.chance.choice(CHANGES))
            self.done[change.__name__] += change()

    def files(self, *suffixes: str, kept: set[Path] = frozenset()) -> list[Path]:  # type: ignore[assignment]
        found = (path for path in sorted(self.folder.rglob("*")) if path.is_file())
        return [p for p in found if p.suffix.lower() in suffixes and p not in kept]

    def pictures(self, kept: set[Path]) -> list[Path]:
        return self.files(".jpg", ".jpeg", ".png", kept=kept)

    def _numbered(self, stem: str, suffix: str) -> str:
        self.number += 1
        return f"{stem} {self.number}{suffix}"

    def move(self) -> bool:
        path = self.chance.choice(self.pictures(self.changing))
        target = self.folder / self.chance.choice(["moved", "sorted/2021", "coco_train"])
        target.mkdir(parents=True, exist_ok=True)
        moved = target / self._numbered("moved", path.suffix)
        path.rename(moved)
        if path in self.moving:
            self.moving.remove(path)
            self.moving.add(moved)
        return True

    def rename_folder(self) -> bool:
        folders = [place for place in sorted(self.folder.rglob("*")) if place.is_dir()]
        fixed = self.moving | self.changing
        loose = [f for f in folders if not any(path.is_relative_to(f) for path in fixed)]
        place = self.chance.choice(loose)
        place.rename(place.with_name(self._numbered("renamed", "")))
        return True

    def edit(self) -> bool:
        path = self.chance.choice(self.pictures(self.moving))
        self._draw(path)
        return True

    def _draw(self, path: Path) -> None:
        pixels = np.frombuffer(self.chance.randbytes(8 * 6 * 3), np.uint8).reshape(6, 8, 3)
        picture = PIL.Image.fromarray(pixels).resize((160, 120), PIL.Image.Resampling.BICUBIC)
        picture.save(path, "PNG" if path.suffix.lower() == ".png" else "JPEG")

    def rate(self) -> bool:
        path = self.chance.choice(self.files(".jpg", ".jpeg", kept=self.moving))
        content = path.read_bytes()
        if content[:3] != b"\xff\xd8\xff":
            return False
        body = b"http://ns.adobe.com/xap/1.0/\0" + RATING % self.chance.randint(1, 5)
        path.write_bytes(
            content[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + content[2:]
        )
        return True

    def describe(self) -> bool:
        path = self.chance.choice(self.pictures(self.moving))
        path.with_suffix(".txt").write_text(self._numbered("a thing with the number", ""))
        return True

    def retell(self) -> bool:
        path = self.chance.choice(self.files(".json", ".txt", ".csv", ".xmp"))
        said: Any = None
        if path.suffix == ".json" and self.chance.random() < 0.7:
            with contextlib.suppress(ValueError):
                said = json.loads(path.read_bytes())
            if isinstance(said, dict):
                said["description"] = self._numbered("told anew", "")
                path.write_text(json.dumps(said))
                return True
        path.unlink()
        return True

    def delete(self) -> bool:
        kept = self.moving | self.changing
        self.chance.choice(self.files(".jpg", ".tif", ".webp", ".png", kept=kept)).unlink()
        return True

    def add(self) -> bool:
        place = self.folder / "coco_train"
        place.mkdir(exist_ok=True)  # it may be called otherwise by now
        self._draw(place / self._numbered("added", ".jpg"))
        return True

    def copy(self) -> bool:
        path = self.chance.choice(self.pictures(self.moving | self.changing))
        shutil.copy(path, path.with_name(self._numbered("copied", path.suffix)))
        return True


def index_command(home: Path, folder: Path) -> list[str]:
    options = ["--no-ocr", "--visual-model", "palette", "--text-model", "off", "--json"]
    return [sys.executable, "-c", COMMAND, "index", str(folder), "--home", str(home), *options]


def run_to_the_end(home: Path, folder: Path) -> float:
    began = time.monotonic()
    command = index_command(home, folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode in (0, 1), done.stderr
    return time.monotonic() - began


def killed_run(home: Path, folder: Path, after_s: float, *, owner_too: bool) -> str:
    """Start a run, and kill it; says how far it was."""
    process = subprocess.Popen(
        index_command(home, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=after_s)
    if not kill(process, home / "default", owner_too=owner_too):
        return "over"
    return "under way" if entered(home / "default" / "ledger.sqlite3") else "beginning"


def annotated(library: MediaLibrary, life: Life) -> dict[str, str]:
    """Say something about some media that have one path; gives what, by media."""
    known = library.ledger.media_rows()
    alone = [
        row
        for row in known.values()
        if len(library.ledger.paths_of([row.media_id])) == 1
        and len(library.ledger.paths_of([row.media_id])[row.media_id]) == 1
        and row.kind == "image"
        and Path(row.path).suffix.lower() in (".jpg", ".png")
    ]
    said = {}
    for number, row in enumerate(life.chance.sample(sorted(alone, key=lambda r: r.path), 12)):
        said[row.media_id] = f"{SAID} {row.path}"
        library.annotate(row.media_id, caption=said[row.media_id], tags=[f"mine {number}"])
        (life.moving if number % 2 else life.changing).add(Path(row.path))
    return said


def known_media(
    library: MediaLibrary, folder: Path
) -> tuple[dict[str, dict[str, Any]], dict[str, list[str]]]:
    """What the ledger knows, by media, with their paths; and photos that are alike, by group."""
    with library.ledger._database.reading() as connection:
        lies: dict[str, list[str]] = defaultdict(list)
        for row in connection.execute(sa.select(paths).order_by(paths.c.path)):
            lies[row.media_id].append(os.path.relpath(row.path, folder))
        known: dict[str, dict[str, Any]] = {}
        for row in connection.execute(sa.select(media)).mappings():
            about = dict(row)
            for name in ("media_id", "terms", "words_rows"):
                about.pop(name)
            known[row["media_id"]] = {"media": about, "paths": lies[row["media_id"]]}
        for table, name in ((stages, "stages"), (signals, "signals"), (marks, "marks")):
            keys = list(table.primary_key)
            for row in connection.execute(sa.select(table).order_by(*keys)).mappings():
                about = dict(row)
                known[about.pop("media_id")].setdefault(name, []).append(about)
        for row in connection.execute(sa.select(paths).order_by(paths.c.path)):
            seen = row.size_bytes, row.mtime_ns, row.sidecar_stamp, row.root
            known[row.media_id].setdefault("seen", []).append(seen)
        alike: dict[str, list[str]] = defaultdict(list)
        for row in connection.execute(sa.select(groups)):
            alike[f"{row.kind} {row.group_id}"].extend(lies[row.media_id])
    return known, alike


def state_of(library: MediaLibrary, folder: Path) -> dict[str, Any]:
    """All that is known, by content and paths."""
    ledger = library.ledger
    known, alike = known_media(library, folder)
    for name, store in library.stores().items():
        fields = ["id", "media_id", "text", "source", "start_ms", "end_ms", "taken_at", "camera"]
        for row in sorted(store._read("", fields), key=lambda row: str(row["id"])):
            about = tuple(row[field] for field in fields[2:])
            known[row["media_id"]].setdefault(f"rows of {name}", []).append(about)
    store = library.stores()["visual"]
    for row_id, vector in store.vectors(row_id for row_id, _ in store.row_ids()).items():
        rounded = np.round(vector, 4).tolist()
        media_id, _, index = row_id.rpartition(":")
        known[media_id].setdefault("vectors", {})[int(index)] = rounded
    found: dict[str, Any] = {" + ".join(about.pop("paths")): about for about in known.values()}
    found["failures"] = sorted(
        (os.path.relpath(bad.path, folder), bad.stage, bad.reason, bad.remedy)
        for bad in ledger.failures()
    )
    found["bad sidecars"] = sorted(bad.path for bad in ledger.bad_sidecars())
    kinds = {key.split()[0] for key in alike}
    for kind in kinds:
        groups_of = (sorted(v) for key, v in alike.items() if key.startswith(f"{kind} "))
        found[f"groups: {kind}"] = sorted(groups_of)
    return found


def assert_agrees(library: MediaLibrary) -> None:
    for difference in verify(library):
        assert (difference.missing, difference.surplus) == ([], []), difference


def different(got: Any, expected: Any) -> dict[str, Any]:
    """What differs, by name, as it is and as it should be."""
    if got == expected:
        return {}
    if isinstance(got, dict) and isinstance(expected, dict):
        return {
            name: difference
            for name in sorted(got.keys() | expected.keys())
            if (difference := different(got.get(name), expected.get(name)))
        }
    return {"is": got, "should be": expected}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_messy_folder_ends_the_same_after_25_kills_with_changes_between(
    tmp_path: Path, shared_data: Path
) -> None:
    chance = random.Random(SEED)
    folder, home = tmp_path.resolve() / "media", tmp_path / "home"
    for name in ("tricky", "coco_train"):
        shutil.copytree(shared_data / name, folder / name)
    began = time.monotonic()
    life, said = Life(folder, chance), dict[str, str]()
    print(f"seed {SEED}, {sum(kind_of(path) is not None for path in folder.rglob('*'))} files")
    # half of the first run is left to it, so that there is something to annotate and to change
    run_s, found = 20.0, Counter[str]()
    try:
        for number in range(KILLS):
            if number == 3:
                whole_s = run_to_the_end(home, folder)
                with opened(home) as library:
                    said = annotated(library, life)
                print(f"run to its end in {whole_s:.1f} s; {len(said)} media annotated")
            for _ in range(20):
                life.go_on()
                after_s = run_s * chance.uniform(0.1, 1)
                owner_too = chance.random() < 0.3
                end = killed_run(home, folder, after_s, owner_too=owner_too)
                run_s = min(max(run_s * {"over": 0.8, "beginning": 1.2}.get(end, 1), 1.0), 40)
                found[end] += 1
                if end != "over":
                    break
            else:
                pytest.fail("every run was over before it was killed")
            whom = "run and owner" if owner_too else "run"
            print(f"{number + 1:2}: {whom} killed after {after_s:.2f} s, {end}", flush=True)
        run_to_the_end(home, folder)
        run_to_the_end(tmp_path / "new", folder)
        with opened(home) as library, opened(tmp_path / "new") as new:
            assert_agrees(library)
            assert_agrees(new)
            for place in life.moving | life.changing:
                row = library.find(str(place))
                assert row is not None, place
                words = [s.text for _, s in library.ledger.signals_of([row.media_id])[row.media_id]]
                assert said[row.media_id] in words, place
                library.annotate(row.media_id, remove=True)
            assert len(life.moving | life.changing) == len(said) == 12
            expected, got = state_of(new, folder), state_of(library, folder)
            assert got.keys() == expected.keys()
            for key, content in expected.items():
                assert different(got[key], content) == {}, key
    finally:
        end_owners(home)
        end_owners(tmp_path / "new")
    changes = ", ".join(f"{count} {what}" for what, count in sorted(life.done.items()))
    print(f"{KILLS} kills: {dict(found)}; {changes}; {len(expected)} media and lists the same")
    print(f"in {time.monotonic() - began:.0f} s")
