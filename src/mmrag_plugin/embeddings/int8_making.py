"""Make the int8 copy of a text-image model: its matrices in whole numbers, as two ONNX graphs.

The weights of matrix products are rounded to 8 bits, one scale for each column; activations are
rounded as they come (onnxruntime's dynamic quantization). Everything else stays as it is.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.halves import PARTS
from mmrag_plugin.embeddings.int8_copies import ABOUT, place_of
from mmrag_plugin.embeddings.local_models import layout_of, unloadable
from mmrag_plugin.errors import MissingExtra, MmragError, ModelError, StorageError, UsageError

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

_PRODUCTS = ["MatMul", "Gemm"]
_MOST_INPUTS = 4096  # pictures or texts in one call of a copy


def make_copy(folder: Path, models_home: Path) -> Path:
    """Make, or make anew, the int8 copy of the model in a folder, and return where it lies.

    Raises UsageError for a model that is no text-image model, MissingExtra without the extra
    ``[onnx]``, ModelError for a model that can't be written as ONNX and StorageError when it can't
    be put into ``models_home``.
    """
    layout = layout_of(folder)
    if layout not in ("onnx", "transformers"):
        raise UsageError(
            f"{folder} holds no text-image model.", "Name a visual model; see `mmrag models list`."
        )
    for name in ("onnx", "onnxscript"):
        if find_spec(name) is None:
            raise MissingExtra(
                f"An int8 copy needs {name}, which is not installed.",
                "Install it: pip install 'mmrag-plugin[onnx]'",
            )
    try:
        with tempfile.TemporaryDirectory(prefix="mmrag-onnx-") as scratch, silence():
            if layout == "onnx":
                from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder

                stamp, graphs = OnnxEncoder(folder).stamp, folder
            else:
                from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

                model = TransformersEncoder(folder, device="cpu", dtype="float32")
                stamp, graphs = model.stamp, Path(scratch)
                write_graphs(model, graphs)
            return _put(graphs, stamp, models_home)
    except MmragError:
        raise
    except OSError as error:
        raise StorageError(
            f"The int8 copy of {folder} can't be written: {error.strerror or error}.",
            "It takes as much room as the model itself, in the folder for temporary files.",
        ) from error
    except Exception as error:  # exporters raise nearly anything
        raise unloadable(
            f"The model in {folder}", error, "It can't be written as ONNX: use it without a copy."
        ) from error


def stamp_of(folder: Path) -> str:
    """The stamp of the visual model in a folder."""
    if layout_of(folder) == "onnx":
        from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder

        return OnnxEncoder(folder).stamp
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

    return TransformersEncoder(folder, dtype="float32").stamp


def remove_copy(stamp: str, models_home: Path) -> bool:
    """Remove the int8 copy of a model; False when there is none."""
    place = place_of(stamp, models_home)
    if not place.is_dir():
        return False
    shutil.rmtree(place)
    return True


def _put(graphs: Path, stamp: str, models_home: Path) -> Path:
    """Round the graphs, and put the copy into its place when it is whole."""
    import onnx
    import onnxruntime

    target = place_of(stamp, models_home)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as making:
        made = Path(making) / "copy"
        for part in PARTS:
            (made / part).mkdir(parents=True)
            _round(graphs / part / "model.onnx", made / part / "model.onnx")
        about = {
            "model": stamp,
            "made_at": datetime.now(timezone.utc).isoformat(),  # what was measured before is old
            "onnx": str(onnx.__version__),
            "onnxruntime": str(onnxruntime.__version__),
            "seven_bits": _saturates(),
        }
        (made / ABOUT).write_text(json.dumps(about), encoding="utf-8")
        if target.is_dir():
            target.rename(Path(making) / "old")
        made.rename(target)
    return target


def _round(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    size_bytes = sum(path.stat().st_size for path in source.parent.glob("model.onnx*"))
    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=_PRODUCTS,
        per_channel=True,
        reduce_range=_saturates(),
        weight_type=QuantType.QInt8,
        use_external_data_format=size_bytes > 1 << 31,  # the most that one protobuf holds
        extra_options={"MatMulConstBOnly": True},
    )


def _saturates() -> bool:
    """Whether sums of 8-bit products overflow here: on x86 without VNNI, which wants 7 bits."""
    import platform

    import torch

    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not getattr(torch.cpu, "_is_vnni_supported", lambda: False)()


def write_graphs(model: TransformersEncoder, target: Path) -> None:
    """Write both halves of a model as ONNX graphs, with any number of inputs at once."""
    import torch
    from PIL import Image

    network = model.network

    class Half(torch.nn.Module):
        """A half of the network as a module that returns vectors."""

        def __init__(self, features: Any, names: Iterable[str]) -> None:
            super().__init__()
            self.network, self.features, self.names = network, features, tuple(names)

        def forward(self, *inputs: torch.Tensor) -> Any:
            output = self.features(**dict(zip(self.names, inputs, strict=True)))
            return output if isinstance(output, torch.Tensor) else output.pooler_output

    side_px = model.input_px
    pictures = model.picture_inputs([Image.new("RGB", (side_px, side_px), "grey")] * 2)
    if "spatial_shapes" in pictures:  # the shape of the first picture would be built in
        raise ModelError(
            f"{model.model_name} takes pictures of any shape, which can't be written as ONNX.",
            "Use it without a copy.",
        )
    texts = model.text_inputs(["a photo of a dog", "red"])
    count = torch.export.Dim("count", min=1, max=_MOST_INPUTS)
    length = torch.export.Dim("length", min=2, max=model.max_tokens)
    # those with a mask take texts of any length; the SigLIPs read them filled up to the longest
    axes = {0: count, 1: length} if "attention_mask" in texts else {0: count}
    for part, features, inputs, shape in (
        (PARTS[0], network.get_image_features, pictures, {0: count}),
        (PARTS[1], network.get_text_features, texts, axes),
    ):
        (target / part).mkdir()
        torch.onnx.export(
            Half(features, inputs).eval(),
            tuple(inputs.values()),
            target / part / "model.onnx",
            dynamic_shapes=((shape,) * len(inputs),),
            input_names=list(inputs),
            dynamo=True,
            verbose=False,
        )


@contextmanager
def silence() -> Iterator[None]:
    """Keep what exporters tell their developers off the terminal."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
