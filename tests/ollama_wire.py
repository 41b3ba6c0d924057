"""The wire of the Ollama double: HTTP, pictures as they arrive, and every way to break off."""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import PIL.Image

_PRIVATE = ("exif", "xmp", "icc_profile", "comment", "photoshop")  # what Pillow calls metadata


@dataclass
class Reply:
    """One scripted answer of /api/chat. ``content`` None: say what is seen.

    A stall lasts until the client hangs up, or the double stops.
    """

    content: str | None = None
    status: int = 200
    error: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    thinking: str = ""
    done_reason: str = "stop"
    delay_s: float = 0.0  # before anything is sent
    pause_s: float = 0.0  # before each further piece
    drip_s: float = 0.0  # before each byte
    break_after: int | None = None  # so many pieces, then the connection ends
    # close: no last line; reset: chunk cut short; error: an error line; junk: no JSON; stall
    how: str = "close"


@dataclass
class Answer:
    """What is sent: one body, or lines of NDJSON, as the reply wants it."""

    reply: Reply
    body: dict[str, Any] | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)


class Refused(Exception):
    """What the server answers instead."""

    def __init__(self, status: int, error: str, **extra: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **extra}


def runner_error(
    status: int, message: str, kind: str = "invalid_request_error", **more: int
) -> Refused:
    """An error of llama-server, which Ollama passes on as JSON inside JSON."""
    inner = {"error": {"code": status, "message": message, "type": kind, **more}}
    return Refused(status, json.dumps(inner))


def decoded(image: Any) -> tuple[PIL.Image.Image, str]:
    """Decode a picture as Go and llama.cpp do: plain base64, then JPEG or PNG.

    The other value is what was sent along and is nobody's business, empty for a clean picture.
    """
    if not isinstance(image, str):
        raise Refused(400, "json: cannot unmarshal into Go struct field Message.images")
    try:
        raw = base64.b64decode(image, validate=True)
    except (binascii.Error, ValueError):
        bad = re.search(r"[^A-Za-z0-9+/]", image)
        at = bad.start() if bad else len(image)
        raise Refused(400, f"illegal base64 data at input byte {at}") from None
    try:
        with PIL.Image.open(io.BytesIO(raw), formats=("JPEG", "PNG")) as picture:
            copy: PIL.Image.Image = picture.copy()
            said = [key for key in _PRIVATE if picture.info.get(key)]
            if picture.format == "PNG":
                said += getattr(picture, "text", {})
            return copy, ", ".join(said)
    except Exception:
        raise runner_error(400, "Failed to load image or audio file") from None


def handler(
    answer: Callable[[str, str, bytes, dict[str, str]], Answer],
    stopped: threading.Event,
    hang_ups: threading.Semaphore,
) -> type[BaseHTTPRequestHandler]:
    """Make the class that serves a connection.

    ``hang_ups`` is released for each client that goes away before its answer was whole.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # as Go's servers do; else a kept connection waits 40 ms

        def _serve(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if not re.match(r"(127\.|localhost|\[::1\])", self.headers.get("Host") or ""):
                self._send(403, b"")
                return
            try:
                ready = answer(self.command, self.path, raw, dict(self.headers))
                self._pause(ready.reply.delay_s)
                if ready.body is None:
                    self._send_lines(ready)
                else:
                    self._send(200, json.dumps(ready.body).encode())
            except Refused as refused:
                self._send(refused.status, json.dumps(refused.body).encode())
            except ConnectionError:
                hang_ups.release()
                self.close_connection = True

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _send_lines(self, answer: Answer) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/x-ndjson")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in _lines(answer):
                if line is None:
                    self.wfile.write(b"ff\r\n{")  # announces 255 bytes and goes away
                    self.close_connection = True
                    return
                if line == b"":
                    self._pause(float("inf"))
                if answer.reply.drip_s:
                    for byte in line + b"\n":
                        self._pause(answer.reply.drip_s)
                        self._chunk(bytes([byte]))
                else:
                    self._chunk(line + b"\n")
                self._pause(answer.reply.pause_s)
            self.wfile.write(b"0\r\n\r\n")

        def _chunk(self, data: bytes) -> None:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

        def _pause(self, seconds: float) -> None:
            """Wait; ConnectionError when the client hangs up, or the double stops."""
            until = time.monotonic() + seconds
            while (left_s := until - time.monotonic()) > 0:
                readable, _, _ = select.select([self.connection], [], [], min(left_s, 0.02))
                if stopped.is_set() or (readable and not self.connection.recv(1, socket.MSG_PEEK)):
                    raise ConnectionAbortedError

        def handle(self) -> None:
            # clients may stop listening in the middle
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                super().handle()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


def _lines(answer: Answer) -> Iterator[bytes | None]:
    """Lines of NDJSON; None means that the connection breaks here, nothing that it stalls."""
    reply = answer.reply
    for number, line in enumerate(answer.lines):
        if reply.break_after is not None and number >= reply.break_after:
            if reply.how == "error":
                yield json.dumps({"error": "model runner has unexpectedly stopped"}).encode()
            elif reply.how == "junk":
                yield b"<html>bad gateway</html>"
            elif reply.how == "stall":
                yield b""
            elif reply.how == "reset":
                yield None
            return
        yield json.dumps(line).encode()
