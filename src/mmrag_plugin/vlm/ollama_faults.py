"""What a failed request to Ollama means, in our own errors.

Ollama passes on what its runner says, so an error can be JSON inside JSON; a stream that has begun
can only report an error as one more line, which the client raises with status -1.
"""

from __future__ import annotations

import json
import re

import httpx
import ollama
from pydantic import ValidationError

from mmrag_plugin.errors import (
    MmragError,
    ModelCannotSee,
    ModelMissing,
    OllamaUnavailable,
    ServiceError,
)

FAILURES = (
    ollama.ResponseError,
    ConnectionError,  # what the client makes of httpx.ConnectError, unless it streams
    httpx.HTTPError,
    json.JSONDecodeError,  # not NDJSON
    ValidationError,  # JSON, but not Ollama's
)

_ASK_FOR_LESS = (
    "Ask about fewer pictures (ask --limit 1), or name a model with a longer context "
    "with MMRAG_VLM."
)
# of a context that is too small, and of a model that takes only one picture (mllama)
_TOO_MUCH = ("context size", "context length", "one image", "single image")


def is_passing(error: Exception) -> bool:
    """Whether asking again in a moment may help: the queue is full, or the server restarts."""
    if isinstance(error, ollama.ResponseError):
        return bool(error.status_code == 503)
    return isinstance(error, (ConnectionError, httpx.NetworkError, httpx.RemoteProtocolError))


def context_needed(error: Exception) -> int | None:
    """How many tokens a request has, when a context was too small for it; None for other errors."""
    if not isinstance(error, ollama.ResponseError):
        return None
    said = error.error.replace("\\", "")  # JSON inside JSON
    if "exceed_context_size" not in said and "context size" not in said:
        return None
    counted = re.search(r'"n_prompt_tokens":\s*(\d{1,9})|request \((\d{1,9}) tokens\)', said)
    return int(counted[1] or counted[2]) if counted else None


def too_long(what: str, *, model: str, host: str) -> ServiceError:
    """The error for a server that broke a time limit."""
    return ServiceError(
        f"{model} at {host} {what}.",
        "Try again (the first request loads the model), name a smaller model with MMRAG_VLM, or "
        "allow more seconds with MMRAG_VLM_TIMEOUT; `ollama ps` shows what it runs on.",
    )


def too_much(tokens: int, own: int, *, model: str) -> ServiceError:
    """The error for a request that no context of the model can hold."""
    return ServiceError(
        f"The request has {tokens:,} tokens or more, and {model} takes {own:,} at most.",
        _ASK_FOR_LESS,
    )


def meaning_of(error: Exception, *, model: str, host: str) -> MmragError:
    """Turn one of FAILURES into an error that says what to do."""
    if isinstance(error, ollama.ResponseError):
        return _refusal(unwrap(error.error), error.status_code, model=model, host=host)
    if isinstance(error, (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout)):
        return OllamaUnavailable(
            f"Ollama does not answer at {host}.",
            "Start it with `ollama serve`, or set OLLAMA_HOST to where it listens.",
        )
    if isinstance(error, httpx.TimeoutException):
        return ServiceError(
            f"Ollama at {host} took too long to answer with {model}.",
            "Try again (the first request loads the model), or choose a smaller model.",
        )
    if isinstance(error, httpx.HTTPError):
        return ServiceError(
            f"Ollama at {host} broke off: {error}.", "Try again; `ollama ps` shows what it runs."
        )
    return ServiceError(f"What answers at {host} does not speak like Ollama.", "Check OLLAMA_HOST.")


def unwrap(reason: object) -> str:
    """Find the message in an error body, however often it is wrapped in JSON."""
    while True:
        if isinstance(reason, dict):
            reason = reason.get("error") or reason.get("message") or ""
        elif isinstance(reason, str) and reason.lstrip().startswith("{"):
            try:
                reason = json.loads(reason)
            except json.JSONDecodeError:
                return str(reason)
        else:
            return str(reason)


def _refusal(reason: str, status: int, *, model: str, host: str) -> MmragError:
    said = reason.lower()
    if status == 404 and "model" in said:
        return ModelMissing(
            f"Ollama at {host} has no model {model}.",
            f"`ollama pull {model}`, or name another with MMRAG_VLM (`ollama list`).",
        )
    if "image input" in said or "does not support image" in said:
        return ModelCannotSee(
            f"{model} takes no pictures ({reason}).",
            "Name a vision model with MMRAG_VLM, for example `ollama pull gemma3:4b`.",
        )
    message = f"Ollama at {host} refused the request for {model}: {reason or 'no reason given'}"
    if status > 0:
        message += f" (HTTP {status})"
    remedy = "The server's log says more (`ollama serve`)."
    if status == 503:
        remedy = "Its queue is full: try again in a while."
    elif any(sign in said for sign in _TOO_MUCH):
        remedy = _ASK_FOR_LESS
    elif "load image" in said or "decode webp" in said:
        remedy = "Update Ollama, or name another vision model with MMRAG_VLM."
    elif status in (404, 405):
        remedy = "Check OLLAMA_HOST: something else may listen there."
    elif status in (401, 403):
        remedy = "Check OLLAMA_HOST, OLLAMA_API_KEY and `ollama signin`."
    return ServiceError(f"{message}.", remedy)
