"""The `mmrag-mcp` process: its command line, its life, and its end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import anyio

from mmrag_mcp.rights import Rights
from mmrag_mcp.server import MmragServer
from mmrag_mcp.warming import WarmLibrary, open_library
from mmrag_plugin import __version__

CLOSE_S = 1.0  # clients kill a server that is not gone after two seconds

_LIBRARY_FLAGS = (
    "library", "home", "visual_model", "vlm", "ollama_host", "allow_remote", "milvus_uri"
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Serve one library until the client goes."""
    flags = parser().parse_args(argv)
    # before the SDK sets up its own, which writes for people at a terminal
    logging.basicConfig(
        level=logging.WARNING, stream=sys.stderr, format="mmrag-mcp: %(levelname)s: %(message)s"
    )
    warm = WarmLibrary(
        partial(open_library, **{name: vars(flags)[name] for name in _LIBRARY_FLAGS})
    )
    rights = Rights(tuple(flags.root), flags.output_folder)
    server = MmragServer(warm, allow_write=flags.allow_write, rights=rights)
    anyio.run(_serve, server, warm)


async def _serve(server: MmragServer, warm: WarmLibrary) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_leave_on_signal, warm)
        try:
            await server.run_stdio_async()
        except Exception:
            logging.getLogger(__name__).exception("The connection broke.")
            leave(warm, 1)
        leave(warm, 0)


async def _leave_on_signal(warm: WarmLibrary) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            leave(warm, 0)


def leave(warm: WarmLibrary, code: int) -> None:
    """Close the library and end, now.

    The interpreter's own way out waits for every thread, one of which may read from a client that
    says no more, and takes torch apart for two seconds.
    """
    closing = threading.Thread(target=warm.close, daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    sys.stderr.flush()
    os._exit(code)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "mmrag-mcp",
        description="Serve a library of photos and videos to an assistant, over stdio. "
        "Make the library with: mmrag index FOLDER",
    )
    parser.add_argument("--library", "-l", metavar="NAME", help="the library's name")
    parser.add_argument("--home", metavar="FOLDER", help="where libraries live")
    parser.add_argument(
        "--visual-model", metavar="MODEL", help="the model of the library's vectors"
    )
    parser.add_argument("--vlm", metavar="MODEL", help="the Ollama model that looks at pictures")
    parser.add_argument("--ollama-host", metavar="URL", help="where Ollama listens")
    parser.add_argument(
        "--allow-remote",
        action="store_true",
        default=None,
        help="let pictures go to a vision model on another machine",
    )
    parser.add_argument(
        "--allow-write",
        action="store_true",
        help="let the assistant index folders, annotate media and make files",
    )
    parser.add_argument(
        "--root",
        metavar="FOLDER",
        type=_folder,
        action="append",
        default=[],
        help="a folder that the assistant may index, too (with --allow-write; may be repeated)",
    )
    parser.add_argument(
        "--output-folder",
        metavar="FOLDER",
        type=lambda text: Path(text).expanduser().absolute(),
        help="where the assistant's clips, albums and other files go (with --allow-write)",
    )
    parser.add_argument("--milvus-uri", metavar="URI", help="a Milvus server")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that is there")
    return path
