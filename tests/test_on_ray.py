"""Indexing with a cluster, as the run sees it: workers are real, and what carries them is a thread.

The clusters of ``test_on_ray_cluster.py`` are real; here workers end, and nodes see other files,
when the test says so.
"""

from __future__ import annotations

import pickle
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from commands import mmrag_here, refused
from made_films import BLUE, RED, write_film
from media_made import picture
from mmrag_plugin.child_process import start_child
from mmrag_plugin.embeddings.palette import Palette
from mmrag_plugin.errors import IndexStopped, ModelMismatch, ServiceError
from mmrag_plugin.index_seeing import SeenMedia
from mmrag_plugin.index_seeing_here import SeesHere
from mmrag_plugin.keyframes.uniform import UniformSelector
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.on_ray import seer as seer_module
from mmrag_plugin.on_ray import worker as worker_module
from mmrag_plugin.on_ray.conductor import Do, Done, Open, Opened
from mmrag_plugin.on_ray.orders import Answer, Equipment, Refused
from mmrag_plugin.on_ray.seer import SeesOnRay
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader

pa = pytest.importorskip("pyarrow", reason="the extra [ray] is not installed")
READERS: dict[Any, Any] = {"image": PhotoReader(), "video": VideoReader(UniformSelector())}
LOST = "a node went away"

Loses = Callable[[Answer | Refused], bool]


class Nodes:
    """Stands for a cluster: its workers answer one after the other, and some answers are lost."""

    def __init__(self) -> None:
        self.loses: Loses = lambda answer: False
        self.works = True
        self.asked: list[Do] = []

    def start(self, _code: str) -> tuple[Any, Connection]:
        ours, theirs = Pipe()
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return _Process(), ours

    def _serve(self, connection: Connection) -> None:
        with connection:
            try:
                while True:
                    wanted = connection.recv()
                    if isinstance(wanted, Open):
                        connection.send(Opened(2, ()))
                    elif self.works:
                        self.asked.append(wanted)
                        connection.send(Done(LOST if self._do(wanted, connection) else ""))
            except (EOFError, OSError):
                return

    def _do(self, wanted: Do, connection: Connection) -> bool:
        worker = worker_module.Worker(wanted.equipment, wanted.work, {}, 1)
        lost = False
        for group in wanted.groups:
            for table in worker(pa.table({"group": pa.array([group], pa.binary())})):
                for answer in map(pickle.loads, table.column("answer").to_pylist()):
                    if self.loses(answer):  # and all that this worker had in hand
                        lost = True
                        break
                    connection.send(answer)
                else:
                    continue
                break
        return lost


class _Process:
    def wait(self, _timeout_s: float | None = None) -> int:
        return 0


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> Nodes:
    nodes = Nodes()
    monkeypatch.setattr(seer_module, "start_child", nodes.start)
    monkeypatch.setattr(seer_module, "require_listener", lambda address: address)
    monkeypatch.setattr(worker_module, "_this_node", lambda names: "node-2")
    return nodes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(6):
        picture(tmp_path / f"{number}.png", "red" if number % 2 else "blue", number=number)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff no picture")
    write_film(tmp_path / "film.mp4", [RED, BLUE] * 40, rate=1, gop=10)
    return tmp_path


def media_in(folder: Path) -> list[MediaRow]:
    return [
        MediaRow(
            path.name,
            "video" if path.suffix == ".mp4" else "image",
            str(path),
            str(folder),
            None,
            "",
            *(0, 0),
            None,
            None,
            None,
        )
        for path in sorted(folder.iterdir())
    ]


def here() -> SeesHere:
    return SeesHere(READERS, Palette(), None)


def equipment(**changes: Any) -> Equipment:
    stamp = Palette().stamp
    made = Equipment(READERS, Path("/nowhere"), "palette", stamp)
    return replace(made, **changes)


