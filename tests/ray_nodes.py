"""Ray clusters for tests: nodes of one core on this machine, which listen on loopback alone.

``ray start`` takes 127.0.0.1 for the machine's own address, where others could reach it, so the
nodes are made as Ray's own tests make them. Run as a script this file is one node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

_STORE_BYTES = 100 * 2**20
_LOOPBACK = "127.0.0.1"
_AT_WORK = "ray::MapWorker(MapBatches(Worker)).submit"  # Ray names processes by what they do


class RayNodes:
    """A cluster of a head and other nodes; each is a group of processes, which can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._nodes = folder, list[subprocess.Popen[str]]()
        self.address = ""
        self.address = self.add()

    def add(self, *, within: Sequence[str] = ()) -> str:
        """Start a node, the first one as the head; returns the address of the head.

        ``within`` is a command that runs it, such as one that hides a folder from it.
        """
        environment = {
            **os.environ,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (self._folder / f"node{len(self._nodes)}.txt").open("w") as said:
            node = subprocess.Popen(
                [*within, sys.executable, __file__, str(self._folder), self.address],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
                env=environment,
            )
        self._nodes.append(node)
        assert node.stdout is not None
        address = node.stdout.readline().strip()
        assert address, Path(said.name).read_text()
        return address

    def kill(self, number: int) -> None:
        """Kill a node with all that runs on it, as if its plug was pulled."""
        with self._nodes[number] as node:  # which closes its pipes
            _kill_session(node.pid)

    def at_work(self, number: int | None = None) -> list[int]:
        """The workers of mmrag, on one node or on all, that have media in hand just now."""
        nodes = self._nodes if number is None else [self._nodes[number]]
        sessions = {node.pid for node in nodes}
        return [
            pid
            for pid, line in _processes()
            if line.startswith(_AT_WORK) and _session_of(pid) in sessions
        ]

    def stop(self) -> None:
        """Kill what is left of all nodes."""
        for number in reversed(range(len(self._nodes))):
            self.kill(number)


def _processes() -> Iterator[tuple[int, str]]:
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield int(place.name), (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()


def _kill_session(session: int) -> None:
    """Kill all processes of a session: the raylet starts workers in groups of their own."""
    for _ in range(20):
        of_it = [pid for pid, _ in _processes() if _session_of(pid) == session]
        if not of_it:
            return
        for pid in of_it:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


@contextlib.contextmanager
def ray_nodes(count: int = 2) -> Iterator[RayNodes]:
    """A cluster that is gone afterwards, with all its files."""
    folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))  # sockets have short paths
    nodes = None
    try:
        nodes = RayNodes(folder)
        for _ in range(count - 1):
            nodes.add()
        yield nodes
    finally:
        if nodes is not None:
            nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _run(folder: str, head: str = "") -> None:
    """Be a node until standard input ends."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    about = RayParams(
        node_ip_address=_LOOPBACK,
        num_cpus=1,
        num_gpus=0,
        object_store_memory=_STORE_BYTES,
        include_dashboard=False,
        include_log_monitor=False,
        dashboard_agent_listen_port=None,
        min_worker_port=0,
        max_worker_port=0,
        temp_dir=folder,
        gcs_address=head or None,
        node_manager_port=0,
    )
    node = Node(about, head=not head, shutdown_at_exit=True, spawn_reaper=False)
    print(head or node.gcs_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    _run(*sys.argv[1:])
