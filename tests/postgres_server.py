"""A PostgreSQL server for tests: on a free loopback port, in a temporary directory, gone with them.

Its texts are sorted as English is, as on many servers, so that a ledger which counts on another
order is found out.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

USER, PASSWORD, DATABASE = "mmrag", "a secret: it/must@not#show", "postgres"
_STARTS_WITHIN_S = 60.0


def missing() -> str:
    """Why there can be no server here; empty where there can."""
    for program in ("initdb", "postgres"):
        if _program(program) is None:
            return f"PostgreSQL is not installed ({program} is not there)"
    if shutil.which("setpriv") is None:
        return "setpriv is not there, which ends the server with the tests"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed"
    return ""


class PostgresServer:
    """A server that can be stopped and started again; use it as a context manager."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="mmrag-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> PostgresServer:
        password = self._directory / "password"
        password.write_text(PASSWORD + "\n")
        if os.geteuid() == 0:  # whom it refuses
            shutil.chown(self._directory, "nobody")
            shutil.chown(password, "nobody")
        try:
            subprocess.run(
                [
                    *_as_nobody(),
                    str(_program("initdb")),
                    *("--pgdata", str(self._directory / "data"), "--no-sync"),
                    *("--username", USER, "--pwfile", str(password), "--auth", "scram-sha-256"),
                    *("--encoding", "UTF8", "--locale", "C.UTF-8"),
                    *("--locale-provider", "icu", "--icu-locale", "en-US"),
                ],
                cwd=self._directory,
                check=True,
                capture_output=True,
            )
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._directory, ignore_errors=True)

    def start(self) -> None:
        """Start, and wait until it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 60,
        }
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        command = [*_as_nobody(), str(_program("postgres")), "-D", str(self._directory / "data")]
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command + options, cwd=self._directory, stdout=log, stderr=log
            )
        self._wait_until_it_answers()

    def stop(self, *, how: signal.Signals = signal.SIGINT) -> None:
        """Stop; connections are cut off. SIGQUIT is as if the power went."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def url(self, *, schema: str = "") -> str:
        """The address of a ledger; each schema holds another one."""
        address = f"postgresql://{USER}:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{DATABASE}"
        return f"{address}?options=-csearch_path%3D{schema}" if schema else address

    def url_for(self, name: object) -> str:
        """The address of a ledger of its own for a name, as the path that SQLite would have."""
        import psycopg

        schema = f"s{hashlib.blake2b(str(name).encode(), digest_size=10).hexdigest()}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}".encode())
        return self.url(schema=schema)

    def _wait_until_it_answers(self) -> None:
        import psycopg

        deadline = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                psycopg.connect(self.url(), connect_timeout=5).close()
            except psycopg.OperationalError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (self._directory / "log").read_text(errors="replace")
                    raise RuntimeError(f"PostgreSQL did not start: {log}") from error
                time.sleep(0.05)
            else:
                return


def _as_nobody() -> list[str]:
    """What a command begins with, so that it is not root's and ends with these tests."""
    command = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        command += ["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    return [*command, "--"]


def _program(name: str) -> Path | None:
    if found := shutil.which(name):
        return Path(found)
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return installed[-1] if installed else None
