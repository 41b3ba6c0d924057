"""How fast and how well shots are found, beside PySceneDetect, and how much memory a film takes.

``python -m benchmarks shots`` joins takes of ``../shared/data/video`` with ffmpeg, so that every
boundary is known, and prints a table of all encodings and one of films that dissolve, fade, freeze,
flash or shake. The takes of ``--set setting`` are those on which thresholds were set; the figures
are for ``--set reported``, whose takes are others. Times are the best of ``--runs``, in turns.

``--memory`` prints what indexing films of 1, 10 and 60 minutes takes at most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._joined_films import (
    ENCODINGS,
    KINDS,
    Boundary,
    Joined,
    cut_film,
    encoded,
    ffmpeg,
    kind_film,
)

VIDEOS = Path(__file__).resolve().parents[2] / "shared/data/video"
NEAR_S = 0.2
SMALL_PX = 32, 18
MINUTES = 1, 10, 60


def content_detector(path: Path) -> list[float]:
    """The cuts that PySceneDetect's default detector finds."""
    from scenedetect import ContentDetector, detect

    return [float(start.seconds) for start, _ in detect(str(path), ContentDetector())][1:]


def bare_key_frames(path: Path) -> list[float]:
    """Decode all key frames and make them small RGB; there is nothing to be found in that."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.skip_frame = "NONKEY"
        for frame in container.decode(stream):
            frame.reformat(*SMALL_PX, "rgb24", interpolation="AREA").to_ndarray()
    return []


def quick(path: Path) -> list[float]:
    """Our boundaries from key frames alone."""
    return _ours(path, refine=False)


def exact(path: Path) -> list[float]:
    """Our boundaries with a look between key frames."""
    return _ours(path, refine=True)


def _ours(path: Path, *, refine: bool) -> list[float]:
    from mmrag_plugin.keyframes.shots import shot_boundaries

    return [one.time_s for one in shot_boundaries(path, refine=refine)]


def scored(found: Sequence[float], truth: Sequence[Boundary], near_s: float) -> dict[str, float]:
    """Precision, recall and F1: each boundary is found by at most one time near it."""
    left, hits = sorted(found), 0
    for one in truth:
        near = [s for s in left if one.start_s - near_s <= s <= one.end_s + near_s]
        if near:
            left.remove(near[0])
            hits += 1
    precision, recall = hits / max(len(found), 1), hits / max(len(truth), 1)
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    return {"precision": round(precision, 3), "recall": round(recall, 3), "f1": round(f1, 3)}


def key_distance_s(path: Path) -> float:
    """How far key frames lie apart at most."""
    from mmrag_plugin.films import open_film

    with open_film(path) as film:
        times_s = [time_s for time_s, _ in film.frames("keys")]
        return max((b - a for a, b in pairwise(times_s)), default=0.0)


def measured(film: Joined, ways: Sequence[Callable[[Path], list[float]]], runs: int) -> Any:
    """Seconds (the best run) and findings of each way, by name."""
    best: dict[str, float] = {}
    found: dict[str, list[float]] = {}
    for _ in range(runs):
        for way in ways:
            began = time.perf_counter()
            found[way.__name__] = way(film.path)
            took_s = time.perf_counter() - began
            best[way.__name__] = min(took_s, best.get(way.__name__, took_s))
    return best, found


def of_encodings(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each encoding of the film with cuts."""
    film = cut_film(folder, VIDEOS, options.set, options.seconds, seed=options.seed)
    rows = []
    for name in options.encodings:
        one = encoded(film, name)
        ways = (content_detector, bare_key_frames, quick, exact)
        best, found = measured(one, ways, options.runs)
        apart_s = key_distance_s(one.path)
        rows.append(
            {
                "encoding": name,
                "seconds": one.seconds,
                "cuts": len(one.boundaries),
                "content_detector_s": round(best["content_detector"], 2),
                "bare_key_frames_s": round(best["bare_key_frames"], 2),
                "quick_s": round(best["quick"], 2),
                "exact_s": round(best["exact"], 2),
                "quick_faster": round(best["content_detector"] / best["quick"], 1),
                "quick_of_bare": round(best["quick"] / best["bare_key_frames"], 2),
                "exact_faster": round(best["content_detector"] / best["exact"], 1),
                "content_detector": scored(found["content_detector"], one.boundaries, NEAR_S),
                "exact": scored(found["exact"], one.boundaries, NEAR_S),
                "quick": scored(found["quick"], one.boundaries, NEAR_S),
                "key_frames_apart_s": round(apart_s, 2),
                "quick_within_that": scored(found["quick"], one.boundaries, NEAR_S + apart_s),
            }
        )
        _say(
            "{encoding:18} {seconds:5.0f} s {cuts:3} cuts | CD {content_detector_s:6.2f} s  keys "
            "{bare_key_frames_s:5.2f} s  quick {quick_s:5.2f} s  exact {exact_s:5.2f} s | quick "
            "{quick_faster:5.1f}x, {quick_of_bare:4.2f} of keys, exact {exact_faster:4.1f}x".format(
                **rows[-1]
            ),
            *(
                f"| {way} {rows[-1][way]['precision']:.2f}/{rows[-1][way]['recall']:.2f} "
                f"F1 {rows[-1][way]['f1']:.3f}"
                for way in ("content_detector", "exact", "quick", "quick_within_that")
            ),
        )
    return rows


