"""One ONNX graph: opened for this machine, run batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.devices import cores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


_CUDA = "CUDAExecutionProvider"


def device_for(wanted: str) -> str:
    """Where graphs run: on a GPU of CUDA where onnxruntime has one, unless ``cpu`` is wanted."""
    import onnxruntime

    return "cuda" if wanted != "cpu" and _CUDA in onnxruntime.get_available_providers() else "cpu"


@dataclass(frozen=True)
class Graph:
    """A session and what its inputs are called."""

    session: Any
    types: dict[str, str]
    main: str
    batch: int  # of the main input; 0 when any will do

    @classmethod
    def open(cls, path: Path, names: tuple[str, ...], *, device: str = "cpu") -> Graph:
        """Open a graph; ``names`` are what its main input may be called, best first."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # threads that wait by turning round take the processor from those that decode
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        providers = ["CPUExecutionProvider"]
        if device == "cuda":
            providers.insert(0, _CUDA)
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        inputs = {node.name: node for node in session.get_inputs()}
        unknown = [node.type for node in inputs.values() if node.type not in _TYPES]
        if unknown:
            raise ValueError(f"{path.name} takes inputs of type {unknown[0]}")
        main = next((name for name in names if name in inputs), next(iter(inputs)))
        batch = inputs[main].shape[0] if inputs[main].shape else None
        return cls(
            session,
            {name: _TYPES[node.type] for name, node in inputs.items()},
            main,
            batch if isinstance(batch, int) and batch > 0 else 0,
        )

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Run one batch, filled up to the graph's own batch size where that is fixed."""
        import numpy as np

        count = len(inputs[self.main])
        given = {}
        for name, array in inputs.items():
            if name in self.types:
                fill = max(self.batch, count) - count
                filled = np.concatenate([array, np.repeat(array[-1:], fill, axis=0)])
                given[name] = filled.astype(self.types[name], copy=False)
        output: NDArray[np.float32] = self.session.run(None, given)[0]
        return output[:count].reshape(count, -1).astype(np.float32)