def on_ray(folder: Path, stop: threading.Event | None = None, **changes: Any) -> SeesOnRay:
    return SeesOnRay("10.0.0.5:6379", equipment(**changes), here(), [folder], stop)


def by_media(seen: Iterable[SeenMedia]) -> dict[str, tuple[Any, ...]]:
    """All that was seen of each media, its pieces together."""
    known: dict[str, list[SeenMedia]] = {}
    for piece in seen:
        assert not any(before.ends for before in known.get(piece.media.media_id, ()))
        known.setdefault(piece.media.media_id, []).append(piece)
    return {
        media_id: (
            [
                (frame.index, frame.time_s, frame.end_s, frame.vector.tolist())
                for piece in pieces
                for frame in piece.frames
            ],
            pieces[0].look,
            pieces[-1].pixels,
            pieces[-1].ends,
            str(pieces[-1].error),
        )
        for media_id, pieces in known.items()
    }


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmrag_plugin.index_seeing_here.EMBED_BATCH", 4)


def test_workers_see_and_read_what_one_process_does(nodes: Nodes, folder: Path) -> None:
    media, cluster = media_in(folder), on_ray(folder)
    assert by_media(cluster.see(media)) == by_media(here().see(media))
    found, expected = (
        {f.media: (f.facts, str(f.error)) for f in s.read(media)} for s in (cluster, here())
    )
    assert found == expected
    assert len(found) == 8
    assert cluster.warnings == []


def test_a_few_pictures_are_looked_at_here_and_a_film_is_not(nodes: Nodes, folder: Path) -> None:
    cluster, media = on_ray(folder), media_in(folder)
    pictures = [one for one in media if one.kind == "image"]
    assert by_media(cluster.see(pictures)) == by_media(here().see(pictures))
    assert nodes.asked == []
    list(cluster.see(media))
    assert len(nodes.asked) == 1


def test_what_a_lost_worker_had_in_hand_is_handed_out_again_and_comes_once(
    nodes: Nodes, folder: Path
) -> None:
    lost = set[str]()

    def once_each(answer: Answer | Refused) -> bool:
        assert isinstance(answer, Answer)
        in_the_middle = answer.number == 2 or answer.media_id == "3.png"
        if not in_the_middle or answer.media_id in lost:
            return False
        lost.add(answer.media_id)
        return True

    nodes.loses = once_each
    media, cluster = media_in(folder), on_ray(folder)
    assert by_media(cluster.see(media)) == by_media(here().see(media))
    assert lost == {"3.png", "film.mp4"}
    again = [task for group in nodes.asked[1].groups for task in pickle.loads(group)]
    assert len(again) < len(media)


def test_media_over_which_workers_end_every_time_end_the_run_after_the_others(
    nodes: Nodes, folder: Path
) -> None:
    nodes.loses = lambda answer: getattr(answer, "media_id", "") == "5.png"
    seen, cluster = list[SeenMedia](), on_ray(folder)
    with pytest.raises(ServiceError) as stopped:
        seen.extend(cluster.see(media_in(folder)))
    assert "5.png" in stopped.value.message
    assert LOST in stopped.value.message
    assert len(nodes.asked) == 3


