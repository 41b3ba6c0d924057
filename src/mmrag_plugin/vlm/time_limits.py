"""How long an answer may take: until its first piece, from piece to piece, and in all."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any

TOTAL_S = 900.0


@dataclass(frozen=True)
class TimeLimits:
    """Limits in seconds; only the time that is spent waiting for the server counts."""

    first_token_s: float
    between_s: float
    total_s: float

    @classmethod
    def within(
        cls, total_s: float, first_token_s: float | None = None, between_s: float | None = None
    ) -> TimeLimits:
        """Limits for an answer that may take so long in all.

        A third of it may pass until it begins: the first request loads the model, which takes
        minutes from a slow disk. A server that has begun and is silent for a fifteenth has stalled.
        """
        return cls(
            total_s / 3 if first_token_s is None else first_token_s,
            total_s / 15 if between_s is None else between_s,
            total_s,
        )


class Clock:
    """Measures one request against its limits; ``broken`` is the limit that it broke."""

    def __init__(self, limits: TimeLimits) -> None:
        self.limits = limits
        self.broken = ""
        self._spent_s = 0.0
        self._since: float | None = None
        self._has_begun = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Wait for the server's next piece; while nobody waits, no time passes."""
        self._since = time.monotonic()
        try:
            yield
            self._has_begun = True
        finally:
            self._spent_s += time.monotonic() - self._since
            self._since = None

    @property
    def left_s(self) -> float:
        """Seconds that the server may still be silent; none are left when it is 0 or less."""
        since = self._since
        if since is None:
            return math.inf
        waited_s = time.monotonic() - since
        limits = self.limits
        step_s = limits.between_s if self._has_begun else limits.first_token_s
        return min(step_s, limits.total_s - self._spent_s) - waited_s

    def expire(self) -> None:
        """Note which limit is broken."""
        limits = self.limits
        if self._spent_s + time.monotonic() - (self._since or math.inf) >= limits.total_s:
            self.broken = f"was not done after {limits.total_s:.3g} seconds"
        elif self._has_begun:
            self.broken = f"fell silent for {limits.between_s:.3g} seconds in its answer"
        else:
            self.broken = f"took too long: {limits.first_token_s:.3g} seconds without a word"


class Watchdog:
    """Cuts a connection when its clock runs out: nothing else wakes a read that blocks.

    ``trace`` is what httpx calls with each step of a request (its ``trace`` extension); it tells
    which socket there is to cut.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._socket: socket.socket | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="mmrag-watchdog", daemon=True)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the socket that a request goes through, the newest where TLS wraps another."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._clock.broken:
                self._cut()

    def __enter__(self) -> Watchdog:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._over.set()

    def _watch(self) -> None:
        limits = self._clock.limits
        # a wait, with less time left, may begin while this sleeps
        nap_s = min(limits.first_token_s, limits.between_s, limits.total_s) / 4
        while not self._over.wait(min(max(self._clock.left_s, 0.0), nap_s)):
            if self._clock.left_s <= 0:
                self._clock.expire()
                self._cut()
                return

    def _cut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it is closed already
                self._socket.shutdown(socket.SHUT_RDWR)
