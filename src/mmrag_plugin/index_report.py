"""What a run of indexing tells: how far it is, and in the end what it did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from mmrag_plugin.errors import MmragError
from mmrag_plugin.media import Stage
from mmrag_plugin.walking import Problem


class Progress:
    """Who wants to know how far a run is; this one does not."""

    def begin(self, stage: Stage, total: int) -> None:
        """Hear that a stage begins."""

    def advance(self, stage: Stage, count: int) -> None:
        """Hear that some media are done."""

    def note(self, stage: Stage, text: str) -> None:
        """Hear, in words, how far a stage is with one media."""

    def waiting(self, text: str) -> None:
        """Hear, in words, what the run has to wait for; nothing, once it goes on."""

    def end(self, stage: Stage) -> None:
        """Hear that a stage is over."""


@dataclass
class StageReport:
    """How far a stage came in this run."""

    done: int = 0
    pending: int = 0
    seconds: float = 0.0
    sound_s: float = 0.0  # of sound that was listened to

    @property
    def real_time_factor(self) -> float | None:
        """Seconds of work for each second of sound; None where there was none."""
        return self.seconds / self.sound_s if self.sound_s else None


@dataclass
class IndexReport:
    """What a run did; the JSON contract of ``mmrag index``."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    moved: int = 0
    removed: int = 0
    failed: list[Problem] = field(default_factory=list)
    failed_before: list[Problem] = field(default_factory=list)  # those of ``failed`` that were left
    stages: dict[Stage, StageReport] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)  # left out by rules, as in ``News``
    stopped_by: MmragError | None = None  # what kept the caption stage from its end

    @property
    def did_something(self) -> bool:
        """Whether the run changed anything."""
        looked = {name: stage for name, stage in self.stages.items() if name != "scan"}
        return bool(self.moved or self.removed or any(stage.done for stage in looked.values()))

    @property
    def newly_failed(self) -> list[Problem]:
        """What failed in this run, and not only in an earlier one."""
        before = set(self.failed_before)
        return [problem for problem in self.failed if problem not in before]

    def as_dict(self) -> dict[str, object]:
        """The shape that ``--json`` prints."""
        return {
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "removed": self.removed,
            "failed": [vars(problem) for problem in self.failed],
            "stages": {
                stage: {
                    "done": report.done,
                    "pending": report.pending,
                    "seconds": round(report.seconds, 3),
                    **_about_sound(report),
                }
                for stage, report in self.stages.items()
            },
            "warnings": self.warnings,
        }


def _about_sound(report: StageReport) -> dict[str, float]:
    if (factor := report.real_time_factor) is None:
        return {}
    return {"sound_s": round(report.sound_s, 3), "real_time_factor": round(factor, 4)}
