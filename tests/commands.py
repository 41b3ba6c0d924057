"""Run `mmrag` with nothing of this machine's settings: as a process, or faster in this one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub.constants  # noqa: F401  reads the environment once: before it is patched

import mmrag_plugin.cli.console  # noqa: F401  its width is that of the first environment it meets
from mmrag_plugin.cli import main

MMRAG = [sys.executable, "-c", "from mmrag_plugin.cli import main; main()"]
NOBODY_LISTENS = "http://127.0.0.1:9"


def environment(home: Path, **more: str) -> dict[str, str]:
    """Variables for a process that finds no model on this disk and no Ollama."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "MMRAG_HOME": str(home),
        "MMRAG_VISUAL_MODEL": "palette",
        "MMRAG_TEXT_MODEL": "off",
        "OLLAMA_HOST": NOBODY_LISTENS,
        "HF_HUB_OFFLINE": "1",
        "MMRAG_KEEP_MODELS": "0",
        **more,
    }


def mmrag(
    home: Path, *arguments: str | Path, stdin: str = "", timeout_s: float = 90, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*MMRAG, *map(str, arguments)],
        env=environment(home, **more),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


def mmrag_here(
    home: Path, *arguments: str | Path, stdin: str | bytes | None = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, where everything heavy is imported already.

    Without ``stdin`` it is closed.
    """
    words = ["mmrag", *map(str, arguments)]
    raw = stdin.encode() if isinstance(stdin, str) else stdin
    typed = None if raw is None else io.TextIOWrapper(io.BytesIO(raw))
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    code: object = 0
    with (
        mock.patch.dict(os.environ, environment(home, **more), clear=True),
        mock.patch.multiple(sys, argv=words, stdin=typed, stdout=out, stderr=err),
        mock.patch("mmrag_plugin.priority.give_way"),  # the tests go on in this process
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    shown = []
    for stream in (out, err):
        stream.seek(0)
        shown.append(stream.read())
    assert isinstance(code, int)
    return subprocess.CompletedProcess(words, code, *shown)


def told(done: subprocess.CompletedProcess[str], exit_code: int) -> Any:
    """The one JSON object of a command that ended as it should, with nothing else on stdout."""
    assert done.returncode == exit_code, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 1
    return json.loads(done.stdout)


def refused(done: subprocess.CompletedProcess[str], exit_code: int) -> tuple[str, str, str]:
    """Kind, message and remedy of the JSON error of a command; each says something."""
    error = told(done, exit_code)
    assert error.keys() == {"error"}
    assert error["error"].keys() == {"kind", "message", "remedy"}
    assert all(error["error"].values()), error
    return error["error"]["kind"], error["error"]["message"], error["error"]["remedy"]