def of_kinds(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each kind of film: precision and recall, ours and PySceneDetect's."""
    rows = []
    for kind in options.kinds:
        film = kind_film(folder, VIDEOS, options.set, kind, options.seconds, seed=options.seed)
        _, found = measured(film, (content_detector, exact, quick), 1)
        row: dict[str, Any] = {"kind": kind, "boundaries": len(film.boundaries)}
        for way, times_s in found.items():
            row[way] = scored(times_s, film.boundaries, NEAR_S)
        rows.append(row)
        _say(
            f"{kind:22} {row['boundaries']:3} boundaries",
            *(
                f"| {way} {row[way]['precision']:.2f}/{row[way]['recall']:.2f} "
                f"F1 {row[way]['f1']:.3f}"
                for way in found
            ),
        )
    return rows


def of_memory(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each length: the most that the indexing process and its children take."""
    minute = encoded(cut_film(folder, VIDEOS, options.set, 60, seed=options.seed), "x264, -g 250")
    rows = []
    for minutes in MINUTES:
        media = folder / f"{minutes}min"
        media.mkdir(exist_ok=True)
        path = media / "film.mp4"
        if not path.exists():
            copy = ["-stream_loop", str(minutes - 1), "-i", str(minute.path), "-c", "copy"]
            ffmpeg(*copy, "-t", str(60 * minutes), str(path))
        rows.append({"minutes": minutes, **_peak_of_indexing(media)})
        _say(
            "{minutes:3} min | index {index_mb:5.0f} MB  worker {worker_mb:5.0f} MB".format(
                **rows[-1]
            ),
            "| {seconds:.0f} s".format(**rows[-1]),
        )
    return rows


def _peak_of_indexing(media: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        program = "from mmrag_plugin.cli.main import main; main()"
        options = ["--no-ocr", "--visual-model", "palette", "--text-model", "off", "--json"]
        command = [sys.executable, "-c", program, "index", str(media), "--home", home, *options]
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
        worker = 0
        index = 0
        while process.poll() is None:
            index = max(index, _peak_mb(process.pid))
            for pid in _children(process.pid):
                if "worker_process" in _command(pid):
                    worker = max(worker, _peak_mb(pid))
            time.sleep(0.1)
        return {
            "index_mb": index,
            "worker_mb": worker,
            "seconds": round(time.monotonic() - began, 1),
        }


def _peak_mb(pid: int) -> int:
    """The peak of a process's resident memory, which the kernel keeps."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0
    peaks = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(peaks[0]) // 1024 if peaks else 0


def _children(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(child) for child in text.split()]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _say(*parts: str) -> None:
    print(*parts, file=sys.stderr, flush=True)


def main() -> None:
    """Make the films, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks shots", description=__doc__)
    parser.add_argument("--set", choices=["setting", "reported"], default="reported")
    parser.add_argument("--seconds", type=float, default=180.0, help="length of the films")
    parser.add_argument("--seed", type=int, default=1, help="which takes follow each other")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--encodings", nargs="*", choices=list(ENCODINGS), default=list(ENCODINGS))
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--memory", action="store_true", help="memory instead of the tables")
    parser.add_argument("--folder", type=Path, help="where films are made, and kept")
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = options.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if options.memory:
            figures: dict[str, Any] = {"memory": of_memory(folder, options)}
        else:
            figures = {
                "set": options.set,
                "cores": os.cpu_count(),
                "encodings": of_encodings(folder, options),
                "kinds": of_kinds(folder, options),
            }
    if options.json:
        print(json.dumps(figures, indent=2))
