"""The versions of what a library learned, as its ledger holds them, and which one is in use.

A version is an adapter, which moves queries, or a LoRA of the visual model, whose vectors replace
the old ones. Between wanting another visual model and having its vectors lies a run of the embed
stage; until that is over, searches go on with what was in use. ``next`` holds what is wanted then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmrag_plugin.errors import NotFound

if TYPE_CHECKING:
    from mmrag_plugin.ledger import Ledger

ORIGINAL = "original"  # the model as it came, with nothing learned
LORA = "lora"
LEARNED = "learned:"  # begins the setting of a visual model that was trained here


class LearnedVersions:
    """Reads and changes the ledger's lines about versions."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def known(self) -> dict[str, Any]:
        """All of it: ``in_use``, those ``before``, the ``versions`` by name, and ``next``."""
        empty: dict[str, Any] = {"in_use": ORIGINAL, "before": [], "versions": {}, "next": None}
        return {**empty, **(self._ledger.fact("learned") or {})}

    def about(self, version: str) -> dict[str, Any]:
        """What is known of a version. Raises NotFound."""
        found: dict[str, Any] | None = self.known()["versions"].get(version)
        if found is None:
            raise NotFound(f"There is no version {version!r}.", "See them: mmrag models list")
        return found

    def base_of(self, setting: str) -> str:
        """The setting of the visual model as it came, by that of what may have been trained."""
        if not setting.startswith(LEARNED):
            return setting
        return str(self.about(setting.removeprefix(LEARNED))["base"])

    def visual_of(self, version: str, now: str) -> str:
        """The visual model's setting that a version goes with, where ``now`` is the one in use."""
        if version == ORIGINAL:
            return self.base_of(now)
        about = self.about(version)
        if about.get("kind") == LORA:
            return f"{LEARNED}{version}"
        learned_on = str(about.get("visual", now))
        return learned_on if learned_on.startswith(LEARNED) else self.base_of(now)

    @property
    def visual_next(self) -> str | None:
        """The setting of the visual model that is wanted next; None where none is."""
        following = self.known()["next"]
        return str(following["visual"]) if following else None

    def take(self, version: str, *, before: list[str]) -> None:
        """Have a version in use from now on, with those before it."""
        self._ledger.state(
            learned={**self.known(), "in_use": version, "before": before, "next": None}
        )

    def want(self, following: dict[str, Any] | None) -> None:
        """Have ``version``, with those ``before``, in use once vectors of its ``visual`` stand."""
        self._ledger.state(learned={**self.known(), "next": following})

    def settle(self, visual: str) -> None:
        """Note that the vectors in use are those of a visual model, by its setting."""
        known = self.known()
        following, in_use = known["next"], known["in_use"]
        if following and following["visual"] == visual:
            self.take(following["version"], before=following["before"])
        elif known["versions"].get(in_use, {}).get("kind") == LORA and visual != LEARNED + in_use:
            self.take(ORIGINAL, before=[*known["before"], in_use])
        elif following:
            self.want(None)
