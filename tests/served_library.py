"""The demo's photos and film in a library, and the real server process over it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mcp import StdioServerParameters

from commands import environment, mmrag_here, told
from mcp_processes import ServedOverHttp
from media_made import end_owners

DEMO_MEDIA = Path(__file__).resolve().parents[1] / "src" / "mmrag_plugin" / "demo_media"
SERVER = [sys.executable, "-m", "mmrag_mcp"]


@contextlib.contextmanager
def demo_library(place: Path) -> Iterator[Path]:
    """Index a copy of the demo's media, ``place``/Pictures; yields where its library lives."""
    home = place / "libraries"
    shutil.copytree(DEMO_MEDIA, place / "Pictures")
    try:
        assert told(mmrag_here(home, "index", place / "Pictures", "--no-ocr", "--json"), 0)["added"]
        yield home
    finally:
        end_owners(home)


def over_stdio(home: Path, *flags: str, **variables: str) -> StdioServerParameters:
    """How a client starts the server as a process of its own."""
    command, *arguments = [*SERVER, *flags]
    return StdioServerParameters(
        command=command, args=arguments, env=environment(home, **variables)
    )


@contextlib.contextmanager
def over_http(home: Path, *flags: str, **variables: str) -> Iterator[ServedOverHttp]:
    """Serve a library over HTTP, at a port of the system's choice; ended as a service is."""
    command = [*SERVER, "--http", "127.0.0.1:0", *flags]
    served = ServedOverHttp(command, **environment(home, **variables))
    try:
        yield served
        served.process.terminate()
        assert served.ended(within_s=10) == 0, served.told
    finally:
        served.process.kill()
        served.process.wait()
        for pipe in (served.process.stdout, served.process.stderr):
            assert pipe
            pipe.close()
