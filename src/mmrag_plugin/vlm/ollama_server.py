"""How to reach an Ollama server without anything else seeing the pictures."""

from __future__ import annotations

import os
from typing import Any

import httpx
import ollama

from mmrag_plugin.ollama_host import is_this_machine

CONNECT_TIMEOUT_S = 10.0


def client_options(host: str, request_timeout_s: float) -> dict[str, Any]:
    """What an ``ollama`` client is made with: it goes to the host that was named, or nowhere."""
    return {
        "host": host,
        "timeout": httpx.Timeout(request_timeout_s, connect=CONNECT_TIMEOUT_S),
        "limits": httpx.Limits(max_keepalive_connections=0),  # nothing is left open
        "follow_redirects": False,
        "trust_env": not is_this_machine(host),  # a proxy is another machine
    }


def show_model(host: str, model: str) -> dict[str, Any]:
    """Ask ``/api/show``; raises what the ``ollama`` client raises.

    The client's own ``show`` drops ``remote_host`` and fails on models without ``model_info``.
    """
    key = os.environ.get("OLLAMA_API_KEY")  # the client sends it with everything else
    reply = httpx.post(
        f"{host}/api/show",
        json={"model": model},
        headers={"Authorization": f"Bearer {key}"} if key else None,
        timeout=CONNECT_TIMEOUT_S,
        trust_env=not is_this_machine(host),
    )
    if reply.status_code != 200:
        raise ollama.ResponseError(reply.text, reply.status_code)
    shown = reply.json()
    return shown if isinstance(shown, dict) else {}
