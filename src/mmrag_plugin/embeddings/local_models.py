"""Where models lie on this disk, and how they get there when someone says yes."""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mmrag_plugin.embeddings.catalogue import ALL_MODELS, find
from mmrag_plugin.errors import ModelError, ModelMissing, ServiceError, StorageError, UsageError

Layout = Literal["onnx", "transformers", "sentence", "whisper"]

HUB_TIMEOUT_S = 15.0  # for the first answer

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_WHISPER_FILES = ("model.bin", "config.json", "tokenizer.json")  # without one it would be fetched
# what the loaders read; code, other frameworks' weights and documents stay away
_CONFIG_PATTERNS = [
    "*.json",
    "*.txt",
    "*.model",
    "1_Pooling/*.json",
    "visual/*.json",
    "textual/*.json",
    "textual/*.txt",
]
_ONNX_PATTERNS = [
    "visual/model.onnx",
    "visual/model.onnx[._]data",
    "textual/model.onnx",
    "textual/model.onnx[._]data",
]
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EEXIST, errno.ENOTDIR)
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class LocalModel:
    """A model that is on this disk: its name, its folder and the bytes it takes."""

    name: str
    folder: Path
    layout: Layout
    size_bytes: int


def layout_of(folder: Path) -> Layout | None:
    """Recognise what a folder holds; None when it is no model that mmrag can load."""
    if (folder / "visual" / "model.onnx").is_file() and (
        folder / "textual" / "model.onnx"
    ).is_file():
        return "onnx"
    if all((folder / name).is_file() for name in _WHISPER_FILES):
        return "whisper"
    if (folder / "config.json").is_file() and any((folder / name).is_file() for name in _WEIGHTS):
        return "sentence" if (folder / "modules.json").is_file() else "transformers"
    return None


def folder_name(name: str) -> str:
    """Name the folder under ``models_home``: a catalogue name, or a hub name without its slash."""
    row = find(name)
    return row.name if row else name.replace("/", "--")


def is_hub_name(name: str) -> bool:
    """Whether a name can be one of a hub: ``owner/model``."""
    return _HUB_NAME.fullmatch(name) is not None


def on_disk(name: str, models_home: Path | None) -> Path | None:
    """Find a catalogue or hub name in ``models_home`` or the Hugging Face cache. Never downloads.

    A half-fetched model counts as absent.
    """
    row = find(name)
    hub_id = row.hub_id if row else name
    if not _HUB_NAME.fullmatch(hub_id):
        return None
    if models_home is not None and layout_of(models_home / folder_name(name)):
        return models_home / folder_name(name)
    return _in_hub_cache(hub_id)


def _in_hub_cache(hub_id: str) -> Path | None:
    import huggingface_hub

    cached = huggingface_hub.try_to_load_from_cache(hub_id, "config.json")
    if not isinstance(cached, str):  # None, or a mark that the file does not exist on the hub
        return None
    folder = Path(cached).parent
    return folder if layout_of(folder) else None


def models_on_disk(models_home: Path) -> list[LocalModel]:
    """List what is in ``models_home``, and the catalogue's models in the Hugging Face cache."""
    found: dict[str, Path] = {}
    if models_home.is_dir():
        for folder in sorted(models_home.iterdir()):
            if not folder.name.startswith(".") and folder.is_dir() and layout_of(folder):
                found[folder.name.replace("--", "/")] = folder
    for row in ALL_MODELS:
        cached = None if row.name in found else _in_hub_cache(row.hub_id)
        if cached is not None:
            found[row.name] = cached
    models = []
    for name, folder in found.items():
        layout = layout_of(folder)
        if layout is not None:
            size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            models.append(LocalModel(name, folder, layout, size_bytes))
    return models


