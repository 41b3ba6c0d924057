"""The process of a run that talks to Ray: ``python -c BOOTSTRAP``, requests on its stdin.

Ray writes to standard output, takes over logging and signals, and waits for minutes for a cluster
that is not there; in a process of its own, which can be ended, it does so to nobody. It is asked to
``Open`` a cluster, once, and then to ``Do`` work; each answer of a worker is passed on as it comes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MissingExtra, MmragError, ServiceError, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.on_ray.orders import Work

ANSWERS_WITHIN_S = 60.0  # a node that has to start a first process of ours
_LISTENS_WITHIN_S = 5.0
_LEAVES_WITHIN_S = 5.0
_MAX_CORES = 8  # of one worker: beyond that more workers do more than more threads
_BLOCK_BYTES = 2**18  # answers that travel together
_IN_FLIGHT = 2  # groups that a worker has at once: one that it works on, one that waits
_AUTO = "auto"


@dataclass(frozen=True)
class Open:
    """Connect to a cluster, and find out which of its nodes see ``places``."""

    address: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Opened:
    """The nodes that can work, and what the person should know of the others."""

    workers: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Do:
    """Have groups of pickled tasks worked on by workers with some pickled equipment."""

    work: Work
    equipment: bytes
    groups: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True)
class Done:
    """All groups were handed out; where some were lost on the way ``lost`` says why."""

    lost: str = ""


class Cluster:
    """A connection to a cluster and the nodes that work for this run."""

    def __init__(self, wanted: Open) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing about the run leaves the cluster
        import ray

        _connect(ray, wanted.address)
        self.warnings: list[str] = []
        self._nodes = [
            node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1
        ]
        if not self._nodes:
            raise ServiceError(
                f"The Ray cluster {wanted.address} has no node with a core to work.",
                "Add one: ray start --address=ADDRESS",
            )
        self._names = {node["NodeID"]: _name_of(node) for node in self._nodes}
        self._leave_out_unfit(ray, wanted)
        cpus = [int(node["Resources"]["CPU"]) for node in self._nodes]
        self.cores_each = max(min(_MAX_CORES, *cpus), 1)
        self.workers = sum(count // self.cores_each for count in cpus)
        self.gpus = sum(int(node["Resources"].get("GPU", 0)) for node in self._nodes)
        self.opened = Opened(self.workers, tuple(self.warnings))

    def _leave_out_unfit(self, ray: Any, wanted: Open) -> None:
        """Ask every node for its version and whether it sees the media."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        from mmrag_plugin.on_ray.worker import VERSION, what_is_missing

        look = ray.remote(num_cpus=0, max_retries=0)(what_is_missing)
        asked = {
            node["NodeID"]: look.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(wanted.places)
            for node in self._nodes
        }
        until, unfit = time.monotonic() + ANSWERS_WITHIN_S, dict[str, str]()
        for node_id, answer in asked.items():
            try:
                version, missing = ray.get(answer, timeout=max(until - time.monotonic(), 1.0))
            except Exception as error:
                why = "does not answer" if "Timeout" in type(error).__name__ else _last_line(error)
                unfit[node_id] = f"can't run mmrag ({why})"
                continue
            if version != VERSION:
                unfit[node_id] = f"has mmrag {version}, and here it is {VERSION}"
            elif missing:
                unfit[node_id] = f"does not see {missing[0]}"
        told = [f"The node {self._names[node_id]} {why}." for node_id, why in unfit.items()]
        remedy = (
            "Have the media at the same path on every node, on storage that they share, and the "
            "same mmrag installed."
        )
        self._nodes = [node for node in self._nodes if node["NodeID"] not in unfit]
        if not self._nodes:
            raise ServiceError(" ".join(told), remedy)
        self.warnings += [f"{one} It is left out. {remedy}" for one in told]

    def do(self, wanted: Do, connection: Connection) -> Done:
        """Have workers answer all groups, and pass on what they answer.

        What a worker had in hand when it or its node ended is lost, and handed out again by who
        asked; Ray's own retries are off, since they wait for nodes that do not come back.
        """
        import ray.data

        from mmrag_plugin.on_ray.worker import Worker

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.target_max_block_size = _BLOCK_BYTES
        context.max_errored_blocks = -1
        context.max_consecutive_actor_init_deaths = 3
        ids = ",".join(node["NodeID"] for node in self._nodes)
        context.execution_options.label_selector = {"ray.io/node-id": f"in({ids})"}
        with_gpus = wanted.work == "see" and self.gpus > 0
        size = min(self.gpus if with_gpus else self.workers, len(wanted.groups))
        groups = ray.data.from_items(
            [{"group": group} for group in wanted.groups], override_num_blocks=len(wanted.groups)
        )
        answers = groups.map_batches(
            Worker,
            fn_constructor_args=(wanted.equipment, wanted.work, self._names, self.cores_each),
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                max_size=size,
                initial_size=size,
                max_tasks_in_flight_per_actor=_IN_FLIGHT,
                max_concurrent_calls_per_actor=1,
            ),
            num_cpus=self.cores_each,
            num_gpus=1 if with_gpus else None,
            ray_remote_args_fn=lambda: {"max_task_retries": 0},
        )
        try:
            for table in answers.iter_batches(
                batch_size=None, prefetch_batches=0, batch_format="pyarrow"
            ):
                for answer in table.column("answer").to_pylist():
                    connection.send_bytes(answer)
        except OSError:
            raise  # nobody listens any more
        except Exception as error:
            return Done(_last_line(error))
        return Done()


