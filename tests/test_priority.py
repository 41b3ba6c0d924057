"""What takes minutes gives way, and what searches go through doesn't."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from commands import MMRAG, environment
from media_made import end_owners, picture

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")

BOTH = """
import os, subprocess, sys
from mmrag_plugin.priority import at_usual_priority, give_way
ask = [sys.executable, "-c", "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"]
give_way()
give_way()
print(subprocess.check_output(ask, text=True).strip())
print(at_usual_priority(lambda: subprocess.check_output(ask, text=True)).strip())
"""


def test_what_a_process_starts_gives_way_with_it_unless_it_is_asked_not_to() -> None:
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    told = subprocess.check_output([sys.executable, "-c", BOTH], text=True).split()
    assert [int(level) for level in told] == [min(19, usual + 10), usual]


def test_an_indexing_process_gives_way_and_the_owner_that_it_starts_does_not(
    tmp_path: Path,
) -> None:
    for number in range(3):
        picture(tmp_path / "photos" / f"{number}.png", "red")
    home = tmp_path / "home"
    indexing = subprocess.Popen(
        [*MMRAG, "watch", str(tmp_path / "photos")],
        env=environment(home),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        lock = home / "default" / "owner.lock"
        deadline = time.monotonic() + 60
        while not (lock.exists() and re.fullmatch(r"\d+", lock.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        usual = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, int(lock.read_text())) == usual
        assert os.getpriority(os.PRIO_PROCESS, indexing.pid) == min(19, usual + 10)
    finally:
        indexing.terminate()
        indexing.communicate(timeout=30)
        end_owners(home)
