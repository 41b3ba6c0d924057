"""What ``describe`` costs beside the model: through mmrag, and by a bare call of Ollama's client.

Both ask the same stand-in for a server, in a process of its own, about the same photo, in turns.
The bare call sends the file as it is and waits for the whole answer; mmrag opens it, makes it small
and clean, and looks after errors and time limits, for which it always has the answer streamed. The
stand-in decodes what it gets, so what is sent is part of the time.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import ollama
import PIL.Image
from rich.console import Console
from rich.table import Table

from mmrag_plugin.describing import describe
from mmrag_plugin.pictures import open_picture
from mmrag_plugin.vlm.base import LONG_SIDE_PX
from mmrag_plugin.vlm.ollama import OllamaVLM
from mmrag_plugin.vlm.prompts import DESCRIBE_PHOTO, DESCRIBE_SYSTEM

PHOTOS = {"500 x 375": (500, 375), "12 MP": (4032, 3024)}
MOST_MS, MOST_TIMES = 15.0, 1.1  # the goal: no more overhead than the larger of the two


def main() -> None:
    """Measure two made photos, or one of one's own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, help="A JPEG without EXIF, instead of the made ones.")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, _server() as url, ollama.Client(url) as client:
        photos = {"yours": options.photo} if options.photo else _made(Path(folder))
        llm = OllamaVLM("eye", url)
        found = {
            name: _measured(path, client, llm, options.rounds) for name, path in photos.items()
        }
    if options.json:
        print(json.dumps(found))
        return
    table = Table(title=f"ms for one description, {options.rounds} of each in turns")
    columns = "photo,bare,p95,streamed,mmrag,p95,overhead,CPU,goal".split(",")
    for column in columns:
        table.add_column(column, justify="right")
    for name, figures in found.items():
        cells = [f"{value:.1f}" for key, value in figures.items() if key != "goal_ms"]
        table.add_row(name, *cells, f"{figures['goal_ms']:.1f}")
    Console().print(table)


def _measured(photo: Path, client: ollama.Client, llm: OllamaVLM, rounds: int) -> dict[str, float]:
    messages = [
        {"role": "system", "content": DESCRIBE_SYSTEM},
        {"role": "user", "content": DESCRIBE_PHOTO["normal"], "images": [photo]},
    ]

    def bare() -> str:
        reply = client.chat("eye", messages, think=False, options={"num_ctx": 8192})
        return str(reply.message.content)

    def streamed() -> str:
        options = {"num_ctx": 8192}
        pieces = client.chat("eye", messages, think=False, options=options, stream=True)
        return "".join(str(piece.message.content) for piece in pieces)

    def through() -> str:
        return describe(llm, [(None, open_picture(photo, at_least_px=LONG_SIDE_PX))])

    ways = (bare, streamed, through)
    assert all(way().startswith("I see 1 picture") for way in ways)
    taken = [[_ms(way) for way in ways] for _ in range(rounds)]
    theirs, theirs_streamed, ours = (
        [wall_ms for wall_ms, _ in times] for times in zip(*taken, strict=True)
    )
    cpu_ms = [statistics.mean(cpu for _, cpu in times) for times in zip(*taken, strict=True)]
    bare_ms, ours_ms = statistics.median(theirs), statistics.median(ours)
    return {
        "bare_ms": bare_ms,
        "bare_p95_ms": _p95(theirs),
        "bare_streamed_ms": statistics.median(theirs_streamed),
        "mmrag_ms": ours_ms,
        "mmrag_p95_ms": _p95(ours),
        "overhead_ms": ours_ms - bare_ms,
        "cpu_overhead_ms": cpu_ms[2] - cpu_ms[0],
        "goal_ms": max(MOST_MS, (MOST_TIMES - 1) * bare_ms),
    }


def _ms(call: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time; the other is the server's, or other programs'."""
    began, worked = time.perf_counter(), time.process_time()
    call()
    return 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - worked)


def _p95(values: list[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]


def _made(folder: Path) -> dict[str, Path]:
    """Photos with as much in them as real ones: broad shapes, and the noise of a sensor."""
    photos = {}
    for name, size in PHOTOS.items():
        shapes = PIL.Image.effect_noise((24, 18), 120).resize(size, PIL.Image.Resampling.BICUBIC)
        layers = [PIL.Image.blend(shapes, PIL.Image.effect_noise(size, 30), 0.2) for _ in "RGB"]
        photos[name] = folder / f"{size[0]}.jpg"
        PIL.Image.merge("RGB", layers).save(photos[name], quality=88)
    return photos


@contextmanager
def _server() -> Iterator[str]:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
    process.start()
    yield here.recv()
    here.send("stop")
    process.join()


def _serve(connection: Connection) -> None:
    from benchmarks._doubles import OllamaDouble

    with OllamaDouble() as double:
        connection.send(double.url)
        connection.recv()


if __name__ == "__main__":
    main()