def require_ray() -> None:
    """Raise MissingExtra where Ray, or what Ray Data needs, is not installed."""
    if not all(map(find_spec, ("ray", "pyarrow", "pandas"))):
        raise MissingExtra(
            "Indexing on many machines needs Ray Data, which is not installed.",
            'Install it on all of them: pip install "mmrag-plugin[ray]"',
        )


def require_listener(address: str) -> str:
    """See whether something listens at an address; returns how Ray is told of it.

    Raises UsageError for what is no address, ServiceError when nothing listens there.
    """
    if address == _AUTO:
        return address
    host, port = host_and_port(address)
    try:
        with socket.create_connection((host, port), timeout=_LISTENS_WITHIN_S) as found:
            reached = found.getpeername()[0]
    except OSError as error:
        raise ServiceError(
            f"No Ray cluster answers at {address} ({error.strerror or error}).",
            "Start it (ray start --head), or name the right address: ray status shows it.",
        ) from None
    # Ray takes a loopback address for the machine's own, where a head may not listen
    return f"[::ffff:{reached}]:{port}" if reached.startswith("127.") else address


def _connect(ray: Any, address: str) -> None:
    """Connect to a cluster that this machine is a node of. Raises ServiceError."""
    try:
        ray.init(
            address=require_listener(address),
            log_to_driver=False,
            configure_logging=False,
            logging_level=logging.ERROR,
        )
    except MmragError:
        raise
    except Exception as error:
        raise ServiceError(
            f"The Ray cluster {address} can't be joined: {_last_line(error)}",
            "This machine must be a node of it (ray start --address=ADDRESS), with the same "
            "versions of Ray and Python.",
        ) from None


def host_and_port(address: str) -> tuple[str, int]:
    """Take an address apart. Raises UsageError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if "/" in host or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            f"{address!r} is no address of a Ray cluster.",
            "Write HOST:PORT, as ray start prints it (such as 10.0.0.5:6379), or auto for the "
            "cluster that this machine is a node of.",
        )
    return host, int(port)


def _name_of(node: dict[str, Any]) -> str:
    """How people know a node: its host and address; several on one host by their ids too."""
    return f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']}, {node['NodeID'][:8]})"


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[-1][:300]


def serve(connection: Connection) -> None:
    """Answer one request after another, until the other side is gone."""
    cluster: Cluster | None = None
    while True:
        wanted = connection.recv()
        try:
            if isinstance(wanted, Open):
                cluster = Cluster(wanted)
                answer: Any = cluster.opened
            else:
                assert cluster is not None
                answer = cluster.do(wanted, connection)
        except MmragError as error:
            answer = error
        connection.send(answer)


def _end_with(asker: int) -> None:
    """End this process, and what workers are at, once the other side of a socket is gone.

    A run that is killed says no more, and workers may answer minutes later.
    """
    gone = select.poll()
    gone.register(asker, 0)  # it always tells of an end
    gone.poll()
    os.kill(os.getpid(), signal.SIGTERM)  # Ray leaves the cluster
    time.sleep(_LEAVES_WITHIN_S)
    os._exit(1)


def main() -> None:
    """Serve the process that started this one."""
    threading.Thread(target=_end_with, args=(0,), daemon=True).start()
    with contextlib.suppress(OSError, EOFError), Connection(os.dup(0)) as connection:
        serve(connection)
