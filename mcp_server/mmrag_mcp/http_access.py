"""Who may reach a server over HTTP: its address, and the hosts, origins and token that it wants."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.transport_security import TransportSecuritySettings

from mmrag_plugin.errors import UsageError

LEAST_TOKEN_CHARS = 24
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d{1,5})?")
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:(\d{1,5}|\*))?")


@dataclass(frozen=True)
class Access:
    """What a request must bring: a Host of these, an Origin of these or none, and the token."""

    security: TransportSecuritySettings
    origins: tuple[str, ...]  # web pages elsewhere that may call, as the person named them
    token: str  # "" where none is wanted


class OneToken(TokenVerifier):
    """Accepts the one token that the person has set."""

    def __init__(self, token: str) -> None:
        self._expected = _digest(token)

    async def verify_token(self, token: str) -> AccessToken | None:
        """Compare in a time that tells nothing about the token, nor how long it is."""
        if not hmac.compare_digest(_digest(token), self._expected):
            return None
        return AccessToken(token=token, client_id="mmrag", scopes=[])


def listen(address: str) -> list[socket.socket]:
    """Open the sockets of ``HOST:PORT``; a name is listened at on all its addresses.

    Raises UsageError for what is no address of this machine, or is taken.
    """
    host, port = _split(address)
    try:
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError):
        raise UsageError(
            f"{host!r} is no address of this machine.", "Write --http 127.0.0.1:8765."
        ) from None
    sockets: list[socket.socket] = []
    for family, _, _, _, place in dict.fromkeys(found):
        try:
            sockets.append(_bound(family, (*place[:1], port, *place[2:])))
        except OSError as error:
            if sockets and host == "localhost":
                continue  # a machine without IPv6 names ::1 all the same
            for opened in sockets:
                opened.close()
            raise UsageError(
                f"Nothing can be served at {address}: {(error.strerror or str(error)).lower()}.",
                "Choose another port, or end the program that has it.",
            ) from None
        port = sockets[0].getsockname()[1]  # the same for all, where the system chose it
    return sockets


def access(
    sockets: Sequence[socket.socket], hosts: Sequence[str], origins: Sequence[str], token: str
) -> Access:
    """Say what requests must bring to these sockets.

    Raises UsageError where others could reach the server and it would not be safe.
    """
    hosts = [_checked(_HOST, host, "--allow-host", "photos.example.org:8765") for host in hosts]
    origins = [
        _checked(_ORIGIN, origin, "--allow-origin", "https://photos.example.org")
        for origin in origins
    ]
    if token and (len(token) < LEAST_TOKEN_CHARS or not re.fullmatch(r"[!-~]+", token)):
        raise UsageError(
            f"MMRAG_TOKEN must be {LEAST_TOKEN_CHARS} or more letters, digits and signs, "
            "without spaces.",
            "Make one: openssl rand -hex 32",
        )
    addresses = [opened.getsockname()[0] for opened in sockets]
    reachable = [address for address in addresses if not is_loopback(address)]
    if reachable and not token:
        raise UsageError(
            f"Others could reach {reachable[0]}, and no token is set that they would need.",
            "Set MMRAG_TOKEN (make one: openssl rand -hex 32), or serve at 127.0.0.1.",
        )
    if reachable and not hosts:
        raise UsageError(
            f"Others could reach {reachable[0]}, and no name is given that they may use for it.",
            "Name it as clients write it: --allow-host photos.example.org:8765, "
            "or serve at 127.0.0.1.",
        )
    own = [*_LOOPBACK, *(_literal(address) for address in addresses if is_loopback(address))]
    named = [name for host in hosts for name in _with_port(host)]
    security = TransportSecuritySettings(
        allowed_hosts=[*(name for host in own for name in _with_port(host)), *named],
        allowed_origins=[
            *(f"http://{name}" for host in own for name in _with_port(host)),
            *origins,
        ],
    )
    return Access(security, tuple(origins), token)


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address."""
    with suppress(ValueError):
        parsed = ipaddress.ip_address(address.partition("%")[0])
        mapped = getattr(parsed, "ipv4_mapped", None)
        return bool((mapped or parsed).is_loopback)
    return False


def url_of(sockets: Sequence[socket.socket]) -> str:
    """Where clients find the first of the sockets."""
    address, port = sockets[0].getsockname()[:2]
    return f"http://{_literal(address)}:{port}/mcp"


def _split(address: str) -> tuple[str, int]:
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]/]+)):(\d{1,5})", address)
    if found is None or int(found[3]) > 65_535:
        raise UsageError(
            f"{address!r} is not HOST:PORT.", "Write --http 127.0.0.1:8765 or --http [::1]:8765."
        )
    return found[1] or found[2], int(found[3])


def _bound(family: int, place: tuple[object, ...]) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a port freed just now
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(place)
        opened.listen(2048)
    except OSError:
        opened.close()
        raise
    return opened


def _checked(pattern: re.Pattern[str], given: str, flag: str, example: str) -> str:
    if not pattern.fullmatch(given.lower()):
        raise UsageError(f"{flag} {given!r} can't be used.", f"Write it like {flag} {example}.")
    return given.lower()


def _with_port(host: str) -> list[str]:
    """A host that names its port, or any port of one that doesn't."""
    return [host] if re.search(r":\d+$", host) else [host, f"{host}:*"]


def _literal(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
