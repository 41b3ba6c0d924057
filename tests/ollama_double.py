"""A strict double of an Ollama server, on the wire: real sockets, Ollama's shapes and refusals.

It decodes the pictures it is sent and answers with what it saw, so a test that reads the answer
knows that the right pixels arrived in the right order. What a real server would take in silence and
do something else with (``think`` left out, ``[img`` in a text) is written down in ``violations``;
leaving the ``with`` block raises when there are any.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import io
import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import PIL.Image

from mmrag_plugin.vlm.fake import say_what_is_seen

CREATED_AT = "2026-08-21T12:00:00.000000001Z"
EMBEDDING_DIM = 64
INT_OPTIONS = frozenset("num_ctx num_predict num_keep seed top_k repeat_last_n num_gpu".split())


@dataclass
class Model:
    """What a model on the double can do; ``told`` is False for servers that list no capability."""

    capabilities: tuple[str, ...] = ("completion", "vision", "tools")
    context_length: int = 131_072
    tokens_per_picture: int = 256
    remote_host: str = ""
    told: bool = True


@dataclass
class Reply:
    """One scripted answer of /api/chat. ``content`` None: say what is seen."""

    content: str | None = None
    status: int = 200
    error: str | None = None
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    thinking: str = ""
    done_reason: str = "stop"
    delay_s: float = 0.0
    break_after: int | None = None  # so many pieces, then the connection ends
    how: str = "close"  # close: no last line; reset: chunk cut short; error: an error line; junk


class Refused(Exception):
    """What the server answers instead."""

    def __init__(self, status: int, error: str, **extra: str) -> None:
        super().__init__(error)
        self.status = status
        self.body = {"error": error, **extra}


def runner_error(status: int, message: str, kind: str = "invalid_request_error") -> Refused:
    """An error of llama-server, which Ollama passes on as JSON inside JSON."""
    inner = {"error": {"code": status, "message": message, "type": kind}}
    return Refused(status, json.dumps(inner))


class OllamaDouble:
    """``with OllamaDouble() as ollama: OllamaVLM("eye", ollama.url)``.

    Unless ``script`` says otherwise it answers what ``says`` makes of a request's body and
    pictures, or which colours it sees.
    """

    def __init__(self, models: dict[str, Model] | None = None, *, strict: bool = True) -> None:
        self.models = models or {"eye:latest": Model()}
        self.strict = strict
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.pictures: list[list[PIL.Image.Image]] = []  # of each chat request that was answered
        self.violations: list[str] = []
        self.busy = 0  # so many next chat requests get 503
        self.delay_s = 0.0  # what each answer takes that is not scripted
        self.says: Callable[[dict[str, Any], list[PIL.Image.Image]], str] | None = None
        self._replies: list[Reply] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> OllamaDouble:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.stop()
        if kind is None and self.strict and self.violations:
            raise AssertionError("; ".join(self.violations))

    def stop(self) -> None:
        """Stop answering: from now on the port refuses."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def chats(self) -> list[dict[str, Any]]:
        """The bodies of all /api/chat requests, refused ones included."""
        return [body for path, body in self.requests if path == "/api/chat"]

    def texts(self) -> str:
        """All text that /api/chat was ever sent."""
        return "\n".join(m.get("content") or "" for c in self.chats for m in c["messages"])

    def script(self, *replies: Reply | str) -> None:
        """Set the next answers of /api/chat; after them it says again what it sees."""
        self._replies += [Reply(reply) if isinstance(reply, str) else reply for reply in replies]

    # -- endpoints: each returns one body, or an iterator of lines ------------------------------

    def answer(self, method: str, path: str, raw: bytes) -> Any:
        routes = {
            ("GET", "/api/version"): lambda _: {"version": "0.33.0"},
            ("GET", "/api/tags"): lambda _: self._tags(),
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/embed"): self._embed,
        }
        route = routes.get((method, path))
        if route is None:
            known = any(path == other for _, other in routes)
            raise Refused(405 if known else 404, "method not allowed" if known else "not found")
        body: Any = {}
        if method == "POST":
            if not raw:
                raise Refused(400, "missing request body")
            try:
                body = json.loads(raw)
            except ValueError as error:
                raise Refused(400, str(error)) from None
            with self._lock:
                self.requests.append((path, body))
        return route(body)

    def _model(self, body: dict[str, Any]) -> Model:
        name = body.get("model")
        if not name:
            raise Refused(400, "model is required")
        found = self.models.get(name) or self.models.get(f"{name}:latest")
        if found is None:
            raise Refused(404, f"model '{name}' not found")
        return found

    def _tags(self) -> dict[str, Any]:
        return {
            "models": [
                {
                    "name": name,
                    "model": name,
                    "modified_at": CREATED_AT,
                    "size": 3_300_000_000,
                    "digest": hashlib.sha256(name.encode()).hexdigest(),
                    "details": _details(),
                    **({"capabilities": list(model.capabilities)} if model.told else {}),
                    **({"remote_host": model.remote_host} if model.remote_host else {}),
                }
                for name, model in self.models.items()
            ]
        }

    def _show(self, body: dict[str, Any]) -> dict[str, Any]:
        model = self._model(body)
        shown: dict[str, Any] = {"modified_at": CREATED_AT, "details": _details()}
        if model.told:
            shown["capabilities"] = list(model.capabilities)
        if model.remote_host:  # such models have no model_info
            shown |= {"remote_host": model.remote_host, "remote_model": body["model"]}
        else:
            shown["model_info"] = {
                "general.architecture": "gemma3",
                "gemma3.context_length": model.context_length,
            }
        return shown

    def _embed(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body.get("model")
        try:
            model = self._model(body)
        except Refused as refused:
            if refused.status == 404:
                raise Refused(404, f'model "{name}" not found, try pulling it first') from None
            raise
        if "embedding" not in model.capabilities:
            raise Refused(501, "this model does not support embeddings")
        texts = body.get("input")
        texts = [texts] if isinstance(texts, str) else texts
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise Refused(400, "invalid input type")
        return {"model": name, "embeddings": [_embedding(text) for text in texts]}

    def _chat(self, body: dict[str, Any]) -> Any:
        model = self._model(body)
        name = body["model"]
        with self._lock:
            if self.busy:
                self.busy -= 1
                raise Refused(
                    503, "server busy, please try again.  maximum pending requests exceeded"
                )
        self._check_fields(body, model)
        pictures = [
            _decoded(image)
            for message in body.get("messages") or []
            for image in message.get("images") or []
        ]
        if pictures and "vision" not in model.capabilities:
            raise runner_error(
                500,
                "image input is not supported - hint: if this is unexpected, you may need to "
                "provide the mmproj",
                "server_error",
            )
        self._check_context(body, model, len(pictures))
        self._check_habits(body)
        with self._lock:
            self.pictures.append(pictures)
            reply = self._replies.pop(0) if self._replies else Reply(delay_s=self.delay_s)
        time.sleep(reply.delay_s)
        if reply.error is not None and reply.status != 200:
            raise Refused(reply.status, reply.error)
        content = reply.content
        if content is None:
            content = self.says(body, pictures) if self.says else say_what_is_seen(pictures)
        thinking, done_reason = reply.thinking, reply.done_reason
        if "thinking" in model.capabilities and body.get("think") is not False:
            thinking, content, done_reason = content, "", "length"  # all tokens went into thinking
        if reply.tool_calls:
            content = ""
        pieces = re.findall(r"\s*\S+|\s+$", content) if body.get("stream", True) else [content]
        lines = [self._line(name, {"content": piece}) for piece in pieces]
        if thinking:
            lines.insert(0, self._line(name, {"content": "", "thinking": thinking}))
        if reply.tool_calls:
            lines.append(self._line(name, {"content": "", "tool_calls": reply.tool_calls}))
        last = self._line(name, {"content": ""}) | {
            "done": True,
            "done_reason": done_reason,
            "total_duration": 1_000_000,
            "prompt_eval_count": 10,
            "eval_count": max(1, len(content.split())),
        }
        if not body.get("stream", True):
            message = {"role": "assistant", "content": content}
            message |= {"thinking": thinking} if thinking else {}
            message |= {"tool_calls": reply.tool_calls} if reply.tool_calls else {}  # type: ignore[dict-item]
            return last | {"message": message}
        return self._stream([*lines, last], reply)

    def _line(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": name,
            "created_at": CREATED_AT,
            "message": {"role": "assistant", **message},
            "done": False,
        }

    def _stream(self, lines: list[dict[str, Any]], reply: Reply) -> Iterator[bytes | None]:
        """Lines of NDJSON; None means that the connection breaks here."""
        for number, line in enumerate(lines):
            if reply.break_after is not None and number >= reply.break_after:
                if reply.how == "error":
                    yield json.dumps({"error": "model runner has unexpectedly stopped"}).encode()
                elif reply.how == "junk":
                    yield b"<html>bad gateway</html>"
                elif reply.how == "reset":
                    yield None
                return
            yield json.dumps(line).encode()

    # -- what a real server checks ---------------------------------------------------------------

    def _check_fields(self, body: dict[str, Any], model: Model) -> None:
        name, think = body["model"], body.get("think")
        for message in body.get("messages") or []:
            if not isinstance(message, dict) or not isinstance(message.get("content", ""), str):
                raise Refused(
                    400, "json: cannot unmarshal into Go struct field ChatRequest.messages"
                )
        if think and "thinking" not in model.capabilities:
            raise Refused(400, f'"{name}" does not support thinking')
        if body.get("tools") and "tools" not in model.capabilities:
            raise Refused(400, f'"{name}" does not support tools')
        layout = body.get("format")
        if layout not in (None, "", "json") and not isinstance(layout, dict):
            raise Refused(
                500,
                f'invalid format: "{layout}"; expected "json" or a valid JSON Schema object',
            )
        for option, value in (body.get("options") or {}).items():
            if option in INT_OPTIONS and value is not None and type(value) is not int:
                raise Refused(500, f'option "{option}" must be of type integer')

    def _check_context(self, body: dict[str, Any], model: Model, pictures: int) -> None:
        num_ctx = (body.get("options") or {}).get("num_ctx") or 4096
        letters = sum(len(message.get("content") or "") for message in body.get("messages") or [])
        needed = pictures * model.tokens_per_picture + letters // 4
        if needed > num_ctx:
            raise runner_error(
                400,
                f"request ({needed} tokens) exceeds the available context size ({num_ctx} tokens), "
                "try increasing it",
                "exceed_context_size_error",
            )

    # -- what a real server takes, and gets wrong --------------------------------------------------

    def _check_habits(self, body: dict[str, Any]) -> None:
        if body.get("think") is None:
            self.violations.append("think was left out: thinking models would think")
        if (body.get("options") or {}).get("num_ctx") is None:
            self.violations.append("options.num_ctx was left out")
        for message in body.get("messages") or []:
            text, images = message.get("content") or "", message.get("images") or []
            tags, places = text.lower().count("[img"), text.count("[img]")
            if tags != places or (places and places != len(images)):
                self.violations.append(
                    f"{tags} times [img in a message with {len(images)} pictures: {text[:80]!r}"
                )

    # -- the wire ---------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                double.headers.append(dict(self.headers))
                try:
                    if not re.match(r"(127\.|localhost|\[::1\])", self.headers.get("Host") or ""):
                        self._send(403, b"")
                        return
                    body = double.answer(self.command, self.path, raw)
                except Refused as refused:
                    self._send(refused.status, json.dumps(refused.body).encode())
                    return
                if isinstance(body, dict):
                    self._send(200, json.dumps(body).encode())
                else:
                    self._send_lines(body)

            do_GET = do_POST = do_DELETE = _serve  # noqa: N815

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def _send_lines(self, lines: Iterator[bytes | None]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "application/x-ndjson")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in lines:
                    if line is None:
                        self.wfile.write(b"ff\r\n{")  # announces 255 bytes and goes away
                        self.close_connection = True
                        return
                    self.wfile.write(f"{len(line) + 1:x}\r\n".encode() + line + b"\n\r\n")
                self.wfile.write(b"0\r\n\r\n")

            def handle(self) -> None:
                # clients may stop listening in the middle
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    super().handle()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def _decoded(image: Any) -> PIL.Image.Image:
    """Decode a picture as Go and llama.cpp do: plain base64, then JPEG or PNG."""
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
            return copy
    except Exception:
        raise runner_error(400, "Failed to load image or audio file") from None


def _embedding(text: str) -> list[float]:
    """Hash the words of a text into a unit vector: texts that share words are near each other."""
    vector = [1e-6] * EMBEDDING_DIM
    for word in re.findall(r"\w+", text.lower()):
        vector[hashlib.sha256(word.encode()).digest()[0] % EMBEDDING_DIM] += 1.0
    length = math.hypot(*vector)
    return [value / length for value in vector]


def _details() -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": "gemma3",
        "families": ["gemma3"],
        "parameter_size": "4.3B",
        "quantization_level": "Q4_K_M",
    }
