"""Milvus servers to test and measure against, started and stopped on this machine.

``real_server`` is Milvus itself (the PyPI package ``milvus``, 2.3.5: dense vectors only);
``lite_core`` is the C++ core of milvus-lite 2.5.1, which knows words as well. Both take free
loopback ports and keep what they hold in the folder they are given, so one that was stopped goes
on where it was. The real server listens on every interface, as it can't be told otherwise; give it
``authorization`` where that matters.

    with real_server(folder) as server:
        MilvusConnection(None, server.uri)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
import pytest

LITE_VERSION = "2.5.1"
START_S = 100.0  # what a start may take where many processes share the cores
ROOT_TOKEN = "root:Milvus"  # of every new server with ``authorization``
# kept between runs: what is unpacked or installed once and only read afterwards
_CACHE = platformdirs.user_cache_path("mmrag-test-servers")
_PORT_NAMES = (
    "proxy_port proxy_internal_port root_coord_port query_coord_port query_node_port "
    "index_coord_port index_node_port data_coord_port data_node_port etcd_port etcd_peer_port "
    "metrics_port"
).split()


@dataclass
class Server:
    """A server process that can be stopped, frozen and started again on its data and port."""

    uri: str
    command: Sequence[str | Path]
    environment: dict[str, str]
    folder: Path
    health: str  # an address that answers OK once all is up; empty: the port is enough
    token: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where clients call."""
        return int(self.uri.rpartition(":")[2])

    def start(self) -> None:
        """Start it, on what it held before, and wait until it is up."""
        assert self.process is None, "it runs"
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in self.command],
                cwd=self.folder,
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                last = (self.folder / "server.log").read_text(errors="replace")[-2000:]
                raise AssertionError(f"the server did not start: {last}")
            time.sleep(0.1)

    def is_up(self) -> bool:
        """Whether it answers."""
        try:
            if self.health:
                with urllib.request.urlopen(self.health, timeout=5) as answer:
                    return b"OK" in answer.read()
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End it at once, as a crash or a power loss would."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait(30)
            self.process = None

    def stop(self) -> None:
        """End it as its operator would; at once where it takes long."""
        if self.process is not None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            self.kill()

    def freeze(self) -> None:
        """Let it answer nothing while its connections stay, as an overloaded machine would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.process.pid}/task")
        while any(") T " not in (task / "stat").read_text() for task in tasks.iterdir()):
            time.sleep(0.01)

    def thaw(self) -> None:
        """Let it go on."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def real_server(
    folder: Path,
    *,
    authorization: bool = False,
    tls: dict[str, Path] | None = None,
    session_s: int = 20,
) -> Iterator[Server]:
    """A Milvus 2.3.5 with its data in ``folder``; skips where the package is not installed.

    ``tls`` names the files ``server_pem_path`` and ``server_key_path``, and with ``ca_pem_path``
    the server wants a certificate of its clients, too. A server that was frozen for longer than
    ``session_s`` ends itself; one that was killed has its collections back only after as long.
    """
    server = _configured(folder, authorization, tls or {}, session_s)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _configured(folder: Path, authorization: bool, tls: dict[str, Path], session_s: int) -> Server:
    milvus = pytest.importorskip("milvus", reason="the package milvus (a server) is not installed")
    ports = dict(zip(_PORT_NAMES, _free_ports(len(_PORT_NAMES)), strict=True))
    metrics_port, peer_port = ports.pop("metrics_port"), ports.pop("etcd_peer_port")
    folder.mkdir(parents=True, exist_ok=True)
    config = milvus.MilvusServerConfig(data_dir=str(folder), **ports)
    for part in ("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord"):
        config.set(f"{part}.ip", "127.0.0.1")
    config.set("dataNode.ip", "127.0.0.1")
    config.set("log.level", "warn")
    config.set("common.session.ttl", session_s)
    config.set("authorization_enabled", authorization)
    for name, path in tls.items():
        config.set(name, str(path))
    config.set("tls_mode", (1 + ("ca_pem_path" in tls)) if tls else 0)
    config.resolve()
    etcd = folder / "configs" / "etcd.yaml"
    client, peer = f"http://127.0.0.1:{ports['etcd_port']}", f"http://127.0.0.1:{peer_port}"
    etcd.write_text(
        f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
        f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\n"
        f"initial-cluster: default={peer}\n"
    )
    programs = _unpacked_programs(milvus)
    return Server(
        uri=f"{'https' if tls else 'http'}://127.0.0.1:{ports['proxy_port']}",
        command=[programs / "milvus", "run", "standalone"],
        environment={
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(metrics_port),
            "MILVUS_RUN_DIR": str(folder / "run"),
            "MILVUSCONF": str(folder / "configs"),
            "ETCD_CONFIG_PATH": str(etcd),
            "LD_LIBRARY_PATH": str(programs),
        },
        folder=folder,
        health=f"http://127.0.0.1:{metrics_port}/healthz",
        token=ROOT_TOKEN if authorization else "",
    )


def _unpacked_programs(milvus: Any) -> Path:
    """Where the programs of the package lie unpacked; it packs 250 MB."""
    home = _CACHE / f"milvus-{milvus.__version__}"
    with _alone(home):
        milvus._initialize_data_files(str(home))  # only what is not there yet
    return home / "bin"


@contextlib.contextmanager
def lite_core(folder: Path) -> Iterator[Server]:
    """The C++ core of milvus-lite 2.5.1 with its data in ``folder``; skips where pip has none."""
    programs = _installed_lite_core()
    folder.mkdir(parents=True, exist_ok=True)
    [port] = _free_ports(1)
    address = f"127.0.0.1:{port}"
    server = Server(
        uri=f"http://{address}",
        command=[programs / "milvus", folder / "data.db", address, "ERROR"],
        environment={"LD_LIBRARY_PATH": str(programs)},
        folder=folder,
        health="",
    )
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _installed_lite_core() -> Path:
    """Where it lies; fetched by pip, apart from the milvus-lite that mmrag itself uses."""
    home = _CACHE / f"milvus-lite-{LITE_VERSION}"
    programs = home / "milvus_lite" / "lib"
    with _alone(home):
        if not (programs / "milvus").exists():
            part = home.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            command += ["--target", str(part), f"milvus-lite=={LITE_VERSION}"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if done.returncode:
                pytest.skip(f"milvus-lite {LITE_VERSION} can't be had: {done.stderr[-200:]}")
            shutil.rmtree(home, ignore_errors=True)
            part.rename(home)
    return programs


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes of tests out meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _free_ports(count: int) -> list[int]:
    """Ports that nobody has, below those that systems give to outgoing connections."""
    chance = random.SystemRandom()
    found: list[int] = []
    while len(found) < count:
        port = chance.randrange(12_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("0.0.0.0", port))
            found.extend({port}.difference(found))
    return found
