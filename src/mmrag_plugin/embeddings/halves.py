"""The two halves of a text-image model, as PyTorch or ONNX Runtime calculates them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmrag_plugin.embeddings.devices import moved
from mmrag_plugin.embeddings.onnx_graph import Graph

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Inputs = dict[str, torch.Tensor]

PARTS = ("visual", "textual")  # folders, each with a model.onnx


class Halves(Protocol):
    """Inputs as the model's own processor and tokenizer make them in, vectors [n, dim] out."""

    def pictures(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of pictures, of any length."""

    def texts(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of texts, of any length."""


class TorchHalves:
    """A model of transformers on a device."""

    def __init__(self, network: Any, device: str) -> None:
        self.network, self._device = network.to(device).eval(), device

    def pictures(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of pictures, of any length."""
        return self._run(self.network.get_image_features, inputs)

    def texts(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of texts, of any length."""
        return self._run(self.network.get_text_features, inputs)

    def _run(self, features: Any, inputs: Inputs) -> NDArray[np.float32]:
        import torch

        dtype = self.network.dtype
        given = {name: moved(tensor, self._device, dtype) for name, tensor in inputs.items()}
        with torch.inference_mode():
            output = features(**given)
        # transformers 5 returns an output object, 4 the tensor itself
        vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
        array: NDArray[np.float32] = vectors.float().cpu().numpy()
        return array


class OnnxHalves:
    """Two graphs in a folder, visual/model.onnx and textual/model.onnx."""

    def __init__(self, folder: Path, device: str) -> None:
        self._visual, self._textual = (
            Graph.open(folder / part / "model.onnx", names, device=device)
            for part, names in zip(PARTS, (("pixel_values",), ("input_ids",)), strict=True)
        )

    def pictures(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of pictures, of any length."""
        return self._visual.run({name: tensor.numpy() for name, tensor in inputs.items()})

    def texts(self, inputs: Inputs) -> NDArray[np.float32]:
        """The vectors of texts, of any length."""
        return self._textual.run({name: tensor.numpy() for name, tensor in inputs.items()})