def test_a_node_that_sees_no_file_or_another_one_makes_nothing_fail(
    nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker looks into another folder, as a node without the mount would."""
    elsewhere = folder.parent / f"{folder.name} of the node"
    elsewhere.mkdir()
    (elsewhere / "0.png").write_bytes((folder / "0.png").read_bytes())
    picture(elsewhere / "1.png", "black", size=(40, 40))
    (elsewhere / "2.png").write_bytes(b"no picture")
    asked = worker_module.Worker._answers

    def there(worker: Any, tasks: Any) -> Iterator[Any]:
        moved = [
            replace(task, wanted=replace(task.wanted, path=str(elsewhere / task.wanted.media_id)))
            for task in tasks
        ]
        yield from asked(worker, moved)

    monkeypatch.setattr(worker_module.Worker, "_answers", there)
    media, cluster = media_in(folder), on_ray(folder)
    assert by_media(cluster.see(media)) == by_media(here().see(media))
    (warning,) = cluster.warnings
    assert warning.startswith("The node node-2 ")
    assert "looked at here" in warning
    assert "6 more" in warning


def test_a_worker_with_another_model_ends_the_run_and_names_its_node(
    nodes: Nodes, folder: Path
) -> None:
    cluster = on_ray(folder, visual_stamp="palette-of-tomorrow")
    with pytest.raises(ModelMismatch, match="node-2"):
        list(cluster.see(media_in(folder)))


def test_a_run_that_waits_for_the_cluster_can_be_stopped(nodes: Nodes, folder: Path) -> None:
    nodes.works = False
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(IndexStopped):
        list(on_ray(folder, stop).see(media_in(folder)))


def test_what_a_worker_says_belongs_to_the_media_it_was_asked_about(
    nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = worker_module.Worker._answers

    def confused(worker: Any, tasks: Any) -> Iterator[Any]:
        for answer in asked(worker, tasks):
            other = replace(answer.found.media, media_id="other", path="/etc/passwd")
            yield replace(answer, found=replace(answer.found, media=other))

    monkeypatch.setattr(worker_module.Worker, "_answers", confused)
    media = media_in(folder)
    assert {found.media.media_id for found in on_ray(folder).see(media)} == {
        one.media_id for one in media
    }


def test_an_answer_that_is_none_ends_the_run_in_a_plain_sentence(
    nodes: Nodes, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def garbled(_nodes: Nodes, _wanted: Do, connection: Connection) -> bool:
        connection.send_bytes(b"\x80 no pickle")
        return False

    monkeypatch.setattr(Nodes, "_do", garbled)
    with pytest.raises(ServiceError, match="can't be understood"):
        list(on_ray(folder).see(media_in(folder)))


def test_who_talks_to_ray_ends_with_the_run_even_while_workers_take_long() -> None:
    busy = """
import sys, time; sys.path.insert(0, sys.argv[1])
from mmrag_plugin.on_ray import conductor
class Busy:
    opened = "joined"
    def __init__(self, wanted): pass
    def do(self, wanted, connection): time.sleep(100)
conductor.Cluster = Busy
conductor.main()
"""
    process, connection = start_child(busy)
    with process:
        connection.send(Open("10.0.0.5:6379", ()))
        assert connection.recv() == "joined"
        connection.send(Do("see", b"", ()))
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        connection.close()  # as the kernel does for a run that is killed
        assert process.wait(20) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("address", "exit_code", "kind", "said"),
    [
        ("nonsense", 2, "usage", "HOST:PORT"),
        ("ray://127.0.0.1:10001", 2, "usage", "HOST:PORT"),
        ("127.0.0.1:9", 3, "service", "No Ray cluster answers at 127.0.0.1:9"),
    ],
)
def test_an_address_without_a_cluster_is_refused_before_anything_is_read(
    tmp_path: Path, address: str, exit_code: int, kind: str, said: str
) -> None:
    picture(tmp_path / "photos" / "a.png")
    done = mmrag_here(tmp_path / "home", "index", tmp_path / "photos", "--ray", address, "--json")
    found, message, remedy = refused(done, exit_code)
    assert found == kind
    assert said in f"{message} {remedy}"


def test_without_ray_the_command_that_installs_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(tmp_path / "photos" / "a.png")
    monkeypatch.setattr("mmrag_plugin.on_ray.conductor.find_spec", lambda name: None)
    done = mmrag_here(
        tmp_path / "home", "index", tmp_path / "photos", "--ray", "127.0.0.1:9", "--json"
    )
    kind, _, remedy = refused(done, 2)
    assert kind == "missing_extra"
    assert 'pip install "mmrag-plugin[ray]"' in remedy
