"""Where an Ollama server is: its address as people write it, and whether that is this machine."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from mmrag_plugin.errors import UsageError

DEFAULT_HOST = "http://127.0.0.1:11434"
PORT = 11434
_IPV6 = re.compile(r"[0-9a-fA-F:]*:[0-9a-fA-F:]*:[0-9a-fA-F:.]*")


def checked_host(host: str) -> str:
    """Return an address as a URL, read as Ollama reads OLLAMA_HOST; UsageError if it is none.

    Without a scheme Ollama's own port is meant, without a name this machine. The address that a
    server listens on (0.0.0.0) is no address to call: it becomes this machine's.
    """
    text = host.strip()
    bare = "://" not in text
    if bare and _IPV6.fullmatch(text):
        text = f"[{text}]"
    elif bare and text.startswith(":"):
        text = f"127.0.0.1{text}"
    try:
        parts = urlsplit(f"http://{text}" if bare else text)
        name, port = parts.hostname or "", parts.port
        wrong = parts.scheme not in ("http", "https") or not name or port == 0
        wrong = wrong or bool(parts.username or parts.query or parts.fragment)
    except ValueError:
        wrong = True
    if wrong:
        raise UsageError(
            f"{host!r} is no address of an Ollama server.", f"Write it like {DEFAULT_HOST}."
        )
    address = _address(name)
    if address is not None and address.is_unspecified:
        name = "127.0.0.1" if address.version == 4 else "::1"
    place = f"[{name}]" if ":" in name else name
    if bare and port is None:
        port = PORT
    netloc = place if port is None else f"{place}:{port}"
    return parts._replace(netloc=netloc).geturl().rstrip("/")


def is_this_machine(url: str) -> bool:
    """Whether a URL can only lead to this machine."""
    name = urlsplit(url).hostname or ""
    address = _address(name)
    return name == "localhost" if address is None else address.is_loopback


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
