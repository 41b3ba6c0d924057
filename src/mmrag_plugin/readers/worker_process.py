"""The process that decodes for another one: ``python -c BOOTSTRAP``, requests on its stdin.

A decoder that never ends, eats the memory or crashes takes only this process with it. The kernel
ends it when a step takes too long, even where the decoder holds Python's lock or its parent is
gone, and refuses it more memory than it may have. It also ends when there is nothing to do.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.allocation import keep_memory
from mmrag_plugin.errors import MediaError, MmragError, unexpected
from mmrag_plugin.media import Kind
from mmrag_plugin.readers.decoding import HERE

if TYPE_CHECKING:
    from mmrag_plugin.keyframes.base import KeyframeSelector
    from mmrag_plugin.model_input import ModelInput

IDLE_S = 30.0  # how long a process waits for the next request


@dataclass(frozen=True)
class Limits:
    """What one file may take: seconds for a step (its facts, a frame) and in all, and memory."""

    step_s: float = 60.0
    film_s: float = 300.0  # in all, of a small film; a large one gets more
    film_s_for_each_mb: float = 20.0
    memory_bytes: int = 3 * 2**29

    def in_all_s(self, kind: Kind, size_bytes: int) -> float:
        """How long all steps of a file may take together."""
        if kind == "image":
            return self.step_s
        return self.film_s + self.film_s_for_each_mb * size_bytes / 1e6


@dataclass(frozen=True)
class Request:
    """What is wanted of a file: its facts, frames, its picture at a time, or sound from there."""

    kind: Kind
    path: Path
    limits: Limits
    wants_frames: bool = False
    at_least_px: int | None = None
    selector: KeyframeSelector | None = None
    wants_picture: bool = False
    at_s: float | None = None
    wants_sound: bool = False
    language: str = ""
    model_takes: ModelInput | None = None


class _Clock:
    """Has the kernel end this process when the steps of one file take too long."""

    def __init__(self, step_s: float, in_all_s: float) -> None:
        self._step_s, self._left_s = step_s, in_all_s

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """Count the time of a step."""
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, max(min(self._step_s, self._left_s), 0.01))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._left_s -= time.monotonic() - began


def serve(connection: Connection) -> None:
    """Answer requests until the other side is gone or has none for a while."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    while connection.poll(IDLE_S):
        try:
            request: Request = connection.recv()
        except EOFError:
            return
        _limit_memory(request.limits.memory_bytes)
        try:
            _answer(connection, request)
        except MmragError as error:
            connection.send(("error", error))
        except MemoryError:
            connection.send(("error", _too_much_memory(request)))
        except OSError:
            raise  # nobody listens any more
        except Exception as error:
            connection.send(("error", unexpected(str(request.path), error)))
        if request.kind == "video":
            gc.collect()  # PyAV's containers refer to themselves, and hold threads


def _answer(connection: Connection, request: Request) -> None:
    clock = _Clock(request.limits.step_s, request.limits.in_all_s(request.kind, _size(request)))
    if request.wants_picture:
        with clock.ticking():
            picture = HERE.picture(
                request.kind, request.path, request.at_s, at_least_px=request.at_least_px
            )
            pixels = picture.tobytes()
        connection.send(("frame", (0, picture.size, request.at_s, None, None)))
        connection.send_bytes(pixels)
        connection.send(("end", None))
        return
    if request.wants_sound:
        sound = HERE.sound(request.path, from_s=request.at_s or 0.0, language=request.language)
        while True:
            with clock.ticking():
                piece = next(sound, None)
            if piece is None:
                connection.send(("end", None))
                return
            connection.send(("sound", piece.start_s))
            connection.send_bytes(piece.samples.tobytes())
    if not request.wants_frames:
        with clock.ticking():
            facts = HERE.facts(request.kind, request.path)
        connection.send(("facts", facts))
        return
    frames = HERE.frames(
        request.kind,
        request.path,
        at_least_px=request.at_least_px,
        selector=request.selector,
        model_takes=request.model_takes,
    )
    while True:
        with clock.ticking():
            frame = next(frames, None)
            pixels = b"" if frame is None else frame.picture.tobytes()
        if frame is None:
            connection.send(("end", None))
            return
        times = frame.time_s, frame.end_s, frame.shot
        about = frame.index, frame.picture.size, *times, frame.pixels, frame.sample
        connection.send(("frame", about))
        connection.send_bytes(pixels)


def _size(request: Request) -> int:
    try:
        return request.path.stat().st_size
    except (OSError, ValueError):
        return 0  # decoding says what is wrong


def _limit_memory(limit_bytes: int) -> None:
    """Bound what this process may allocate; systems without such a limit go on without."""
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, hard))


def _too_much_memory(request: Request) -> MediaError:
    return MediaError(
        f"{request.path} takes more memory to decode than the "
        f"{request.limits.memory_bytes / 2**30:g} GiB that a file may take.",
        "Save it smaller, or as JPEG, if it should be in the library.",
    )


def main() -> None:
    """Serve the process that started this one."""
    keep_memory()
    with contextlib.suppress(OSError), Connection(os.dup(0)) as connection:
        serve(connection)
