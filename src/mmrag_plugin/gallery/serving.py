"""Serve the gallery on 127.0.0.1 until it is stopped."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from mmrag_plugin.errors import UsageError
from mmrag_plugin.gallery.gate import Gate
from mmrag_plugin.gallery.site import Site

if TYPE_CHECKING:
    from mmrag_plugin.library import MediaLibrary

HOST = "127.0.0.1"  # and nothing else: who serves a network wants mmrag-mcp, which asks for a token
END_S = 2  # how long requests under way may take when it is stopped
AT_ONCE = 64  # connections


def serve(library: MediaLibrary, *, port: int, opened: Callable[[str], None]) -> None:
    """Serve until Ctrl-C; ``opened`` is called with the address once it listens.

    Port 0 is a free one. Raises UsageError for a port that can't be had.
    """
    import uvicorn

    with _listening(port) as listening:
        site = Site(library)
        gate = Gate(site.app(), listening.getsockname()[1])
        config = uvicorn.Config(
            gate,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=AT_ONCE,
            timeout_graceful_shutdown=END_S,
        )
        threading.Thread(target=site.warm, daemon=True).start()
        opened(gate.address)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        with suppress(KeyboardInterrupt):  # which uvicorn passes on when it is done
            uvicorn.Server(config).run(sockets=[listening])
        site.ended = True


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of the server's is worth a line: not what Ctrl-C cut short."""
    return "graceful shutdown" not in record.getMessage()


def _listening(port: int) -> socket.socket:
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((HOST, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        raise UsageError(
            f"Port {port} can't be had: {getattr(error, 'strerror', None) or error}.",
            "Name another, or leave --port out for a free one.",
        ) from None
    return listening
