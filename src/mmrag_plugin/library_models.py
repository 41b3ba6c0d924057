"""Which models a library works with: those that made its vectors, and those it is to have next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import MmragError, ModelError, ModelMismatch, NotFound
from mmrag_plugin.learned_versions import LEARNED, LearnedVersions
from mmrag_plugin.ledger import Ledger
from mmrag_plugin.metadata import METADATA_VERSION
from mmrag_plugin.settings import LEARNED_FOLDER, Settings
from mmrag_plugin.tracing import span

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llama_index.core.llms import LLM

    from mmrag_plugin.embeddings.base import TextEncoder, VisualEncoder
    from mmrag_plugin.milvus_connection import MilvusConnection
    from mmrag_plugin.milvus_store import MediaVectorStore
    from mmrag_plugin.vlm.ollama import OllamaVLM

_DIGEST = 12  # letters that stand for a model's stamp in a collection's name


@dataclass(frozen=True)
class Model:
    """Which model made a collection's vectors, and how to load it again."""

    setting: str
    stamp: str
    dim: int
    collection: str

    def as_dict(self) -> dict[str, Any]:
        """The shape that the ledger keeps."""
        return vars(self)


@dataclass(frozen=True)
class Wanted:
    """The models that an index run builds vectors with; ``recorded`` is how they are noted."""

    visual: VisualEncoder
    text: TextEncoder | None
    recorded: dict[str, Model]


@dataclass
class Loaded:
    """The models that are in memory, by the settings that they were loaded by."""

    visuals: dict[str, VisualEncoder] = field(default_factory=dict)
    texts: dict[tuple[str, str], TextEncoder | None] = field(default_factory=dict)


