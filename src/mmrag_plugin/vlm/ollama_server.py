"""Where an Ollama server is, and how to reach it without anything else seeing the pictures."""

from __future__ import annotations

import ipaddress
import os
from typing import Any
from urllib.parse import urlsplit

import httpx
import ollama

from mmrag_plugin.errors import UsageError

DEFAULT_HOST = "http://127.0.0.1:11434"
CONNECT_TIMEOUT_S = 10.0


def checked_host(host: str) -> str:
    """Return the address as a URL; UsageError if it is none."""
    url = host.strip()
    bare = "://" not in url
    try:
        parts = urlsplit(f"http://{url}" if bare else url)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname
        wrong = wrong or bool(parts.username or parts.query or parts.fragment or parts.port == 0)
    except ValueError:
        wrong = True
    if wrong:
        raise UsageError(
            f"{host!r} is no address of an Ollama server.", f"Write it like {DEFAULT_HOST}."
        )
    if bare and not parts.port:  # without a scheme Ollama assumes its own port
        parts = parts._replace(netloc=f"{parts.netloc}:11434")
    return parts.geturl().rstrip("/")


def is_this_machine(url: str) -> bool:
    """Whether an address can only be this machine: loopback, or the unspecified address."""
    hostname = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(hostname)
    except ValueError:
        return hostname == "localhost"
    return address.is_loopback or address.is_unspecified


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
