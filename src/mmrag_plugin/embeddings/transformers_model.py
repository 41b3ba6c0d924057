"""CLIP, SigLIP, SigLIP 2 and similar dual encoders, loaded with transformers from this disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PrivateAttr

from mmrag_plugin.embeddings.base import VisualEmbedding, encodable, normalised
from mmrag_plugin.embeddings.fingerprint import fingerprint
from mmrag_plugin.embeddings.local_models import locate, unloadable
from mmrag_plugin.embeddings.processor_square import normalised_squares, square_of
from mmrag_plugin.errors import ModelError
from mmrag_plugin.model_input import ModelInput, Square, bounded

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from PIL.Image import Image

Dtype = Literal["auto", "float32", "bfloat16"]

MIN_AGREEMENT = 0.995  # the cosine to float32 below which bfloat16 is not used
_STRIPPED = str.maketrans("", "", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
_CONFIG_NAMES = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
_TOKENIZER_NAMES = ("vocab.json", "merges.txt", "vocab.txt", "spiece.model")


class TransformersEmbedding(VisualEmbedding):
    """A text-image model by hub name, catalogue name or folder.

    Nothing is downloaded unless ``allow_download`` says so. ``device`` is ``auto``, ``cuda``,
    ``mps`` or ``cpu``; with ``dtype="auto"`` bfloat16 is used where the processor has it natively
    and the vectors agree with those of float32 (cosine of at least 0.995 on a small probe).
    Raises ModelMissing when the model is not on this disk and ModelError when it is damaged or no
    text-image model.
    """

    device: str = "cpu"
    dtype: str = "float32"

    _model: Any = PrivateAttr()
    _tokenizer: Any = PrivateAttr()
    _processor: Any = PrivateAttr()
    _takes: ModelInput = PrivateAttr(default_factory=ModelInput)
    _is_siglip: bool = PrivateAttr(default=False)
    _strips_punctuation: bool = PrivateAttr(default=False)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    def __init__(
        self,
        model: str | Path,
        *,
        models_home: Path | None = None,
        allow_download: bool = False,
        device: str = "auto",
        dtype: Dtype = "auto",
        embed_batch_size: int = 16,
        **settings: Any,
    ) -> None:
        folder = locate(model, models_home, allow_download=allow_download)
        settings.setdefault("model_name", str(model))
        super().__init__(embed_batch_size=embed_batch_size, **settings)
        self.device = _device(device)
        self._load(folder)
        self._choose_dtype(folder, dtype)
        self.stamp = f"{self._model.config.model_type}-{_fingerprint(folder)}"

    @classmethod
    def class_name(cls) -> str:
        """The name that LlamaIndex writes down for this class."""
        return "TransformersEmbedding"

    @property
    def takes(self) -> ModelInput:
        """The square that the model's processor makes, where it makes one."""
        return self._takes

    @property
    def network(self) -> Any:
        """The model of transformers, with its weights."""
        return self._model

    def embed_pictures(self, pictures: Sequence[Image]) -> NDArray[np.float32]:
        """Embed upright RGB pictures of any size: [n, dim], rows L2-normalised."""
        import numpy as np

        if not pictures:
            return np.zeros((0, self.dim), np.float32)
        rows = []
        for start in range(0, len(pictures), self.embed_batch_size):
            inputs = self.picture_inputs(pictures[start : start + self.embed_batch_size])
            rows.append(self._run(self._model.get_image_features, inputs))
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
        for start in range(0, len(texts), self.embed_batch_size):
            inputs = self.text_inputs(texts[start : start + self.embed_batch_size])
            rows.append(self._run(self._model.get_text_features, inputs))
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

    def _run(self, features: Any, inputs: dict[str, torch.Tensor]) -> NDArray[np.float32]:
        import torch

        on_device = {
            name: tensor.to(self.device, self._model.dtype)
            if tensor.is_floating_point()
            else tensor.to(self.device)
            for name, tensor in inputs.items()
        }
        with torch.inference_mode():
            output = features(**on_device)
        # transformers 5 returns an output object, 4 the tensor itself
        vectors = output if isinstance(output, torch.Tensor) else output.pooler_output
        array: NDArray[np.float32] = vectors.float().cpu().numpy()
        return array

    def _load(self, folder: Path) -> None:
        import torch
        from transformers import AutoModel

        try:
            with quiet():
                model, report = AutoModel.from_pretrained(
                    folder,
                    dtype=torch.float32,
                    local_files_only=True,
                    trust_remote_code=False,
                    output_loading_info=True,
                )
                check_complete(report)
                if not (
                    hasattr(model, "get_image_features") and hasattr(model, "get_text_features")
                ):
                    raise ModelError(
                        f"{folder} holds a {model.config.model_type} model, which does not put "
                        "pictures and texts into one space.",
                        "Choose a CLIP, SigLIP or SigLIP 2 model; see `mmrag models list`.",
                    )
                self._is_siglip = model.config.model_type in ("siglip", "siglip2")
                self._tokenizer = _tokenizer(folder)
                self._processor = _processor(folder)
                self._takes = square_of(self._processor) or ModelInput()
        except ModelError:
            raise
        except Exception as error:  # damaged files make the loaders raise nearly anything
            raise unloadable(f"The model in {folder}", error) from error
        self._model = model.to(self.device).eval()
        text, vision = model.config.text_config, model.config.vision_config
        if self._is_siglip:
            # trained with the padding on the right and its last token as the summary
            self._tokenizer.padding_side = "right"
            # SigLIP 1 has a vocabulary of 32,000, SigLIP 2 one of 256,000
            self._strips_punctuation = text.vocab_size < 100_000 and (
                model.config.model_type == "siglip"
            )
        self.max_tokens = min(text.max_position_embeddings, self._tokenizer.model_max_length)
        patches = getattr(self._processor, "max_num_patches", None)
        if patches:  # SigLIP 2 of any aspect: so many patches, not a square
            self.input_px = round(patches**0.5) * self._processor.patch_size
        else:
            self.input_px = vision.image_size

    def _choose_dtype(self, folder: Path, dtype: Dtype) -> None:
        """Take bfloat16 where it is native and agrees; also learns ``dim``."""
        import torch

        exact = self._probe()
        self.dim = exact.shape[1]
        if dtype == "float32" or (dtype == "auto" and not _has_bfloat16(self.device)):
            return
        self._model.to(torch.bfloat16)
        self.dtype = "bfloat16"
        agreement = float((exact * self._probe()).sum(axis=1).min())
        if dtype == "auto" and not agreement >= MIN_AGREEMENT:
            self.dtype = "float32"
            self._load(folder)  # the exact weights are gone

    def _probe(self) -> NDArray[np.float32]:
        import numpy as np
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
        side_px = self.input_px
        pictures = [Image.fromarray(tile).resize((side_px, side_px)) for tile in noise]
        texts = ["a photo of a dog on the beach", "red", "a receipt from a hotel in Lisbon"]
        return np.concatenate([self.embed_pictures(pictures), self.embed_texts(texts)])


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


def _device(wanted: str) -> str:
    import torch

    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is faster than float32 here; emulated it is slower."""
    import torch

    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device == "cpu":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return bool(native and native())
    return False


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
