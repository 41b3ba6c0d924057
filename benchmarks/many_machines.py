"""Photos a second by one process, and on a Ray cluster of two nodes with the same cores.

python -m benchmarks many_machines [--photos N] [--rounds N] [--json]

The nodes are on this machine, with a core each, and one process has two: so the cluster can't win
here. What is measured is what it costs: the seconds that a stage of 16 photos takes, most of which
is the start of workers, and the rate beyond that. The photos, of 12 megapixels, are made up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from mmrag_plugin.embeddings.choose import choose_visual
from mmrag_plugin.index_seeing_here import SeesHere
from mmrag_plugin.keyframes.iframes import IFrameSelector
from mmrag_plugin.ledger import MediaRow
from mmrag_plugin.on_ray.orders import Equipment
from mmrag_plugin.on_ray.seer import SeesOnRay
from mmrag_plugin.readers.photo import PhotoReader
from mmrag_plugin.readers.video import VideoReader
from mmrag_plugin.readers.workers import DecodesInWorkers
from ray_nodes import ray_nodes

if TYPE_CHECKING:
    from mmrag_plugin.index_seeing import Seer

MODEL = Path(__file__).resolve().parents[2] / "shared" / "models" / "minidual"
SIZE = (4032, 3024)
FEW = 16  # fewer than 9 are not handed to a cluster at all


def main() -> None:
    """Measure rounds of both, one after the other, and print the medians."""
    asked = argparse.ArgumentParser()
    asked.add_argument("--photos", type=int, default=400)
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--model", default=str(MODEL) if MODEL.is_dir() else "palette")
    asked.add_argument("--json", action="store_true")
    options = asked.parse_args()
    with TemporaryDirectory() as directory, ray_nodes() as nodes:
        folder = Path(directory).resolve()
        photos = list(written(folder, options.photos))
        visual = choose_visual(options.model, models_home=folder)[0]
        decoder = DecodesInWorkers()
        readers: dict[Any, Any] = {
            "image": PhotoReader(decoder=decoder),
            "video": VideoReader(IFrameSelector(), decoder=decoder),
        }
        here = SeesHere(readers, visual, None)
        equipment = Equipment(readers, folder, options.model, visual.stamp)
        with closing(SeesOnRay(nodes.address, equipment, here, [folder])) as cluster:
            joined_s = timed(cluster.joined)
            rounds: dict[str, list[tuple[float, float]]] = {"one process": [], "two nodes": []}
            list(here.see(photos[:64]))  # so that neither reads photos or loads a model first
            for _ in range(options.rounds):
                rounds["one process"].append(seen(here, photos))
                rounds["two nodes"].append(seen(cluster, photos))
    show(rounds, joined_s, options.photos, as_json=options.json)


def written(folder: Path, number: int) -> Iterator[MediaRow]:
    """Write photos that no two are alike, as JPEG of 12 megapixels."""
    for n in range(number):
        path = folder / f"IMG_{n:05}.jpg"
        noise = random.Random(n).randbytes(64 * 48 * 3)  # noqa: S311
        PIL.Image.frombytes("RGB", (64, 48), noise).resize(SIZE).save(path, quality=88)
        yield MediaRow(
            path.stem, "image", str(path), str(folder), None, "", *SIZE, None, None, None
        )


def timed(work: Any) -> float:
    """How long something takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def seen(seer: Seer, photos: list[MediaRow]) -> tuple[float, float]:
    """Seconds for a few photos, and photos a second beyond those."""
    few_s = timed(lambda: looked_at(seer, photos[:FEW]))
    all_s = timed(lambda: looked_at(seer, photos))
    return few_s, (len(photos) - FEW) / max(all_s - few_s, 0.001)


def looked_at(seer: Seer, photos: list[MediaRow]) -> None:
    """Have photos seen, all of them."""
    found = list(seer.see(photos))
    assert len(found) == len(photos)
    assert not any(one.error for one in found)


def show(
    rounds: dict[str, list[tuple[float, float]]], joined_s: float, photos: int, *, as_json: bool
) -> None:
    """Print a table, or one object."""
    table = {
        name: {
            "16 photos, s": statistics.median(few_s for few_s, _ in found),
            "photos a second": statistics.median(rate for _, rate in found),
        }
        for name, found in rounds.items()
    }
    ratio = table["two nodes"]["photos a second"] / table["one process"]["photos a second"]
    if as_json:
        print(
            json.dumps(
                {"photos": photos, "cores": os.cpu_count(), "joined_s": joined_s, "ratio": ratio}
                | table
            )
        )
        return
    print(f"{photos} photos of 12 megapixels, {len(rounds['two nodes'])} rounds, medians")
    print(f"{'':14}{'16 photos':>20}{'photos a second':>18}")
    for name, row in table.items():
        few_s, rate = row.values()
        print(f"{name:14}{few_s:>18.1f} s{rate:>18.1f}")
    print(f"joining the cluster, once a run: {joined_s:.1f} s; rate of two nodes: {ratio:.2f}")


if __name__ == "__main__":
    main()
