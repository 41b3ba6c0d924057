"""Where a model runs, the number formats that are quick there, and how many inputs at a time."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

BATCH = {"cpu": 16, "mps": 32, "cuda": 128}  # inputs in one call, by kind of device


def pick_device(wanted: str) -> str:
    """Take the device that is wanted; for ``auto`` a GPU of CUDA or Apple, else the processor."""
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def kind_of(device: str) -> str:
    """The kind of a device such as ``cuda:1``."""
    return device.split(":", maxsplit=1)[0]


def batch_size(device: str) -> int:
    """How many inputs keep a device busy without filling its memory."""
    return BATCH.get(kind_of(device), BATCH["cpu"])


def quick_formats(device: str) -> tuple[str, ...]:
    """The half-size number formats that may be quicker than float32 on a device, best first.

    Only what the hardware calculates with: emulated they are slower.
    """
    import torch

    kind = kind_of(device)
    if kind == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return ("bfloat16",) if native else ("float16",)
    if kind == "mps":
        return ("bfloat16", "float16")
    return ("bfloat16",) if _processor_has_bfloat16() else ()


def _processor_has_bfloat16() -> bool:
    """AVX-512 BF16 or AMX of Intel and AMD, or the BF16 instructions of ARM."""
    import torch

    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if any(getattr(torch.cpu, name, lambda: False)() for name in asked):
        return True
    if platform.machine() not in ("aarch64", "arm64"):
        return False  # x86 without these says that it can, by emulation
    try:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    except (AttributeError, RuntimeError):  # built without oneDNN
        return False


def cores() -> int:
    """The cores this process may use; some libraries would count those of the whole machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith(("model name", "CPU part")):
                return line.partition(":")[2].strip()
    except OSError:  # no Linux
        pass
    return platform.processor() or platform.machine()


def machine(device: str) -> dict[str, str]:
    """What decides how quick a model is here: the device, and the library that drives it."""
    import torch

    kind = kind_of(device)
    name = torch.cuda.get_device_name(device) if kind == "cuda" else processor_name()
    return {
        "device": kind,
        "name": name,
        "capability": str(torch.backends.cpu.get_cpu_capability()),
        "formats": " ".join(quick_formats(device)),
        "torch": str(torch.__version__),
    }


def clock_of(device: str) -> Callable[[], float]:
    """A clock in seconds for comparing calculations on a device.

    On the processor it is the time that this process worked, whatever else the machine does; a
    GPU is waited for.
    """
    kind = kind_of(device)
    if kind == "cpu":
        return time.process_time

    def waited() -> float:
        import torch

        (torch.cuda if kind == "cuda" else torch.mps).synchronize()
        return time.perf_counter()

    return waited


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch calculate in one thread, for what is timed by the time that a process worked.

    On a busy machine threads that wait for each other look as if they worked.
    """
    torch: Any = sys.modules.get("torch")
    if torch is None:  # nothing of it is in use
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def moved(tensor: torch.Tensor, device: str, dtype: Any) -> torch.Tensor:
    """Bring an input to a device, in the model's number format where it has a fraction.

    A GPU of CUDA copies out of pinned memory while the processor goes on.
    """
    wanted = dtype if tensor.is_floating_point() else tensor.dtype
    if kind_of(device) == "cuda":
        # the format is changed over there: the processor is the slower one
        return tensor.pin_memory().to(device, non_blocking=True).to(wanted)
    return tensor.to(device, wanted)
