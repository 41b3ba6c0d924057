"""Memory that pictures and models need again at once is kept, and given back afterwards."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep"
)

ROUNDS, BLOCK_BYTES, BLOCKS = 20, 2**22, 40

WORK = f"""
import json, resource, sys
from contextlib import nullcontext
from pathlib import Path
from mmrag_plugin.allocation import memory_kept
import numpy as np
np.zeros({2**25 - 2**13}, np.uint8)  # glibc's own measure is as it is in a process at work

def once():
    blocks = [np.ones({BLOCK_BYTES}, np.uint8) for _ in range({BLOCKS})]

def held_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

before = held_bytes()
with memory_kept if sys.argv[1] == "kept" else nullcontext():
    once()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        once()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
print(json.dumps([faults, held_bytes() - before]))
"""


def measured(how: str) -> tuple[int, int]:
    """Pages that the kernel had to give anew, and bytes that are held more afterwards."""
    told = subprocess.check_output([sys.executable, "-c", WORK, how], text=True)
    faults, held_bytes = json.loads(told)
    return faults, held_bytes


def test_memory_is_not_asked_for_anew_each_time_and_goes_back_at_the_end() -> None:
    faults, held_bytes = measured("kept")
    assert faults < 100
    assert held_bytes < 2 * BLOCK_BYTES


def test_without_that_it_is_asked_for_again_and_again() -> None:
    faults, _ = measured("as usual")
    assert faults > ROUNDS * BLOCKS * BLOCK_BYTES / 2**12 / 4
