"""What an Ollama server says about a model, and how to reach it without anyone else listening."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import ollama

from mmrag_plugin.errors import ModelCannotSee, RemoteNotAllowed, ServiceError
from mmrag_plugin.ollama_host import is_this_machine

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Shown:
    """What ``/api/show`` tells about a model that can see; ``length`` is its longest context."""

    architecture: str = ""
    length: int | None = None  # tokens
    calls_functions: bool = True


def client_options(host: str, trace: Callable[..., Any] | None = None) -> dict[str, Any]:
    """What an ``ollama`` client is made with: it goes to the host that was named, or nowhere.

    ``trace`` is called with each step of a request; httpx documents it as an extension.
    """

    def follow(request: httpx.Request) -> None:
        request.extensions["trace"] = trace

    options = _reach(host) | {
        "host": host,
        # how long it may take is for the caller to say
        "timeout": httpx.Timeout(None, connect=CONNECT_TIMEOUT_S),
        "limits": httpx.Limits(max_keepalive_connections=0),  # nothing is left open
        "follow_redirects": False,
    }
    return options | {"event_hooks": {"request": [follow]}} if trace else options


def ask_about(host: str, model: str, *, allow_remote: bool) -> Shown:
    """Ask what a model can do.

    Raises ModelCannotSee, RemoteNotAllowed for one that runs elsewhere, ServiceError for a server
    that does not say, and what the ``ollama`` client raises.
    """
    shown = _show(host, model)
    if shown.get("remote_host") and not allow_remote:
        raise remote(f"Ollama runs {model} on {shown['remote_host']}")
    capabilities = shown.get("capabilities")
    if not isinstance(capabilities, list):
        raise ServiceError(
            f"Ollama at {host} does not say what {model} can do.",
            "Update Ollama: https://ollama.com/download",
        )
    if "vision" not in capabilities:
        raise ModelCannotSee(
            f"{model} takes no pictures (it can: {', '.join(map(str, capabilities))}).",
            "Name a vision model with MMRAG_VLM, for example `ollama pull gemma3:4b`.",
        )
    info = shown.get("model_info") or {}
    lengths = [
        size
        for key, size in info.items()
        if key.endswith(".context_length") and isinstance(size, int) and size > 0
    ]
    return Shown(
        str(info.get("general.architecture") or ""),
        min(lengths, default=None),
        "tools" in capabilities,
    )


def remote(fact: str) -> RemoteNotAllowed:
    """The error for pictures that would leave this machine."""
    return RemoteNotAllowed(
        f"{fact}, and your pictures would go there.",
        "Pass --allow-remote (MMRAG_ALLOW_REMOTE=1) if that is what you want.",
    )


def _show(host: str, model: str) -> dict[str, Any]:
    """Ask ``/api/show``; raises what the ``ollama`` client raises.

    The client's own ``show`` drops ``remote_host`` and fails on models without ``model_info``.
    """
    key = os.environ.get("OLLAMA_API_KEY")  # the client sends it with everything else
    reply = httpx.post(
        f"{host}/api/show",
        json={"model": model},
        headers={"Authorization": f"Bearer {key}"} if key else None,
        timeout=CONNECT_TIMEOUT_S,
        **_reach(host),
    )
    if reply.status_code != 200:
        raise ollama.ResponseError(reply.text, reply.status_code)
    shown = reply.json()
    return shown if isinstance(shown, dict) else {}


def model_digest(host: str, model: str) -> str:
    """The digest of a model as it is on the server now; empty if the server does not tell."""
    try:
        reply = httpx.get(f"{host}/api/tags", timeout=CONNECT_TIMEOUT_S, **_reach(host))
        models = reply.json()["models"]
        known = {str(found["name"]): str(found["digest"]) for found in models}
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return ""
    return known.get(model) or known.get(f"{model}:latest") or ""


def _reach(host: str) -> dict[str, Any]:
    options: dict[str, Any] = {"trust_env": not is_this_machine(host)}  # a proxy is another machine
    if host.startswith("http://") and is_this_machine(host):
        # no TLS is spoken; to read all authorities' certificates takes longer than to ask
        options["verify"] = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return options
