"""How long a warm search takes beside what it can't do without: python -m benchmarks search.

A library is made of media that are on no disk, and searched with a query of its own each time. In
turns, so that a busy machine slows all of them: encoding the query alone; one bare search of
pymilvus with the same parameters, limit and fields as the visual channel's; and searches by the
library's Searcher with the visual channel, each other channel, and all of them.

    python -m benchmarks search --rows 20000                        Milvus Lite
    python -m benchmarks search --backend server --rows 100000      the PyPI package milvus
    python -m benchmarks search --uri http://HOST:19530 --rows 1000000
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._made_library import clip_folder, fill, sentence
from mmrag_plugin.fusion import DEPTH
from mmrag_plugin.library import MediaLibrary
from mmrag_plugin.milvus_collection import _search_params
from mmrag_plugin.milvus_owner import paused
from mmrag_plugin.milvus_rows import DENSE, FOUND_FIELDS
from mmrag_plugin.searching import Searcher
from mmrag_plugin.settings import load_settings

MINIDUAL = Path(__file__).resolve().parents[2] / "shared" / "models" / "minidual"
WARMING = 5


def measured(rows: int, uri: str, model: str, base: Path, rounds: int) -> dict[str, Any]:
    """All figures of a library of so many frames."""
    settings = load_settings(
        home=base / "home",
        library=f"made_{rows}",
        visual_model=model,
        text_model="visual",
        ocr="off",
        speech="off",
        **({"milvus_uri": uri} if uri else {}),
    )
    with MediaLibrary.open(settings, create=True) as library:
        took = fill(library, rows)
        searcher = library.searcher()
        found = {
            "rows": rows,
            "words_rows": searcher.words.count(),
            "dim": searcher.visual.dim,
            "milvus": library.connection.capabilities().version,
            "made_in": {name: round(seconds, 1) for name, seconds in took.items()},
            **in_turns(searcher, library.connection.client, rounds),
        }
        found["memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        for store in library.stores().values():
            store.drop()
    if not uri:
        with paused(library.directory):
            pass
    return found


def in_turns(searcher: Searcher, client: Any, rounds: int) -> dict[str, Any]:
    """Milliseconds of each thing that is measured, by turns, and the ratios."""
    chance = random.Random(7)  # noqa: S311
    queries = (sentence(chance) for _ in iter(int, 1))

    vectors: list[list[float]] = []

    def encoding(query: str) -> None:
        vectors[:] = searcher.visual.embed_texts([query]).tolist()

    def bare(_query: str) -> None:
        with as_pymilvus_came():
            client.search(
                searcher.frames.name,
                data=vectors,  # those that were encoded just before
                anns_field=DENSE,
                search_params=_search_params(DENSE, DEPTH),
                limit=DEPTH,
                output_fields=list(FOUND_FIELDS),
            )

    def searching(*channels: Any) -> Callable[[str], None]:
        def search(query: str) -> None:
            assert searcher.search(query, channels=channels).hits

        return search

    ways: dict[str, Callable[[str], None]] = {"encoding": encoding, "bare search": bare}
    ways |= {channel: searching(channel) for channel in searcher.channels}
    ways["all"] = searching(*searcher.channels)
    taken_ms: dict[str, list[float]] = {name: [] for name in ways}
    computed_ms: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + WARMING):
        for name, way in ways.items():
            query = next(queries)
            began, began_computing = time.perf_counter(), time.process_time()
            way(query)
            if number >= WARMING:
                taken_ms[name].append(1000 * (time.perf_counter() - began))
                computed_ms[name].append(1000 * (time.process_time() - began_computing))
        gc.collect(0)
    p50 = {name: statistics.median(times) for name, times in taken_ms.items()}
    slowest = max(p50[channel] for channel in searcher.channels)
    return {
        "p50_ms": {name: round(value, 2) for name, value in p50.items()},
        "p95_ms": {
            name: round(statistics.quantiles(times, n=20)[-1], 2)
            for name, times in taken_ms.items()
        },
        "least_ms": {name: round(min(times), 2) for name, times in taken_ms.items()},
        "computing_ms": {name: round(min(times), 2) for name, times in computed_ms.items()},
        "visual_ratio": round(p50["visual"] / (p50["encoding"] + p50["bare search"]), 3),
        "all_ratio": round(p50["all"] / slowest, 3),
    }


@contextmanager
def as_pymilvus_came() -> Iterator[None]:
    """Answers are read as pymilvus reads them by itself."""
    from pymilvus.client import field_data_extractors

    ours = field_data_extractors.decode_range
    field_data_extractors.decode_range = getattr(ours, "stock", ours)
    try:
        yield
    finally:
        field_data_extractors.decode_range = ours


@contextmanager
def server(backend: str, uri: str, base: Path) -> Iterator[str]:
    """The address of the Milvus to measure: empty for the embedded one."""
    if uri or backend == "lite":
        yield uri
        return
    sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
    import milvus_servers

    with milvus_servers.real_server(base / "server") as started:
        yield started.uri


def main() -> None:
    """Print one row for each size, and how the time grows."""
    parser = argparse.ArgumentParser(description=__doc__, prog="search")
    parser.add_argument("--rows", type=int, nargs="+", help="frames, of each library in turn")
    parser.add_argument("--backend", choices=["lite", "server"], default="lite")
    parser.add_argument("--uri", default="", help="of a server that runs already")
    parser.add_argument(
        "--model", default="clip", help="clip, minidual, a model's name, or tiny to try this out"
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes = options.rows or [20_000 if options.backend == "lite" and not options.uri else 100_000]
    with TemporaryDirectory(prefix="mmrag-search-") as directory:
        base = Path(directory)
        model = str(MINIDUAL) if options.model == "minidual" else options.model
        if model in ("clip", "tiny"):
            model = str(clip_folder(base / "clip", tiny=model == "tiny"))
        results = []
        with server(options.backend, options.uri, base) as uri:
            for rows in sizes:
                results.append(measured(rows, uri, model, base, options.rounds))
                if not options.json:
                    tell(results[-1])
    growth = [
        {
            "from": fewer["rows"],
            "to": more["rows"],
            **{
                name: round(more["p50_ms"][name] / fewer["p50_ms"][name], 2)
                for name in more["p50_ms"]
            },
        }
        for fewer, more in pairwise(results)
    ]
    if options.json:
        print(json.dumps({"model": options.model, "results": results, "growth": growth}))
    for step in () if options.json else growth:
        said = ", ".join(f"{name} x{step[name]}" for name in results[0]["p50_ms"])
        print(f"from {step['from']:,} to {step['to']:,} frames: {said}")


def tell(found: dict[str, Any]) -> None:
    """Print one library's figures."""
    print(
        f"{found['rows']:,} frames and {found['words_rows']:,} rows of words, {found['dim']} "
        f"numbers each, Milvus {found['milvus']} (made in {sum(found['made_in'].values()):.0f} s)"
    )
    figures = {"p50": "p50_ms", "p95": "p95_ms", "least": "least_ms", "computing": "computing_ms"}
    print(f"{'ms':>14} {' '.join(f'{figure:>9}' for figure in figures)}")
    for name in found["p50_ms"]:
        cells = " ".join(f"{found[key][name]:9.1f}" for key in figures.values())
        print(f"{name:>14} {cells}")
    print(f"visual / (encoding + bare search): {found['visual_ratio']:.2f}")
    print(f"all / the slowest channel alone:   {found['all_ratio']:.2f}", flush=True)


if __name__ == "__main__":
    main()
