"""A dual encoder as a folder of two ONNX graphs, the layout in which Immich publishes its models.

    config.json                     embed_dim, text_cfg.context_length (as open_clip writes it)
    visual/model.onnx               image or pixel_values -> vectors
    visual/preprocess_cfg.json      size, mean, std, interpolation, resize_mode
    textual/model.onnx              text or input_ids [, attention_mask] -> vectors
    textual/tokenizer.json          and tokenizer_config.json where the pad token is named

Names, types and batch sizes of the inputs are read from the graphs.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PrivateAttr

from mmrag_plugin.embeddings.base import VisualEmbedding, encodable, normalised
from mmrag_plugin.embeddings.fingerprint import fingerprint
from mmrag_plugin.embeddings.local_models import unloadable
from mmrag_plugin.errors import ModelError
from mmrag_plugin.model_input import ModelInput, Square

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(uint8)": "uint8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}
_PUNCTUATION = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


@dataclass(frozen=True)
class _Graph:
    """A session and what its inputs are called."""

    session: Any
    types: dict[str, str]
    main: str
    batch: int  # of the main input; 0 when any will do

    @classmethod
    def open(cls, path: Path, names: tuple[str, ...]) -> _Graph:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = _cores()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        wanted = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        providers = [name for name in wanted if name in onnxruntime.get_available_providers()]
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

    def run(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
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


class OnnxEmbedding(VisualEmbedding):
    """A text-image model from a folder of two ONNX graphs. Raises ModelError when it is damaged."""

    _takes: Square = PrivateAttr()
    _visual: _Graph = PrivateAttr()
    _textual: _Graph = PrivateAttr()
    _tokenizer: Any = PrivateAttr()
    _pad_id: int = PrivateAttr(default=0)
    _canonical: bool = PrivateAttr(default=False)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, folder: str | Path, *, embed_batch_size: int = 16, **settings: Any) -> None:
        folder = Path(folder).expanduser()
        super().__init__(model_name=folder.name, embed_batch_size=embed_batch_size, **settings)
        try:
            self._load(folder)
            self.dim = self.embed_texts(["a photo"]).shape[1]
            dim = self.embed_pictures([_grey(self.input_px)]).shape[1]
        except ModelError:
            raise
        except Exception as error:  # damaged graphs make the runtime raise nearly anything
            raise unloadable(
                f"The ONNX model in {folder}",
                error,
                "It should hold visual/model.onnx, visual/preprocess_cfg.json, textual/model.onnx "
                "and textual/tokenizer.json: fetch it again, or choose another model.",
            ) from error
        if dim != self.dim:
            raise ModelError(
                f"The towers in {folder} don't fit: pictures give {dim} numbers, texts {self.dim}.",
                "Take visual/ and textual/ from the same model.",
            )
        self.stamp = f"onnx-{_fingerprint(folder)}"

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down for this class."""
        return "OnnxEmbedding"

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, dim], rows L2-normalised."""
        import numpy as np

        if not pictures:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        step = self._visual.batch or self.embed_batch_size
        for start in range(0, len(pictures), step):
            squares = [
                np.asarray(self._takes.fitted(picture))
                for picture in pictures[start : start + step]
            ]
            rows.append(self._visual.run({self._visual.main: self._pixels(np.stack(squares))}))
        return normalised(np.concatenate(rows), by=self.model_name)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; what is past ``max_tokens`` is cut off.

        A text without a token that the model knows (another script, say) gives a row of zeros.
        """
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        step = self._textual.batch or self.embed_batch_size
        for start in range(0, len(texts), step):
            encodings = self._encode(texts[start : start + step])
            mask = np.array([encoding.attention_mask for encoding in encodings])
            ids = np.array([encoding.ids for encoding in encodings])
            vectors = self._textual.run({self._textual.main: ids, "attention_mask": mask})
            vectors[~mask.any(axis=1)] = 0  # nothing but padding, of which some models make NaN
            rows.append(vectors)
        return normalised(np.concatenate(rows), by=self.model_name)

    @property
    def takes(self) -> ModelInput:
        """A square as visual/preprocess_cfg.json describes it."""
        return self._takes

    def understands(self, text: str) -> bool:
        """Whether the tokenizer finds anything in the query."""
        return super().understands(text) and any(self._encode([text])[0].attention_mask)

    def _encode(self, texts: Sequence[str]) -> Any:
        with self._lock:
            return self._tokenizer.encode_batch([self._clean(text) for text in texts])

    def _pixels(self, squares: NDArray[np.uint8]) -> NDArray[Any]:
        import numpy as np

        if self._visual.types[self._visual.main] == "uint8":
            return squares  # the graph scales and normalises [n, height, width, 3] itself
        mean = np.array(self._takes.mean, np.float32)
        std = np.array(self._takes.std, np.float32)
        scaled = (squares.astype(np.float32) / 255 - mean) / std
        return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))

    def _clean(self, text: str) -> str:
        text = " ".join(encodable(text).split())
        # open_clip's `canonicalize`: what the SigLIPs were trained on
        return " ".join(text.lower().translate(_PUNCTUATION).split()) if self._canonical else text

    def _load(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        config = json.loads((folder / "config.json").read_text("utf-8"))
        text_config = config.get("text_cfg") or {}
        self._takes = Square.read(folder / "visual" / "preprocess_cfg.json")
        self.input_px = self._takes.size_px
        self._visual = _Graph.open(folder / "visual" / "model.onnx", ("pixel_values", "image"))
        self._textual = _Graph.open(folder / "textual" / "model.onnx", ("input_ids", "text"))
        self.max_tokens = int(text_config.get("context_length") or 77)
        cleaning = (text_config.get("tokenizer_kwargs") or {}).get("clean")
        self._canonical = cleaning == "canonicalize"
        self._tokenizer = Tokenizer.from_file(str(folder / "textual" / "tokenizer.json"))
        pad_id, pad_token = self._padding(folder, text_config)
        self._tokenizer.enable_padding(length=self.max_tokens, pad_id=pad_id, pad_token=pad_token)
        self._tokenizer.enable_truncation(max_length=self.max_tokens)

    def _padding(self, folder: Path, text_config: dict[str, Any]) -> tuple[int, str]:
        """Find the pad token: named by the model, set in the tokenizer, or number 0."""
        named_in = folder / "textual" / "tokenizer_config.json"
        if named_in.is_file():
            token = json.loads(named_in.read_text("utf-8")).get("pad_token")
            token = str((token.get("content") if isinstance(token, dict) else token) or "")
            number = self._tokenizer.token_to_id(token)
            if number is not None:
                return int(number), token
        if isinstance(text_config.get("pad_id"), int):
            return text_config["pad_id"], "[PAD]"  # only the number reaches the graph
        padding = self._tokenizer.padding
        return (padding["pad_id"], padding["pad_token"]) if padding else (0, "[PAD]")


def _cores() -> int:
    """The cores this process may use; onnxruntime would count those of the whole machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _grey(side_px: int) -> Image:
    from PIL import Image

    return Image.new("RGB", (side_px, side_px), "grey")


def _fingerprint(folder: Path) -> str:
    names = (
        "config.json",
        "visual/preprocess_cfg.json",
        "textual/tokenizer.json",
        "textual/tokenizer_config.json",
    )
    weights = [
        path
        for part in ("visual", "textual")
        for path in sorted((folder / part).glob("model.onnx*"))
    ]
    return fingerprint([folder / name for name in names if (folder / name).is_file()], weights)