def locate(setting: str | Path, models_home: Path | None, *, allow_download: bool = False) -> Path:
    """Find the folder that a folder's path, a catalogue name or a hub name means.

    Raises ModelMissing with the command that fetches it, and ModelError for a folder that holds no
    model.
    """
    try:
        folder = Path(setting).expanduser()
    except RuntimeError:  # ~nobody
        folder = Path(setting)
    if folder.is_dir():
        if layout_of(folder) is None:
            raise ModelError(
                f"{folder} holds no model that mmrag can load.",
                "A model folder holds visual/model.onnx and textual/model.onnx (ONNX), or "
                "config.json and model.safetensors with the tokenizer's files "
                "(transformers, sentence-transformers), or model.bin, config.json and "
                "tokenizer.json (Whisper).",
            )
        return folder
    name = str(setting)
    if find(name) is None and not _HUB_NAME.fullmatch(name):
        raise ModelMissing(
            f"{name} is neither a folder, nor in the catalogue, nor a hub name.",
            "Check the path, or see `mmrag models list`.",
        )
    found = on_disk(name, models_home)
    if found is None and allow_download and models_home is not None:
        found = pull(name, models_home)
    if found is None:
        row = find(name)
        size = f" (about {row.size_mb} MB)" if row else ""
        raise ModelMissing(
            f"The model {name} is not on this disk{size}.",
            f"Fetch it with `mmrag models pull {row.name if row else name}`.",
        )
    return found


def pull(name: str, models_home: Path) -> Path:
    """Download a catalogue or hub name into ``models_home`` and return its folder.

    It takes its place only when it is complete; a broken-off download is resumed by the next call.
    Raises UsageError for an impossible name, ModelMissing when the hub has no such model,
    ModelError when it is of no known layout, ServiceError when the hub cannot be reached and
    StorageError when the disk is full or not writable.
    """
    import huggingface_hub
    from huggingface_hub import errors

    row = find(name)
    hub_id = row.hub_id if row else name
    if not _HUB_NAME.fullmatch(hub_id):
        raise UsageError(
            f"{name!r} is neither in the catalogue nor a hub name.",
            "See `mmrag models list`, or give ORGANISATION/MODEL.",
        )
    target = models_home / folder_name(name)
    if layout_of(target):
        return target
    partial = models_home / ".partial" / target.name
    endpoint = os.environ.get("HF_ENDPOINT") or None
    try:
        partial.mkdir(parents=True, exist_ok=True)
        if row is not None:
            _check_room(partial, row.size_mb, name)
        info = huggingface_hub.HfApi(endpoint=endpoint).model_info(hub_id, timeout=HUB_TIMEOUT_S)
        files = [sibling.rfilename for sibling in info.siblings or ()]
        huggingface_hub.snapshot_download(
            hub_id,
            revision=info.sha,  # one state of the repository, should it change meanwhile
            local_dir=partial,
            endpoint=endpoint,
            allow_patterns=_CONFIG_PATTERNS + _weight_patterns(files),
        )
        if layout_of(partial) is None:
            shutil.rmtree(partial)
            raise ModelError(
                f"{hub_id} holds no model that mmrag can load.",
                "Choose a CLIP, SigLIP, sentence-transformers or CTranslate2 Whisper model; see "
                "`mmrag models list`.",
            )
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub client's own bookkeeping
        partial.replace(target)
    except (ModelError, StorageError):
        raise
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        raise ModelMissing(
            f"The hub does not hand out {hub_id}: {_first_line(error)}",
            "Check the name, or accept its terms and log in with `hf auth login`.",
        ) from error
    except Exception as error:  # the hub client passes on whatever its HTTP library raises
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise StorageError(
                f"{models_home} can't take the model {name}: {error.strerror}.",
                "Free some room or choose another place with MMRAG_HOME.",
            ) from error
        raise ServiceError(
            f"{hub_id} can't be fetched from {endpoint or 'the model hub'}: {_first_line(error)}",
            "Check the connection (HF_ENDPOINT, HF_HUB_OFFLINE, proxies) and run the command "
            "again: it goes on where it stopped. Or copy the model's folder here and give its "
            "path.",
        ) from error
    return target


def _weight_patterns(files: list[str]) -> list[str]:
    if "visual/model.onnx" in files:
        return _ONNX_PATTERNS
    if "model.bin" in files:
        return ["model.bin"]
    if any("/" not in path and path.endswith(".safetensors") for path in files):
        return ["model*.safetensors"]
    return ["pytorch_model*.bin"]


def _check_room(folder: Path, size_mb: int, name: str) -> None:
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    if free_mb < size_mb:
        raise StorageError(
            f"{name} takes {size_mb} MB and {folder} has {free_mb} MB left.",
            "Free some room or choose another place with MMRAG_HOME.",
        )


_DAMAGED = "Its files may be damaged or incomplete: fetch it again, or choose another model."


def unloadable(what: str, error: Exception, remedy: str = _DAMAGED) -> ModelError:
    """The error about a model that is there and doesn't load."""
    return ModelError(f"{what} can't be loaded: {_first_line(error)}", remedy)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
