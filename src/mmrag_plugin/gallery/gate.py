"""Who may talk to the gallery: this machine's own browser, where the person opened it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 64 * 1024
_METHODS = ("GET", "HEAD", "POST")
_ASK_AGAIN = (
    "Open the address that mmrag browse printed. It works once; mmrag browse makes a new one."
)

HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


class Gate:
    """ASGI middleware that lets through only what the person's own page asks for.

    Another site can't reach it: a foreign Host (DNS rebinding) and a foreign Origin are refused,
    and so is whoever lacks the cookie. It is given for the token in the opened address, once.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._cookie = f"mmrag_{port}"  # cookies know no ports: several galleries run side by side
        self._secret = secrets.token_urlsafe(32)
        self._token: str | None = secrets.token_urlsafe(32)
        self.address = f"http://127.0.0.1:{port}/?token={self._token}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            return  # no websockets, and nothing to do at start and end
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        cookie = ""
        if refused is None and not self._is_known(headers):
            if scope["path"] == "/" and self._spends_token(scope):
                cookie = f"{self._cookie}={self._secret}; HttpOnly; SameSite=Strict; Path=/"
            else:
                refused = PlainTextResponse(_ASK_AGAIN, 401)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _encoded(HEADERS.items()) if pair[0] not in given),
                    *(_encoded([("set-cookie", cookie)]) if cookie else ()),
                ]
            await send(message)

        await (refused or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] not in _METHODS:
            return PlainTextResponse("Not allowed.", 405)
        if [host for host in headers.getlist("host") if host not in self._hosts] or (
            "host" not in headers
        ):
            return PlainTextResponse("This gallery answers to its own address only.", 421)
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            return PlainTextResponse("Another site may not ask this gallery.", 403)
        if scope["method"] == "POST" and origin is None:
            return PlainTextResponse("Only the gallery's own page may send something.", 403)
        site = headers.get("sec-fetch-site", "none")
        is_opened = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate"
        if site not in ("none", "same-origin") and not is_opened:
            return PlainTextResponse("Another site may not ask this gallery.", 403)
        return None

    def _is_known(self, headers: Headers) -> bool:
        for pair in headers.get("cookie", "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self._cookie and _same(value, self._secret):
                return True
        return False

    def _spends_token(self, scope: Scope) -> bool:
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if self._token is None or scope["method"] != "GET" or not _same(given, self._token):
            return False
        self._token = None
        return True


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


def _encoded(pairs: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in pairs]
