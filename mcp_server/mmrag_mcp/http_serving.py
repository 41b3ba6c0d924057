"""Serve over HTTP until told to end: both eras of the protocol at ``/mcp``."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from mmrag_mcp.http_access import Access, url_of
from mmrag_mcp.http_limits import BODY_BYTES, Bodies, Gate, PatientProtocol

GRACE_S = 5.0  # for calls that run when the server is told to end
CONNECTIONS = 2_000
SESSIONS = 2_000  # a client of the older era that never ends its own holds one until it is idle
SESSION_IDLE_S = 600.0
KEPT_OPEN_S = 30.0


class HttpServing:
    """One server at some sockets."""

    def __init__(self, server: MCPServer, access: Access, sockets: Sequence[socket.socket]) -> None:
        self._sockets = list(sockets)
        self._gate = Gate(_app(server, access), access.security)
        config = uvicorn.Config(
            self._gate,
            http=PatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=int(KEPT_OPEN_S),
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=int(GRACE_S),
        )
        self._uvicorn = _Uvicorn(config)

    async def run(self, on_ready: Callable[[str], None]) -> None:
        """Serve until ``end`` is called and running calls are answered, or have had their time.

        ``on_ready`` is told the URL once clients can come.
        """
        _allow_connections()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tell, on_ready)
            await self._uvicorn.serve(self._sockets)

    def end(self) -> None:
        """Take no more requests and end soon; at once when called again."""
        self._uvicorn.force_exit = self._uvicorn.should_exit
        self._uvicorn.should_exit = True
        self._gate.end_streams()

    async def _tell(self, on_ready: Callable[[str], None]) -> None:
        while not self._uvicorn.started:
            await anyio.sleep(0.01)
        on_ready(url_of(self._sockets))


class _Uvicorn(uvicorn.Server):
    """uvicorn without its signal handlers, which would cut off the answers of running calls."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _app(server: MCPServer[Any], access: Access) -> ASGIApp:
    app = server.streamable_http_app(
        transport_security=access.security,
        max_request_body_size=BODY_BYTES,
        session_idle_timeout=SESSION_IDLE_S,
        max_sessions=SESSIONS,
    )
    app.user_middleware.append(Middleware(Bodies, needs_token=bool(access.token)))
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origin_regex="|".join(map(_pattern, access.origins)),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["mcp-session-id", "mcp-protocol-version", "www-authenticate"],
        )
    return app


def _pattern(origin: str) -> str:
    fixed, any_port = (origin[:-2], r":\d+") if origin.endswith(":*") else (origin, "")
    return re.escape(fixed) + any_port


def _allow_connections() -> None:
    """Let this process hold as many connections as it serves, where it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + 512
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
