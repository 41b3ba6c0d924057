"""The process that listens for another one: ``python -c BOOTSTRAP``, pieces of sound on its stdin.

A recogniser is native code that may hang, crash or take more memory than there is; it takes only
this process with it. The kernel ends it when a piece takes too long, and it ends with its parent.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from mmrag_plugin.errors import MediaError, MmragError, ModelError
from mmrag_plugin.priority import STEPS_BACK

if TYPE_CHECKING:
    from mmrag_plugin.signals.speech import SpeechRecogniser

_LOOK_S = 1.0


def serve(connection: Connection) -> None:
    """Answer with what is said in each piece, until the other side is gone."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # which ends the process
    try:
        recogniser: SpeechRecogniser = connection.recv()
        while True:
            sound, before, limit_s = connection.recv()
            signal.setitimer(signal.ITIMER_REAL, limit_s)
            answer: tuple[str, object]
            try:
                answer = "said", recogniser.recognise(sound, before)
            except MmragError as error:
                answer = "error", error
            except MemoryError:
                answer = (
                    "error",
                    ModelError(
                        "The speech model takes more memory than there is.",
                        "Choose a smaller one: mmrag models list",
                    ),
                )
            except Exception as error:  # a recogniser that breaks on odd sound breaks on one film
                answer = "error", MediaError(f"{type(error).__name__}: {error}")
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(answer)
    except (EOFError, ConnectionError):
        return


def _give_way() -> None:
    """Work at a low priority, whatever that of the parent is."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            usual = os.getpriority(os.PRIO_PROCESS, 0)
            os.setpriority(os.PRIO_PROCESS, 0, max(usual, STEPS_BACK))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(0)


def main() -> None:
    """Serve the process that started this one."""
    _give_way()
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with contextlib.suppress(OSError), Connection(os.dup(0)) as connection:
        serve(connection)
