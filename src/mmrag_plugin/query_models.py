"""The models that a library's searches ask with: kept loaded by another process, or loaded here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmrag_plugin.library_models import LibraryModels, Model

if TYPE_CHECKING:
    from mmrag_plugin.embeddings.seam import TextModel, VisualModel
    from mmrag_plugin.model_keeper import KeptModels, ModelKeeper

# what is ready at once, or is no model at all
_QUICK = ("palette", "off")


class QueryModels:
    """Gives the models in use, of a ``keeper`` where there is one and it is worth it."""

    def __init__(self, models: LibraryModels, keeper: ModelKeeper | None) -> None:
        self._models, self._keeper = models, keeper
        self._asked: tuple[Model | None, Model | None] | None = None
        self._kept: KeptModels | None = None

    def visual(self) -> tuple[VisualModel, Model]:
        """The visual model that made the vectors; errors are those of ``LibraryModels.in_use``."""
        palette = self._palette()
        if palette is not None:
            return palette
        kept = self._kept_now()
        if kept is None:
            return self._models.in_use()
        return kept.visual(lambda: self._models.in_use()[0]), Model(**kept.model)

    def text(self, words: Model) -> TextModel | None:
        """The text model that made the vectors of words; without it that channel is off."""
        if words.setting == "off" and not words.stamp:
            return None
        kept = self._kept_now()
        if kept is None:
            return self._text_here(words)
        return kept.text(lambda: self._text_here(words))

    def _palette(self) -> tuple[VisualModel, Model] | None:
        """The palette, where it made the vectors and no other model is asked for."""
        from mmrag_plugin.embeddings.palette import Palette

        known, palette = self._models.recorded("visual"), Palette()
        if known is None or (known.setting, known.stamp) != (palette.setting, palette.stamp):
            return None
        return (palette, known) if self._models.asks_for(known) else None

    def _text_here(self, words: Model) -> TextModel | None:
        return self._models.text_in_use(words, self._models.in_use()[0])

    def _kept_now(self) -> KeptModels | None:
        """What the keeper has of this library's models; asked again once others are in use."""
        if self._keeper is None:
            return None
        asked = self._models.recorded("visual"), self._models.recorded("words")
        if all(model is None or model.setting in _QUICK for model in asked):
            return None
        if asked != self._asked:
            self._kept = self._keeper.open()
            self._asked = asked
            if self._kept is not None:
                self._models.warnings += self._kept.warnings
        return self._kept
