"""MCP clients that come from npm: the Inspector's command line and the conformance suite.

They are installed once, in fixed versions, into the user's cache (``MMRAG_TEST_NPM`` names another
folder); tests that run side by side wait for each other. Where npm can't fetch them, tests skip.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import pytest

INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
CONFORMANCE = "@modelcontextprotocol/conformance@0.1.16"
NODE = "node@22.23.3"
OLDEST_NODE = (22, 19)  # that the Inspector runs on
INSTALL_S = 400
PATIENCE = ("--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
RUN_S = 100


@dataclass(frozen=True)
class NpmPrograms:
    """Programs of one npm folder, run with the Node that they need."""

    folder: Path

    def run(
        self, program: str, *arguments: str | Path, home: Path, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in ``home``, with nothing of this machine's settings."""
        path = f"{self.folder / 'node_modules' / '.bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            [self.folder / "node_modules" / ".bin" / program, *map(str, arguments)],
            env={"PATH": path, "HOME": str(home), **variables},
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            check=False,
        )


def installed() -> NpmPrograms:
    """The programs, installed now if they are not; a skip where that can't be done."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there: apt-get install npm, or nodejs.org")
    wanted = [INSPECTOR, CONFORMANCE]
    if _node_version("node") < OLDEST_NODE:
        wanted.append(NODE)
    name = "-".join(re.sub(r"^@.*/", "", package) for package in wanted).replace("@", "-")
    cache = os.environ.get("MMRAG_TEST_NPM") or platformdirs.user_cache_dir("mmrag-tests")
    folder = Path(cache) / name
    folder.mkdir(parents=True, exist_ok=True)
    done = folder / "installed"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            _install(npm, folder, wanted)
            done.touch()
    return NpmPrograms(folder)


def package_file(package: str, file: str) -> str:
    """The text of a file of one npm package, installed now if it is not; a skip without npm."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not there: apt-get install npm, or nodejs.org")
    cache = os.environ.get("MMRAG_TEST_NPM") or platformdirs.user_cache_dir("mmrag-tests")
    folder = Path(cache) / package.replace("@", "-")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / "node_modules" / package.partition("@")[0] / file
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            _install(npm, folder, [package])
    return wanted.read_text(encoding="utf-8")


def _install(npm: str, folder: Path, wanted: list[str]) -> None:
    command = [npm, "install", "--no-save", "--no-audit", "--no-fund", *PATIENCE, *wanted]
    command += ["--prefix", str(folder)]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not fetch {', '.join(wanted)} within {INSTALL_S} s")
    if done.returncode:
        reasons = [line for line in done.stderr.splitlines() if "npm error" in line]
        pytest.skip(f"npm can't fetch {', '.join(wanted)}: {' '.join(reasons[:3])}")
    node = folder / "node_modules" / ".bin" / "node"
    if NODE in wanted and _node_version(str(node)) < OLDEST_NODE:
        pytest.skip("npm ran no install script, so Node 22 is not there: install it another way")


def _node_version(node: str) -> tuple[int, ...]:
    if shutil.which(node) is None:
        return (0,)
    told = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(part) for part in re.findall(r"\d+", told))
