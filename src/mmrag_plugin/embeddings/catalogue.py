"""The models that mmrag knows by name: plain data, so that listing them loads nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["clip", "siglip", "siglip2", "onnx"]
Purpose = Literal["visual", "text", "speech"]

_SIGLIP2_PAPER = "SigLIP 2, arXiv:2502.14786, table 1"


@dataclass(frozen=True)
class VisualModel:
    """A text-image model.

    ``dim`` is the length of its vectors, ``input_px`` the side of the square it sees, ``size_mb``
    the download in megabytes. ``coco_r1`` is the published text-to-image recall at 1 on the 5,000
    COCO test photos, in percent, with its ``coco_source``; None where we know of no figure.
    """

    name: str
    hub_id: str
    family: Family
    dim: int
    input_px: int
    size_mb: int
    licence: str
    multilingual: bool
    coco_r1: float | None
    coco_source: str
    notes: str
    purpose: Purpose = "visual"


@dataclass(frozen=True)
class SentenceModel:
    """A text model for the dense text channel; ``max_tokens`` is where it cuts a text off."""

    name: str
    hub_id: str
    dim: int
    max_tokens: int
    size_mb: int
    licence: str
    multilingual: bool
    notes: str
    purpose: Purpose = "text"


@dataclass(frozen=True)
class SpeechModel:
    """A Whisper that writes down what is said, as CTranslate2 (faster-whisper) has it."""

    name: str
    hub_id: str
    size_mb: int
    licence: str
    multilingual: bool
    notes: str
    dim: int = 0  # it makes no vectors
    purpose: Purpose = "speech"


AnyModel = VisualModel | SentenceModel | SpeechModel

VISUAL_MODELS: tuple[VisualModel, ...] = (
    VisualModel(
        name="siglip2-base-256",
        hub_id="google/siglip2-base-patch32-256",
        family="siglip2",
        dim=768,
        input_px=256,
        size_mb=1510,
        licence="Apache-2.0",
        multilingual=True,
        coco_r1=47.2,
        coco_source=_SIGLIP2_PAPER,
        notes="64 patches: about the work of CLIP ViT-B/32 (50), better recall; the default.",
    ),
    VisualModel(
        name="siglip2-base-224",
        hub_id="google/siglip2-base-patch16-224",
        family="siglip2",
        dim=768,
        input_px=224,
        size_mb=1500,
        licence="Apache-2.0",
        multilingual=True,
        coco_r1=52.1,
        coco_source=_SIGLIP2_PAPER,
        notes="Smaller patches: about three times the work of siglip2-base-256 for each picture.",
    ),
    VisualModel(
        name="siglip2-so400m-384",
        hub_id="google/siglip2-so400m-patch16-384",
        family="siglip2",
        dim=1152,
        input_px=384,
        size_mb=4550,
        licence="Apache-2.0",
        multilingual=True,
        coco_r1=56.0,
        coco_source=_SIGLIP2_PAPER,
        notes="For a GPU; very slow without one.",
    ),
    VisualModel(
        name="siglip-base",
        hub_id="google/siglip-base-patch16-224",
        family="siglip",
        dim=768,
        input_px=224,
        size_mb=815,
        licence="Apache-2.0",
        multilingual=False,
        coco_r1=None,
        coco_source="",
        notes="The first SigLIP, English only; half the download of SigLIP 2.",
    ),
    VisualModel(
        name="clip-vit-b-32",
        hub_id="openai/clip-vit-base-patch32",
        family="clip",
        dim=512,
        input_px=224,
        size_mb=605,
        licence="MIT",
        multilingual=False,
        coco_r1=30.4,
        coco_source="OpenAI CLIP ViT-B/32, zero-shot",
        notes="The classic: small and quick, English only.",
    ),
    VisualModel(
        name="clip-vit-l-14",
        hub_id="openai/clip-vit-large-patch14",
        family="clip",
        dim=768,
        input_px=224,
        size_mb=1710,
        licence="MIT",
        multilingual=False,
        coco_r1=None,
        coco_source="",
        notes="The large CLIP, English only.",
    ),
    VisualModel(
        name="onnx-clip-vit-b-32",
        hub_id="immich-app/ViT-B-32__openai",
        family="onnx",
        dim=512,
        input_px=224,
        size_mb=610,
        licence="MIT",
        multilingual=False,
        coco_r1=30.4,
        coco_source="OpenAI CLIP ViT-B/32, zero-shot",
        notes="clip-vit-b-32 in the ONNX layout that Immich publishes; needs no PyTorch to run.",
    ),
)

TEXT_MODELS: tuple[SentenceModel, ...] = (
    SentenceModel(
        name="all-minilm-l6-v2",
        hub_id="sentence-transformers/all-MiniLM-L6-v2",
        dim=384,
        max_tokens=256,
        size_mb=91,
        licence="Apache-2.0",
        multilingual=False,
        notes="Small, quick and English; the default.",
    ),
    SentenceModel(
        name="multilingual-minilm-l12-v2",
        hub_id="sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        dim=384,
        max_tokens=128,
        size_mb=480,
        licence="Apache-2.0",
        multilingual=True,
        notes="Some fifty languages.",
    ),
)

SPEECH_MODELS: tuple[SpeechModel, ...] = (
    SpeechModel(
        name="whisper-small",
        hub_id="Systran/faster-whisper-small",
        size_mb=486,
        licence="MIT",
        multilingual=True,
        notes="The default: usable in most languages without a GPU.",
    ),
    SpeechModel(
        name="whisper-large-v3-turbo",
        hub_id="mobiuslabsgmbh/faster-whisper-large-v3-turbo",
        size_mb=1622,
        licence="MIT",
        multilingual=True,
        notes="Nearly the words of whisper-large-v3 with a small decoder; better with a GPU.",
    ),
    SpeechModel(
        name="whisper-large-v3",
        hub_id="Systran/faster-whisper-large-v3",
        size_mb=3090,
        licence="MIT",
        multilingual=True,
        notes="For a GPU; very slow without one.",
    ),
    SpeechModel(
        name="whisper-medium",
        hub_id="Systran/faster-whisper-medium",
        size_mb=1530,
        licence="MIT",
        multilingual=True,
        notes="Between whisper-small and whisper-large-v3.",
    ),
    SpeechModel(
        name="whisper-base",
        hub_id="Systran/faster-whisper-base",
        size_mb=148,
        licence="MIT",
        multilingual=True,
        notes="Quick; clear English, and not much else.",
    ),
    SpeechModel(
        name="whisper-tiny",
        hub_id="Systran/faster-whisper-tiny",
        size_mb=78,
        licence="MIT",
        multilingual=True,
        notes="The smallest: for trying it out.",
    ),
)

ALL_MODELS: tuple[AnyModel, ...] = (*VISUAL_MODELS, *TEXT_MODELS, *SPEECH_MODELS)

DEFAULT_VISUAL = VISUAL_MODELS[0]
DEFAULT_TEXT = TEXT_MODELS[0]
DEFAULT_SPEECH = SPEECH_MODELS[0]


def find_visual(name: str) -> VisualModel | None:
    """Look a text-image model up by its name or hub name."""
    return next((row for row in VISUAL_MODELS if name in (row.name, row.hub_id)), None)


def find_text(name: str) -> SentenceModel | None:
    """Look a text model up by its name or hub name."""
    return next((row for row in TEXT_MODELS if name in (row.name, row.hub_id)), None)


def find_speech(name: str) -> SpeechModel | None:
    """Look a speech model up by its name or hub name."""
    return next((row for row in SPEECH_MODELS if name in (row.name, row.hub_id)), None)


def find(name: str) -> AnyModel | None:
    """Look any model up by its name or hub name."""
    return find_visual(name) or find_text(name) or find_speech(name)
