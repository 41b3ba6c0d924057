"""What a client may take over HTTP: how long it may be silent, and how much it may send.

The SDK bounds a body and the sessions; here slow clients are sent away, large bodies are held for a
few requests at a time, and requests for another host are refused on every path.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AsyncExitStack

import anyio
import h11
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

BODY_BYTES = 4 * 2**20  # a picture of 3 MB in base64 fits
SMALL_BYTES = 64 * 2**10
LARGE_AT_ONCE = 16
DRAINED_BYTES = 128 * 2**20  # of a body that is too large, so that its sender hears the answer
HEADERS_S = 10.0
BODY_S = 30.0
DRAIN_S = 30.0
UNREAD_S = 60.0  # how long a client may leave an answer unread

_CLOSE = {"connection": "close"}


class Gate:
    """Refuses requests for another host or from another origin, and answers ``/health``.

    Health needs no token, as what watches over services has none, and says only that it answers.
    """

    def __init__(self, app: ASGIApp, security: TransportSecuritySettings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(security)
        self._streams: dict[anyio.CancelScope, None] = {}
        self._ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refused = await self._security.validate_request(request)
        if refused is not None:
            await refused(scope, receive, send)
        elif scope["path"] == "/health":
            await JSONResponse({"status": "ok"})(scope, receive, send)
        elif request.method == "GET" or request.headers.get("mcp-method") == "subscriptions/listen":
            await self._stream(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def end_streams(self) -> None:
        """End what goes on until somebody ends it: nobody waits for an answer there."""
        self._ending = True
        for stream in list(self._streams):
            stream.cancel()

    async def _stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        unfinished = False

        async def sending(message: Message) -> None:
            nonlocal unfinished
            unfinished = message["type"] == "http.response.start" or message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as cancel:
            self._streams[cancel] = None
            if self._ending:
                cancel.cancel()
            try:
                await self._app(scope, receive, sending)
            finally:
                del self._streams[cancel]
        if cancel.cancelled_caught and unfinished:
            await send({"type": "http.response.body", "body": b""})
        elif cancel.cancelled_caught:
            await PlainTextResponse("The server is ending.", 503)(scope, receive, send)


class Bodies:
    """Reads the bodies of requests that may come in: in time, and few large ones at once."""

    def __init__(self, app: ASGIApp, needs_token: bool) -> None:
        self._app = app
        self._needs_token = needs_token
        self._large = anyio.Semaphore(LARGE_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        stranger = self._needs_token and not isinstance(scope.get("user"), AuthenticatedUser)
        if scope["type"] != "http" or scope["method"] != "POST" or stranger:
            await self._app(scope, receive, send)
            return
        reading = _Reading(receive)
        async with AsyncExitStack() as held:
            refused = await self._read(scope, reading, held)
            if refused is None:
                await self._app(scope, reading.replay, send)
            else:
                await refused(scope, receive, send)

    async def _read(
        self, scope: Scope, reading: _Reading, held: AsyncExitStack
    ) -> PlainTextResponse | None:
        """Read a body; returns the refusal of one that is too large or too slow."""
        try:
            if _declared_bytes(scope) <= DRAINED_BYTES:
                await reading.until(SMALL_BYTES)
                if not reading.is_whole:
                    await held.enter_async_context(self._large)
                    await reading.until(BODY_BYTES)
                if reading.is_whole:
                    return None
                await reading.drain()
        except TimeoutError:
            return PlainTextResponse("The request did not come in time.", 408, _CLOSE)
        return PlainTextResponse(f"A request may have {BODY_BYTES // 2**20} MiB.", 413, _CLOSE)


def _declared_bytes(scope: Scope) -> int:
    length = Headers(scope=scope).get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0


class _Reading:
    """The body of one request, read step by step."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: deque[Message] = deque()
        self._bytes = 0
        self.is_whole = False  # or its sender has gone, which the application finds out

    async def until(self, limit_bytes: int) -> None:
        """Read on to the end, or to where there is more than the limit."""
        with anyio.fail_after(BODY_S):
            while not self.is_whole and self._bytes <= limit_bytes:
                self._take(await self._receive())

    async def drain(self) -> None:
        """Read on, and forget it."""
        self._messages.clear()
        with anyio.move_on_after(DRAIN_S):
            while not self.is_whole and self._bytes <= DRAINED_BYTES:
                self._take(await self._receive())
                self._messages.clear()

    def _take(self, message: Message) -> None:
        self._messages.append(message)
        self._bytes += len(message.get("body", b""))
        self.is_whole = message["type"] != "http.request" or not message.get("more_body", False)

    async def replay(self) -> Message:
        """Give the application what was read, then what follows."""
        return self._messages.popleft() if self._messages else await self._receive()


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which ends connections that keep it waiting."""

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait(True)

    def data_received(self, data: bytes) -> None:
        """Wait no longer once a request's headers are there."""
        super().data_received(data)
        self._wait(self.conn.their_state is h11.IDLE and bool(self.conn.trailing_data[0]))

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._wait(False)
        self.resume_writing()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """A body may still be coming in, of a request that was refused: not without end."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY:
            self.loop.call_later(DRAIN_S, self._end_body_of, self.cycle)

    def _end_body_of(self, cycle: object) -> None:
        if self.cycle is cycle and self.conn.their_state is h11.SEND_BODY:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client does not read its answer."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(UNREAD_S, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads on."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _wait(self, for_headers: bool) -> None:
        if for_headers and self._waiting is None:
            self._waiting = self.loop.call_later(HEADERS_S, self.transport.abort)
        elif not for_headers and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
