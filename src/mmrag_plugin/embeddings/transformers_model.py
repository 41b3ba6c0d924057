"""CLIP, SigLIP, SigLIP 2 and similar dual encoders, loaded with transformers from this disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mmrag_plugin.embeddings.base import VisualEncoder
from mmrag_plugin.embeddings.devices import (
    batch_size,
    clock_of,
    machine,
    pick_device,
    quick_formats,
)
from mmrag_plugin.embeddings.dtypes import INT8, Dtype, Trial, Verdicts, settle
from mmrag_plugin.embeddings.fingerprint import fingerprint
from mmrag_plugin.embeddings.halves import Halves, OnnxHalves, TorchHalves
from mmrag_plugin.embeddings.int8_copies import copy_of, formats_with, machine_with, needed
from mmrag_plugin.embeddings.local_models import locate, unloadable
from mmrag_plugin.embeddings.preparing import encodable, normalised
from mmrag_plugin.embeddings.probing import TEXTS, probe_pictures
from mmrag_plugin.embeddings.processor_square import normalised_squares, square_of
from mmrag_plugin.errors import ModelError
from mmrag_plugin.model_input import ModelInput, Square, bounded

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

_STRIPPED = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_CONFIG_NAMES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
_TOKENIZER_NAMES = ("vocab.json", "merges.txt", "vocab.txt", "spiece.model")


class TransformersEncoder(VisualEncoder):
    """A text-image model by hub name, catalogue name or folder.

    Nothing is downloaded unless ``allow_download`` says so. ``device`` is ``auto``, ``cuda``,
    ``mps`` or ``cpu``. With ``dtype="auto"`` the quickest number format is used whose vectors agree
    with those of float32; what was found out is kept in ``models_home`` (see dtypes.py).
    Raises ModelMissing when the model, or the copy that ``int8`` needs, is not on this disk and
    ModelError when it is damaged or no text-image model.
    """

    takes_copies: ClassVar[bool] = True

    def __init__(
        self,
        model: str | Path,
        *,
        model_name: str = "",
        models_home: Path | None = None,
        allow_download: bool = False,
        device: str = "auto",
        dtype: Dtype = "auto",
        batch: int | None = None,
    ) -> None:
        folder = locate(model, models_home, allow_download=allow_download)
        self.model_name = model_name or str(model)
        self.device = pick_device(device)
        self.batch = batch or batch_size(self.device)  # pictures or texts in one call
        self.dtype = "float32"
        self._halves: Halves | None = None
        self._lock = threading.Lock()
        try:
            with quiet():
                self._load(folder, models_home, dtype)
        except ModelError:
            raise
        except Exception as error:  # damaged files make the loaders raise nearly anything
            raise unloadable(f"The model in {folder}", error) from error

    @property
    def network(self) -> Any:
        """The model of transformers, with its weights."""
        if not isinstance(self._halves, TorchHalves):
            raise TypeError(f"{self.model_name} runs as {self.dtype}, without PyTorch.")
        return self._halves.network

    @property
    def takes(self) -> ModelInput:
        """The square that the model's processor makes, where it makes one."""
        return self._takes

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
        for start in range(0, len(pictures), self.batch):
            inputs = self.picture_inputs(pictures[start : start + self.batch])
            rows.append(self._now().pictures(inputs))
        return normalised(np.concatenate(rows), by=self.model_name)

    def picture_inputs(self, pictures: Sequence[Image]) -> dict[str, torch.Tensor]:
        """What the picture half takes, for a batch of upright RGB pictures."""
        if isinstance(self._takes, Square):
            return {"pixel_values": normalised_squares(pictures, self._takes)}
        batch = [bounded(picture, 2 * self.input_px) for picture in pictures]
        return dict(
            self._processor(images=batch, return_tensors="pt", input_data_format="channels_last")
        )

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts: [n, dim], rows L2-normalised; what is past ``max_tokens`` is cut off."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        for start in range(0, len(texts), self.batch):
            inputs = self.text_inputs(texts[start : start + self.batch])
            rows.append(self._now().texts(inputs))
        return normalised(np.concatenate(rows), by=self.model_name)

    def text_inputs(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """What the text half takes, for a batch of texts."""
        with self._lock:  # a fast tokenizer can't be shared: its padding is set by each call
            inputs = self._tokenizer(
                [self._clean(text) for text in texts],
                padding="max_length" if self._is_siglip else True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            )
        names = ["input_ids"] if self._is_siglip else ["input_ids", "attention_mask"]
        return {name: inputs[name] for name in names if name in inputs}

    def _clean(self, text: str) -> str:
        """Write a text as the SigLIPs were taught: lower case, and SigLIP 1 no punctuation."""
        text = encodable(text)
        if not self._is_siglip:
            return text
        lowered = text.lower()
        if self._strips_punctuation:
            lowered = lowered.translate(_STRIPPED)
        return " ".join(lowered.split())

    def _now(self) -> Halves:
        if self._halves is None:
            raise RuntimeError("the model is not loaded")
        return self._halves

    def _load(self, folder: Path, models_home: Path | None, dtype: Dtype) -> None:
        """Load the model in the format that is asked for, was decided on, or is decided on now."""
        import numpy as np

        self._load_inputs(folder)
        copy = copy_of(self.stamp, models_home) if self.takes_copies else None

        def use(wanted: str) -> None:
            self._halves = None  # two of them may not fit the memory
            if wanted == INT8:
                self._halves = OnnxHalves(needed(copy, self.model_name), "cpu")
            else:
                self._halves = TorchHalves(self._network(folder, wanted), self.device)
            self.dtype = wanted

        pictures = probe_pictures(self.input_px)
        self.dim = settle(
            self.stamp,
            "auto" if dtype == INT8 and not self.takes_copies else dtype,
            formats_with(copy, quick_formats(self.device), self.device),
            here=machine_with(copy, machine(self.device)),
            verdicts=Verdicts(models_home),
            trial=Trial(
                use,
                lambda: np.concatenate([self.embed_pictures(pictures), self.embed_texts(TEXTS)]),
                clock_of(self.device),
            ),
        )

    def _load_inputs(self, folder: Path) -> None:
        """Load what makes inputs of pictures and texts, and learn what there is to know of them."""
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        kind = config.model_type
        text, vision = (getattr(config, name, None) for name in ("text_config", "vision_config"))
        if text is None or vision is None:
            raise _no_dual_encoder(folder, kind)
        self._is_siglip = kind in ("siglip", "siglip2")
        self._strips_punctuation = False
        self._tokenizer = _tokenizer(folder)
        self._processor = _processor(folder)
        self._takes: ModelInput = square_of(self._processor) or ModelInput()
        if self._is_siglip:
            # trained with the padding on the right and its last token as the summary
            self._tokenizer.padding_side = "right"
            # SigLIP 1 has a vocabulary of 32,000, SigLIP 2 one of 256,000
            self._strips_punctuation = text.vocab_size < 100_000 and kind == "siglip"
        self.max_tokens = min(text.max_position_embeddings, self._tokenizer.model_max_length)
        patches = getattr(self._processor, "max_num_patches", None)
        if patches:  # SigLIP 2 of any aspect: so many patches, not a square
            self.input_px = round(patches**0.5) * self._processor.patch_size
        else:
            self.input_px = vision.image_size
        self.stamp = f"{kind}-{_fingerprint(folder)}"

    def _network(self, folder: Path, dtype: str) -> Any:
        """The model of transformers with its weights in a format, on the processor."""
        import torch
        from transformers import AutoModel

        network, report = AutoModel.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        check_complete(report)
        if not (hasattr(network, "get_image_features") and hasattr(network, "get_text_features")):
            raise _no_dual_encoder(folder, network.config.model_type)
        return network


def _no_dual_encoder(folder: Path, kind: str) -> ModelError:
    return ModelError(
        f"{folder} holds a {kind} model, which does not put pictures and texts into one space.",
        "Choose a CLIP, SigLIP or SigLIP 2 model; see `mmrag models list`.",
    )


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, ValueError):
        # SigLIP 1 names a class that needs sentencepiece; tokenizer.json says the same without it
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise
        config = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
        tokens = {
            name: token["content"] if isinstance(token, dict) else token
            for name in ("pad_token", "eos_token", "unk_token", "bos_token")
            if (token := config.get(name))
        }
        limit = config.get("model_max_length") or 64
        return PreTrainedTokenizerFast(tokenizer_file=str(file), model_max_length=limit, **tokens)


def _processor(folder: Path) -> Any:
    from transformers import AutoImageProcessor

    # PIL everywhere: torchvision's resize gives other pixels, and it may not be installed
    return AutoImageProcessor.from_pretrained(
        folder, backend="pil", local_files_only=True, trust_remote_code=False
    )


def _fingerprint(folder: Path) -> str:
    configs = [folder / name for name in _CONFIG_NAMES if (folder / name).is_file()]
    if not (folder / "tokenizer.json").is_file():
        configs += [folder / name for name in _TOKENIZER_NAMES if (folder / name).is_file()]
    weights = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    return fingerprint(configs, weights)


def check_complete(report: dict[str, Any], *, unused: str = "position_ids") -> None:
    """Refuse weights with holes: transformers fills them with random numbers and goes on.

    Raises ValueError; tensors with ``unused`` in their name don't count.
    """
    absent = sorted(name for name in report["missing_keys"] if unused not in name)
    if absent:
        raise ValueError(f"its weights lack {len(absent)} tensors, such as {absent[0]}")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars and load reports off the terminal, and put them back."""
    from transformers.utils import logging

    had_bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()
