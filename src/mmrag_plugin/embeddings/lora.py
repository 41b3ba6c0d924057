"""A CLIP, SigLIP or SigLIP 2 whose layers carry what was learned from a person's photos (LoRA).

The file of a version holds, for each layer that was trained, two thin matrices A and B as peft
names them; B times A is added to the layer's weights (Hu et al., 2021, with a scale of 1). It is
safetensors, so reading it runs no code, and nothing but torch is needed to search with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmrag_plugin.embeddings.transformers_model import TransformersEncoder
from mmrag_plugin.errors import ModelError

PREFIX = "base_model.model."  # of names that peft gives
_A, _B = ".lora_A.weight", ".lora_B.weight"


class LoraEncoder(TransformersEncoder):
    """A model from a folder with the matrices of ``lora``, a safetensors file's content, added.

    ``digest`` is what the file is known by; it becomes part of the stamp. Raises ModelError when
    the model is not the one with ``base_stamp``, or the matrices don't fit its layers.
    """

    takes_copies = False  # they were made of the model without what was learned

    def __init__(
        self, model: str | Path, lora: bytes, *, base_stamp: str, digest: str, **settings: Any
    ) -> None:
        self._lora = lora
        super().__init__(model, **settings)
        if self.stamp != base_stamp:
            raise ModelError(
                f"The model {self.model_name} is not the one that was learned on.",
                "Search with the model as it is (mmrag models use original), or put the old one "
                "back.",
            )
        self.stamp = f"{self.stamp}+lora-{digest[:16]}"

    def _network(self, folder: Path, dtype: str) -> Any:
        import torch

        network = super()._network(folder, "float32")  # in half formats small changes are lost
        add_lora(network, self._lora)
        return network.to(getattr(torch, dtype))


def add_lora(model: Any, content: bytes) -> None:
    """Add the matrices of a file to the weights of a model's layers. Raises ModelError."""
    import torch
    from safetensors.torch import load

    try:
        matrices = load(content)
        layers = dict(model.named_modules())
        names = [name.removesuffix(_A) for name in matrices if name.endswith(_A)]
        if not names or len(matrices) != 2 * len(names):
            raise ValueError("it holds no pairs of matrices")
        with torch.no_grad():
            for name in names:
                weight = layers[name.removeprefix(PREFIX)].weight
                added = matrices[name + _B].float() @ matrices[name + _A].float()
                if added.shape != weight.shape or not torch.isfinite(added).all():
                    raise ValueError(f"{name} doesn't fit")
                weight += added.to(weight.device, weight.dtype)
    except Exception as error:  # of safetensors, of names and shapes: whatever is wrong with it
        raise ModelError(
            f"The file of what the visual model learned can't be used: {error}.",
            "Search with the model as it is: mmrag models use original",
        ) from error
