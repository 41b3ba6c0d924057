"""Start a Python process of our own, with a connection to it on its standard input."""

from __future__ import annotations

import socket
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path


def start_child(code: str) -> tuple[subprocess.Popen[bytes], Connection]:
    """Run ``code``, whose ``sys.argv[1]`` is the folder that our package lies in.

    It has no terminal, writes nowhere and hears no Ctrl-C; who starts it ends it.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(  # noqa: S603  (our own interpreter, our own module)
            [sys.executable, "-c", code, str(Path(__file__).resolve().parents[1])],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # C libraries write there what errors say
            start_new_session=True,  # Ctrl-C is dealt with on this side
            cwd="/",
        )
        return process, Connection(ours.detach())
