"""Which number format a model is calculated with on a machine: tried out once, then remembered.

A format counts when its vectors agree with those of float32 on a few pictures and texts, and is
taken when it is quicker. The verdict is kept beside the models, one small file for each model and
machine, so that later loads go straight to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mmrag_plugin.embeddings.devices import one_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Dtype = Literal["auto", "float32", "bfloat16", "float16", "int8"]

EXACT = "float32"
INT8 = "int8"  # matrices in whole numbers, run by ONNX Runtime
# the smallest cosine to float32 with which a format is used
MIN_AGREEMENT = {"bfloat16": 0.995, "float16": 0.995, INT8: 0.99}
MIN_GAIN = 1.1  # how many times quicker than float32 a format has to be
ROUNDS = 4  # of the probe, of which the quickest counts
BUDGET_S = 3.0  # after which no further round begins
FOLDER = ".speed"  # in the folder of models
MAX_DIM = 1 << 16
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Measured:
    """One format tried out: seconds for the probe, and the smallest cosine to float32."""

    probe_s: float
    agreement: float


@dataclass(frozen=True)
class Verdict:
    """The format of a model on a machine, the length of its vectors, and what was measured."""

    dtype: str
    dim: int
    measured: Mapping[str, Measured] = field(default_factory=dict)


class Verdicts:
    """The verdicts that are kept in a folder; without one nothing is kept.

    Each lies in a file of its own and is put there whole, so that processes don't disturb each
    other. A file that is damaged, or about another model or machine, counts as none.
    """

    def __init__(self, models_home: Path | None) -> None:
        self._folder = None if models_home is None else models_home / FOLDER

    def read(self, stamp: str, machine: Mapping[str, str]) -> Verdict | None:
        """What was decided about a model on a machine."""
        path = self._path(stamp, machine)
        kept = None if path is None else _read(path)
        if kept is None or kept["model"] != stamp or kept["machine"] != dict(machine):
            return None
        return _verdict(kept)

    def keep(self, stamp: str, machine: Mapping[str, str], verdict: Verdict) -> None:
        """Remember a verdict; a folder that can't be written is no reason to fail."""
        path = self._path(stamp, machine)
        if path is None:
            return
        content = {"model": stamp, "machine": dict(machine), **asdict(verdict)}
        name = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
            Path(name).replace(path)
        except OSError:
            if name is not None:
                with contextlib.suppress(OSError):
                    Path(name).unlink()

    def latest(self, stamp: str, processor: str) -> tuple[Verdict, dict[str, str]] | None:
        """The last verdict about a model on this machine, found without its GPU being asked."""
        if self._folder is None or not self._folder.is_dir():
            return None
        found = []
        for path in self._folder.glob(f"{plain(stamp)}-*.json"):
            kept = _read(path)
            if kept is None or kept["model"] != stamp:
                continue
            verdict, machine = _verdict(kept), kept["machine"]
            here = machine.get("device") != "cpu" or machine.get("name") == processor
            if verdict is not None and here:
                found.append((path.stat().st_mtime, verdict, machine))
        if not found:
            return None
        _, verdict, machine = max(found, key=lambda row: row[0])
        return verdict, machine

    def _path(self, stamp: str, machine: Mapping[str, str]) -> Path | None:
        if self._folder is None:
            return None
        said = json.dumps(dict(machine), sort_keys=True).encode()
        return (
            self._folder / f"{plain(stamp)}-{hashlib.blake2b(said, digest_size=6).hexdigest()}.json"
        )


@dataclass(frozen=True)
class Trial:
    """How a model is tried out.

    ``use`` loads it in a format, replacing what was loaded before; ``probe`` gives the vectors
    [n, dim] of the same inputs each time; ``clock`` counts seconds.
    """

    use: Callable[[str], None]
    probe: Callable[[], NDArray[np.float32]]
    clock: Callable[[], float]


def settle(
    stamp: str,
    wanted: Dtype,
    formats: Sequence[str],
    *,
    here: Mapping[str, str],
    verdicts: Verdicts,
    trial: Trial,
) -> int:
    """Load a model in the format that is wanted, was decided on, or is decided on now.

    ``formats`` are those besides float32 that ``auto`` may take; ``here`` is the machine. Returns
    the length of the model's vectors.
    """
    verdict = verdicts.read(stamp, here)
    if wanted != "auto":
        trial.use(wanted)
        return trial.probe().shape[1] if verdict is None else verdict.dim
    if verdict is not None:
        try:
            trial.use(verdict.dtype)
        except Exception:
            if verdict.dtype == EXACT:
                raise
            verdict = None  # a copy that is damaged by now, say
    if verdict is None:
        with one_thread():
            verdict = decide(formats, trial)
        verdicts.keep(stamp, here, verdict)
    return verdict.dim


def decide(formats: Sequence[str], trial: Trial) -> Verdict:
    """Try formats out, and leave the model in the best one.

    float32 is what the others are measured against. A format whose kernels are missing here is
    left out.
    """
    trial.use(EXACT)
    if not formats:
        return Verdict(EXACT, trial.probe().shape[1])
    exact, took_s = _timed(trial)
    measured, now = {EXACT: Measured(took_s, 1.0)}, EXACT
    for name in formats:
        try:
            trial.use(name)
            now = name
            vectors, took_s = _timed(trial)
        except Exception:  # each library has its own way to say what it lacks here
            now = ""
            continue
        measured[name] = Measured(took_s, float((exact * vectors).sum(axis=1).min()))
    best = quickest(measured)
    if best != now:
        trial.use(best)
    return Verdict(best, exact.shape[1], measured)


def quickest(measured: Mapping[str, Measured]) -> str:
    """The quickest format that agrees; float32 unless another is clearly quicker."""
    agreeing = {
        name: found
        for name, found in measured.items()
        if name != EXACT and found.agreement >= MIN_AGREEMENT[name]
    }
    best = min(agreeing, key=lambda name: agreeing[name].probe_s, default=EXACT)
    if measured[best].probe_s * MIN_GAIN > measured[EXACT].probe_s:
        return EXACT
    return best


def _timed(trial: Trial) -> tuple[NDArray[np.float32], float]:
    """The vectors of the probe, and the seconds of its quickest round; the first warms up."""
    began, rounds_s = time.monotonic(), []
    for _ in range(ROUNDS):
        before = trial.clock()
        vectors = trial.probe()
        rounds_s.append(trial.clock() - before)
        if time.monotonic() - began > BUDGET_S:
            break
    return vectors, min(rounds_s)


def plain(stamp: str) -> str:
    """A stamp as part of a file's name."""
    return "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in stamp)


def _read(path: Path) -> dict[str, Any] | None:
    """A kept file as it should be, else None."""
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(kept, dict) or not isinstance(kept.get("machine"), dict):
        return None
    return kept if isinstance(kept.get("model"), str) else None


def _verdict(kept: Mapping[str, Any]) -> Verdict | None:
    dtype, dim = kept.get("dtype"), kept.get("dim")
    if dtype != EXACT and dtype not in MIN_AGREEMENT:
        return None
    if not isinstance(dim, int) or not 0 < dim <= MAX_DIM:
        return None
    try:
        measured = {
            name: Measured(float(found["probe_s"]), float(found["agreement"]))
            for name, found in dict(kept["measured"]).items()
        }
    except (KeyError, TypeError, ValueError):
        return None
    known = {EXACT, *MIN_AGREEMENT}
    sane = all(
        name in known and math.isfinite(found.probe_s) and math.isfinite(found.agreement)
        for name, found in measured.items()
    )
    return Verdict(str(dtype), dim, measured) if sane else None
