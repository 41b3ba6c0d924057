"""Decode in other processes, which can be ended when a file takes them too long or crashes them."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.child_process import start_child
from mmrag_plugin.errors import MediaError
from mmrag_plugin.media import Frame, Kind, MediaFacts
from mmrag_plugin.readers.decoding import Decoder
from mmrag_plugin.readers.worker_process import Limits, Request
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmrag_plugin.film_sound import Sound
    from mmrag_plugin.keyframes.base import KeyframeSelector
    from mmrag_plugin.model_input import ModelInput

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mmrag_plugin.readers.worker_process import main; main()"
)
_GRACE_S = 15.0  # how much later than the kernel this side ends a process

_log = logging.getLogger("mmrag.decode")


class DecodesInWorkers(Decoder):
    """Decodes in processes of their own, one for each caller at a time, within limits.

    A file that breaks a limit ends in a MediaError that says which. The processes are shared by the
    whole program and end when they have had nothing to do for a while.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()

    def facts(self, kind: Kind, path: Path) -> MediaFacts:
        """Collect what a file says about itself."""
        facts: MediaFacts = next(_ask(Request(kind, path.absolute(), self.limits)))
        return facts

    def frames(
        self,
        kind: Kind,
        path: Path,
        *,
        at_least_px: int | None = None,
        selector: KeyframeSelector | None = None,
        model_takes: ModelInput | None = None,
    ) -> Iterator[Frame]:
        """Yield the frames lazily; the next one is decoded while one is dealt with."""
        request = Request(kind, path.absolute(), self.limits, True, at_least_px, selector)
        yield from _ask(replace(request, model_takes=model_takes))

    def picture(
        self, kind: Kind, path: Path, at_s: float | None = None, *, at_least_px: int | None = None
    ) -> Image:
        """Decode one picture."""
        request = Request(
            kind,
            path.absolute(),
            self.limits,
            at_least_px=at_least_px,
            wants_picture=True,
            at_s=at_s,
        )
        (frame,) = _ask(request)
        picture: Image = frame.picture
        return picture

    def sound(self, path: Path, *, from_s: float = 0.0, language: str = "") -> Iterator[Sound]:
        """Yield the sound lazily; the next piece is decoded while one is dealt with."""
        yield from _ask(
            Request(
                "video",
                path.absolute(),
                self.limits,
                wants_sound=True,
                at_s=from_s,
                language=language,
            )
        )


class _Worker:
    """One process and the connection to it."""

    def __init__(self) -> None:
        self.process, self.connection = start_child(_BOOTSTRAP)

    def hear(self, within_s: float) -> tuple[str, Any]:
        """The next message and what comes with it. Raises EOFError or OSError when it is gone."""
        if not self.connection.poll(within_s):
            raise EOFError
        what, value = self.connection.recv()
        if what == "frame":
            import PIL.Image

            index, size, *about = value
            picture = PIL.Image.frombytes("RGB", size, self.connection.recv_bytes())
            value = Frame(index, picture, *about)
        elif what == "sound":
            import numpy as np

            from mmrag_plugin.film_sound import Sound

            value = Sound(value, np.frombuffer(self.connection.recv_bytes(), np.float32))
        return what, value

    def end(self, *, at_once: bool = False) -> int:
        """Have the process end; returns its exit status."""
        self.connection.close()
        if at_once:
            self.process.kill()
        try:
            status: int = self.process.wait(_GRACE_S)
            return status
        except subprocess.TimeoutExpired:  # it hangs in the kernel, say on a drive that is gone
            self.process.kill()
            return -signal.SIGKILL


class _Workers:
    """The processes of this program that wait for something to do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._pid = os.getpid()

    def take(self) -> _Worker:
        """Take one that waits, or a new one when all are busy or gone."""
        with self._lock:
            if self._pid != os.getpid():  # a fork: they belong to the parent
                self._idle, self._pid = [], os.getpid()
            while self._idle:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
                worker.end()
        return _Worker()

    def give_back(self, worker: _Worker) -> None:
        """Let others have a process whose work is done."""
        with self._lock:
            self._idle.append(worker)

    def end(self) -> None:
        """End all that wait."""
        with self._lock:
            workers, self._idle = self._idle, []
        if self._pid == os.getpid():
            for worker in workers:
                worker.end(at_once=True)


_workers = _Workers()
atexit.register(_workers.end)


def _ask(request: Request) -> Iterator[Any]:
    """Yield a worker's answers: facts, frames, or pieces of sound.

    Raises what it reports. One that is not heard to the end, or breaks a limit, is ended.
    """
    worker = _workers.take()
    heard, ready = False, False
    try:
        worker.connection.send(request)
        while not ready:
            with span(_span_of(request)):  # it works ahead: this is what is waited for
                what, value = worker.hear(request.limits.step_s + _GRACE_S)
            heard, ready = True, what not in ("frame", "sound")
            if what == "error":
                if isinstance(value, MediaError):
                    value.path = str(request.path)
                raise value
            if what != "end":
                yield value
    except (EOFError, ConnectionError):
        status = worker.end(at_once=worker.process.poll() is None)
        _log.info("a decoder ended", extra={"status": status, "kind": request.kind})
        if status == 0 and not heard:  # it had just given up waiting for something to do
            yield from _ask(request)
            return
        raise _ended(request, status) from None
    finally:
        if ready:
            _workers.give_back(worker)
        elif not worker.connection.closed:
            worker.end(at_once=True)


def _span_of(request: Request) -> str:
    if request.wants_sound:
        return "decode.sound"
    return "decode" if request.wants_frames or request.wants_picture else "facts"


def _ended(request: Request, status: int) -> MediaError:
    """Say why a worker ended over a file, by its exit status."""
    if status == -signal.SIGALRM:
        reason = f"takes too long to decode (the limit is {request.limits.step_s:g} s a step)"
    elif status == -signal.SIGKILL:
        reason = "takes too long to decode, or more memory than there is"
    else:
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        reason = f"makes its decoder crash ({name})"
    return MediaError(
        f"{request.path} {reason}.",
        "Save it anew with another program if it should be in the library.",
        path=str(request.path),
    )
