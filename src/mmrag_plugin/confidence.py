"""How sure a search is of a hit: strong, weak or none, by all that its channels say together.

What a channel says is first made comparable between libraries, models and questions (``Evidence``).
A logistic regression for each set of channels then says how likely the hit is right, if the chances
are even that the library has an answer at all; from ``Calibration.strong`` up it is strong. The
coefficients were learned as ``mmrag tune`` learns them, on data that is used for no claim:
docs/quality.md says on which, and what they are worth on other data.

What is no match at all has a rule of its own, which is not learned: no word in common, and in no
channel nearer than what chance brings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmrag_plugin.media import CHANNELS, Channel, Confidence, Signal
from mmrag_plugin.terms import terms_of
from mmrag_plugin.words import within

if TYPE_CHECKING:
    from mmrag_plugin.moments import Candidate

FULL = 0.999  # of the query's words: all of them
CHANCE = 0.7  # of what the best of unrelated rows is expected to score; below it nothing is meant


@dataclass(frozen=True)
class Usual:
    """How a library's rows score for one query in a dense channel, by a sample of them.

    ``among_rows`` is the mean similarity of two rows of the sample to each other.
    """

    mean: float
    deviation: float
    rows: int
    among_rows: float = 0.0

    def standard(self, score: float) -> float:
        """A score where the usual row has 0, and the best of unrelated ones is likely to have 1.

        Of n unrelated rows the best lies about sqrt(2 ln n) deviations above the mean (the extreme
        value of a normal sample).
        """
        expected = math.sqrt(2 * math.log(max(self.rows, 8)))
        return (score - self.mean) / max(self.deviation, 1e-6) / expected

    def alike(self, score: float) -> float:
        """A score where two rows of the library have 0 on the whole, and two equal ones 1."""
        return (score - self.among_rows) / max(1 - self.among_rows, 1e-6)


FEATURES_VERSION = 1  # of what Evidence.features holds: coefficients are of one version


@dataclass(frozen=True)
class Evidence:
    """What the channels say of one hit; None where a channel did not find it.

    ``visual`` and ``text`` are standard scores, and ``alike`` is how alike the hit's words and the
    query are, as of ``Usual``. ``covered`` is the share of the query's words that stand in the
    hit's, rare words counting for more.
    """

    visual: float | None = None
    text: float | None = None
    alike: float = 0.0
    covered: float | None = None

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The channels that found the hit."""
        values = {"visual": self.visual, "text": self.text, "bm25": self.covered}
        return tuple(channel for channel in CHANNELS if values[channel] is not None)

    def only(self, *channels: Channel) -> Evidence:
        """What some channels say."""
        return Evidence(
            self.visual if "visual" in channels else None,
            self.text if "text" in channels else None,
            self.alike if "text" in channels else 0.0,
            self.covered if "bm25" in channels else None,
        )

    @property
    def features(self) -> list[float]:
        """The numbers that a calibration weighs, in the order of its coefficients."""
        found = [] if self.visual is None else [self.visual]
        if self.text is not None:
            found += [self.text, self.alike]
        if self.covered is not None:
            found += [self.covered, float(self.covered > FULL)]
        return found


@dataclass(frozen=True)
class Calibration:
    """Coefficients by channels (``visual+text``): a constant, then one for each feature.

    ``strong`` is the probability from which a hit is strong. Channels without coefficients of their
    own are judged by the channel that is surest.
    """

    coefficients: Mapping[str, Sequence[float]]
    strong: float

    def probability(self, evidence: Evidence) -> float:
        """How likely a hit is right."""
        channels = evidence.channels
        known = self.coefficients.get("+".join(channels))
        if known is None:
            if len(channels) < 2:
                return 0.0
            return max(self.probability(evidence.only(channel)) for channel in channels)
        constant, *weights = known
        total = constant + math.fsum(
            weight * value for weight, value in zip(weights, evidence.features, strict=True)
        )
        return 1 / (1 + math.exp(-max(min(total, 500.0), -500.0)))

    def level(self, evidence: Evidence) -> Confidence:
        """Judge a hit."""
        if self.probability(evidence) >= self.strong:
            return "strong"
        near = max(evidence.visual or 0.0, evidence.text or 0.0) >= CHANCE
        return "weak" if near or evidence.covered is not None else "none"


class Judge:
    """Judges the hits of one query.

    ``usual`` says of each dense channel that was asked how the library's rows score; None where
    there are too few to say. ``rarity`` has the query's terms, each with how much it tells.
    """

    def __init__(
        self,
        usual: Mapping[Channel, Usual | None],
        rarity: Mapping[str, float],
        calibration: Calibration,
    ) -> None:
        self._usual, self._rarity, self._calibration = usual, rarity, calibration

    def evidence(self, candidate: Candidate, signals: Sequence[Signal]) -> Evidence:
        """What the channels say of a moment; ``signals`` are those of its media."""
        dense: dict[str, float] = {}
        for channel, usual in self._usual.items():
            if channel in candidate.best:
                score = candidate.best[channel].score
                dense[channel] = CHANCE if usual is None else usual.standard(score)
                if channel == "text" and usual is not None:
                    dense["alike"] = usual.alike(score)
        if "bm25" not in candidate.best:
            return Evidence(**dense)
        believed = [signal for signal in signals if not signal.doubtful]
        known = {
            term for signal in within(believed, candidate.moment) for term in terms_of(signal.text)
        }
        whole = math.fsum(self._rarity.values())
        found = math.fsum(weight for term, weight in self._rarity.items() if term in known)
        return Evidence(**dense, covered=found / max(whole, 1e-9))

    def level(self, candidate: Candidate, signals: Sequence[Signal]) -> Confidence:
        """How sure all channels together are of a moment."""
        return self._calibration.level(self.evidence(candidate, signals))

    def level_in(self, channel: Channel, candidate: Candidate) -> Confidence:
        """How sure a dense channel is by itself."""
        return self._calibration.level(self.evidence(candidate, ()).only(channel))


# What ``python -m benchmarks defaults`` learns: with a visual model's text tower, and with a model
# of sentences.
CALIBRATION = Calibration(
    {
        "visual+text+bm25": (-4.171, 0.876, 2.142, -0.961, 2.147, 2.402),
        "visual+text": (-5.19, 0.344, 3.729, -0.32),
        "visual+bm25": (-3.572, 1.531, 3.327, 1.843),
        "text+bm25": (-3.854, 1.88, -0.367, 2.416, 2.405),
        "visual": (-5.472, 3.634),
        "text": (-5.806, 3.725, 0.623),
        "bm25": (-2.73, 3.37, 1.817),
    },
    strong=0.354,
)
CALIBRATION_WITH_SENTENCE_MODEL = Calibration(
    {
        "visual+text+bm25": (-6.007, 0.89, 3.239, 0.652, 1.23, 2.698),
        "visual+text": (-6.591, 1.075, 4.026, 0.817),
        "visual+bm25": (-3.572, 1.531, 3.327, 1.843),
        "text+bm25": (-5.656, 3.262, 0.778, 1.401, 3.053),
        "visual": (-5.472, 3.634),
        "text": (-6.686, 4.24, 1.687),
        "bm25": (-2.73, 3.37, 1.817),
    },
    strong=0.397,
)
