"""A real Ray cluster of two nodes looks at media; workers and nodes are killed on the way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from commands import MMRAG, environment, mmrag, told
from made_films import BLUE, RED, write_film
from media_made import end_owners, opened, picture, picture_with_text
from ray_nodes import RayNodes, ray_nodes
from test_killed_library import assert_agrees, different, state_of

pytest.importorskip("ray.data", reason="the extra [ray] is not installed")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Killing = Callable[[RayNodes, int], bool]

_LOOK_S = 0.02  # a worker may be done with what it has in hand in less than a second


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    yield tmp_path / "one", tmp_path / "many"
    for home in ("one", "many"):
        end_owners(tmp_path / home)


def begun(home: Path, *arguments: str | Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*MMRAG, *map(str, arguments)],
        env=environment(home, **more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def indexed(
    nodes: RayNodes, home: Path, folder: Path, *options: str, killing: Killing, **more: str
) -> tuple[Any, int]:
    """Index on a cluster while somebody kills: what the run reports, and how often one killed."""
    run = begun(home, "index", folder, *options, "--ray", nodes.address, "--json", **more)
    killed = 0
    while run.poll() is None:
        killed += sum(killing(nodes, pid) for pid in nodes.at_work())
        time.sleep(_LOOK_S)
    said, errors = run.communicate()
    assert run.returncode in (0, 1), errors
    assert not errors.strip()
    return json.loads(said), killed


def assert_same(one: Path, many: Path, folder: Path, **flags: Any) -> None:
    """Ledger and rows agree; vectors do as far as a batch of other pictures lets them."""
    with opened(one, **flags) as expected, opened(many, **flags) as got:
        assert_agrees(got)
        states = [state_of(library, folder) for library in (expected, got)]
    for about, other in zip(*(state.values() for state in states), strict=True):
        if isinstance(about, dict):
            mine, theirs = about.pop("vectors", {}), other.pop("vectors", {})
            assert mine.keys() == theirs.keys()
            for index in mine:
                np.testing.assert_allclose(theirs[index], mine[index], atol=2e-3)
    assert different(states[1], states[0]) == {}


def files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def test_two_nodes_make_the_library_of_one_process_though_workers_are_killed(
    homes: tuple[Path, Path], tmp_path: Path, shared_data: Path, minidual: Path
) -> None:
    one, many = homes
    folder = tmp_path.resolve() / "media"
    for name in ("tricky", "coco_train"):
        shutil.copytree(shared_data / name, folder / name)
    for name in ("mdn_flower.mp4", "mdn_friday.mp4", "mdn_friday.vtt"):
        shutil.copy(shared_data / "video" / name, folder)
    model = {"MMRAG_VISUAL_MODEL": str(minidual), "MMRAG_TEXT_MODEL": "visual"}
    expected = told(mmrag(one, "index", folder, "--no-ocr", "--json", timeout_s=300, **model), 1)
    hit = set[int]()

    def kill(_nodes: RayNodes, pid: int) -> bool:
        if pid in hit or len(hit) == 2:  # of three tries that a media has
            return False
        hit.add(pid)
        os.kill(pid, signal.SIGKILL)
        return True

    with ray_nodes() as nodes:
        report, killed = indexed(nodes, many, folder, "--no-ocr", killing=kill, **model)
    assert killed == 2
    for told_of in (expected, report):
        told_of["failed"].sort(key=lambda bad: bad["path"])
        for stage in told_of["stages"].values():
            del stage["seconds"]
    assert report == expected
    assert_same(one, many, folder, visual_model=str(minidual), text_model="visual")


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path.resolve() / "album"
    for number in range(30):
        picture(folder / f"{number}.jpg", "red" if number % 2 else "blue", number=number)
    for number in range(6):
        picture_with_text(folder / f"sign {number}.png", f"GATE B{number}")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing else")
    write_film(folder / "film.mp4", [RED, BLUE] * 60, rate=2, gop=10)
    return folder


def test_a_node_that_is_killed_leaves_its_media_to_the_others(
    homes: tuple[Path, Path], album: Path
) -> None:
    one, many = homes
    told(mmrag(one, "index", album, "--json", timeout_s=300), 1)
    gone: list[int] = []

    def kill(nodes: RayNodes, pid: int) -> bool:
        if gone or pid not in nodes.at_work(1):
            return False
        gone.append(pid)
        nodes.kill(1)
        return True

    with ray_nodes() as nodes:
        report, killed = indexed(nodes, many, album, killing=kill)
        assert killed == 1
    assert report["added"] == files_in(album)
    assert [bad["path"] for bad in report["failed"]] == [str(album / "broken.jpg")]
    assert_same(one, many, album)


def test_a_node_without_the_folder_is_left_out_and_ctrl_c_ends_the_workers(
    homes: tuple[Path, Path], album: Path
) -> None:
    one, many = homes
    hidden = ("unshare", "--mount", "sh", "-c", f'mount -t tmpfs none "{album}" && exec "$@"', "sh")
    if subprocess.run([*hidden, "true"], capture_output=True, check=False).returncode:
        pytest.skip("nobody may hide a folder from a process here")
    with ray_nodes(1) as nodes:
        nodes.add(within=hidden)
        run = begun(many, "index", album, "--ray", nodes.address, "--json")
        until = time.monotonic() + 120
        while not nodes.at_work() and time.monotonic() < until:
            time.sleep(_LOOK_S)
        assert nodes.at_work(0)
        assert not nodes.at_work(1)
        run.send_signal(signal.SIGINT)
        said, errors = run.communicate(timeout=60)
        assert run.returncode == 130, errors
        stopped = json.loads(said)
        warnings = " ".join(stopped["warnings"])
        assert f"does not see {album}" in warnings
        assert "Stopped before the end" in warnings
        while nodes.at_work() and time.monotonic() < until:
            time.sleep(_LOOK_S)
        assert not nodes.at_work()
        new = int(not stopped["failed"])  # what the first run came to tell of is not new
        told(mmrag(many, "index", "--ray", nodes.address, "--json", timeout_s=300), new)
        nodes.kill(1)
    told(mmrag(one, "index", album, "--json", timeout_s=300), 1)
    assert_same(one, many, album)
