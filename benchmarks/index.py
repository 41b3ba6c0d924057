"""What indexing photos costs beside decoding and the model: python -m benchmarks index.

Twelve-megapixel JPEGs and a CLIP model of the size of ViT-B/32 with random weights are made in a
temporary folder, and measured round by round, each part in a process of its own:

decode   the JPEGs decoded at the scale that mmrag decodes them at, by a process for each core
model    the picture half of the bare model, in the number format that mmrag chooses here
mmrag    `mmrag index` of all photos, without OCR and without a text model, into a library of a few
stock    LlamaIndex's MultiModalVectorStoreIndex over some of the photos, into Milvus Lite

``together`` is the rate that decode and model would reach together on the same cores: one after the
other with all of them. Loading models is counted nowhere. ``--memory`` compares instead what all
processes of a run hold at their peak, over a tenth of the photos and over all. ``--json`` prints
the figures as one object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "coco_train"
SIZE_PX = (4000, 3000)
DIFFERENT = 24  # photos; the others differ in a comment, as their decoding costs the same
INPUT_PX, BATCH = 224, 32
STOCK_PHOTOS = 40
PARTS = ("decode", "model", "mmrag", "stock")


def main() -> None:
    """Make photos and a model, measure all parts in turn, and print how they compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks index")
    parser.add_argument("--photos", type=int, default=320)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", type=Path, help="write a profile of mmrag's process here")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        measure = {"decode": decode, "model": model, "mmrag": mmrag, "stock": stock}[asked.part]
        print(json.dumps(measure(asked.place, asked.photos, asked.profile)))
        return
    with TemporaryDirectory(prefix="mmrag-index-") as directory:
        place = Path(directory).resolve()
        write_photos(place / "photos", asked.photos)
        write_model(place / "model")
        if asked.memory:
            report = compare_memory(place, asked.photos, asked.json)
        else:
            report = compare_rates(place, asked)
    if asked.json:
        print(json.dumps(report))


def compare_rates(place: Path, asked: argparse.Namespace) -> dict[str, Any]:
    """Measure every part in each round; the best of each counts."""
    best: dict[str, dict[str, Any]] = {}
    for _ in range(asked.rounds):
        for part in PARTS:
            found = run_part(part, place, asked.photos, asked.profile)
            if part not in best or found["rate"] > best[part]["rate"]:
                best[part] = found
    rates = {part: found["rate"] for part, found in best.items()}
    rates["together"] = 1 / (1 / rates["decode"] + 1 / rates["model"])
    report = {
        "photos": asked.photos,
        "rates": rates,
        "of_together": rates["mmrag"] / rates["together"],
        "times_stock": rates["mmrag"] / rates["stock"],
        "cpu_s_a_photo": {part: found["cpu_s"] for part, found in best.items()},
        "stages_s": best["mmrag"]["stages_s"],
        "dtype": best["mmrag"]["dtype"],
        "cores": len(os.sched_getaffinity(0)),
    }
    if not asked.json:
        print(f"{asked.photos} photos, {report['cores']} cores, {report['dtype']}\n")
        print(f"{'':10}{'photos/s':>10}{'CPU ms':>10}")
        for part in ("decode", "model", "together", "mmrag", "stock"):
            cpu = f"{1000 * best[part]['cpu_s']:10.1f}" if part in best else ""
            print(f"{part:10}{rates[part]:10.1f}{cpu}")
        print(f"\nmmrag reaches {report['of_together']:.2f} of what both would reach together")
        print(f"mmrag is {report['times_stock']:.1f} times as fast as the stock path")
        print("stages: " + ", ".join(f"{n} {s:.1f} s" for n, s in report["stages_s"].items()))
    return report


