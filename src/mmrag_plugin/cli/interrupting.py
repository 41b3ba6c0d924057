"""Ctrl-C while something long runs: once stops it in good order, twice ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mmrag_plugin.cli.console import errors

INTERRUPTED = 130  # what shells expect after Ctrl-C
_SHOW_CURSOR = b"\x1b[?25h\n"  # which progress bars hide


@contextmanager
def stopped_by_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets; a second Ctrl-C ends the process, which loses nothing.

    Where nobody can press it, as in a shell's background job, nothing listens for it.
    """
    stop = threading.Event()

    def hear(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            if sys.stderr.isatty():
                os.write(sys.stderr.fileno(), _SHOW_CURSOR)
            os._exit(INTERRUPTED)
        stop.set()
        # the main thread may be at printing right now, so another one says it
        threading.Thread(target=_tell, daemon=True).start()

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop
        return
    signal.signal(signal.SIGINT, hear)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _tell() -> None:
    errors.print("Stopping. Ctrl-C again ends it at once.", style="dim")
