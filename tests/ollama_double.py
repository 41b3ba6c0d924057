"""A strict double of an Ollama server, on the wire: real sockets, Ollama's shapes and refusals.

It decodes the pictures it is sent and answers with what it saw, so a test that reads the answer
knows that the right pixels arrived in the right order. With ``format`` it answers JSON that fits
the schema; ``says`` puts any other answer in the place of both. What a real server would take in
silence and do something else with (``think`` left out, ``[img`` in a text, a picture that tells
where it was taken) is refused, and written down in ``violations``; leaving the ``with`` block
raises when there are any.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from typing import Any

import PIL.Image

from mmrag_plugin.vlm.fake import say_what_is_seen
from ollama_format import fitting
from ollama_wire import Answer, Refused, Reply, decoded, handler, runner_error

__all__ = ["Model", "OllamaDouble", "Refused", "Reply", "runner_error"]

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
    family: str = "gemma3"


class OllamaDouble:
    """``with OllamaDouble() as ollama: OllamaVLM("eye", ollama.url)``."""

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
        self.loads: list[tuple[str, int]] = []  # each time a model was loaded, and its num_ctx
        self.hang_ups = threading.Semaphore(0)  # released by clients that go away too early
        self._replies: list[Reply] = []
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        served = handler(self.answer, self._stopped, self.hang_ups)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), served)
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
        self._stopped.set()
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

    # -- endpoints --------------------------------------------------------------------------------

    def answer(self, method: str, path: str, raw: bytes, headers: dict[str, str]) -> Answer:
        """Answer a request, or raise Refused."""
        routes: dict[tuple[str, str], Any] = {
            ("GET", "/api/version"): lambda _: {"version": "0.33.0"},
            ("GET", "/api/tags"): lambda _: self._tags(),
            ("GET", "/api/ps"): lambda _: self._running(),
            ("POST", "/api/show"): self._show,
            ("POST", "/api/chat"): self._chat,
            ("POST", "/api/embed"): self._embed,
        }
        self.headers.append(headers)
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
        answer = route(body)
        return answer if isinstance(answer, Answer) else Answer(Reply(), answer)

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
                    "details": _details(model),
                    **({"capabilities": list(model.capabilities)} if model.told else {}),
                    **({"remote_host": model.remote_host} if model.remote_host else {}),
                }
                for name, model in self.models.items()
            ]
        }

    def _running(self) -> dict[str, Any]:
        loaded = dict(self.loads)  # the last counts
        return {"models": [{"name": n, "model": n, "context_length": c} for n, c in loaded.items()]}

    def _show(self, body: dict[str, Any]) -> dict[str, Any]:
        model = self._model(body)
        shown: dict[str, Any] = {"modified_at": CREATED_AT, "details": _details(model)}
        if model.told:
            shown["capabilities"] = list(model.capabilities)
        if model.remote_host:  # such models have no model_info
            shown |= {"remote_host": model.remote_host, "remote_model": body["model"]}
        else:
            shown["model_info"] = {
                "general.architecture": model.family,
                f"{model.family}.context_length": model.context_length,
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
        sent = [
            decoded(image)
            for message in body.get("messages") or []
            for image in message.get("images") or []
        ]
        pictures = [picture for picture, _ in sent]
        if pictures and "vision" not in model.capabilities:
            raise runner_error(
                500,
                "image input is not supported - hint: if this is unexpected, you may need to "
                "provide the mmproj",
                "server_error",
            )
        self._check_habits(body, [private for _, private in sent if private])
        self._check_context(body, model, len(pictures))
        with self._lock:
            self.pictures.append(pictures)
            reply = self._replies.pop(0) if self._replies else Reply(delay_s=self.delay_s)
            num_ctx = (body.get("options") or {}).get("num_ctx") or 4096
            loaded = name if name in self.models else f"{name}:latest"
            if dict(self.loads).get(loaded) != num_ctx:
                self.loads.append((loaded, num_ctx))
        if reply.error is not None and reply.status != 200:
            raise Refused(reply.status, reply.error)
        return self._said(body, model, pictures, reply)

    def _said(
        self, body: dict[str, Any], model: Model, pictures: list[PIL.Image.Image], reply: Reply
    ) -> Answer:
        name, streams = body["model"], body.get("stream", True)
        content, layout = reply.content, body.get("format")
        if content is None and self.says is not None:
            content = self.says(body, pictures)
        elif content is None and isinstance(layout, dict):
            content = json.dumps(fitting(layout, pictures))
        elif content is None:
            content = say_what_is_seen(pictures)
        thinking, done_reason = reply.thinking, reply.done_reason
        if "thinking" in model.capabilities and body.get("think") is not False:
            thinking, content, done_reason = content, "", "length"  # all tokens went into thinking
        if reply.tool_calls:
            content = ""
        pieces = re.findall(r"\s*\S+|\s+$", content)  # a token is a word
        most = (body.get("options") or {}).get("num_predict") or -1
        if 0 < most < len(pieces):
            pieces, done_reason = pieces[:most], "length"
            content = "".join(pieces)
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
            "eval_count": max(1, len(pieces)),
        }
        if streams:
            return Answer(reply, lines=[*lines, last])
        message: dict[str, Any] = {"role": "assistant", "content": content}
        message |= {"thinking": thinking} if thinking else {}
        message |= {"tool_calls": reply.tool_calls} if reply.tool_calls else {}
        return Answer(reply, last | {"message": message})

    def _line(self, name: str, message: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": name,
            "created_at": CREATED_AT,
            "message": {"role": "assistant", **message},
            "done": False,
        }

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
                n_prompt_tokens=needed,
                n_ctx=num_ctx,
            )

    # -- what a real server takes, and gets wrong --------------------------------------------------

    def _check_habits(self, body: dict[str, Any], private: list[str]) -> None:
        found = [f"a picture says more than it shows: {what}" for what in private]
        if body.get("think") is None:
            found.append("think was left out: thinking models would think")
        if (body.get("options") or {}).get("num_ctx") is None:
            found.append("options.num_ctx was left out")
        for message in body.get("messages") or []:
            text, images = message.get("content") or "", message.get("images") or []
            tags, places = text.lower().count("[img"), text.count("[img]")
            if tags != places or (places and places != len(images)):
                found.append(
                    f"{tags} times [img in a message with {len(images)} pictures: {text[:80]!r}"
                )
        self.violations += found
        if found and self.strict:
            raise Refused(400, f"the double is strict: {'; '.join(found)}")


def _embedding(text: str) -> list[float]:
    """Hash the words of a text into a unit vector: texts that share words are near each other."""
    vector = [1e-6] * EMBEDDING_DIM
    for word in re.findall(r"\w+", text.lower()):
        vector[hashlib.sha256(word.encode()).digest()[0] % EMBEDDING_DIM] += 1.0
    length = math.hypot(*vector)
    return [value / length for value in vector]


def _details(model: Model) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": model.family,
        "families": [model.family],
        "parameter_size": "4.3B",
        "quantization_level": "Q4_K_M",
    }