class LibraryModels:
    """Loads models by the settings and by what the ledger remembers; each is loaded once.

    ``warnings`` collects what the person should know about the choice.
    """

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._settings, self._ledger = settings, ledger
        self.learned = LearnedVersions(ledger)
        self.loaded = Loaded()
        self.warnings: list[str] = []

    def recorded(self, name: str) -> Model | None:
        """The model in use for ``visual`` or ``words``; None before the first index."""
        known = self._ledger.fact(name)
        return None if known is None else Model(**known)

    @property
    def are_loaded(self) -> bool:
        """Whether any model has been loaded yet."""
        return bool(self.loaded.visuals or self.loaded.texts)

    def runs_with(self, name: str) -> str | None:
        """How the model of ``visual`` or ``words`` runs here, as far as it is known unloaded."""
        from mmrag_plugin.embeddings.devices import processor_name
        from mmrag_plugin.embeddings.dtypes import Verdicts

        known = self.recorded(name)
        if known is None:
            return None
        # what was learned, and the half that reads texts, run as the model itself does
        stamp = known.stamp.removeprefix("tower-").partition("+")[0]
        found = Verdicts(self._settings.models_home).latest(stamp, processor_name())
        if found is None:
            return None
        verdict, machine = found
        asked = self._settings.dtype
        return f"{verdict.dtype if asked == 'auto' else asked} on {machine['device']}"

    def in_use(self) -> tuple[VisualEncoder, Model]:
        """The visual model that made this library's vectors. Raises ModelMismatch for another."""
        library = self._settings.library
        known = self.recorded("visual")
        if known is None:
            raise NotFound(f"The library {library!r} is empty.", "Fill it: mmrag index FOLDER")
        meant = self.asks_for(known)
        visual = self._visual(known.setting if meant else self._settings.visual_model)
        if visual.stamp != known.stamp:
            raise ModelMismatch(
                f"The vectors of library {library!r} were made by {known.setting}; "
                f"{visual.setting} makes others.",
                "Run mmrag index with this model to embed again, or leave MMRAG_VISUAL_MODEL and "
                "--visual-model out.",
            )
        return visual, known

    def asks_for(self, known: Model) -> bool:
        """Whether the settings mean the visual model in use."""
        asked = self._settings.visual_model
        return asked in ("auto", known.setting) or self._is_of(asked, known.setting)

    def text_in_use(self, words: Model, visual: VisualEncoder) -> TextEncoder | None:
        """The text model that made the vectors of words; without it that channel is off."""
        try:
            text = self._text(words.setting, visual)
        except MmragError as error:
            self.warnings.append(f"The text channel is off: {error}")
            return None
        if (text.stamp if text else "") != words.stamp:
            self.warnings.append(
                f"The text channel is off: {words.setting} is not the model it was. "
                "Run mmrag index to compare texts with it again."
            )
            return None
        return text

    def wanted(self) -> Wanted:
        """The models that the vectors shall be of: as the settings say, else those in use.

        A library that had to make do with the palette, or without a text model, looks for better.
        """
        known, asked = self.recorded("visual"), self._settings.visual_model
        if known is not None:
            wanted = self.learned.visual_next or known.setting
            if (asked == "auto" and wanted != "palette") or self._is_of(asked, wanted):
                asked = wanted
        visual = self._visual(asked)
        known, asked = self.recorded("words"), self._settings.text_model
        if asked == "auto" and known is not None and known.setting not in ("off", "visual"):
            asked = known.setting
        text = self._text(asked, visual)
        text_stamp = text.stamp if text else ""
        return Wanted(
            visual,
            text,
            {
                "visual": Model(
                    visual.setting,
                    visual.stamp,
                    visual.dim,
                    self._collection("frames", visual.stamp),
                ),
                "words": Model(
                    text.setting if text else "off",
                    text_stamp,
                    text.dim if text else 0,
                    self._collection("signals", text_stamp),
                ),
            },
        )

    def original(self) -> VisualEncoder:
        """The visual model in use as it came, without what it learned here."""
        _, known = self.in_use()
        return self._visual(self.learned.base_of(known.setting))

    def is_ours(self, collection: str) -> bool:
        """Whether a collection belongs to this library, of whatever model."""
        return collection[:-_DIGEST] in (self._prefix("frames"), self._prefix("signals"))

    def make_anew(self) -> None:
        """Give a copied library an id, and collections, of its own; its vectors are yet to make."""
        old, new = self._ledger.fact("id"), self._ledger.become_another()
        for name in ("visual", "words"):
            known = self.recorded(name)
            if known is not None:
                collection = known.collection.replace(old, new)
                self._ledger.state(**{name: replace(known, collection=collection).as_dict()})

    def other_stores(
        self, connection: MilvusConnection, used: Iterable[str] = ()
    ) -> list[MediaVectorStore]:
        """The library's collections but those in use: a switch broken off leaves some."""
        from mmrag_plugin.milvus_store import open_known

        return [
            open_known(connection, collection)
            for collection in connection.call("list_collections")
            if self.is_ours(collection) and collection not in used
        ]

    def _collection(self, what: str, stamp: str) -> str:
        made_by = f"{METADATA_VERSION}|{stamp}"
        digest = hashlib.blake2b(made_by.encode(), digest_size=_DIGEST // 2).hexdigest()
        return f"{self._prefix(what)}{digest}"

    def _prefix(self, what: str) -> str:
        """How names begin: with the library's id, whatever people call it."""
        return f"{what}_{self._ledger.fact('id')}_"

    def _visual(self, setting: str) -> VisualEncoder:
        if setting not in self.loaded.visuals and setting.startswith(LEARNED):
            self.loaded.visuals[setting] = self._learned_visual(setting.removeprefix(LEARNED))
        if setting not in self.loaded.visuals:
            from mmrag_plugin.embeddings.choose import choose_visual

            with span("load.visual"):
                model, warnings = choose_visual(
                    setting,
                    models_home=self._settings.models_home,
                    dtype=self._settings.dtype,
                    device=self._settings.device,
                )
            self.warnings += warnings
            self.loaded.visuals[setting] = model
        return self.loaded.visuals[setting]

    def learned_content(self, version: str) -> tuple[dict[str, Any], bytes]:
        """What is known of a model trained here, and its file. Raises ModelError if that changed.

        The file holds only what differs from the model that it came from.
        """
        about = self.learned.about(version)
        file = self._settings.directory / LEARNED_FOLDER / f"{version}.safetensors"
        try:
            content = file.read_bytes()
        except OSError as error:
            raise _lost(f"can't be read: {error.strerror or error}", version) from error
        if hashlib.sha256(content).hexdigest() != about["digest"]:
            raise _lost("is not what it was", version)
        return about, content

    def _learned_visual(self, version: str) -> VisualEncoder:
        from mmrag_plugin.embeddings.choose import learned_visual

        about, content = self.learned_content(version)
        visual = learned_visual(
            about["base"],
            content,
            base_stamp=about["base_stamp"],
            digest=about["digest"],
            models_home=self._settings.models_home,
            dtype=self._settings.dtype,
            device=self._settings.device,
        )
        visual.setting = f"{LEARNED}{version}"
        return visual

    def _is_of(self, asked: str, setting: str) -> bool:
        """Whether somebody who asks for a model means this one, perhaps as it was trained here."""
        from mmrag_plugin.embeddings.choose import same_model

        return same_model(asked, self.learned.base_of(setting))

    def _text(self, setting: str, visual: VisualEncoder) -> TextEncoder | None:
        key = setting, visual.stamp
        if key not in self.loaded.texts:
            from mmrag_plugin.embeddings.choose import choose_text

            with span("load.text"):
                model, warnings = choose_text(
                    setting,
                    visual,
                    ollama_host=self._settings.ollama_host,
                    models_home=self._settings.models_home,
                    allow_remote=self._settings.allow_remote,
                    dtype=self._settings.dtype,
                    device=self._settings.device,
                )
            self.warnings += warnings
            self.loaded.texts[key] = model
        return self.loaded.texts[key]


def _lost(what: str, version: str) -> ModelError:
    return ModelError(
        f"The file of {version}, which the visual model learned, {what}.",
        "Search with the model as it came: mmrag models use original",
    )


def vlm_of(settings: Settings) -> OllamaVLM:
    """The VLM that settings name; it works without a library."""
    from mmrag_plugin.vlm.ollama import OllamaVLM

    return OllamaVLM(
        settings.vlm,
        settings.ollama_host,
        allow_remote=settings.allow_remote,
        total_s=settings.vlm_timeout,
    )


def careful(llm: LLM, settings: Settings) -> LLM:
    """Somebody's own LLM; one on Ollama with the checks of our adapter."""
    from llama_index.llms.ollama import Ollama

    from mmrag_plugin.vlm.ollama import OllamaVLM

    if isinstance(llm, Ollama) and not isinstance(llm, OllamaVLM):
        return OllamaVLM.from_llm(llm, allow_remote=settings.allow_remote)
    return llm


def limited(llm: LLM, *, max_tokens: int | None = None, temperature: float | None = None) -> LLM:
    """A copy of an LLM with shorter answers or another temperature, as far as it has such settings.

    The copy of an OllamaVLM shares what was found out about its server.
    """
    from mmrag_plugin.vlm.ollama import OllamaVLM

    if isinstance(llm, OllamaVLM):
        return llm.with_limits(max_tokens=max_tokens, temperature=temperature)
    wanted = {"max_tokens": max_tokens, "temperature": temperature}
    known = type(llm).model_fields
    changed = {name: value for name, value in wanted.items() if value is not None and name in known}
    return llm.model_copy(update=changed) if changed else llm
