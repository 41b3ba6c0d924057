"""What it costs to be listened to: python -m benchmarks tracing [--rows N] [--photos N] [--json].

One library is searched, and the same photos are indexed into new ones, in turns with nobody
listening, with a profile, with OpenTelemetry (its SDK, batches, spans thrown away) and with both.
Times are of the clock and of this process's processor; the latter is what tracing adds to, and says
more on a busy machine. A span by itself, in nanoseconds, stands above.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from PIL import Image

from benchmarks._made_library import fill, sentence
from mmrag_plugin import tracing
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.milvus_owner import paused
from mmrag_plugin.profiling import Profile
from mmrag_plugin.settings import load_settings

MINIDUAL = Path(__file__).resolve().parents[2] / "shared" / "models" / "minidual"
MODES = ("nobody", "profile", "otel", "both")


class _Nowhere(SpanExporter):
    """Takes spans and forgets them."""

    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextmanager
def listened_to(mode: str) -> Iterator[None]:
    """Have somebody listen."""
    with ExitStack() as until:
        if mode in ("profile", "both"):
            profile = Profile("benchmark")
            tracing.listen(profile)
            until.callback(tracing.stop_listening, profile)
        if mode in ("otel", "both"):
            provider = TracerProvider(shutdown_on_exit=False)
            provider.add_span_processor(BatchSpanProcessor(_Nowhere(), max_queue_size=2**18))
            until.enter_context(mock.patch.object(trace, "_TRACER_PROVIDER", provider))
            until.callback(provider.shutdown)
        yield


def in_turns(works: Callable[[], None], rounds: int, warming: int) -> dict[str, dict[str, float]]:
    """Milliseconds of the clock and of the processor in each mode: p50 and the least."""
    clock: dict[str, list[float]] = {mode: [] for mode in MODES}
    processor: dict[str, list[float]] = {mode: [] for mode in MODES}
    order, chance = list(MODES), random.Random(3)  # noqa: S311
    for number in range(rounds + warming):
        chance.shuffle(order)
        for mode in order:
            with listened_to(mode):
                began, began_cpu = time.perf_counter(), time.process_time()
                works()
                took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
            if number >= warming:
                clock[mode].append(1000 * took)
                processor[mode].append(1000 * took_cpu)
    return {
        mode: {
            "p50_ms": statistics.median(clock[mode]),
            "least_ms": min(clock[mode]),
            "processor_p50_ms": statistics.median(processor[mode]),
            "processor_least_ms": min(processor[mode]),
        }
        for mode in MODES
    }


def a_span_ns(mode: str, count: int = 20_000) -> float:
    """What one span costs by itself."""
    with listened_to(mode):
        least = float("inf")
        for _ in range(3):
            began = time.process_time_ns()
            for _ in range(count):
                with tracing.span("benchmark.span", media=1) as now:
                    now.set(frames=2)
            least = min(least, (time.process_time_ns() - began) / count)
    return round(least)


def spans_of(work: Callable[[], None]) -> int:
    """How many spans a piece of work has."""
    profile = Profile("benchmark")
    tracing.listen(profile)
    work()
    tracing.stop_listening(profile)

    def count(part: Any) -> int:
        return sum(inner.count + count(inner) for inner in part)

    return count(profile.told())


def searching(base: Path, rows: int, model: str, rounds: int) -> dict[str, Any]:
    """Search one made library."""
    settings = load_settings(
        home=base / "home", library="made", visual_model=model, ocr="off", speech="off",
        text_model="off" if model == "palette" else "visual", milvus_uri="",
    )  # fmt: skip
    with MediaLibrary.open(settings, create=True) as library:
        fill(library, rows)
        chance = random.Random(7)  # noqa: S311

        def search() -> None:
            assert library.search(sentence(chance), limit=10).hits

        search()
        found = {"spans": spans_of(search), "modes": in_turns(search, rounds, 10)}
    with paused(library.directory):
        pass
    return found


def indexing(base: Path, photos: int, model: str, rounds: int) -> dict[str, Any]:
    """Index the same photos into one new library after the other."""
    rng = np.random.default_rng(5)
    (base / "photos").mkdir()
    for number in range(photos):
        pixels = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize((1024, 768))
        picture.save(base / "photos" / f"{number}.jpg", quality=85)
    made = iter(range(10**6))

    def index() -> None:
        settings = load_settings(
            home=base / "home", library=f"indexed_{next(made)}", visual_model=model,
            text_model="off", ocr="off", speech="off", milvus_uri="",
        )  # fmt: skip
        with MediaLibrary.open(settings, create=True) as library:
            assert library.index([base / "photos"]).added == photos
        with paused(library.directory):  # its owner ends: none is left over
            pass

    return {"spans": spans_of(index), "modes": in_turns(index, rounds, 1)}


def main() -> None:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(prog="tracing", description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000, help="frames of the searched library")
    parser.add_argument("--photos", type=int, default=64, help="photos that are indexed")
    parser.add_argument("--searches", type=int, default=100, help="searches in each mode")
    parser.add_argument("--runs", type=int, default=5, help="runs of indexing in each mode")
    parser.add_argument("--visual-model", default=str(MINIDUAL) if MINIDUAL.is_dir() else "palette")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    found: dict[str, Any] = {"span_ns": {mode: a_span_ns(mode) for mode in MODES}}
    with TemporaryDirectory() as folder:
        base, model = Path(folder), flags.visual_model
        found["search"] = searching(base, flags.rows, model, flags.searches)
        found["index"] = indexing(base, flags.photos, model, flags.runs)
    for name in ("search", "index"):
        modes = found[name]["modes"]
        for mode in MODES:
            for figure in ("p50_ms", "processor_p50_ms", "processor_least_ms"):
                ratio = modes[mode][figure] / modes["nobody"][figure]
                modes[mode][figure.replace("_ms", "_ratio")] = round(ratio, 4)
            modes[mode] = {key: round(value, 4) for key, value in modes[mode].items()}
        per_work_ns = found[name]["spans"] * found["span_ns"]["nobody"]
        found[name]["unheard_share"] = round(per_work_ns / 1e6 / modes["nobody"]["p50_ms"], 6)
    if flags.json:
        print(json.dumps(found))
        return
    print("one span, ns: ", ", ".join(f"{mode} {ns}" for mode, ns in found["span_ns"].items()))
    for name in ("search", "index"):
        print(
            f"\n{name}: {found[name]['spans']} spans, which unheard cost "
            f"{found[name]['unheard_share']:.4%} of its time"
        )
        print(f"{'':10}{'p50 ms':>10}{'ratio':>8}{'cpu ms':>10}{'ratio':>8}{'least':>8}")
        for mode, row in found[name]["modes"].items():
            print(
                f"{mode:10}{row['p50_ms']:10.2f}{row['p50_ratio']:8.3f}"
                f"{row['processor_p50_ms']:10.2f}{row['processor_p50_ratio']:8.3f}"
                f"{row['processor_least_ratio']:8.3f}"
            )


if __name__ == "__main__":
    sys.exit(main())
