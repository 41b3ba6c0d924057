"""The demo's photos and film in a library, and the real server process over it."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from mcp import StdioServerParameters

from commands import environment, mmrag_here, told
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
