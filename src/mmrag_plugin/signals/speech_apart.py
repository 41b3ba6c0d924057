"""Have a recogniser listen in a process of its own, which can be ended."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from mmrag_plugin.child_process import start_child
from mmrag_plugin.errors import MediaError, MmragError, ModelError
from mmrag_plugin.signals.speech import SpeechRecogniser, SpokenSegment, nothing_between

if TYPE_CHECKING:
    from mmrag_plugin.film_sound import Sound

_BOOTSTRAP = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from mmrag_plugin.signals.speech_process import main; main()"
)
_LOOK_S = 0.25  # how often the one who waits is heard
MOST_ENDED = 3  # times in a row: then it is the recogniser, or the machine, and not the films
_GRACE_S = 10.0  # how much later than the kernel this side ends the process


class RecognisesApart(SpeechRecogniser):
    """Another recogniser, in a process that begins with the first piece and ends with ``close``.

    A piece may take ``limit_s`` seconds (a model loads with the first), and ``limit_for_each_s``
    more for each second of sound.
    """

    def __init__(
        self, inner: SpeechRecogniser, *, limit_s: float = 600.0, limit_for_each_s: float = 30.0
    ) -> None:
        self._inner = inner
        self._limit_s, self._limit_for_each_s = limit_s, limit_for_each_s
        self._running: tuple[subprocess.Popen[bytes], Connection] | None = None
        self._ended = 0  # times since it last answered

    @property
    def stamp(self) -> str:
        """The other's: where it listens changes nothing."""
        return self._inner.stamp

    @property
    def language(self) -> str:
        """The other's."""
        return self._inner.language

    def recognise(
        self, sound: Sound, before: str = "", between: Callable[[], None] = nothing_between
    ) -> list[SpokenSegment]:
        """Have the other write down what is said; ``between`` may break it off at any time.

        Raises ModelError, too, when the process ended with several films one after the other.
        """
        limit_s = self._limit_s + self._limit_for_each_s * (sound.end_s - sound.start_s)
        until = time.monotonic() + limit_s + _GRACE_S
        begins = self._running is None
        process, connection = self._running = self._running or start_child(_BOOTSTRAP)
        try:
            if begins:
                connection.send(self._inner)
            connection.send((sound, before, limit_s))
            while not connection.poll(_LOOK_S):
                between()
                if time.monotonic() > until:
                    raise TimeoutError
            what, value = connection.recv()
        except (EOFError, ConnectionError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                process.kill()
            status = process.wait()
            self.close()
            self._ended += 1
            raise self._said_of(_ended(status, limit_s)) from None
        except BaseException:
            self.close()
            raise
        self._ended = 0
        if what == "error":
            raise value
        segments: list[SpokenSegment] = value
        return segments

    def _said_of(self, error: MediaError) -> MmragError:
        """What to raise: after some films in a row the next ones would not fare better."""
        if self._ended < MOST_ENDED:
            return error
        times, self._ended = self._ended, 0
        return ModelError(
            f"The recogniser ended {times} times in a row; at last {error.message}", error.remedy
        )

    def close(self) -> None:
        """End the process, whatever it does."""
        running, self._running = self._running, None
        if running is not None:
            process, connection = running
            connection.close()
            process.kill()
            process.wait()


def _ended(status: int, limit_s: float) -> MediaError:
    """Say why the process ended, by its exit status."""
    if status == -signal.SIGALRM:
        reason = f"it takes the recogniser longer than {limit_s:.0f} s a piece"
    elif status == -signal.SIGKILL:
        reason = "the recogniser was ended: it took too long, or more memory than there is"
    else:
        name = signal.Signals(-status).name if status < 0 else f"exit status {status}"
        reason = f"the recogniser crashes on it ({name})"
    return MediaError(f"{reason}.", "Choose a smaller model (mmrag models list), or try again.")
