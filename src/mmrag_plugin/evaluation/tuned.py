"""What was learned for one library: fusion weights and a calibration, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mmrag_plugin.confidence import FEATURES_VERSION, Calibration
from mmrag_plugin.errors import UsageError
from mmrag_plugin.evaluation.sets import AskedSet
from mmrag_plugin.evaluation.tuning import (
    LEAST_QUERIES,
    Lesson,
    SearcherFor,
    Trial,
    Weights,
    false_strong,
    learn_calibration,
    learn_from,
    learn_weights,
    try_calibration,
    try_weights,
)
from mmrag_plugin.media import CHANNELS, Channel
from mmrag_plugin.metadata import RowFilter
from mmrag_plugin.searching import Searcher

WITHOUT_TEXT: tuple[Channel, ...] = ("visual", "bm25")


@dataclass(frozen=True)
class Tuned:
    """Weights and a calibration for a library; None where what ships is better or as good.

    ``about`` says when and of which queries they were learned, ``collections`` of which vectors:
    for others they hold no more.
    """

    weights: Weights | None = None
    without_text: Weights | None = None
    calibration: Calibration | None = None
    collections: tuple[str, str] = ("", "")
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was learned that is worth keeping."""
        return not (self.weights or self.without_text or self.calibration)

    def as_dict(self) -> dict[str, Any]:
        """The shape that the ledger keeps and status shows."""
        calibration = self.calibration
        return {
            "weights": None if self.weights is None else dict(self.weights),
            "without_text": None if self.without_text is None else dict(self.without_text),
            "calibration": None
            if calibration is None
            else {
                "coefficients": {k: list(v) for k, v in calibration.coefficients.items()},
                "strong": calibration.strong,
                "version": FEATURES_VERSION,
            },
            "collections": list(self.collections),
            "about": dict(self.about),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Tuned:
        """Out of the ledger; a calibration of other features than today's is left out."""
        calibration = kept["calibration"]
        if calibration and calibration.get("version") != FEATURES_VERSION:
            calibration = None
        return cls(
            kept["weights"],
            kept["without_text"],
            calibration and Calibration(calibration["coefficients"], calibration["strong"]),
            (kept["collections"][0], kept["collections"][1]),
            kept["about"],
        )


@dataclass(frozen=True)
class Tuning:
    """What one run of tuning found: what is worth keeping, and every trial on held-out media.

    ``trials`` are by what was tried; ``strong`` are the shares of strong first hits on held-out
    queries, before and after: of right ones, and where nothing was to be found.
    """

    tuned: Tuned
    trials: Mapping[str, Trial]
    strong: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON of ``mmrag tune --json``."""
        return {
            "tuned": self.tuned.as_dict(),
            "trials": {
                name: {
                    "before": trial.before,
                    "after": trial.after,
                    "change": [trial.change.value, trial.change.low, trial.change.high],
                    "queries": trial.queries,
                    "adopted": trial.is_better,
                }
                for name, trial in self.trials.items()
            },
            "strong": {name: list(shares) for name, shares in self.strong.items()},
            "notes": list(self.notes),
        }


def tune(
    searcher: Searcher,
    searcher_for: SearcherFor,
    asked: AskedSet,
    *,
    where: RowFilter | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Tuning:
    """Learn of one half of a set's media, and try it on the other half.

    ``searcher_for`` gives the searcher that a query may be asked of. Raises UsageError for too few
    queries, and where they can't be parted.
    """
    if len(asked.answered) < LEAST_QUERIES:
        raise UsageError(
            f"{len(asked.answered)} queries with an answer are too few to learn from.",
            f"{LEAST_QUERIES - len(asked.answered)} more are needed, {LEAST_QUERIES} in all.",
        )
    first, rest = asked.split(0.5, seed)
    total = len(asked.queries)
    learned = learn_from(searcher_for, first, where=where, progress=lambda n, _: progress(n, total))
    done = len(first.queries)
    held = learn_from(
        searcher_for, rest, where=where, progress=lambda n, _: progress(done + n, total)
    )
    return _tuned(searcher, learned, held, asked.notes)


def _tuned(searcher: Searcher, learned: Lesson, held: Lesson, notes: tuple[str, ...]) -> Tuning:
    fusion, trials = searcher.fusion, dict[str, Trial]()
    tuned = Tuned(collections=searcher.collections)
    kept: dict[str, Weights] = {}
    cases = {"without_text": (WITHOUT_TEXT, fusion.without_text)}
    if "text" in searcher.channels:
        cases = {"weights": (searcher.channels, fusion.weights), **cases}
    for name, (channels, now) in cases.items():
        if set(channels) <= set(searcher.channels):
            weights = learn_weights(learned.scored, now, channels)
            trials[name] = trial = try_weights(held.scored, now, weights, channels)
            if trial.is_better:
                kept[name] = weights
    tuned = replace(tuned, weights=kept.get("weights"), without_text=kept.get("without_text"))
    calibration = learn_calibration(learned.judged, searcher.calibration)
    trials["confidence"] = trial = try_calibration(held.judged, searcher.calibration, calibration)
    if trial.is_better:
        tuned = replace(tuned, calibration=calibration)
    most = tuple(channel for channel in CHANNELS if channel in searcher.channels)
    judged = [one for one in held.judged if one.channels == most]
    strong = {
        "before": false_strong(judged, searcher.calibration),
        "after": false_strong(judged, calibration),
    }
    return Tuning(tuned, trials, strong, notes)


def described(tuned: Tuned) -> str:
    """What was learned, in a few words."""
    parts = []
    if tuned.weights is not None:
        parts.append(f"weights {_listed(tuned.weights)}")
    if tuned.without_text is not None:
        parts.append(f"without text {_listed(tuned.without_text)}")
    if tuned.calibration is not None:
        parts.append(f"confidence (strong from {math.floor(100 * tuned.calibration.strong)} %)")
    return ", ".join(parts)


def _listed(weights: Weights) -> str:
    return " ".join(f"{channel} {weight:g}" for channel, weight in weights.items())
