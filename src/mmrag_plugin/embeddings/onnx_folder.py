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
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.base import VisualEncoder
from mmrag_plugin.embeddings.devices import clock_of, processor_name
from mmrag_plugin.embeddings.dtypes import EXACT, INT8, Dtype, Trial, Verdicts, settle
from mmrag_plugin.embeddings.fingerprint import fingerprint
from mmrag_plugin.embeddings.int8_copies import copy_of, formats_with, machine_with, needed
from mmrag_plugin.embeddings.local_models import unloadable
from mmrag_plugin.embeddings.onnx_graph import Graph, device_for
from mmrag_plugin.embeddings.preparing import encodable, normalised
from mmrag_plugin.embeddings.probing import TEXTS, probe_pictures
from mmrag_plugin.errors import ModelError
from mmrag_plugin.model_input import ModelInput, Square

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

_PUNCTUATION = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


class OnnxEncoder(VisualEncoder):
    """A text-image model from a folder of two ONNX graphs. Raises ModelError when it is damaged.

    With ``dtype`` ``auto`` or ``int8`` a copy in whole numbers that lies in ``models_home`` may be
    run instead; the other number formats are those of the graphs.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        models_home: Path | None = None,
        device: str = "auto",
        dtype: Dtype = "auto",
        batch: int = 16,
    ) -> None:
        folder = Path(folder).expanduser()
        self.model_name = folder.name
        self.batch = batch  # pictures or texts in one call, where the graphs leave it open
        self._lock = threading.Lock()
        try:
            self._load(folder)
            self.stamp = f"onnx-{_fingerprint(folder)}"
            self._load_graphs(folder, models_home, device, dtype)
        except ModelError:
            raise
        except Exception as error:  # damaged graphs make the runtime raise nearly anything
            raise unloadable(
                f"The ONNX model in {folder}",
                error,
                "It should hold visual/model.onnx, visual/preprocess_cfg.json, textual/model.onnx "
                "and textual/tokenizer.json: fetch it again, or choose another model.",
            ) from error

    @property
    def runs_with(self) -> str:
        """The number format, and what it is calculated on."""
        return f"{self.dtype} on {self.device}"

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, dim], rows L2-normalised."""
        import numpy as np

        if not pictures:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        step = self._visual.batch or self.batch
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
        step = self._textual.batch or self.batch
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
        self.max_tokens = int(text_config.get("context_length") or 77)
        cleaning = (text_config.get("tokenizer_kwargs") or {}).get("clean")
        self._canonical = cleaning == "canonicalize"
        self._tokenizer = Tokenizer.from_file(str(folder / "textual" / "tokenizer.json"))
        pad_id, pad_token = self._padding(folder, text_config)
        self._tokenizer.enable_padding(length=self.max_tokens, pad_id=pad_id, pad_token=pad_token)
        self._tokenizer.enable_truncation(max_length=self.max_tokens)

    def _load_graphs(
        self, folder: Path, models_home: Path | None, device: str, dtype: Dtype
    ) -> None:
        import numpy as np

        copy, self.device = copy_of(self.stamp, models_home), device_for(device)

        def use(wanted: str) -> None:
            place = needed(copy, self.model_name) if wanted == INT8 else folder
            where = "cpu" if wanted == INT8 else device_for(device)
            names = ("pixel_values", "image"), ("input_ids", "text")
            self._visual = Graph.open(place / "visual" / "model.onnx", names[0], device=where)
            self._textual = Graph.open(place / "textual" / "model.onnx", names[1], device=where)
            self.device, self.dtype = where, wanted

        if copy is None or dtype not in ("auto", INT8):
            use(dtype if dtype == INT8 else EXACT)
            self.dim = self._common_dim(folder)
            return
        pictures = probe_pictures(self.input_px)
        self.dim = settle(
            self.stamp,
            dtype,
            formats_with(copy, (), self.device),
            here=machine_with(copy, {"device": self.device, "name": processor_name()}),
            verdicts=Verdicts(models_home),
            trial=Trial(
                use,
                lambda: np.concatenate([self.embed_pictures(pictures), self.embed_texts(TEXTS)]),
                clock_of("cpu"),
            ),
        )

    def _common_dim(self, folder: Path) -> int:
        """The length of the vectors of both halves. Raises ModelError where they differ."""
        dim = int(self.embed_texts(TEXTS[:1]).shape[1])
        pictures_dim = self.embed_pictures([_grey(self.input_px)]).shape[1]
        if pictures_dim != dim:
            raise ModelError(
                f"The towers in {folder} don't fit: pictures give {pictures_dim} numbers, texts "
                f"{dim}.",
                "Take visual/ and textual/ from the same model.",
            )
        return dim

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
