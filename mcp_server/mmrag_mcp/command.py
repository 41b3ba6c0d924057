"""The `mmrag-mcp` process: its command line, its life, and its end."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel

from mmrag_mcp.rights import Rights
from mmrag_mcp.server import ANSWER_FIRST_S, MmragServer
from mmrag_mcp.warming import PROGRAM, WarmLibrary, open_library
from mmrag_plugin import __version__, logs, tracing_otel
from mmrag_plugin.errors import MmragError

if TYPE_CHECKING:
    from mmrag_mcp.http_serving import HttpServing

CLOSE_S = 1.0  # clients kill a server that is not gone after two seconds

_LIBRARY_FLAGS = (
    "library", "home", "visual_model", "vlm", "ollama_host", "allow_remote", "milvus_uri"
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Serve one library until the client goes, or until told to end."""
    flags = parser().parse_args(argv)
    # before the SDK sets up its own, which writes for people at a terminal
    logs.set_up(*logs.from_environment(), program=PROGRAM, others=True)
    if any(name.startswith("OTEL_") for name in os.environ):
        tracing_otel.set_up(PROGRAM)
    warm = WarmLibrary(
        partial(open_library, **{name: vars(flags)[name] for name in _LIBRARY_FLAGS})
    )
    make = partial(
        MmragServer,
        warm,
        allow_write=flags.allow_write,
        rights=Rights(tuple(flags.root), flags.output_folder),
    )
    if flags.http is None:
        anyio.run(_serve_stdio, make(), warm)
        return
    try:
        _serve_http(flags, make, warm)
    except MmragError as error:
        parser().exit(error.exit_code, f"mmrag-mcp: {error}\n")


async def _serve_stdio(server: MmragServer, warm: WarmLibrary) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_on_signal, partial(leave, warm, 0))
        await anyio.lowlevel.checkpoint()  # signals are heard from here on
        if sys.stdin and sys.stdin.isatty():
            _say(
                "waiting for an assistant, which would start this and talk to it over stdin. "
                "How to set one up: docs/mcp.md. Ctrl-C ends it."
            )
        try:
            await server.run_stdio_async()
        except Exception:
            logging.getLogger("mmrag.mcp").exception("The connection broke.")
            leave(warm, 1)
        leave(warm, 0)


def _serve_http(
    flags: argparse.Namespace, make: Callable[..., MmragServer], warm: WarmLibrary
) -> None:
    from mmrag_mcp.http_access import OneToken, access, listen
    from mmrag_mcp.http_serving import HttpServing
    from mmrag_plugin.settings import load_settings

    token = load_settings(home=flags.home, library=flags.library).token
    os.environ.pop("MMRAG_TOKEN", None)  # decoders of what strangers sent need not inherit it
    with ExitStack() as opened:
        sockets = [opened.enter_context(place) for place in listen(flags.http)]
        needed = access(sockets, flags.allow_host, flags.allow_origin, token)
        server = make(token_verifier=OneToken(token) if token else None)
        anyio.run(_serve_until_told, HttpServing(server, needed, sockets), warm)


async def _serve_until_told(serving: HttpServing, warm: WarmLibrary) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_on_signal, serving.end)
        warm.warm(after_s=ANSWER_FIRST_S)
        await serving.run(lambda url: _say(f"serving at {url}"))
        leave(warm, 0)


def _say(text: str) -> None:
    sys.stderr.write(f"mmrag-mcp: {text}\n")
    sys.stderr.flush()


async def _on_signal(then: Callable[[], None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            then()


def leave(warm: WarmLibrary, code: int) -> None:
    """Close the library and end, now.

    The interpreter's own way out waits for every thread, one of which may read from a client that
    says no more, and takes torch apart for two seconds.
    """

    def close() -> None:
        warm.close()
        tracing_otel.finish()

    closing = threading.Thread(target=close, daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    sys.stderr.flush()
    os._exit(code)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "mmrag-mcp",
        description="Serve a library of photos and videos to an assistant, over stdio or HTTP. "
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
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        help="serve over HTTP there instead of stdio, like 127.0.0.1:8765; others need MMRAG_TOKEN",
    )
    parser.add_argument(
        "--allow-host",
        metavar="HOST",
        action="append",
        default=[],
        help="a name, with or without port, by which clients may reach --http (may be repeated)",
    )
    parser.add_argument(
        "--allow-origin",
        metavar="ORIGIN",
        action="append",
        default=[],
        help="a web page's origin that may use --http, like https://example.org (may be repeated)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _folder(text: str) -> Path:
    path = Path(text).expanduser().absolute()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that is there")
    return path