def compare_memory(place: Path, photos: int, as_json: bool) -> dict[str, Any]:
    """What all processes of a run hold at their peak, over a tenth of the photos and over all."""
    few, all_of_them = (
        run_part("mmrag", place, count, None)["peak_bytes"] for count in (photos // 10, photos)
    )
    report = {
        "photos": [photos // 10, photos],
        "peak_mb": [few / 1e6, all_of_them / 1e6],
        "growth": all_of_them / few - 1,
    }
    if not as_json:
        print(f"{photos // 10} photos: {few / 1e6:.0f} MB; {photos}: {all_of_them / 1e6:.0f} MB")
        print(f"growth {100 * report['growth']:.1f} %")
    return report


def run_part(part: str, place: Path, photos: int, profile: Path | None) -> dict[str, Any]:
    """Measure one part in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "index", "--part", part, "--place", str(place)]
    command += ["--photos", str(photos), *(["--profile", str(profile)] if profile else [])]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(  # noqa: S603  (this file again)
        command, cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{part} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# ---- what is measured ------------------------------------------------------------------------


def timed(work: Callable[[], int], others: Sequence[int] = ()) -> dict[str, Any]:
    """The rate of some work, which says how many photos it dealt with, and its CPU time a photo.

    ``others`` are processes whose time counts, too, and that are none of this one's children.
    """
    cpu_before, began = cpu_s(others), time.perf_counter()
    photos = work()
    seconds = time.perf_counter() - began
    return {"rate": photos / seconds, "cpu_s": (cpu_s(others) - cpu_before) / photos}


def cpu_s(others: Sequence[int] = ()) -> float:
    """CPU seconds of this process, of those that it started and of theirs, dead or alive."""
    ended = os.times()
    return (
        ended.user
        + ended.system
        + ended.children_user
        + ended.children_system
        + sum(tree_cpu_s(child) for child in {*children_of(os.getpid()), *others})
    )


def decode(place: Path, photos: int, _: Path | None) -> dict[str, Any]:
    """Decode at the scale that gives at least twice the model's input."""
    paths = photos_of(place, photos)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(decode_one, paths[:8]))  # the processes are there

        def work() -> int:
            return len(list(pool.map(decode_one, paths, chunksize=4)))

        return timed(work)


def decode_one(path: str) -> int:
    """Decode one JPEG, and nothing else."""
    with PIL.Image.open(path) as image:
        image.draft("RGB", (2 * INPUT_PX * SIZE_PX[0] // SIZE_PX[1] + 1, 2 * INPUT_PX))
        image.load()
        return image.width


def model(place: Path, photos: int, _: Path | None) -> dict[str, Any]:
    """The picture half alone, batch by batch, without any preprocessing."""
    import torch

    visual = loaded(place)
    pixels = torch.randn(BATCH, 3, INPUT_PX, INPUT_PX).to(visual.network.dtype)
    count = max(photos // BATCH, 1)

    def work() -> int:
        with torch.inference_mode():
            for _ in range(count):
                visual.network.get_image_features(pixel_values=pixels)
        return count * BATCH

    with torch.inference_mode():
        visual.network.get_image_features(pixel_values=pixels)
    return timed(work)


def mmrag(place: Path, photos: int, profile: Path | None) -> dict[str, Any]:
    """Index into a library of a few small pictures; models and processes are there before."""
    from media_made import end_owners, opened, owner_pid, picture

    folder = place / f"first {photos}"
    if not folder.exists():
        folder.mkdir()
        for path in photos_of(place, photos):
            os.link(path, folder / Path(path).name)
    with TemporaryDirectory(prefix="mmrag-index-") as directory:
        home, first = Path(directory) / "home", Path(directory) / "one"
        try:
            with opened(home, visual_model=str(place / "model"), text_model="off") as library:
                visual = library.models.wanted().visual
                for number in range(
                    4 * len(os.sched_getaffinity(0))
                ):  # all decoders are there then
                    picture(first / f"{number}.jpg", number=number)
                library.index([first])
                owner = [
                    pid for lock in home.glob("*/owner.lock") if (pid := owner_pid(lock.parent))
                ]
                with Peak(owner) as peak:
                    report: Any = None

                    def work() -> int:
                        nonlocal report
                        report = library.index([folder])
                        return photos

                    if profile:
                        import cProfile

                        with cProfile.Profile() as profiler:
                            found = timed(work, owner)
                        profiler.dump_stats(profile)
                    else:
                        found = timed(work, owner)
                assert report.stages["embed"].done == photos, report
                stages = {name: stage.seconds for name, stage in report.stages.items()}
        finally:
            end_owners(home)
    dtype = str(visual.network.dtype).removeprefix("torch.")
    return found | {"stages_s": stages, "peak_bytes": peak.bytes, "dtype": dtype}


def stock(place: Path, photos: int, _: Path | None) -> dict[str, Any]:
    """LlamaIndex's own way: picture by picture, in float32."""
    from llama_index.core import MockEmbedding, StorageContext
    from llama_index.core.embeddings import MultiModalEmbedding
    from llama_index.core.indices.multi_modal import MultiModalVectorStoreIndex
    from llama_index.core.schema import ImageNode
    from llama_index.vector_stores.milvus import MilvusVectorStore

    visual = loaded(place, dtype="float32")

    class Stock(MultiModalEmbedding):
        """CLIP as transformers' own examples run it."""

        def _get_image_embedding(self, img_file_path: Any) -> list[float]:
            import torch

            picture = PIL.Image.open(img_file_path).convert("RGB")
            inputs = visual._processor(images=[picture], return_tensors="pt")
            with torch.inference_mode():
                output = visual.network.get_image_features(**inputs)
            vectors = getattr(output, "pooler_output", output)
            vector: list[float] = vectors[0].tolist()
            return vector

        def _get_text_embedding(self, text: str) -> list[float]:
            raise NotImplementedError

        _get_query_embedding = _get_text_embedding

        async def _aget_image_embedding(self, img_file_path: Any) -> list[float]:
            return self._get_image_embedding(img_file_path)

        async def _aget_query_embedding(self, query: str) -> list[float]:
            raise NotImplementedError

    paths = photos_of(place, min(photos, STOCK_PHOTOS))
    # one without text and metadata is dropped
    nodes = [ImageNode(image_path=path, metadata={"file_name": Path(path).name}) for path in paths]
    with TemporaryDirectory(prefix="mmrag-index-") as directory:
        stores = {
            name: MilvusVectorStore(
                uri=f"{directory}/{name}.db", dim=dim, overwrite=True, use_async_client=False
            )
            for name, dim in (("texts", 4), ("images", visual.dim))
        }
        storage = StorageContext.from_defaults(
            vector_store=stores["texts"], image_store=stores["images"]
        )

        def work() -> int:
            MultiModalVectorStoreIndex(
                nodes,
                storage_context=storage,
                embed_model=MockEmbedding(4),
                image_embed_model=Stock(),
            )
            return len(nodes)

        found = timed(work)
        stored = stores["images"].client.query(
            stores["images"].collection_name, output_fields=["count(*)"]
        )
        assert stored[0]["count(*)"] == len(nodes), stored
        return found


def loaded(place: Path, dtype: Any = "auto") -> Any:
    """The model that was made."""
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

    return TransformersEncoder(place / "model", dtype=dtype, device="cpu")


# ---- processes -------------------------------------------------------------------------------


def children_of(pid: int) -> list[int]:
    """The processes that another one started, and those in sessions of their own."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        found += [int(child) for child in task.read_text().split()]
    return found


def tree_of(pid: int) -> list[int]:
    """A process and all below it that are there now."""
    try:
        return [pid, *(below for child in children_of(pid) for below in tree_of(child))]
    except OSError:
        return []


def tree_cpu_s(pid: int) -> float:
    """CPU seconds of a living process and of all below it."""
    ticks = 0
    for process in tree_of(pid):
        try:
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(map(int, fields[11:15]))  # its own, and of those that ended below it
    return ticks / os.sysconf("SC_CLK_TCK")


class Peak:
    """Watches what this process, all that it started and others hold, ten times a second."""

    def __init__(self, others: Sequence[int] = ()) -> None:
        self._others = others
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        while not self._over.wait(0.1):
            pages = 0
            for process in {*tree_of(os.getpid()), *self._others}:
                try:
                    pages += int(Path(f"/proc/{process}/statm").read_text().split()[1])
                except OSError:
                    continue
            self.bytes = max(self.bytes, pages * page_bytes)


# ---- what is made ----------------------------------------------------------------------------


def photos_of(place: Path, count: int) -> list[str]:
    """The first photos that were made."""
    return [str(place / "photos" / f"{number}.jpg") for number in range(count)]


def write_photos(folder: Path, count: int) -> None:
    """Real photos scaled up, or made ones, with the noise of a sensor on them."""
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        jpegs = list(pool.map(large_jpeg, range(min(DIFFERENT, count))))
    for number in range(count):
        jpeg = jpegs[number % len(jpegs)]
        comment = b"\xff\xfe\x00\x0a" + f"{number:08}".encode()
        (folder / f"{number}.jpg").write_bytes(jpeg[:2] + comment + jpeg[2:])


def large_jpeg(number: int) -> bytes:
    """One photo of twelve megapixels."""
    import io

    import numpy as np

    chance = np.random.default_rng(number)
    real = sorted(SHARED.rglob("*.jpg"))
    if real:
        picture = PIL.Image.open(real[number % len(real)]).convert("RGB")
    else:
        coarse = chance.integers(0, 256, (30, 40, 3), dtype=np.uint8)
        picture = PIL.Image.fromarray(coarse).resize((640, 480), PIL.Image.Resampling.BICUBIC)
    large = np.asarray(picture.resize(SIZE_PX, PIL.Image.Resampling.BICUBIC), np.int16)
    noise = chance.normal(0, 6, (SIZE_PX[1], SIZE_PX[0], 1)).astype(np.int16)
    buffer = io.BytesIO()
    PIL.Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=88
    )
    return buffer.getvalue()


def write_model(folder: Path) -> None:
    """A CLIP model as large as ViT-B/32, with random weights and a small vocabulary."""
    import string

    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    letters = [*string.ascii_lowercase, *(f"{c}</w>" for c in string.ascii_lowercase)]
    words = ["<|startoftext|>", "<|endoftext|>", *letters]
    vocab = {token: number for number, token in enumerate(words)}
    CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77).save_pretrained(folder)
    torch.manual_seed(0)
    CLIPModel(CLIPConfig()).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)


if __name__ == "__main__":
    main()
