"""What a library tells workers on other machines, so that they look at media as it would."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from mmrag_plugin.learned_versions import LEARNED
from mmrag_plugin.on_ray.orders import Equipment, LearnedModel

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.base import VisualEncoder
    from mmrag_plugin.library_models import LibraryModels
    from mmrag_plugin.media import Kind
    from mmrag_plugin.readers.base import MediaReader
    from mmrag_plugin.settings import Settings
    from mmrag_plugin.signals.ocr import TextReader


def equipment_of(
    settings: Settings,
    models: LibraryModels,
    readers: Mapping[Kind, MediaReader],
    visual: VisualEncoder,
    text_reader: TextReader | None,
) -> Equipment:
    """Describe the models and readers of a run; what the library trained goes along."""
    learned: LearnedModel | None = None
    if visual.setting.startswith(LEARNED):
        about, content = models.learned_content(visual.setting.removeprefix(LEARNED))
        learned = LearnedModel(about["base"], about["base_stamp"], content, about["digest"])
    return Equipment(
        readers=dict(readers),
        models_home=settings.models_home,
        visual=learned or visual.setting,
        visual_stamp=visual.stamp,
        dtype=settings.dtype,
        device="cpu" if settings.device == "cpu" else "auto",  # others have other graphics cards
        ocr_languages=settings.ocr_languages,
        ocr_models=settings.ocr_models,
        ocr_stamp=text_reader.stamp if text_reader else "",
    )
