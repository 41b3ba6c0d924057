"""Turn the settings ``visual_model`` and ``text_model`` into embeddings, and say which."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
from mmrag_plugin.embeddings.catalogue import (
    DEFAULT_TEXT,
    DEFAULT_VISUAL,
    TEXT_MODELS,
    find_speech,
    find_text,
    find_visual,
)
from mmrag_plugin.embeddings.dtypes import Dtype
from mmrag_plugin.embeddings.local_models import layout_of, locate, on_disk
from mmrag_plugin.errors import ModelError, UsageError
from mmrag_plugin.ollama_host import is_this_machine

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder


def choose_visual(
    setting: str,
    *,
    models_home: Path,
    allow_download: bool = False,
    dtype: Dtype = "auto",
    device: str = "auto",
) -> tuple[VisualEncoder, list[str]]:
    """Load the visual model that a setting names; the warnings are for the person, in words.

    ``auto`` takes the catalogue's default when it is on this disk (or fetches it where
    ``allow_download`` says so) and otherwise the palette. ``dtype`` and ``device`` are what it is
    calculated with (dtypes.py). Raises ModelMissing for a named model
    that is not on this disk, ModelError for a damaged one or a folder that holds none.
    """
    if setting == "palette":
        return _palette(), []
    if setting == "auto":
        default = DEFAULT_VISUAL
        if on_disk(default.name, models_home) is None and not allow_download:
            return _palette(), [
                f"{default.name} is not on this disk: pictures are compared by colour alone "
                f"(palette). For search by content run `mmrag models pull {default.name}` "
                f"({default.size_mb} MB), then index again: only the embed stage is repeated."
            ]
        setting = default.name
    if find_text(setting) is not None or find_speech(setting) is not None:
        raise ModelError(
            f"{setting} {'reads texts' if find_text(setting) else 'hears speech'}, not pictures.",
            f"Choose a visual model, such as {DEFAULT_VISUAL.name}; see `mmrag models list`.",
        )
    folder = locate(setting, models_home, allow_download=allow_download)
    visual: VisualEncoder
    if layout_of(folder) == "onnx":
        from mmrag_plugin.embeddings.onnx_folder import OnnxEncoder

        visual = OnnxEncoder(folder, models_home=models_home, dtype=dtype, device=device)
    else:
        from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

        visual = TransformersEncoder(
            folder, model_name=setting, models_home=models_home, dtype=dtype, device=device
        )
    visual.setting = _again(setting, folder)
    return visual, []


def learned_visual(
    base: str,
    lora: bytes,
    *,
    base_stamp: str,
    digest: str,
    models_home: Path,
    dtype: Dtype = "auto",
    device: str = "auto",
) -> VisualEncoder:
    """Load a model with what it learned: the content of a file with matrices of its layers.

    Raises ModelMissing, and ModelError when the model is another than it was learned on.
    """
    from mmrag_plugin.embeddings.lora import LoraEncoder

    folder = locate(base, models_home)
    if layout_of(folder) != "transformers":
        raise untrainable(base)
    return LoraEncoder(
        folder,
        lora,
        base_stamp=base_stamp,
        digest=digest,
        model_name=base,
        models_home=models_home,
        dtype=dtype,
        device=device,
    )


def trainable(visual: VisualEncoder, base: str, models_home: Path) -> TransformersEncoder:
    """A copy of a model to train, with exact weights. Raises ModelError where it has none."""
    from mmrag_plugin.embeddings.transformers_model import TransformersEncoder

    if not isinstance(visual, TransformersEncoder):
        raise untrainable(base)
    folder = locate(base, models_home)
    return TransformersEncoder(folder, dtype="float32", model_name=base)


def untrainable(name: str) -> ModelError:
    """The error about a model that is no network of PyTorch."""
    return ModelError(
        f"The visual model {name} has no weights that can be trained.",
        "Index with a CLIP, SigLIP or SigLIP 2 model in the format of transformers (mmrag models "
        "list), or learn without --lora.",
    )


def same_model(asked: str, setting: str) -> bool:
    """Whether two settings choose the same model: by its names, or its folder."""
    row = find_visual(asked)
    if asked == setting or (row is not None and row == find_visual(setting)):
        return True
    folder = Path(asked).expanduser()
    return folder.is_dir() and str(folder.resolve()) == setting


def choose_text(
    setting: str,
    visual: VisualEncoder,
    *,
    ollama_host: str,
    models_home: Path | None = None,
    allow_download: bool = False,
    allow_remote: bool = False,
    dtype: Dtype = "auto",
    device: str = "auto",
) -> tuple[TextEncoder | None, list[str]]:
    """Load the text model that a setting names; None means that texts are found by words alone.

    ``auto`` takes a sentence model of the catalogue that is on this disk, else an embedding model
    of an Ollama server on this machine, else the visual model's own text tower where that
    compares texts, else none; the message says which. Raises ModelMissing, ModelError,
    OllamaUnavailable, and RemoteNotAllowed when texts would go to another machine.
    """
    if setting == "off":
        return None, []

    def sentence(folder: Path, name: str) -> TextEncoder:
        from mmrag_plugin.embeddings.text_models import SentenceEncoder

        model = SentenceEncoder(folder, models_home=models_home, dtype=dtype, device=device)
        model.setting = name
        return model

    if setting == "auto":
        for row in TEXT_MODELS:
            folder = on_disk(row.name, models_home)
            if folder is not None:
                return sentence(folder, row.name), []
        return _without_sentences(visual, ollama_host)
    if setting == "visual":
        if not visual.compares_texts:
            raise UsageError(
                f"The visual model {visual.model_name} can't compare texts.",
                "Choose another text model: auto, off, ollama:NAME, a hub name or a folder.",
            )
        return _tower(visual), []
    if setting.startswith("ollama:"):
        return _ollama(setting.removeprefix("ollama:"), ollama_host, allow_remote), []
    if find_visual(setting) is not None or find_speech(setting) is not None:
        raise ModelError(
            f"{setting} is a {'visual' if find_visual(setting) else 'speech'} model.",
            "Say `visual` to use the visual model's text tower, or choose a text model; "
            "see `mmrag models list`.",
        )
    folder = locate(setting, models_home, allow_download=allow_download)
    return sentence(folder, _again(setting, folder)), []


def _without_sentences(
    visual: VisualEncoder, ollama_host: str
) -> tuple[TextEncoder | None, list[str]]:
    """What compares texts where no sentence model is on this disk."""
    from mmrag_plugin.embeddings.ollama_text import find_embedding_model

    advice = f"`mmrag models pull {DEFAULT_TEXT.name}` ({DEFAULT_TEXT.size_mb} MB) is better."
    name = find_embedding_model(ollama_host) if is_this_machine(ollama_host) else None
    if name is not None:
        return _ollama(name, ollama_host, allow_remote=False), [
            f"Texts are compared by {name} on Ollama: no sentence model is on this disk."
        ]
    if visual.compares_texts:
        return _tower(visual), [
            f"Texts are compared by the text half of {visual.model_name}, which reads the first "
            f"{visual.max_tokens} tokens: {advice}"
        ]
    return None, [f"Texts are found by their words alone: {advice}"]


def _palette() -> VisualEncoder:
    from mmrag_plugin.embeddings.palette import Palette

    return Palette()


def _again(setting: str, folder: Path) -> str:
    """What to choose a model by again, from any working directory."""
    return str(folder.resolve()) if Path(setting).expanduser().is_dir() else setting


def _tower(visual: VisualEncoder) -> TextEncoder:
    from mmrag_plugin.embeddings.text_models import VisualTextTower

    return VisualTextTower(visual)


def _ollama(name: str, host: str, allow_remote: bool) -> TextEncoder:
    from mmrag_plugin.embeddings.ollama_text import OllamaTextEncoder

    return OllamaTextEncoder(name, host=host, allow_remote=allow_remote)
