"""Embeddings for the dense text channel: a local sentence model, or a visual model's text tower."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmrag_plugin.embeddings.asked_before import AskedBefore
from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
from mmrag_plugin.embeddings.devices import clock_of, machine, pick_device, quick_formats
from mmrag_plugin.embeddings.dtypes import EXACT, INT8, Dtype, Trial, Verdicts, settle
from mmrag_plugin.embeddings.fingerprint import fingerprint
from mmrag_plugin.embeddings.local_models import unloadable
from mmrag_plugin.embeddings.preparing import encodable, normalised
from mmrag_plugin.embeddings.probing import TEXTS
from mmrag_plugin.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CONFIG_NAMES = (
    "config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "tokenizer.json",
    "tokenizer_config.json",
)

_PROBE = [*TEXTS, " ".join(TEXTS), *(f"{text} {text}" for text in TEXTS)]


class VisualTextTower(TextEncoder):
    """The text half of a visual model as a text embedding; mind its short token limit."""

    setting = "visual"

    def __init__(self, visual: VisualEncoder) -> None:
        self._visual, self.model_name = visual, visual.model_name
        self.stamp, self.dim = f"tower-{visual.stamp}", visual.dim
        self.max_tokens = visual.max_tokens

    @property
    def runs_with(self) -> str:
        """The number format and the device of the visual model."""
        return self._visual.runs_with

    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised."""
        return self._visual.embed_texts(texts)

    @cached_property
    def query_vector(self) -> AskedBefore:
        """Embeds one query: [dim]; the visual channel asks for it too."""
        return self._visual.query_vector


class SentenceEncoder(TextEncoder):
    """A sentence-transformers model from a folder, run with plain transformers.

    ``device`` and ``dtype`` are as in TransformersEncoder; there are no int8 copies, and ``int8``
    means ``auto``. Reads modules.json, the pooling configuration, ``max_seq_length`` and the
    prompts for queries and documents. Raises ModelError for a damaged model, or one with a layer
    besides transformer, pooling and normalisation.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        models_home: Path | None = None,
        device: str = "auto",
        dtype: Dtype = "auto",
        batch: int = 32,
    ) -> None:
        folder = Path(folder).expanduser()
        self.model_name = folder.name
        self.device = pick_device(device)
        self.batch = batch  # texts in one call
        self.dtype = EXACT
        self._model: Any = None
        self._pooling = "mean"
        self._lock = threading.Lock()
        try:
            from mmrag_plugin.embeddings.transformers_model import quiet

            with quiet():
                self._load(folder, models_home, dtype)
        except ModelError:
            raise
        except Exception as error:  # damaged files make the loaders raise nearly anything
            raise unloadable(f"The text model in {folder}", error) from error

    @property
    def runs_with(self) -> str:
        """The number format, and what it is calculated on."""
        return f"{self.dtype} on {self.device}"

    def embed(self, texts: Sequence[str], *, query: bool = False) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; what is past ``max_tokens`` is cut off."""
        import numpy as np
        import torch

        prompt = self.query_prompt if query else self.document_prompt
        # equal lengths together, so that little is padding
        order = sorted(range(len(texts)), key=lambda number: len(texts[number]))
        rows = np.zeros((len(texts), self.dim), np.float32)
        for start in range(0, len(order), self.batch):
            numbers = order[start : start + self.batch]
            batch = [prompt + self._clean(texts[number]) for number in numbers]
            with self._lock:  # a fast tokenizer can't be shared: its padding is set by each call
                inputs = self._tokenizer(
                    batch,
                    padding=True,
                    truncation=True,
                    max_length=self.max_tokens,
                    return_tensors="pt",
                ).to(self.device)
            with torch.inference_mode():
                hidden = self._model(**inputs).last_hidden_state
            pooled = self._pool(hidden.float(), inputs["attention_mask"]).cpu().numpy()
            if rows.shape[1] == 0:
                rows = np.zeros((len(texts), pooled.shape[1]), np.float32)
            rows[numbers] = pooled
        return normalised(rows, by=self.model_name)

    def _clean(self, text: str) -> str:
        text = encodable(text)
        return text.lower() if self._lower else text

    def _pool(self, hidden: Any, mask: Any) -> Any:
        if self._pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)

    def _load(self, folder: Path, models_home: Path | None, dtype: Dtype) -> None:
        """Load the model in the format that is asked for, was decided on, or is decided on now."""
        from transformers import AutoTokenizer

        self._read_modules(folder)
        self._tokenizer = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        limits = _read(folder / "sentence_bert_config.json")
        self._lower = bool(limits.get("do_lower_case"))
        self.max_tokens = int(
            limits.get("max_seq_length") or min(self._tokenizer.model_max_length, 512)
        )
        prompts = _read(folder / "config_sentence_transformers.json").get("prompts") or {}
        self.query_prompt = prompts.get("query") or ""
        self.document_prompt = prompts.get("document") or prompts.get("passage") or ""
        self.stamp = f"sentence-{_fingerprint(folder)}"

        def use(wanted: str) -> None:
            self._model = None
            self._model = _network(folder, wanted).to(self.device).eval()
            self.dtype = wanted

        self.dim = settle(
            self.stamp,
            "auto" if dtype == INT8 else dtype,
            quick_formats(self.device),
            here=machine(self.device),
            verdicts=Verdicts(models_home),
            trial=Trial(use, lambda: self.embed(_PROBE), clock_of(self.device)),
        )

    def _read_modules(self, folder: Path) -> None:
        modules = folder / "modules.json"
        if not modules.is_file():
            return
        for module in json.loads(modules.read_text("utf-8")):
            kind = str(module["type"]).rsplit(".", 1)[-1]
            if kind == "Pooling":
                config = _read(folder / str(module["path"]) / "config.json")
                named = config.get("pooling_mode")  # as newer versions write it
                modes = (
                    [named]
                    if isinstance(named, str)
                    else [
                        key.removeprefix("pooling_mode_")
                        .removesuffix("_tokens")
                        .removesuffix("_token")
                        for key, value in config.items()
                        if key.startswith("pooling_mode_") and value is True
                    ]
                )
                if modes not in (["mean"], ["cls"]):
                    raise _unsupported(folder, f"pools by {modes}")
                self._pooling = modes[0]
            elif kind not in ("Transformer", "Normalize"):
                raise _unsupported(folder, f"has a layer {kind}")


def _network(folder: Path, dtype: str) -> Any:
    """The model of transformers with its weights in a format, on the processor."""
    import torch
    from transformers import AutoModel

    from mmrag_plugin.embeddings.transformers_model import check_complete

    network, report = AutoModel.from_pretrained(
        folder,
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )
    check_complete(report, unused="pooler")  # this pooling is done here
    return network


def _fingerprint(folder: Path) -> str:
    poolings = folder.glob("*_Pooling/config.json")
    configs = [folder / name for name in _CONFIG_NAMES if (folder / name).is_file()]
    weights = list(folder.glob("model*.safetensors")) or list(folder.glob("pytorch_model*.bin"))
    return fingerprint([*configs, *poolings], weights)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def _unsupported(folder: Path, what: str) -> ModelError:
    return ModelError(
        f"The text model in {folder} {what}, which mmrag does not compute.",
        "Choose a model with mean or cls pooling; see `mmrag models list`.",
    )
