"""Where copies of models in whole numbers lie, made on this machine by `mmrag models quantize`.

    MODELS/.int8/STAMP/visual/model.onnx, textual/model.onnx
    MODELS/.int8/STAMP/about.json         of which model, and what made it

Tokenizer and preprocessing are those of the model itself, and so is the stamp: a copy is only used
where its vectors agree with the model's own, so a library stays searchable with either.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from mmrag_plugin.embeddings.dtypes import INT8, plain
from mmrag_plugin.embeddings.halves import PARTS
from mmrag_plugin.errors import ModelMissing

FOLDER = ".int8"
ABOUT = "about.json"


def place_of(stamp: str, models_home: Path) -> Path:
    """Where the copy of a model lies, or would."""
    return models_home / FOLDER / plain(stamp)


def copy_of(stamp: str, models_home: Path | None) -> Path | None:
    """The copy of a model, if it was made."""
    if models_home is None:
        return None
    folder = place_of(stamp, models_home)
    names = (ABOUT, *(f"{part}/model.onnx" for part in PARTS))
    return folder if all((folder / name).is_file() for name in names) else None


def formats_with(copy: Path | None, formats: tuple[str, ...], device: str) -> tuple[str, ...]:
    """The formats to try out where there may be a copy, which runs on the processor."""
    return (*formats, INT8) if copy is not None and device == "cpu" else formats


def machine_with(copy: Path | None, machine: dict[str, str]) -> dict[str, str]:
    """What decides how quick a model is, with its copy and what runs that."""
    if copy is None:
        return machine
    import onnxruntime

    about = hashlib.blake2b((copy / ABOUT).read_bytes(), digest_size=6).hexdigest()
    return {**machine, "copy": about, "onnxruntime": str(onnxruntime.__version__)}


def needed(copy: Path | None, model_name: str) -> Path:
    """A copy that somebody insists on. Raises ModelMissing."""
    if copy is None:
        raise ModelMissing(
            f"There is no int8 copy of {model_name} on this machine.",
            f"Make it: mmrag models quantize {model_name}",
        )
    return copy
